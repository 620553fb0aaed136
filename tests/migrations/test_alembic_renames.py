"""What autogenerate proposes after tables and columns were renamed, moved and dropped, by hand or in a
revision's script."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from proposals import (
    DECLARED,
    FUNCTION,
    assert_all_delivered,
    calls,
    calls_in_short,
    functions,
    one_table,
)
from receiving import received
from revisions import apply, autogenerate, catalog, differences, upgrade
from statements import run

from sa_pgnotify import NotifySpec


def test_a_table_renamed_by_hand(engine):
    """One alter gives the function the new table's name, and the old function goes; the downgrade
    restores the old one."""
    upgrade(engine, one_table())
    run(engine, "ALTER TABLE orders RENAME TO purchases")
    triggers = catalog(engine)["triggers"]
    purchases = one_table(name="purchases")
    revision = autogenerate(engine, purchases)
    assert calls(revision.upgrade) == [("alter_notify_triggers", ("purchases",), DECLARED)]
    assert calls(revision.downgrade) == [
        ("alter_notify_triggers", ("purchases",), {**DECLARED, "function": "sa_pgnotify_orders"})
    ]
    apply(engine, revision.upgrade)
    assert differences(engine, purchases) == []
    assert functions(engine) == {"sa_pgnotify_purchases()"}
    assert_all_delivered(engine, purchases)
    apply(engine, revision.downgrade)
    assert catalog(engine)["triggers"] == triggers
    assert functions(engine) == {"sa_pgnotify_orders()"}


def test_a_function_left_over_by_a_renamed_table(engine):
    """A function whose name does not go with its table's is found and dropped all the same."""
    upgrade(engine, one_table())
    run(engine, "ALTER TABLE orders RENAME TO purchases")
    apply(engine, upgrade(engine, one_table(name="purchases")).downgrade)
    run(engine, "DROP TABLE purchases")
    assert functions(engine) == {"sa_pgnotify_orders()"}
    upgrade(engine, sa.MetaData())
    assert functions(engine) == set()
    assert differences(engine, sa.MetaData()) == []


