"""check() reports what is not as the models say, and leaves alone what belongs to others."""

import pytest
import sqlalchemy as sa
from installed import ALL_OBJECTS, OPERATIONS, marked_tables, objects, statements
from receiving import received
from statements import run

from sa_pgnotify import (
    Inserted,
    NotifySpec,
    Updated,
    check,
    notify_on_change,
)

INSERT = "INSERT INTO orders (status) VALUES ('new')"


FUNCTION = "CREATE OR REPLACE FUNCTION sa_pgnotify_orders() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'"


WRONG_TRIGGER = "CREATE TRIGGER sa_pgnotify_insert AFTER DELETE ON orders FOR EACH STATEMENT EXECUTE FUNCTION {}()"


OTHER_FUNCTION = FUNCTION.replace("sa_pgnotify_orders", "other")


FUNCTION_OUTDATED = ("outdated", "orders", "function sa_pgnotify_orders")


CASES = {
    "table": (["DROP TABLE orders"], [("missing", "orders", "the table")]),
    "function and triggers": (
        ["DROP FUNCTION sa_pgnotify_orders CASCADE"],
        [
            ("missing", "orders", "function sa_pgnotify_orders"),
            *(("missing", "orders", f"trigger sa_pgnotify_{o}") for o in OPERATIONS),
        ],
    ),
    "trigger": (
        ["DROP TRIGGER sa_pgnotify_delete ON orders"],
        [("missing", "orders", "trigger sa_pgnotify_delete")],
    ),
    "function by hand": ([FUNCTION], [FUNCTION_OUTDATED]),
    "trigger of another operation": (
        ["DROP TRIGGER sa_pgnotify_insert ON orders", WRONG_TRIGGER.format("sa_pgnotify_orders")],
        [("outdated", "orders", "trigger sa_pgnotify_insert")],
    ),
    "trigger of another function": (
        [
            OTHER_FUNCTION,
            "DROP TRIGGER sa_pgnotify_insert ON orders",
            WRONG_TRIGGER.replace("DELETE", "INSERT").format("other"),
        ],
        [("outdated", "orders", "trigger sa_pgnotify_insert")],
    ),
    "function's own settings": (
        ["ALTER FUNCTION sa_pgnotify_orders() RESET ALL"],
        [FUNCTION_OUTDATED],
    ),
}


@pytest.mark.parametrize(("damage", "expected"), CASES.values(), ids=CASES.keys())
def test_check_finds_and_create_all_mends(engine, damage, expected):
    """What somebody removed or altered by hand is reported, precisely, and create_all brings it
    back."""
    metadata = marked_tables()
    metadata.create_all(engine)
    run(engine, *damage)
    drifts = check(engine, metadata)
    assert [(d.kind, d.table, d.object) for d in drifts] == expected
    assert all(d.fix and d.object in str(d) for d in drifts)
    metadata.create_all(engine)
    assert check(engine, metadata) == []
    assert [
        type(e) for e in received(engine, metadata, INSERT, "UPDATE orders SET status = 'x'")
    ] == [
        Inserted,
        Updated,
    ]


SPECS = {
    "values": NotifySpec(values=("status",)),
    "update_of": NotifySpec(update_of=("status",)),
    "when": NotifySpec(when=lambda old, new: new.status == "x"),
    "channel": NotifySpec(channel="orders"),
}


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
def test_check_finds_a_changed_spec(engine, spec):
    """A function made from another spec is outdated until create_all has run."""
    marked_tables().create_all(engine)
    changed = marked_tables(spec)
    assert [(d.kind, d.table, d.object) for d in check(engine, changed)] == [FUNCTION_OUTDATED]
    changed.create_all(engine)
    assert check(engine, changed) == []
    assert [(d.kind, d.object) for d in check(engine, marked_tables())] == [
        ("outdated", "function sa_pgnotify_orders")
    ]


def test_check_finds_a_disabled_trigger(engine):
    """A trigger that somebody disabled is reported and left to them: create_all, which may run at
    every start, does not enable it."""
    metadata = marked_tables()
    metadata.create_all(engine)
    run(
        engine,
        "ALTER TABLE orders DISABLE TRIGGER sa_pgnotify_update",
        "ALTER TABLE orders ENABLE REPLICA TRIGGER sa_pgnotify_insert",
    )
    for spec in (NotifySpec(), NotifySpec(values="all")):
        metadata = marked_tables(spec)
        metadata.create_all(engine)
        drifts = check(engine, metadata)
        assert [(d.kind, d.object) for d in drifts] == [
            ("disabled", f"trigger sa_pgnotify_{o}") for o in ("insert", "update")
        ]
    run(
        engine,
        *(d.fix.rstrip(".") for d in drifts),
        "ALTER TABLE orders ENABLE ALWAYS TRIGGER sa_pgnotify_delete",
    )
    assert check(engine, metadata) == []


