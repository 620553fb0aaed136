"""Which events of a listener the reads of a session have seen already."""

from __future__ import annotations

import asyncio

import pytest
from durables import model_of
from kinds import driver_url
from receiving import take
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker
from statements import rows, run

from sa_pgnotify import Listener, PgNotifyError, Snapshot


@pytest.fixture
def Item(engine):
    """An ephemeral class."""
    return model_of(engine, durable=False)


@pytest.fixture
def repeatable(engine):
    """An engine whose transactions see one snapshot."""
    return engine.execution_options(isolation_level="REPEATABLE READ")


def test_state_and_events_join_without_a_hole(engine, Item, repeatable):
    """What was committed before the snapshot, after it, and by a transaction that began before and
    ended after it: each change is either in what was read or an event to apply."""
    with Listener(engine, Item) as listener, engine.connect() as open_writer:
        run(engine, "INSERT INTO items VALUES (1, 1)")
        open_writer.exec_driver_sql("INSERT INTO items VALUES (2, 2)")
        run(engine, "INSERT INTO items VALUES (3, 3)")
        with Session(repeatable) as session:
            snapshot = Snapshot.of(session)
            open_writer.commit()
            run(engine, "INSERT INTO items VALUES (4, 4)")
            state = {item.id for item in session.scalars(select(Item))}
        events = take(listener, 4)
    assert state == {1, 3}
    assert {e.identity[0] for e in events if e in snapshot} == state
    assert state | {e.identity[0] for e in events if e not in snapshot} == {1, 2, 3, 4}


@pytest.mark.parametrize("level", ["READ COMMITTED", "AUTOCOMMIT"])
def test_a_session_that_sees_ever_new_snapshots_is_refused(engine, level):
    """The error says how to have one that does not."""
    loose = engine.execution_options(isolation_level=level)
    with (
        Session(loose) as session,
        pytest.raises(PgNotifyError, match="READ COMMITTED.*isolation_level='REPEATABLE READ'"),
    ):
        Snapshot.of(session)


def test_whatever_runs_sql(engine, repeatable):
    """A Session, a scoped_session, a Connection, and an AsyncSession by its own way."""
    of = scoped_session(sessionmaker(repeatable))
    with repeatable.connect() as connection:
        assert isinstance(Snapshot.of(connection), Snapshot)
    assert isinstance(Snapshot.of(of), Snapshot)
    of.remove()

    async def main() -> None:
        made = create_async_engine(
            driver_url(engine.url, "asyncpg"), isolation_level="REPEATABLE READ"
        )
        async with AsyncSession(made) as session:
            assert isinstance(await session.run_sync(Snapshot.of), Snapshot)
            with pytest.raises(TypeError, match="run_sync"):
                Snapshot.of(session)  # type: ignore[arg-type]
        await made.dispose()

    asyncio.run(main())


def test_what_postgresql_says_of_each_transaction(engine, repeatable):
    """``in`` is PostgreSQL's pg_visible_in_snapshot()."""

    class Made:
        def __init__(self, transaction_id: int) -> None:
            self.transaction_id = transaction_id

    with engine.connect() as first, engine.connect() as second, Session(repeatable) as session:
        for connection in (first, second):
            connection.exec_driver_sql("SELECT pg_current_xact_id()")
            run(engine, "SELECT pg_current_xact_id()")
        snapshot = Snapshot.of(session)
        for xid in range(snapshot.xmin - 3, snapshot.xmax + 3):
            ((visible,),) = rows(
                engine, f"SELECT pg_visible_in_snapshot('{xid}'::xid8, '{snapshot}'::pg_snapshot)"
            )
            assert (Made(xid) in snapshot) == visible, xid
