"""AsyncListener in its loop: handlers, tasks that share the events, the wrong engine, the end of the
loop. What it shares with Listener is in test_listener and test_failures, which run over both."""

from __future__ import annotations

import asyncio
import gc
import signal
import subprocess
import sys
from functools import partial

import pytest
from asyncio_leftovers import nothing_left, write
from kinds import address
from orders import order_class
from programs import Program
from sessions import sessions_end
from sqlalchemy.ext.asyncio import create_async_engine
from statements import run

from sa_pgnotify import (
    AsyncListener,
    Listener,
    ListenUnavailable,
    Notification,
    NotifyConfigError,
    PgNotifyError,
    TriggersMissing,
)

DRIVERS = ["psycopg", "asyncpg"]


def test_two_tasks_share_the_events(engine, async_engine):
    """Two tasks that iterate get each event once between them, and stop() ends both."""
    Order = order_class(engine)

    async def main():
        taken: list[list[int]] = [[], []]

        async def consume(mine):
            async for change in listener:
                mine.append(change.identity[0])
                await asyncio.sleep(0)
                if sum(map(len, taken)) == 1000:
                    listener.stop()

        async with AsyncListener(async_engine, Order) as listener:
            tasks = [asyncio.create_task(consume(mine)) for mine in taken]
            await write(engine, "INSERT INTO orders SELECT i FROM generate_series(1, 1000) AS i")
            await asyncio.wait_for(asyncio.gather(*tasks), 20)
        assert sorted(sum(taken, [])) == list(range(1, 1001))
        assert all(mine == sorted(mine) for mine in taken)

    asyncio.run(main())


def test_signal_handlers(url):
    """A program that stops its listener in a signal handler, the loop's or the interpreter's, ends
    its loop and exits cleanly."""
    program = """
import asyncio, signal, sys
from sqlalchemy.ext.asyncio import create_async_engine
from sa_pgnotify import AsyncListener
async def main():
    async with AsyncListener(create_async_engine(sys.argv[1]), "a") as listener:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, listener.stop)
        signal.signal(signal.SIGINT, lambda *_: listener.stop())
        print("ready", flush=True)
        async for event in listener:
            pass
    print("done", flush=True)
asyncio.run(main(), debug=True)
"""
    for number in (signal.SIGTERM, signal.SIGINT):
        arguments = [sys.executable, "-W", "error", "-c", program, address(url, "asyncpg")]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout.readline() == "ready\n"
            process.send_signal(number)
            assert process.communicate(timeout=10)[0] == "done\n"
            assert process.returncode == 0


def test_handlers_may_be_async_or_plain(engine, async_engine):
    """run() awaits what handlers and on_error return, one after the other, in order; what one
    raises loses no later event."""
    Order = order_class(engine)
    calls = []

    async def failed(error, change):
        await asyncio.sleep(0)
        calls.append((type(error).__name__, change.identity))

    async def main():
        listener = AsyncListener(async_engine, Order, "bye", on_error=failed)

        @listener.on(Order)
        async def slow(change):
            await asyncio.sleep(0.01)
            calls.append(("slow", change.identity))
            if change.identity == (2,):
                raise ZeroDivisionError

        listener.on(Order)(lambda change: calls.append(("plain", change.identity)))
        listener.on("bye")(lambda _: listener.stop())
        async with listener:
            await write(engine, "INSERT INTO orders VALUES (1), (2), (3)", "NOTIFY bye")
            await asyncio.wait_for(listener.run(), 20)

    asyncio.run(main())
    assert calls == [
        ("slow", (1,)), ("plain", (1,)), ("slow", (2,)), ("ZeroDivisionError", (2,)), ("plain", (2,)), ("slow", (3,)), ("plain", (3,)),
    ]  # fmt: skip


def test_a_program_that_never_waits_does_not_stop_the_reading(engine, async_engine):
    """A loop body without an await, over many events, lets the receiver read on: heartbeats are
    answered, nothing overflows."""
    Order = order_class(engine)

    async def main():
        async with AsyncListener(
            async_engine, Order, buffer_size=30_000, heartbeat=0.2
        ) as listener:
            await write(engine, "INSERT INTO orders SELECT i FROM generate_series(1, 20000) AS i")
            seen = 0
            async for _ in listener:
                seen += 1
                if seen == 10_000:
                    before = listener.stats
                if seen == 20_000:
                    break
            assert listener.stats.gaps == 0
            assert before.received >= 10_000

    asyncio.run(main())


def test_the_wrong_engine_names_the_right_class(engine, url, async_engine):
    """An AsyncEngine given to Listener, and the reverse, is refused where it is given, with the
    class that takes it."""
    with pytest.raises(NotifyConfigError, match="Use AsyncListener"):
        Listener(async_engine, "a")
    with pytest.raises(NotifyConfigError, match="Use AsyncListener"):
        Listener(async_engine.sync_engine, "a")
    with pytest.raises(NotifyConfigError, match="Use Listener"):
        AsyncListener(engine, "a")
    with pytest.raises(NotifyConfigError, match="Give it the AsyncEngine itself"):
        AsyncListener(async_engine.sync_engine, "a")
    with pytest.raises(NotifyConfigError, match="create_async_engine"):
        AsyncListener(url, "a")
    with pytest.raises(NotifyConfigError, match="create_engine"):
        Listener(url, "a")


