"""AsyncListener whose calls are cancelled or interrupted at any await: no event is lost, and
nothing is left behind."""

from __future__ import annotations

import asyncio
import gc
import threading

import pytest
from asyncio_leftovers import nothing_left, write
from orders import order_class
from receiving import take
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.util import greenlet_spawn
from statements import run

from sa_pgnotify import (
    AsyncListener,
    ConnectionLost,
    Inserted,
    Notification,
)
from sa_pgnotify.drivers import connect, errors_of

DRIVERS = ["psycopg", "asyncpg"]


def test_cancelling_start_at_any_await(engine, async_engine):
    """A start() that is cancelled, wherever it is, leaves no task and no connection, and the
    listener can be started later."""

    async def main():
        listener = AsyncListener(async_engine, "a")
        turns, finished = 0, False
        while not finished:
            task = asyncio.create_task(listener.start())
            for _ in range(turns):
                await asyncio.sleep(0)
            finished = task.done()
            task.cancel()
            if finished:
                await task
                await listener.stop()
            else:
                with pytest.raises(asyncio.CancelledError):
                    await task
            turns += 1 if turns < 30 else turns // 3
        await nothing_left(engine)
        async with listener:
            await write(engine, "NOTIFY a")
            assert isinstance(await listener.get(10), Notification)
        await async_engine.dispose()

    asyncio.run(main())


@pytest.mark.parametrize("way", ["get", "events", "async for"])
def test_cancelling_a_consumer_loses_no_event(engine, async_engine, way):
    """However often and wherever a task that takes events is cancelled, each event is taken once,
    in order."""
    Order = order_class(engine)
    taken: list[int] = []

    async def consume(listener):
        if way == "get":
            while True:
                taken.append((await listener.get()).identity[0])
        elif way == "events":
            async for change in listener.events(timeout=5):
                taken.append(change.identity[0])
        else:
            async for change in listener:
                taken.append(change.identity[0])
                await asyncio.sleep(0)

    async def main():
        async with AsyncListener(async_engine, Order) as listener:
            writing = asyncio.create_task(
                write(
                    engine,
                    *(
                        f"INSERT INTO orders SELECT i FROM generate_series({n * 10 + 1}, {n * 10 + 10}) AS i"
                        for n in range(50)
                    ),
                )
            )
            turns = 0
            while len(taken) < 500:
                task = asyncio.create_task(consume(listener))
                for _ in range(turns % 7):
                    await asyncio.sleep(0)
                turns += 1
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            await writing
            assert await listener.get(0) is None
        await nothing_left(engine)

    asyncio.run(main())
    assert taken == list(range(1, 501))


def test_cancelling_subscribe_at_any_await(engine, async_engine):
    """A subscribe() that is cancelled was made or was not; the listener goes on, and it can be made
    again."""
    Order = order_class(engine)

    async def main():
        async with AsyncListener(async_engine, "a") as listener:
            for turns in (0, 1, 2, 3, 5, 8, 13, 50, 200):
                task = asyncio.create_task(listener.subscribe(Order))
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait([task])
                await listener.subscribe("b")
                await listener.unsubscribe("b")
            await listener.subscribe(Order)
            await write(engine, "INSERT INTO orders VALUES (1)", "NOTIFY a")
            assert isinstance(await listener.get(10), Inserted)
            assert isinstance(await listener.get(10), Notification)
        await nothing_left(engine)

    asyncio.run(main())


def test_stop_any_number_of_times_and_from_anywhere(engine, async_engine):
    """stop() before a start, twice, without await, from a callback of the loop and from another
    thread: it ends what waits, quietly."""

    async def main():
        listener = AsyncListener(async_engine, "a")
        await listener.stop()
        loop = asyncio.get_running_loop()
        for stop in (
            listener.stop,
            lambda: loop.call_soon(listener.stop),
            lambda: threading.Thread(target=listener.stop).start(),
            lambda: (listener.stop(), listener.stop()),
        ):
            await listener.start()
            waiting = asyncio.create_task(listener.get())
            await asyncio.sleep(0)
            stop()
            assert await asyncio.wait_for(waiting, 10) is None
            await listener.stop()
            assert await listener.get(1) is None
            assert [one async for one in listener] == []
            await nothing_left(engine)
        await listener.start()
        asyncio.current_task().cancel()
        # It has stopped even if the wait for its end is cancelled.
        with pytest.raises(asyncio.CancelledError):
            await listener.stop()
        assert await listener.get() is None
        await nothing_left(engine)
        await async_engine.dispose()

    asyncio.run(main())


