"""Consumers in tasks, in threads and in processes that end at any moment, and what they may not do
there."""

from __future__ import annotations

import asyncio
import signal
import threading

import pytest
from consumers import consume, done, numbers, record, until
from kinds import address, driver_url
from programs import SUPPORT, Program
from sessions import sessions_end
from sqlalchemy import NullPool
from sqlalchemy.ext.asyncio import create_async_engine
from statements import run

from sa_pgnotify import AsyncConsumer, Consumer, NotifyConfigError, PgNotifyError
from sa_pgnotify.consuming import chunks, read_ahead
from sa_pgnotify.consuming.positions import ConsumerTable


@pytest.fixture(params=["asyncpg", "psycopg"])
def async_engine(request, url):
    return create_async_engine(driver_url(url, request.param), poolclass=NullPool)


def insert(engine, *ids):
    """A transaction for each row."""
    for number in ids:
        run(engine, f"INSERT INTO items (id, n) VALUES ({number}, {number})")


async def work_off(consumer):
    async for batch in consumer:
        async with batch as session:
            for change in batch:
                await session.run_sync(record, change)


@pytest.mark.sample(4)
@pytest.mark.parametrize("delay", [0.0, 0.001, 0.01])
def test_cancelled_anywhere(engine, async_engine, Item, delay):
    """A task that is cancelled at any moment loses nothing and doubles nothing; the next one goes
    on with the same consumer."""
    insert(engine, *range(20))

    async def main():
        nonlocal delay
        async with AsyncConsumer(
            async_engine, "c", Item, batch_size=3, start="beginning"
        ) as consumer:
            while len(done(engine)) < 20:
                task = asyncio.create_task(work_off(consumer))
                await asyncio.sleep(delay)
                delay += 0.003
                task.cancel()
                # the latter, if it came between the batch and its block
                with pytest.raises((asyncio.CancelledError, PgNotifyError)):
                    await task

    asyncio.run(main())
    assert done(engine) == [f"Inserted {i}" for i in range(20)]
    sessions_end(engine)


def test_cancelled_start(engine, async_engine, Item):
    """A start that is cancelled leaves no session behind, and may be tried again."""

    async def main():
        consumer = AsyncConsumer(async_engine, "c", Item)
        for delay in (0.0, 0.002, 0.005, 0.01):
            starting = asyncio.create_task(consumer.start())
            await asyncio.sleep(delay)
            starting.cancel()
            try:
                await starting
            except asyncio.CancelledError:
                continue
            break
        else:
            await consumer.start()
        insert(engine, 1)
        async for batch in consumer:
            async with batch:
                consumer.stop()

    asyncio.run(main())
    sessions_end(engine)


def test_stop_from_a_thread_and_a_task(engine, async_engine, Item):
    """stop() ends the iteration that waits, from another thread, and from another task."""

    async def main():
        for how in (
            lambda consumer: asyncio.get_running_loop().call_later(0.05, consumer.stop),
            _from_thread,
        ):
            async with AsyncConsumer(async_engine, "c", Item) as consumer:
                how(consumer)
                async for _ in consumer:
                    raise AssertionError

    asyncio.run(main())
    sessions_end(engine)


def _from_thread(consumer):
    threading.Timer(0.05, consumer.stop).start()


def test_another_loop(engine, async_engine, Item):
    """Iterating in another event loop than the one it was started in is an error."""
    loop = asyncio.new_event_loop()
    consumer = AsyncConsumer(async_engine, "c", Item)
    loop.run_until_complete(consumer.start())

    async def elsewhere():
        async for _ in consumer:
            raise AssertionError

    with pytest.raises(PgNotifyError, match="another event loop"):
        asyncio.run(elsewhere())
    loop.run_until_complete(consumer.__aexit__(None, None, None))
    loop.close()


def test_engines_of_the_other_kind(engine, async_engine, Item):
    """Each consumer refuses the other one's engine, and names the other one."""
    with pytest.raises(NotifyConfigError, match="Use AsyncConsumer"):
        Consumer(async_engine, "c", Item)
    with pytest.raises(NotifyConfigError, match="Use AsyncConsumer"):
        Consumer(async_engine.sync_engine, "c", Item)
    with pytest.raises(NotifyConfigError, match="Use Consumer"):
        AsyncConsumer(engine, "c", Item)
    with pytest.raises(NotifyConfigError, match="not str"):
        Consumer("postgresql:///", "c", Item)
    with pytest.raises(NotifyConfigError, match="not str"):
        AsyncConsumer("postgresql:///", "c", Item)


