"""Migrations beside the program's traffic: what they lock, and what listeners of the older and of
the newer model see."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations
from installed import marked_tables
from receiving import received, take, until_end
from revisions import apply, autogenerate, differences, upgrade
from statements import run

from sa_pgnotify import (
    Gap,
    Inserted,
    Listener,
    NotifySpec,
    notify_on_change,
)

ALL = NotifySpec(values="all")


STRONG = {"AccessExclusiveLock", "ExclusiveLock", "ShareRowExclusiveLock", "ShareLock"}


@contextmanager
def migrating(engine: sa.Engine, code: str):
    """The body of a revision has run, and its transaction is open; gives its connection. It would
    not have waited for a lock."""
    with engine.connect() as connection, connection.begin() as transaction:
        connection.exec_driver_sql("SET LOCAL lock_timeout = '100ms'")
        with Operations.context(MigrationContext.configure(connection)) as op:
            exec(f"import sqlalchemy as sa\nif True:\n    {code}", {"op": op})
        yield connection
        transaction.commit()


def locks(connection: sa.Connection) -> set[str]:
    """The locks that the connection's own transaction holds on the table."""
    held = "SELECT mode FROM pg_locks WHERE pid = pg_backend_pid() AND relation = 'orders'::regclass AND granted"
    return set(connection.scalars(sa.text(held)))


def hurried(engine: sa.Engine, *statements: str) -> None:
    """Run statements that fail if they have to wait for a lock."""
    run(engine, "SET LOCAL lock_timeout = '100ms'", *statements)


BODY_ONLY = {
    "values": NotifySpec(values="all"),
    "update_of": NotifySpec(update_of=("status",)),
    "when": NotifySpec(when=lambda old, new: new.id > 0),
    "channel": NotifySpec(channel="shop"),
}


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    "statement",
    ["INSERT INTO orders VALUES (1, 'idle')", "SELECT * FROM orders"],
    ids=["wrote", "read"],
)
@pytest.mark.parametrize("spec", BODY_ONLY.values(), ids=BODY_ONLY.keys())
def test_replacing_the_function_waits_for_nobody(engine, statement, spec):
    """Where only the function's body changes, an idle transaction on the table does not hold up the
    migration, nor the migration anyone: readers and writers go on while it is open."""
    upgrade(engine, marked_tables(NotifySpec()))
    revision = autogenerate(engine, marked_tables(spec))
    with engine.connect() as idle:
        idle.exec_driver_sql(statement)
        for code in (revision.upgrade, revision.downgrade):
            with migrating(engine, code) as migration:
                assert not locks(migration) & STRONG
                hurried(
                    engine,
                    "SELECT * FROM orders",
                    "INSERT INTO orders VALUES (2, 'busy')",
                    "DELETE FROM orders WHERE id = 2",
                )
        idle.commit()
    apply(engine, revision.upgrade)
    assert differences(engine, marked_tables(spec)) == []


ADDED = {
    "first": (None, NotifySpec()),
    "operation": (NotifySpec(operations=("insert",)), NotifySpec(operations=("insert", "update"))),
}


@pytest.mark.parametrize(("before", "after"), ADDED.values(), ids=ADDED.keys())
def test_adding_a_trigger_does_not_block_readers(engine, before, after):
    """A trigger that has to be added waits for writers and makes writers wait, but neither for nor
    of readers."""
    upgrade(engine, marked_tables(before))
    code = autogenerate(engine, marked_tables(after)).upgrade
    with engine.connect() as idle:
        idle.exec_driver_sql("SELECT * FROM orders")
        with migrating(engine, code) as migration:
            assert locks(migration) & STRONG == {"ShareRowExclusiveLock"}
            hurried(engine, "SELECT * FROM orders")
            with pytest.raises(sa.exc.OperationalError, match="lock timeout"):
                hurried(engine, "INSERT INTO orders VALUES (1, 'x')")
        idle.exec_driver_sql("SELECT * FROM orders")
    assert differences(engine, marked_tables(after)) == []
    (table,) = marked_tables(after).tables.values()
    assert [
        type(event) for event in received(engine, table, "INSERT INTO orders VALUES (1, 'x')")
    ] == [Inserted]