def test_async_handlers_of_a_thread_are_refused(engine):
    """A coroutine function registered with Listener would never run, and is refused."""
    listener = Listener(engine, "a")

    async def handler(_):
        pass

    for known in (handler, partial(handler)):
        with pytest.raises(NotifyConfigError, match=r"handler .*handler.* is async.*AsyncListener"):
            listener.on("a")(known)


@pytest.mark.parametrize("way", ["lambda", "object", "on_error"])
def test_async_handlers_that_do_not_look_it(engine, way):
    """A handler of Listener's that gives a coroutine ends run() by an error that names it, not by a
    warning that it was never awaited."""

    class Handler:
        async def __call__(self, *_):
            pass

    handler = Handler()
    with Listener(engine, "a", on_error=handler if way == "on_error" else None) as listener:
        listener.on("a")(
            {
                "lambda": lambda event: handler(event),
                "object": handler,
                "on_error": lambda _: 1 / 0,
            }[way]
        )
        run(engine, "NOTIFY a")
        with pytest.raises(NotifyConfigError, match=r"Handler.__call__ is async.*AsyncListener"):
            listener.run()


def test_life_cycle(engine, async_engine):
    """Not started, started twice, in another loop: errors that say what to do. Then it works all
    the same."""
    listener = AsyncListener(async_engine, "a")

    async def first():
        with pytest.raises(PgNotifyError, match="start"):
            await listener.get(0)
        with pytest.raises(PgNotifyError, match="start"):
            await anext(listener.events(0))
        await listener.start()
        with pytest.raises(PgNotifyError, match="already"):
            await listener.start()

        def elsewhere():
            async def other():
                with pytest.raises(PgNotifyError, match="another event loop"):
                    await listener.get(0)
                with pytest.raises(PgNotifyError, match="another event loop"):
                    await listener.subscribe("b")
                with pytest.raises(PgNotifyError, match="already"):
                    await listener.start()

            asyncio.run(other())

        await asyncio.to_thread(elsewhere)
        await listener.stop()
        await async_engine.dispose()

    asyncio.run(first())

    async def again():
        async with listener:
            await write(engine, "NOTIFY a")
            assert isinstance(await listener.get(10), Notification)
        await async_engine.dispose()

    asyncio.run(again())


def test_missing_triggers_and_servers_are_errors(url, engine, async_engine):
    """start() raises the errors that Listener's does, and leaves nothing behind."""
    Order = order_class(engine)
    run(engine, "DROP TABLE orders")

    async def main():
        with pytest.raises(TriggersMissing, match="create_all"):
            await AsyncListener(async_engine, Order).start()
        nowhere = create_async_engine(async_engine.url.set(database="no_such_database"))
        with pytest.raises(ListenUnavailable, match="cannot connect") as caught:
            await AsyncListener(nowhere, "a").start()
        assert caught.value.reason == "connection"
        await nothing_left(engine)

    asyncio.run(main())


def test_a_loop_that_ends_takes_the_listener_along(engine, async_engine):
    """asyncio.run() that returns while a listener runs closes its connection, and the next loop can
    start it again."""
    listener = AsyncListener(async_engine, "a")

    async def forgetful():
        await listener.start()
        await write(engine, "NOTIFY a")
        assert isinstance(await listener.get(10), Notification)
        await async_engine.dispose()

    for _ in range(2):
        asyncio.run(forgetful(), debug=True)
    listener.stop()

    async def check():
        await nothing_left(engine)

    asyncio.run(check())


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_loop_closed_under_a_listener(url, engine, driver):
    """After loop.close() without a stop(), stop() raises nothing and ends the session, and another
    loop can start the listener."""
    program = """
import asyncio, sys
from sqlalchemy.ext.asyncio import create_async_engine
from sa_pgnotify import AsyncListener
listener = AsyncListener(create_async_engine(sys.argv[1]), "a")
loop = asyncio.new_event_loop()
loop.run_until_complete(listener.start())
loop.close()
listener.stop()
print("stopped", flush=True)
sys.stdin.readline()
async def again():
    await listener.stop()
    async with listener:
        print(await listener.get(0))
asyncio.run(again())
"""
    with Program("-c", program, address(url, driver)) as process:
        process.wait_for("stopped")
        sessions_end(engine)
        code, printed, errors = process.end()
    assert (code, printed) == (0, ["None"]), errors


def test_a_listener_that_nobody_holds_ends(engine, async_engine):
    """A listener that was dropped without stop() leaves no task and no connection behind."""

    async def main():
        listener = await AsyncListener(async_engine, "a").start()
        del listener
        gc.collect()
        await nothing_left(engine)

    asyncio.run(main())