def test_tables_that_swapped_names(engine):
    """Two tables renamed crosswise by hand end with each its own function, both ways."""
    first, second = (NotifySpec(values=("status",)), NotifySpec(values=("state",)))
    for metadata in (one_table(first, "a"), one_table(second, "b", status="state")):
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
    metadata = one_table(second, "a", status="state")
    one_table(first, "b").tables["b"].to_metadata(metadata)
    revision = upgrade(engine, metadata)
    assert calls_in_short(revision.upgrade) == [
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
    upgrade(engine, one_table())
    before = catalog(engine)
    purchases = one_table(name="purchases")
    proposed = autogenerate(engine, purchases)
    created, dropped = ("create_table", "purchases"), ("drop_table", "orders")
    assert calls_in_short(proposed.upgrade) == [
        created, ("create_notify_triggers", "purchases"), ("drop_notify_triggers", "orders"), dropped
    ]  # fmt: skip
    assert sorted(name for name, _ in calls_in_short(proposed.downgrade)) == sorted(
        name for name, _ in calls_in_short(proposed.upgrade)
    )

    def edited(code: str, old: str, new: str) -> str:
        (create,) = [
            arguments for name, _, arguments in calls(code) if name == "create_notify_triggers"
        ]
        return f"op.rename_table({old!r}, {new!r})\n    op.create_notify_triggers({new!r}, **{create!r})"

    apply(engine, edited(proposed.upgrade, "orders", "purchases"))
    assert differences(engine, purchases) == []
    assert functions(engine) == {"sa_pgnotify_purchases()"}
    assert_all_delivered(engine, purchases)
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
    upgrade(engine, one_table(spec))
    before = catalog(engine)
    renamed = one_table(spec, status="state")
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
    assert_all_delivered(engine, renamed)
    apply(engine, edited(proposed.downgrade, "state", "status"))
    assert catalog(engine) == before


@pytest.mark.parametrize("with_function", [False, True], ids=["table alone", "with its function"])
def test_a_table_moved_to_another_schema(engine, with_function):
    """A table moved by hand gets its function beside it, the old one goes; where both were moved
    there is nothing to do."""
    upgrade(engine, one_table())
    run(engine, "CREATE SCHEMA shop", "ALTER TABLE orders SET SCHEMA shop")
    if with_function:
        run(engine, f"ALTER FUNCTION {FUNCTION} SET SCHEMA shop")
    moved = one_table(schema="shop")
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
        assert_all_delivered(engine, moved)


def test_a_table_dropped_by_hand_and_still_declared(engine):
    """Table and triggers are created again; the function that was left over is not dropped after
    that."""
    upgrade(engine, one_table())
    declared = catalog(engine)
    run(engine, "DROP TABLE orders")
    revision = autogenerate(engine, one_table())
    assert calls_in_short(revision.upgrade) == [
        ("create_table", "orders"),
        ("create_notify_triggers", "orders"),
    ]
    apply(engine, revision.upgrade)
    assert differences(engine, one_table()) == []
    assert catalog(engine) == declared
    assert_all_delivered(engine, one_table())
    apply(engine, revision.downgrade)
    assert not any(catalog(engine).values())


@pytest.mark.parametrize("recreated", [False, True], ids=["gone", "made anew, unmarked"])
@pytest.mark.parametrize("name", ["orders", "o" * 60, "Or\"de'rs"])
def test_a_function_left_over_is_dropped(engine, recreated, name):
    """What a table leaves that was dropped by hand goes when no marker asks for it; the reverse
    cannot and need not bring it back."""
    upgrade(engine, one_table(name=name))
    quoted = '"{}"'.format(name.replace('"', '""'))
    run(engine, f"DROP TABLE {quoted}")
    if recreated:
        run(engine, f"CREATE TABLE {quoted} (id int PRIMARY KEY, status varchar(20))")
    metadata = one_table(None, name) if recreated else sa.MetaData()
    assert len(functions(engine)) == 1
    revision = upgrade(engine, metadata)
    assert calls(revision.upgrade) == [("drop_notify_triggers", (name,), {"if_exists": True})]
    assert differences(engine, metadata) == []
    assert functions(engine) == set()
    apply(engine, revision.downgrade)
    assert functions(engine) == set()


def test_a_function_left_over_serves_a_table_made_anew(engine):
    """A marked table that was dropped and created again by hand gets its triggers back by an alter,
    because the function still exists."""
    upgrade(engine, one_table())
    declared = catalog(engine)
    run(
        engine,
        "DROP TABLE orders",
        "CREATE TABLE orders (id serial PRIMARY KEY, status varchar(20))",
    )
    revision = upgrade(engine, one_table())
    assert calls(revision.upgrade) == [("alter_notify_triggers", ("orders",), DECLARED)]
    assert differences(engine, one_table()) == []
    assert catalog(engine) == declared
    assert_all_delivered(engine, one_table())


def test_a_marker_removed(engine):
    """The triggers go and the table stays; the downgrade restores them as they were."""
    spec = NotifySpec(operations=("insert",), values=("status",), channel="shop")
    upgrade(engine, one_table(spec))
    declared = catalog(engine)
    revision = upgrade(engine, one_table(None))
    assert calls(revision.upgrade) == [("drop_notify_triggers", ("orders",), {})]
    restored = {**DECLARED, "operations": ["insert"], "values": ["status"], "channel": "shop"}
    assert calls(revision.downgrade) == [("create_notify_triggers", ("orders",), restored)]
    assert differences(engine, one_table(None)) == []
    assert catalog(engine)["triggers"] == catalog(engine)["functions"] == set()
    apply(engine, revision.downgrade)
    assert catalog(engine) == declared


def test_a_table_no_longer_declared(engine):
    """Triggers and function go before the table, and come back after it."""
    upgrade(engine, one_table())
    declared = catalog(engine)
    revision = upgrade(engine, sa.MetaData())
    assert calls_in_short(revision.upgrade) == [
        ("drop_notify_triggers", "orders"),
        ("drop_table", "orders"),
    ]
    assert calls_in_short(revision.downgrade) == [
        ("create_table", "orders"),
        ("create_notify_triggers", "orders"),
    ]
    assert differences(engine, sa.MetaData()) == []
    assert not any(catalog(engine).values())
    apply(engine, revision.downgrade)
    assert catalog(engine) == declared
    assert_all_delivered(engine, one_table())
