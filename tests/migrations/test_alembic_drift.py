"""What autogenerate proposes after changes that were made by hand: in the database, in a revision's
script, in the options of a marker."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from receiving import received
from revisions import apply, autogenerate, catalog, differences, upgrade
from statements import run

from sa_pgnotify import Deleted, Inserted, NotifySpec, Truncated, Updated, notify_on_change

OPERATIONS = ("insert", "update", "delete", "truncate")
DECLARED = {
    "columns": {"id": "integer", "status": "text"},
    "key": ["id"],
    "operations": list(OPERATIONS),
    "version": 1,
}
FUNCTION = "public.sa_pgnotify_orders()"
NOTHING = "RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'"
OLD_ROWS = "REFERENCING OLD TABLE AS sa_old_rows"
DROP_ALL = [f"DROP TRIGGER sa_pgnotify_{operation} ON orders" for operation in OPERATIONS]

Call = tuple[str, tuple[Any, ...], dict[str, Any]]


def orders(
    spec: NotifySpec | None = NotifySpec(),
    name: str = "orders",
    *,
    schema: str | None = None,
    status: str = "status",
) -> sa.MetaData:
    """One table, marked with ``spec`` if there is one."""
    metadata = sa.MetaData()
    columns = [sa.Column("id", sa.Integer, primary_key=True), sa.Column(status, sa.String(20))]
    table = sa.Table(name, metadata, *columns, schema=schema)
    if spec is not None:
        notify_on_change(table, spec)
    return metadata


class Recorder:
    """Stands for ``op`` and keeps what is called on it."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def f(self, name: str) -> str:
        return name

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: self.calls.append((name, args, kwargs))


def calls(code: str) -> list[Call]:
    """The operations that the body of a revision calls."""
    op = Recorder()
    exec(f"import sqlalchemy as sa\nif True:\n    {code}", {"op": op})
    return op.calls


def names(code: str) -> list[tuple[str, str]]:
    """The same, in short: each operation and its table."""
    return [(name, args[0]) for name, args, _ in calls(code)]


def functions(engine: sa.Engine) -> set[str]:
    return {row[0] for row in catalog(engine)["functions"]}