def test_started_again_after_a_stop_that_nobody_awaited(engine, async_engine):
    """start() works after a stop() that was not awaited, also in the middle of a first start(),
    which ends or is cancelled by itself."""

    async def main():
        listener = AsyncListener(async_engine, "a")
        for turns in (1, 5, 20, None):
            first = asyncio.create_task(listener.start())
            if turns is None:
                await first
            for _ in range(turns or 0):
                await asyncio.sleep(0)
            listener.stop()
            second = asyncio.create_task(listener.start())
            await asyncio.sleep(0)
            first.cancel()
            await second
            await asyncio.wait([first])
            await write(engine, "NOTIFY a")
            assert isinstance(await listener.get(10), Notification)
            assert listener.stats.connected
            await listener.stop()
        await nothing_left(engine)

    asyncio.run(main())


def test_stopped_in_the_middle_of_a_start(engine, async_engine):
    """A start() that another task stops returns, and nothing is left, wherever it was."""

    async def main():
        listener = AsyncListener(async_engine, "a")
        for turns in (0, 1, 2, 3, 5, 8, 20, 60):
            task = asyncio.create_task(listener.start())
            for _ in range(turns):
                await asyncio.sleep(0)
            await listener.stop()
            assert await asyncio.wait_for(task, 10) is listener
            # then it was stopped before it was started
            assert await listener.get(1) is None or turns == 0
            await listener.stop()
        await nothing_left(engine)

    asyncio.run(main())


def test_cancelling_a_start_that_has_failed(engine):
    """A start() that is cancelled when it has just failed leaves no complaint of an error that
    nobody retrieved."""
    complaints = []

    async def main():
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: complaints.append(context["message"])
        )
        listener = AsyncListener(
            create_async_engine("postgresql+asyncpg://nobody@127.0.0.1:1/nothing"), "a"
        )
        task = asyncio.create_task(listener.start())
        # start() would wake too late
        while listener._task is None or not listener._task.done():  # noqa: ASYNC110
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    gc.collect()
    assert complaints == []


def test_interrupted_at_any_await_it_is_a_lost_connection(async_engine):
    """A query that takes too long is interrupted, wherever it is. That counts as a lost connection,
    and does not end the listener."""
    errors = errors_of(async_engine.sync_engine)

    async def main():
        lost = 0
        for turns in range(400):
            connection = await greenlet_spawn(connect, async_engine.sync_engine)
            task = asyncio.create_task(
                greenlet_spawn(connection.execute, f"SELECT {turns}, pg_sleep(0.001)")
            )
            for _ in range(turns):
                await asyncio.sleep(0)
            connection.interrupt()
            try:
                await task
            except errors:
                lost += 1
            connection.close()
        assert lost

    asyncio.run(main())


def test_a_task_that_somebody_cancels_is_not_silence(engine, async_engine):
    """If all tasks of the loop are cancelled, including the listener's, a task that takes events
    gets an error, and the connection is closed."""

    async def main():
        listener = await AsyncListener(async_engine, "a").start()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        with pytest.raises(ConnectionLost, match="cancelled"):
            await asyncio.wait_for(listener.get(), 10)
        await nothing_left(engine)
        async with listener:
            assert await listener.get(0) is None

    asyncio.run(main())


@pytest.mark.parametrize("kind", ["psycopg-asyncio", "asyncpg"], indirect=True)
def test_what_needs_nothing_else_is_delivered_at_once(engine, kind, monkeypatch):
    """A notification reaches the waiting task in the same turn of the loop; resuming the listener's
    task first would take twice as long."""
    resumed = []
    with kind.listener(engine, "a") as listener:
        stream = listener._receiver.stream
        notified = stream.notified
        monkeypatch.setattr(
            stream, "notified", lambda notes: resumed.extend(notes) or notified(notes)
        )
        assert listener.get(0.1) is None
        run(engine, "NOTIFY a, '1'", "NOTIFY a, '2'")
        assert [event.payload for event in take(listener, 2)] == ["1", "2"]
    assert resumed == []


@pytest.mark.parametrize("kind", ["psycopg-asyncio", "asyncpg"], indirect=True)
def test_interrupted_in_a_callback_it_publishes_a_gap(engine, kind, monkeypatch, caplog):
    """An exception in the loop's callback, between a notification and the buffer, leaves a Gap in
    the place of what it took."""
    caplog.set_level("CRITICAL")
    with kind.listener(engine, "a") as listener:
        assert listener.get(0.1) is None
        continuity = listener._receiver.continuity
        admit = continuity.admit

        def fail(*_):
            monkeypatch.setattr(continuity, "admit", admit)
            raise RuntimeError("interrupted")

        monkeypatch.setattr(continuity, "admit", fail)
        run(engine, "NOTIFY a, '1'")
        (gap,) = take(listener, 1)
        assert gap.reason == "reconnected"
        run(engine, "NOTIFY a, '2'")
        assert take(listener, 1)[0].payload == "2"