def test_seek_within_a_block(engine, Item):
    """It would wait for itself for ever, so it is refused: in the block's own thread only."""
    with Consumer(engine, "c", Item) as consumer:
        insert(engine, 1)
        for batch in consumer:
            with batch:
                with pytest.raises(PgNotifyError, match="Call it after the block"):
                    consumer.seek("beginning")
                seeking = threading.Thread(target=consumer.seek, args=("beginning",))
                seeking.start()
            seeking.join()
            break
        assert numbers(consume(consumer, 1)) == [1]


def test_seek_within_a_tasks_block(engine, async_engine, Item):
    """The same for a task."""

    async def main():
        async with AsyncConsumer(async_engine, "c", Item) as consumer:
            insert(engine, 1)
            async for batch in consumer:
                async with batch:
                    with pytest.raises(PgNotifyError, match="Call it after the block"):
                        await consumer.seek("beginning")
                    seeking = asyncio.create_task(consumer.seek("beginning"))
                    await asyncio.sleep(0)
                await seeking
                break
            async for batch in consumer:
                assert numbers(batch) == [1]
                async with batch:
                    break

    asyncio.run(main())


def test_a_seek_is_not_overwritten(engine, Item, monkeypatch):
    """A seek() that comes while a consumer stores that it has passed what was not its own is what
    counts."""
    run(engine, "INSERT INTO items VALUES (1, 1)")
    with Consumer(engine, "c", Item, heartbeat=0.05) as consumer:
        load, sought = ConsumerTable.load, []

        def seeks(table, execute):
            stored = load(table, execute)
            if not sought and stored.position != consumer._worker._follower.tail.reader.position:
                sought.append(True)
                Consumer(engine, "c", Item).seek("beginning")
            return stored

        monkeypatch.setattr(ConsumerTable, "load", seeks)
        run(engine, "SELECT pg_current_xact_id()")  # so that there is something to pass
        assert numbers(consume(consumer, 1)) == [1]
    assert sought


def test_much_that_is_of_others(engine, Item, monkeypatch):
    """A batch is read for so long at most, and what was found until then is given out; what was
    read and not looked at is not lost."""
    monkeypatch.setattr(read_ahead, "FILL_SECONDS", 0.0005)
    run(engine, "ALTER TABLE done DROP CONSTRAINT done_what_key")
    with Consumer(engine, "c", Item, partition=(0, 50), heartbeat=0.05) as consumer:
        for first in range(0, 2000, 20):
            run(
                engine,
                f"INSERT INTO items SELECT i, 0 FROM generate_series({first}, {first + 19}) AS i",
            )
        mine = [i for i in range(2000) if chunks.part_of([str(i)], 50) == 0]
        assert numbers(consume(consumer, len(mine))) == mine


PROGRAM = """
import sys, time
from sqlalchemy import NullPool, create_engine
sys.path.insert(0, sys.argv[2])
from durables import model_of
from consumers import record
from sa_pgnotify import Consumer
engine = create_engine(sys.argv[1], poolclass=NullPool)
Item = model_of(engine)
with Consumer(engine, "c", Item, batch_size=2) as consumer:
    print("ready")
    for batch in consumer:
        with batch as session:
            for change in batch:
                record(session, change)
            print(*[change.identity[0] for change in batch])
            time.sleep(float(sys.argv[3]))
"""


def test_processes_that_are_killed(engine, url, Item, tmp_path):
    """Two processes of one name, of which the one that works is killed within its block: the other
    takes over, and nothing is done twice."""
    (tmp_path / "consume.py").write_text(PROGRAM)
    arguments = (tmp_path / "consume.py", address(url), SUPPORT)
    with Program(*arguments, "60") as first:  # seconds, so that it is killed within its block
        first.wait_for("ready")
        with Program(*arguments, "0") as second:
            second.wait_for("ready")
            insert(engine, *range(6))
            first.wait_for("0")
            first.send(signal.SIGKILL)
            second.wait_for("5")
            until(lambda: len(done(engine)) == 6)
            insert(engine, 6)
            second.wait_for("6")
            until(lambda: len(done(engine)) == 7)
    assert done(engine) == [f"Inserted {i}" for i in range(7)]