def test_an_alter_that_cannot_lock_changes_nothing(engine):
    """Where a trigger must be added and a writer is idle in its transaction, lock_timeout ends the
    migration, and nothing has changed."""
    upgrade(engine, marked_tables(NotifySpec(operations=("insert",))))
    after = marked_tables(NotifySpec(operations=("insert", "update"), values="all"))
    proposed = autogenerate(engine, after).upgrade
    with engine.connect() as idle:
        idle.exec_driver_sql("INSERT INTO orders VALUES (1, 'idle')")
        with (
            pytest.raises(sa.exc.OperationalError, match="lock timeout"),
            migrating(engine, proposed),
        ):
            pass
    assert differences(engine, marked_tables(NotifySpec(operations=("insert",)))) == []
    assert autogenerate(engine, after).upgrade == proposed


@pytest.mark.parametrize("channel", [None, "shop"])
def test_a_table_that_was_renamed_before_its_triggers_were_altered(engine, caplog, channel):
    """Its triggers go on publishing on their channel; a listener that knows the new name gets the
    events, and warns about the function."""
    spec = NotifySpec(channel=channel)
    upgrade(engine, marked_tables(spec))
    run(engine, "ALTER TABLE orders RENAME TO purchases")
    purchases = sa.Table(
        "purchases",
        sa.MetaData(),
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("status", sa.Text),
    )
    events = received(
        engine, notify_on_change(purchases, spec), "INSERT INTO purchases VALUES (1, 'new')"
    )
    assert [(type(event), event.identity) for event in events] == [(Inserted, (1,))]
    assert "outdated: function sa_pgnotify_purchases" in caplog.text


def gap(event: Any) -> tuple[str, str]:
    assert isinstance(event, Gap), event
    return event.reason, event.detail


@pytest.mark.parametrize(("former", "later"), [(None, "shop"), ("shop", None), ("shop", "Shop 2")])
def test_a_channel_that_changes_is_a_gap(engine, former, later):
    """A running listener gets a Gap when the triggers begin to publish on another channel, and
    receives their events there."""
    before, after = (
        marked_tables(NotifySpec(channel=former)),
        marked_tables(NotifySpec(channel=later)),
    )
    upgrade(engine, before)
    with Listener(engine, before.tables["orders"]) as listener:
        run(engine, "INSERT INTO orders VALUES (1)")
        revision = upgrade(engine, after)
        first, moved = take(listener, 2)
        assert (first.identity, gap(moved)[0]) == ((1,), "reconnected")
        run(engine, "INSERT INTO orders VALUES (2)")
        apply(engine, revision.downgrade)
        second, moved = take(listener, 2)
        assert (second.identity, gap(moved)[0]) == ((2,), "reconnected")
        run(engine, "INSERT INTO orders VALUES (3)")
        assert take(listener, 1)[0].identity == (3,)
        assert listener.stats.connected


def test_triggers_that_go_are_a_gap(engine):
    """A running listener gets a Gap with the reason when the triggers of its table are dropped, and
    receives events when they are back."""
    marked = marked_tables(NotifySpec())
    upgrade(engine, marked)
    with Listener(engine, marked.tables["orders"]) as listener:
        revision = upgrade(engine, marked_tables(None))
        reason, detail = gap(take(listener, 1)[0])
        assert (
            reason == "reconnected" and "function sa_pgnotify_orders of orders is missing" in detail
        )
        apply(engine, revision.downgrade)
        run(engine, "INSERT INTO orders VALUES (1)")
        assert take(listener, 1)[0].identity == (1,)


def test_other_changes_are_no_gap(engine):
    """Options that keep the channel cause no Gap; only the contents of events change."""
    marked = marked_tables(NotifySpec())
    upgrade(engine, marked)
    with Listener(engine, marked.tables["orders"], "end_of_test") as listener:
        for spec in (
            ALL,
            NotifySpec(operations=("update",)),
            NotifySpec(update_of=("status",)),
            NotifySpec(),
        ):
            upgrade(engine, marked_tables(spec))
        run(engine, "INSERT INTO orders VALUES (1)")
        assert [type(event) for event in until_end(engine, listener)] == [Inserted]