def test_check_finds_left_over_triggers(engine):
    """Triggers for operations that are no longer published are reported, and dropped by
    create_all."""
    marked_tables().create_all(engine)
    fewer = marked_tables(NotifySpec(operations=("insert", "update")))
    found = {(d.kind, d.table, d.object) for d in check(engine, fewer)}
    assert found == {
        FUNCTION_OUTDATED,
        *(("left over", "orders", f"trigger sa_pgnotify_{o}") for o in ("delete", "truncate")),
    }
    fewer.create_all(engine)
    assert check(engine, fewer) == []
    assert objects(engine) == ALL_OBJECTS - {"sa_pgnotify_delete", "sa_pgnotify_truncate"}


@pytest.mark.parametrize("dropped", [False, True])
def test_check_finds_left_over_functions(engine, dropped):
    """The function of a table that is no longer marked, there or not, is reported with the
    statement that removes it; not to programs that do not have the table."""
    marked_tables().create_all(engine)
    if dropped:
        run(engine, "DROP TABLE orders")
    assert check(engine, marked_tables(None, "others")) == []  # another program's
    (drift,) = check(engine, marked_tables(None))
    assert (drift.kind, drift.object) == ("left over", "function sa_pgnotify_orders")
    assert drift.table == ("public" if dropped else "public.orders")
    run(engine, drift.fix.partition(",")[0])
    assert objects(engine) == set()


def test_check_leaves_other_peoples_objects_alone(engine):
    """Triggers and functions of others, even of names like ours, are neither reported nor
    dropped."""
    metadata = marked_tables()
    metadata.create_all(engine)
    run(
        engine,
        FUNCTION.replace("sa_pgnotify_orders", "sa_pgnotify_theirs"),
        "COMMENT ON FUNCTION sa_pgnotify_theirs() IS 'not of sa_pgnotify'",
        FUNCTION.replace("sa_pgnotify_orders()", "sa_pgnotify_orders(int)").replace(
            "trigger", "int"
        ),
        OTHER_FUNCTION,
        "CREATE TRIGGER audit AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION other()",
        "CREATE TRIGGER sa_pgnotify_audit AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION other()",
    )
    assert check(engine, metadata) == []
    metadata.create_all(engine)
    assert objects(engine) == ALL_OBJECTS | {
        "sa_pgnotify_theirs()",
        "other()",
        "audit",
        "sa_pgnotify_audit",
    }
    metadata.drop_all(engine)
    # the one that takes an int
    assert objects(engine) == {"sa_pgnotify_theirs()", "other()", "sa_pgnotify_orders()"}


def test_check_asks_few_questions(engine):
    """check() of 200 tables, half of them missing, takes four queries at most."""
    names = [f"t{i:03}" for i in range(200)]
    marked_tables(NotifySpec(), *names[::2]).create_all(engine)
    with engine.connect() as connection, statements(engine) as sent:
        drifts = check(connection, marked_tables(NotifySpec(), *names))
    assert [(d.kind, d.table) for d in drifts] == [("missing", name) for name in names[1::2]]
    assert len(sent) <= 4


def test_a_table_of_every_kind_of_column_is_clean_after_create_all(engine):
    """check() finds nothing, and a second create_all changes nothing, whatever settings the
    columns' types make the function fix."""
    types = (
        sa.DateTime(True),
        sa.Date,
        sa.Time,
        sa.Interval,
        sa.LargeBinary,
        sa.Float,
        sa.Uuid,
        sa.JSON,
        sa.ARRAY(sa.Text),
    )
    columns = [sa.Column(f"c{i}", type_) for i, type_ in enumerate(types)]
    table = sa.Table(
        "kinds", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True), *columns
    )
    notify_on_change(table, NotifySpec(values="all", when=lambda old, new: new.c5 > 0))
    table.metadata.create_all(engine)
    assert check(engine, table.metadata) == []
    statements = []
    sa.event.listen(
        engine, "before_cursor_execute", lambda c, k, statement, *_: statements.append(statement)
    )
    table.metadata.create_all(engine)
    assert not any("CREATE" in statement for statement in statements)
