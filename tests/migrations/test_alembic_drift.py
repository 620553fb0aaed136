"""What autogenerate proposes after changes that were made by hand: in the database, in a revision's
script, in the options of a marker."""

from __future__ import annotations

import pytest
from proposals import (
    DECLARED,
    FUNCTION,
    NOTHING,
    OPERATIONS,
    assert_all_delivered,
    calls,
    calls_in_short,
    one_table,
)
from revisions import apply, autogenerate, catalog, differences, upgrade
from statements import run

from sa_pgnotify import NotifySpec

OLD_ROWS = "REFERENCING OLD TABLE AS sa_old_rows"


DROP_ALL = [f"DROP TRIGGER sa_pgnotify_{operation} ON orders" for operation in OPERATIONS]


BY_HAND = {
    "function body": [f"CREATE OR REPLACE FUNCTION {FUNCTION} {NOTHING}"],
    "comment": [f"COMMENT ON FUNCTION {FUNCTION} IS 'tells the shop'"],
    "comment that looks like ours": [
        f"COMMENT ON FUNCTION {FUNCTION} IS 'sa_pgnotify {{\"version\": 1}}'"
    ],
    "no comment": [f"COMMENT ON FUNCTION {FUNCTION} IS NULL"],
    "other setting": [f"ALTER FUNCTION {FUNCTION} SET search_path TO public"],
    "one setting more": [f"ALTER FUNCTION {FUNCTION} SET work_mem TO '1MB'"],
    "no settings": [f"ALTER FUNCTION {FUNCTION} RESET ALL"],
    "disabled": ["ALTER TABLE orders DISABLE TRIGGER sa_pgnotify_insert"],
    "all disabled": ["ALTER TABLE orders DISABLE TRIGGER ALL"],
    "replica": ["ALTER TABLE orders ENABLE REPLICA TRIGGER sa_pgnotify_delete"],
    "trigger dropped": ["DROP TRIGGER sa_pgnotify_update ON orders"],
    "all triggers dropped": DROP_ALL,
    "trigger renamed": ["ALTER TRIGGER sa_pgnotify_insert ON orders RENAME TO loud"],
    "trigger listed twice": [
        f"CREATE TRIGGER again AFTER DELETE ON orders {OLD_ROWS} FOR EACH STATEMENT EXECUTE FUNCTION {FUNCTION}"
    ],
    "other events": [
        "DROP TRIGGER sa_pgnotify_truncate ON orders",
        f"CREATE TRIGGER sa_pgnotify_truncate BEFORE TRUNCATE ON orders EXECUTE FUNCTION {FUNCTION}",
    ],
    "no transition table": [
        f"CREATE OR REPLACE TRIGGER sa_pgnotify_insert AFTER INSERT ON orders EXECUTE FUNCTION {FUNCTION}"
    ],
    "condition of a trigger": [
        f"CREATE OR REPLACE TRIGGER sa_pgnotify_delete AFTER DELETE ON orders {OLD_ROWS} WHEN (false) EXECUTE FUNCTION {FUNCTION}"
    ],
}


@pytest.mark.sample(2)
@pytest.mark.parametrize("statements", BY_HAND.values(), ids=BY_HAND.keys())
def test_what_was_altered_by_hand_is_brought_back(engine, statements):
    """One alter is proposed that says the declared state; it, and its downgrade too, bring that
    state back, not the damage."""
    upgrade(engine, one_table())
    declared = catalog(engine)
    run(engine, *statements)
    assert catalog(engine) != declared
    revision = autogenerate(engine, one_table())
    assert (
        calls(revision.upgrade)
        == calls(revision.downgrade)
        == [("alter_notify_triggers", ("orders",), DECLARED)]
    )
    apply(engine, revision.upgrade)
    assert differences(engine, one_table()) == []
    assert catalog(engine) == declared
    assert_all_delivered(engine, one_table())
    apply(engine, revision.downgrade)
    assert catalog(engine) == declared


def test_a_function_dropped_with_its_triggers_is_created(engine):
    """If function and triggers are gone, the proposal is a create, and its downgrade a drop."""
    upgrade(engine, one_table())
    declared = catalog(engine)
    run(engine, f"DROP FUNCTION {FUNCTION} CASCADE")
    damaged = catalog(engine)
    revision = autogenerate(engine, one_table())
    assert calls(revision.upgrade) == [("create_notify_triggers", ("orders",), DECLARED)]
    assert calls(revision.downgrade) == [("drop_notify_triggers", ("orders",), {})]
    apply(engine, revision.upgrade)
    assert differences(engine, one_table()) == []
    assert catalog(engine) == declared
    assert_all_delivered(engine, one_table())
    apply(engine, revision.downgrade)
    assert catalog(engine) == damaged