def assert_all_told(engine: sa.Engine, metadata: sa.MetaData) -> None:
    """Each operation on the only table is told, once."""
    (table,) = metadata.tables.values()
    name = table.fullname
    _, second = table.columns
    events = received(
        engine, table, f"INSERT INTO {name} VALUES (1, 'new')", f"UPDATE {name} SET {second.name} = 'old'", f"DELETE FROM {name}",
        f"TRUNCATE {name}",
    )  # fmt: skip
    assert [type(event) for event in events] == [Inserted, Updated, Deleted, Truncated]


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
    "trigger told twice": [
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


@pytest.mark.parametrize("statements", BY_HAND.values(), ids=BY_HAND.keys())
def test_what_was_altered_by_hand_is_brought_back(engine, statements):
    """One alter is proposed that says the declared state; it, and its downgrade too, bring that
    state back, not the damage."""
    upgrade(engine, orders())
    declared = catalog(engine)
    run(engine, *statements)
    assert catalog(engine) != declared
    revision = autogenerate(engine, orders())
    assert (
        calls(revision.upgrade)
        == calls(revision.downgrade)
        == [("alter_notify_triggers", ("orders",), DECLARED)]
    )
    apply(engine, revision.upgrade)
    assert differences(engine, orders()) == []
    assert catalog(engine) == declared
    assert_all_told(engine, orders())
    apply(engine, revision.downgrade)
    assert catalog(engine) == declared


def test_a_function_dropped_with_its_triggers_is_created(engine):
    """Where nothing is left of ours, the proposal is a create, and its downgrade a drop."""
    upgrade(engine, orders())
    declared = catalog(engine)
    run(engine, f"DROP FUNCTION {FUNCTION} CASCADE")
    damaged = catalog(engine)
    revision = autogenerate(engine, orders())
    assert calls(revision.upgrade) == [("create_notify_triggers", ("orders",), DECLARED)]
    assert calls(revision.downgrade) == [("drop_notify_triggers", ("orders",), {})]
    apply(engine, revision.upgrade)
    assert differences(engine, orders()) == []
    assert catalog(engine) == declared
    assert_all_told(engine, orders())
    apply(engine, revision.downgrade)
    assert catalog(engine) == damaged


def test_a_trigger_that_runs_another_function_is_brought_back(engine):
    """A trigger of ours repointed by hand runs our function again, and the other function stays: it
    is not ours."""
    upgrade(engine, orders())
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
    revision = upgrade(engine, orders())
    assert calls(revision.upgrade) == [("alter_notify_triggers", ("orders",), DECLARED)]
    assert differences(engine, orders()) == []
    assert catalog(engine) == declared
    assert_all_told(engine, orders())
    apply(engine, revision.downgrade)
    assert catalog(engine) == declared


def test_a_trigger_that_always_fires_is_left_so(engine):
    """ENABLE ALWAYS is the user's choice for replicas: nothing is proposed, and an alter for
    another reason leaves it."""
    upgrade(engine, orders())
    run(engine, "ALTER TABLE orders ENABLE ALWAYS TRIGGER sa_pgnotify_insert")
    assert differences(engine, orders()) == []
    upgrade(engine, orders(NotifySpec(values="all")))
    enabled = {(name, state) for _, name, _, _, state, *_ in catalog(engine)["triggers"]}
    assert enabled == {
        (f"sa_pgnotify_{operation}", "A" if operation == "insert" else "O")
        for operation in OPERATIONS
    }


# -- renamed, moved, dropped -----------------------------------------------------------------------


def test_a_table_renamed_by_hand(engine):
    """One alter gives the function the new table's name, and the old function goes; the downgrade
    restores the old one."""
    upgrade(engine, orders())
    run(engine, "ALTER TABLE orders RENAME TO purchases")
    triggers = catalog(engine)["triggers"]
    purchases = orders(name="purchases")
    revision = autogenerate(engine, purchases)
    assert calls(revision.upgrade) == [("alter_notify_triggers", ("purchases",), DECLARED)]
    assert calls(revision.downgrade) == [
        ("alter_notify_triggers", ("purchases",), {**DECLARED, "function": "sa_pgnotify_orders"})
    ]
    apply(engine, revision.upgrade)
    assert differences(engine, purchases) == []
    assert functions(engine) == {"sa_pgnotify_purchases()"}
    assert_all_told(engine, purchases)
    apply(engine, revision.downgrade)
    assert catalog(engine)["triggers"] == triggers
    assert functions(engine) == {"sa_pgnotify_orders()"}


def test_a_function_left_over_by_a_renamed_table(engine):
    """A function whose name does not go with its table's is found and dropped all the same."""
    upgrade(engine, orders())
    run(engine, "ALTER TABLE orders RENAME TO purchases")
    apply(engine, upgrade(engine, orders(name="purchases")).downgrade)
    run(engine, "DROP TABLE purchases")
    assert functions(engine) == {"sa_pgnotify_orders()"}
    upgrade(engine, sa.MetaData())
    assert functions(engine) == set()
    assert differences(engine, sa.MetaData()) == []


def test_tables_that_swapped_names(engine):
    """Two tables renamed crosswise by hand end with each its own function, both ways."""
    first, second = (NotifySpec(values=("status",)), NotifySpec(values=("state",)))
    for metadata in (orders(first, "a"), orders(second, "b", status="state")):
        with engine.begin() as connection:
            metadata.create_all(connection)
    run(
        engine,
        *(
            f"ALTER TABLE {old} RENAME TO {new}"
            for old, new in (("a", "c"), ("b", "a"), ("c", "b"))
        ),
    )
    swapped = catalog(engine)["triggers"]
    metadata = orders(second, "a", status="state")
    orders(first, "b").tables["b"].to_metadata(metadata)
    revision = upgrade(engine, metadata)
    assert names(revision.upgrade) == [
        ("alter_notify_triggers", "a"),
        ("alter_notify_triggers", "b"),
    ]
    assert differences(engine, metadata) == []
    runs = {(table, function) for table, _, function, *_ in catalog(engine)["triggers"]}
    assert runs == {("a", "sa_pgnotify_a()"), ("b", "sa_pgnotify_b()")}
    apply(engine, revision.downgrade)
    assert catalog(engine)["triggers"] == swapped
    events = received(
        engine, metadata, "INSERT INTO a VALUES (1, 'x')", "INSERT INTO b VALUES (2, 'y')"
    )
    assert [(e.table.name, dict(e.new)) for e in events] == [
        ("a", {"id": 1, "state": "x"}),
        ("b", {"id": 2, "status": "y"}),
    ]


def test_a_table_renamed_in_the_script(engine):
    """The lines of drop_table and create_table become a rename_table, the line of the triggers
    stays: both ways nothing is left over."""
    upgrade(engine, orders())
    before = catalog(engine)
    purchases = orders(name="purchases")
    proposed = autogenerate(engine, purchases)
    created, dropped = ("create_table", "purchases"), ("drop_table", "orders")
    assert names(proposed.upgrade) == [
        created, ("create_notify_triggers", "purchases"), ("drop_notify_triggers", "orders"), dropped
    ]  # fmt: skip
    assert sorted(name for name, _ in names(proposed.downgrade)) == sorted(
        name for name, _ in names(proposed.upgrade)
    )

    def edited(code: str, old: str, new: str) -> str:
        (create,) = [
            arguments for name, _, arguments in calls(code) if name == "create_notify_triggers"
        ]
        return f"op.rename_table({old!r}, {new!r})\n    op.create_notify_triggers({new!r}, **{create!r})"

    apply(engine, edited(proposed.upgrade, "orders", "purchases"))
    assert differences(engine, purchases) == []
    assert functions(engine) == {"sa_pgnotify_purchases()"}
    assert_all_told(engine, purchases)
    apply(engine, edited(proposed.downgrade, "purchases", "orders"))
    assert catalog(engine) == before


@pytest.mark.parametrize(
    "spec",
    [
        NotifySpec(values="all"),
        NotifySpec(when=lambda old, new: sa.func.coalesce(new.id, old.id) > 0),
    ],
)
def test_a_column_renamed_in_the_script(engine, spec):
    """A rename in place of add_column and drop_column, and the proposed alter after it, leave no
    difference, both ways."""
    upgrade(engine, orders(spec))
    before = catalog(engine)
    renamed = orders(spec, status="state")
    proposed = autogenerate(engine, renamed)
    assert [name for name, *_ in calls(proposed.upgrade)] == [
        "add_column",
        "alter_notify_triggers",
        "drop_column",
    ]

    def edited(code: str, old: str, new: str) -> str:
        _, (_, _, arguments), _ = calls(code)
        return f"op.alter_column('orders', {old!r}, new_column_name={new!r})\n    op.alter_notify_triggers('orders', **{arguments!r})"

    apply(engine, edited(proposed.upgrade, "status", "state"))
    assert differences(engine, renamed) == []
    assert_all_told(engine, renamed)
    apply(engine, edited(proposed.downgrade, "state", "status"))
    assert catalog(engine) == before


@pytest.mark.parametrize("with_function", [False, True], ids=["table alone", "with its function"])
def test_a_table_moved_to_another_schema(engine, with_function):
    """A table moved by hand gets its function beside it, the old one goes; where both were moved
    there is nothing to do."""
    upgrade(engine, orders())
    run(engine, "CREATE SCHEMA shop", "ALTER TABLE orders SET SCHEMA shop")
    if with_function:
        run(engine, f"ALTER FUNCTION {FUNCTION} SET SCHEMA shop")
    moved = orders(schema="shop")
    revision = upgrade(engine, moved, include_schemas=True)
    expected = (
        []
        if with_function
        else [("alter_notify_triggers", ("orders",), {**DECLARED, "schema": "shop"})]
    )
    assert calls(revision.upgrade) == calls(revision.downgrade) == expected
    for code in (revision.upgrade, revision.downgrade):
        apply(engine, code)
        assert differences(engine, moved, include_schemas=True) == []
        assert functions(engine) == {"shop.sa_pgnotify_orders()"}
        assert_all_told(engine, moved)


def test_a_table_dropped_by_hand_and_still_declared(engine):
    """Table and triggers are created anew; the function that was left over is not dropped after
    that."""
    upgrade(engine, orders())
    declared = catalog(engine)
    run(engine, "DROP TABLE orders")
    revision = autogenerate(engine, orders())
    assert names(revision.upgrade) == [
        ("create_table", "orders"),
        ("create_notify_triggers", "orders"),
    ]
    apply(engine, revision.upgrade)
    assert differences(engine, orders()) == []
    assert catalog(engine) == declared
    assert_all_told(engine, orders())
    apply(engine, revision.downgrade)
    assert not any(catalog(engine).values())


@pytest.mark.parametrize("recreated", [False, True], ids=["gone", "made anew, unmarked"])
@pytest.mark.parametrize("name", ["orders", "o" * 60, "Or\"de'rs"])
def test_a_function_left_over_is_dropped(engine, recreated, name):
    """What a table leaves that was dropped by hand goes when no marker asks for it; the reverse
    cannot and need not bring it back."""
    upgrade(engine, orders(name=name))
    quoted = '"{}"'.format(name.replace('"', '""'))
    run(engine, f"DROP TABLE {quoted}")
    if recreated:
        run(engine, f"CREATE TABLE {quoted} (id int PRIMARY KEY, status varchar(20))")
    metadata = orders(None, name) if recreated else sa.MetaData()
    assert len(functions(engine)) == 1
    revision = upgrade(engine, metadata)
    assert calls(revision.upgrade) == [("drop_notify_triggers", (name,), {"if_exists": True})]
    assert differences(engine, metadata) == []
    assert functions(engine) == set()
    apply(engine, revision.downgrade)
    assert functions(engine) == set()


def test_a_function_left_over_serves_a_table_made_anew(engine):
    """A marked table that was dropped and made anew by hand gets its triggers back by an alter: the
    function is there."""
    upgrade(engine, orders())
    declared = catalog(engine)
    run(
        engine,
        "DROP TABLE orders",
        "CREATE TABLE orders (id serial PRIMARY KEY, status varchar(20))",
    )
    revision = upgrade(engine, orders())
    assert calls(revision.upgrade) == [("alter_notify_triggers", ("orders",), DECLARED)]
    assert differences(engine, orders()) == []
    assert catalog(engine) == declared
    assert_all_told(engine, orders())


def test_a_marker_removed(engine):
    """The triggers go and the table stays; the downgrade restores them as they were."""
    spec = NotifySpec(operations=("insert",), values=("status",), channel="shop")
    upgrade(engine, orders(spec))
    declared = catalog(engine)
    revision = upgrade(engine, orders(None))
    assert calls(revision.upgrade) == [("drop_notify_triggers", ("orders",), {})]
    restored = {**DECLARED, "operations": ["insert"], "values": ["status"], "channel": "shop"}
    assert calls(revision.downgrade) == [("create_notify_triggers", ("orders",), restored)]
    assert differences(engine, orders(None)) == []
    assert catalog(engine)["triggers"] == catalog(engine)["functions"] == set()
    apply(engine, revision.downgrade)
    assert catalog(engine) == declared


def test_a_table_no_longer_declared(engine):
    """Triggers and function go before the table, and come back after it."""
    upgrade(engine, orders())
    declared = catalog(engine)
    revision = upgrade(engine, sa.MetaData())
    assert names(revision.upgrade) == [("drop_notify_triggers", "orders"), ("drop_table", "orders")]
    assert names(revision.downgrade) == [
        ("create_table", "orders"),
        ("create_notify_triggers", "orders"),
    ]
    assert differences(engine, sa.MetaData()) == []
    assert not any(catalog(engine).values())
    apply(engine, revision.downgrade)
    assert catalog(engine) == declared
    assert_all_told(engine, orders())


@pytest.mark.parametrize("spec", [NotifySpec(), None], ids=["marked", "unmarked"])
def test_what_is_not_ours_is_left_alone(engine, spec):
    """Triggers and functions of others, even such as are named or commented like ours, are never
    proposed to be touched, and survive."""
    upgrade(engine, orders(None))
    run(
        engine, f"CREATE FUNCTION audit() {NOTHING}", f"CREATE FUNCTION sa_pgnotify_audit() {NOTHING}",
        "COMMENT ON FUNCTION audit() IS 'sa_pgnotify is what we took this from'",
        "CREATE TRIGGER audit AFTER INSERT OR UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION audit()",
        "CREATE TRIGGER sa_audit BEFORE DELETE ON orders EXECUTE FUNCTION sa_pgnotify_audit()",
    )  # fmt: skip
    theirs = catalog(engine)
    metadata = orders(spec)
    assert names(autogenerate(engine, metadata).upgrade) == [
        ("create_notify_triggers", "orders")
    ] * (spec is not None)
    revision = upgrade(engine, metadata)
    assert differences(engine, metadata) == []
    apply(engine, revision.downgrade)
    assert catalog(engine) == theirs


# -- options ---------------------------------------------------------------------------------------

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
}


@pytest.mark.parametrize(("spec", "said"), OPTIONS.values(), ids=OPTIONS.keys())
def test_each_option_alone_is_one_alter(engine, spec, said):
    """An option given, and taken away again, is one alter that says it and nothing else new; each
    downgrade restores."""
    upgrade(engine, orders())
    before = catalog(engine)
    given = upgrade(engine, orders(spec))
    assert calls(given.upgrade) == [("alter_notify_triggers", ("orders",), {**DECLARED, **said})]
    assert calls(given.downgrade) == [("alter_notify_triggers", ("orders",), DECLARED)]
    assert differences(engine, orders(spec)) == []
    changed = catalog(engine)
    taken = upgrade(engine, orders())
    assert (calls(taken.upgrade), calls(taken.downgrade)) == (
        calls(given.downgrade),
        calls(given.upgrade),
    )
    assert catalog(engine) == before
    assert_all_told(engine, orders())
    apply(engine, taken.downgrade)
    assert catalog(engine) == changed
    apply(engine, given.downgrade)
    assert catalog(engine) == before
