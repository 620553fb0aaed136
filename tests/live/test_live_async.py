"""AsyncLiveQuery with each asyncio driver and event loop: it does what LiveQuery does, and leaves
no task and no connection behind, however it ends."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest
from kinds import Kind
from live_check import PATIENCE, result
from live_shop import kinds_and_keys, models
from live_turmoil import Copy
from sessions import sessions_end
from sqlalchemy import NullPool, func, select
from sqlalchemy.ext.asyncio import create_async_engine
from statements import run
from waiting import wait_until

from sa_pgnotify import AsyncLiveQuery, PgNotifyError

NAMES = ["psycopg-asyncio", "asyncpg", "asyncpg-uvloop"]


@pytest.fixture(params=NAMES)
def kind(request):
    """Each kind of driver and loop in turn. At the end no task may be left in the loop."""
    kind = Kind(request.param)
    yield kind
    kind.close()


@pytest.fixture
def shop(engine):
    """The marked classes, with two customers and two orders."""
    base = models()
    base.metadata.create_all(engine)
    run(
        engine,
        "INSERT INTO customers VALUES (1, 'ann'), (2, 'bob')",
        "INSERT INTO orders VALUES (1, 1, 'OPEN', 5), (2, 2, 'PAID', 6)",
    )
    yield base
    sessions_end(engine)


async def step(live):
    """Return the next step; fail if none comes."""
    async for one in live.steps(timeout=PATIENCE):
        return one
    raise AssertionError("no step came")


async def write(engine, *statements):
    await asyncio.to_thread(run, engine, *statements)


def test_entities_and_their_changes(kind, engine, shop):
    """Steps are those of a LiveQuery, and stopping the query ends the iteration."""

    async def go():
        live_engine = kind.engine(engine.url)
        statement = select(shop.Order, shop.Customer.name).join(shop.Order.customer)
        async with AsyncLiveQuery(live_engine, statement, rows=True) as live:
            assert kinds_and_keys(await step(live)) == [
                ("enter", ((1,), (1,))),
                ("enter", ((2,), (2,))),
            ]
            await write(engine, "UPDATE customers SET name = 'anna' WHERE id = 1")
            (event,) = one = await step(live)
            assert (event.old.name, event.row.name, event.row.Order.id) == ("ann", "anna", 1)
            assert sorted(row.name for row in one.rows) == ["anna", "bob"]
            await live.stop()
            assert [one async for one in live] == []
        await live_engine.dispose()

    kind.wait(go())


def test_steps_that_were_not_taken_are_merged(kind, engine, shop):
    """A slow task takes one step for all changes."""

    async def go():
        live_engine = kind.engine(engine.url)
        both = select(shop.Order.id, shop.Order.total)
        async with (
            AsyncLiveQuery(live_engine, both) as live,
            AsyncLiveQuery(live_engine, select(func.count(shop.Order.id))) as beside,
        ):
            await step(live), await step(beside)
            for number in (3, 4, 5):
                await write(engine, f"INSERT INTO orders VALUES ({number}, 1, 'OPEN', 0)")
                await step(beside)
            await write(engine, "DELETE FROM orders WHERE id IN (2, 4)")
            await step(beside)
            copy = Copy()
            copy.rows = {(1,): (1, None), (2,): (2, None)}
            merged = await step(live)
            assert sorted(kinds_and_keys(merged)) == [
                ("enter", (3,)),
                ("enter", (5,)),
                ("leave", (2,)),
            ]
        await live_engine.dispose()

    kind.wait(go())


def test_a_task_that_is_cancelled(kind, engine, shop):
    """Cancelling a task that iterates ends its query, and another query continues."""

    async def go():
        live_engine = kind.engine(engine.url)
        taken = asyncio.Event()

        async def follow():
            async with AsyncLiveQuery(live_engine, select(shop.Order)) as live:
                async for _ in live:
                    taken.set()

        async with AsyncLiveQuery(live_engine, select(shop.Customer)) as other:
            await step(other)
            task = asyncio.create_task(follow())
            await taken.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert len(other._feed._evaluator._groups) == 1
            await write(engine, "INSERT INTO customers VALUES (3, 'x')")
            assert kinds_and_keys(await step(other)) == [("enter", (3,))]
        await live_engine.dispose()

    kind.wait(go())


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 8, 13, 21, 34])
def test_a_start_that_is_cancelled(kind, engine, shop, turns):
    """A start that is cancelled at any point leaves nothing behind, and the next start succeeds."""

    async def go():
        live_engine = kind.engine(engine.url)
        live = AsyncLiveQuery(live_engine, select(shop.Order.id))
        task = asyncio.create_task(live.start())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            await live.stop()
        if live._feed is not None:
            assert live._feed._evaluator.is_empty
            assert live._feed._listener is None
        async with AsyncLiveQuery(live_engine, select(shop.Order.id)) as again:
            assert len(await step(again)) == 2
        await live_engine.dispose()

    kind.wait(go())


def test_many_queries_share_one_feed(kind, engine, shop):
    """All queries of an engine in a loop share one task, which ends with the last query."""

    async def go():
        live_engine = kind.engine(engine.url)
        statements = [select(shop.Order.id).where(shop.Order.id > n) for n in range(5)]
        lives = [AsyncLiveQuery(live_engine, statement) for statement in statements]
        await asyncio.gather(*(live.start() for live in lives))
        names = [task.get_name() for task in asyncio.all_tasks()]
        assert names.count("sa_pgnotify live queries") == 1
        await write(engine, "INSERT INTO orders VALUES (3, 1, 'OPEN', 0), (9, 1, 'OPEN', 0)")
        for live, statement in zip(lives, statements):
            copy = Copy()
            while copy.rows.keys() != {(row[0],) for row in result(engine, statement)}:
                copy.take(await step(live))
            assert copy.wrong == []
        await asyncio.gather(*(live.stop() for live in lives))
        assert "sa_pgnotify live queries" not in [task.get_name() for task in asyncio.all_tasks()]
        await live_engine.dispose()

    kind.wait(go())


@pytest.mark.thorough
def test_a_connection_that_is_cut(kind, engine, shop, proxy):
    """After all connections are cut, and even if none can be made for a time, the query continues
    with the difference. asyncpg raises errors of its own in this case."""

    async def go():
        live_engine = kind.engine(proxy.url)
        ticking = AsyncLiveQuery(live_engine, select(shop.Tag.code), refresh=0.02)
        async with AsyncLiveQuery(live_engine, select(shop.Order.id)) as live, ticking:
            await step(live)
            failures, feed = [], live._feed
            report = feed._states.report
            feed._states.report = lambda *a, **o: failures.append(a) or report(*a, **o)
            proxy.refuse()
            proxy.cut()
            await write(engine, "INSERT INTO orders VALUES (3, 1, 'OPEN', 0)")
            await asyncio.to_thread(wait_until, lambda: len(failures) > 2)
            proxy.accept()
            assert kinds_and_keys(await step(live)) == [("enter", (3,))]
        await live_engine.dispose()

    kind.wait(go())


def test_a_statement_that_fails(kind, engine, shop):
    """A query that PostgreSQL refuses raises the error where its steps are taken, and the others
    continue."""

    async def go():
        live_engine = kind.engine(engine.url)
        broken = select(shop.Order.id, 10 / (shop.Order.total - 8))
        async with (
            AsyncLiveQuery(live_engine, broken) as live,
            AsyncLiveQuery(live_engine, select(shop.Order.id)) as other,
        ):
            await step(live), await step(other)
            await write(engine, "INSERT INTO orders VALUES (8, 1, 'OPEN', 8)")
            assert kinds_and_keys(await step(other)) == [("enter", (8,))]
            with pytest.raises(Exception, match="division by zero"):
                await step(live)
        await live_engine.dispose()

    kind.wait(go())


def test_an_engine_in_two_loops(engine, shop):
    """An engine without a pool can be used in one loop after another. Each loop has its own feed,
    and the feeds are garbage-collected with the loops."""
    live_engine = create_async_engine(
        engine.url.set(drivername="postgresql+psycopg"), poolclass=NullPool
    )

    async def once(live_engine):
        live = AsyncLiveQuery(live_engine, select(shop.Order.id))
        async with live:
            assert len(await step(live)) == 2
            return live

    live = asyncio.run(once(live_engine))
    with pytest.raises(PgNotifyError, match="was started before"):
        asyncio.run(live.start())
    asyncio.run(once(live_engine))
    forgotten = weakref.ref(live_engine.sync_engine)
    del live, live_engine
    gc.collect()
    assert forgotten() is None