def test_a_trigger_that_runs_another_function_is_brought_back(engine):
    """A trigger of sa_pgnotify that was pointed at another function by hand runs its own function
    again. The other function stays."""
    upgrade(engine, one_table())
    run(
        engine,
        f"CREATE FUNCTION audit() {NOTHING}",
        "COMMENT ON FUNCTION audit() IS 'of another team'",
    )
    declared = catalog(engine)
    run(
        engine,
        "CREATE OR REPLACE TRIGGER sa_pgnotify_insert AFTER INSERT ON orders EXECUTE FUNCTION audit()",
    )
    revision = upgrade(engine, one_table())
    assert calls(revision.upgrade) == [("alter_notify_triggers", ("orders",), DECLARED)]
    assert differences(engine, one_table()) == []
    assert catalog(engine) == declared
    assert_all_delivered(engine, one_table())
    apply(engine, revision.downgrade)
    assert catalog(engine) == declared


def test_a_trigger_that_always_fires_is_left_so(engine):
    """ENABLE ALWAYS is the user's choice for replicas: nothing is proposed, and an alter for
    another reason leaves it."""
    upgrade(engine, one_table())
    run(engine, "ALTER TABLE orders ENABLE ALWAYS TRIGGER sa_pgnotify_insert")
    assert differences(engine, one_table()) == []
    upgrade(engine, one_table(NotifySpec(values="all")))
    enabled = {(name, state) for _, name, _, _, state, *_ in catalog(engine)["triggers"]}
    assert enabled == {
        (f"sa_pgnotify_{operation}", "A" if operation == "insert" else "O")
        for operation in OPERATIONS
    }


@pytest.mark.parametrize("spec", [NotifySpec(), None], ids=["marked", "unmarked"])
def test_what_is_not_ours_is_left_alone(engine, spec):
    """Triggers and functions of others, even such as are named or commented like ours, are never
    proposed to be touched, and survive."""
    upgrade(engine, one_table(None))
    run(
        engine, f"CREATE FUNCTION audit() {NOTHING}", f"CREATE FUNCTION sa_pgnotify_audit() {NOTHING}",
        "COMMENT ON FUNCTION audit() IS 'sa_pgnotify is what we took this from'",
        "CREATE TRIGGER audit AFTER INSERT OR UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION audit()",
        "CREATE TRIGGER sa_audit BEFORE DELETE ON orders EXECUTE FUNCTION sa_pgnotify_audit()",
    )  # fmt: skip
    theirs = catalog(engine)
    metadata = one_table(spec)
    assert calls_in_short(autogenerate(engine, metadata).upgrade) == [
        ("create_notify_triggers", "orders")
    ] * (spec is not None)
    revision = upgrade(engine, metadata)
    assert differences(engine, metadata) == []
    apply(engine, revision.downgrade)
    assert catalog(engine) == theirs


OPTIONS = {
    "operations": (
        NotifySpec(operations=("delete", "insert")),
        {"operations": ["insert", "delete"]},
    ),
    "values": (NotifySpec(values=("status",)), {"values": ["status"]}),
    "all values": (NotifySpec(values="all"), {"values": "all"}),
    "update_of": (NotifySpec(update_of=("status",)), {"update_of": ["status"]}),
    "when": (
        NotifySpec(when=lambda old, new: new.status != "a\tb% :c"),
        {"condition": "new_row.status != 'a\tb% :c'"},
    ),
    "channel": (NotifySpec(channel="Shop's"), {"channel": "Shop's"}),
    "for_each": (NotifySpec(for_each="row"), {"for_each": "row"}),
}


@pytest.mark.parametrize(("spec", "said"), OPTIONS.values(), ids=OPTIONS.keys())
def test_each_option_alone_is_one_alter(engine, spec, said):
    """An option given, and taken away again, is one alter that says it and nothing else new; each
    downgrade restores."""
    upgrade(engine, one_table())
    before = catalog(engine)
    given = upgrade(engine, one_table(spec))
    assert calls(given.upgrade) == [("alter_notify_triggers", ("orders",), {**DECLARED, **said})]
    assert calls(given.downgrade) == [("alter_notify_triggers", ("orders",), DECLARED)]
    assert differences(engine, one_table(spec)) == []
    changed = catalog(engine)
    taken = upgrade(engine, one_table())
    assert (calls(taken.upgrade), calls(taken.downgrade)) == (
        calls(given.downgrade),
        calls(given.upgrade),
    )
    assert catalog(engine) == before
    assert_all_delivered(engine, one_table())
    apply(engine, taken.downgrade)
    assert catalog(engine) == changed
    apply(engine, given.downgrade)
    assert catalog(engine) == before
