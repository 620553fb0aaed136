"""AsyncListener in its loop: cancelling, stopping, closing, several tasks. What it shares with
Listener is in test_listener and test_failures, which run over both."""

from __future__ import annotations

import asyncio
import gc
import json
import signal
import subprocess
import sys
import threading
import uuid
from decimal import Decimal
from functools import partial

import pytest
import sqlalchemy as sa
from kinds import address, driver_url
from programs import Program
from receiving import take
from sessions import sessions_end
from sqlalchemy import event, text
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.util import greenlet_spawn
from statements import run

from sa_pgnotify import (
    AsyncListener,
    ConnectionLost,
    Gap,
    Inserted,
    Listener,
    ListenUnavailable,
    Notification,
    NotifyConfigError,
    NotifyOnChange,
    NotifySpec,
    PgNotifyError,
    TriggersMissing,
    UndecodableValue,
)
from sa_pgnotify.drivers import connect, errors_of

DRIVERS = ["psycopg", "asyncpg"]


@pytest.fixture(params=DRIVERS)
def aengine(request, url):
    """An asyncio engine of each driver in turn, with a pool."""
    return create_async_engine(driver_url(url, request.param))


def orders(engine, **options):
    """A marked class, installed."""

    class Base(DeclarativeBase):
        pass

    class Order(NotifyOnChange, Base):
        __tablename__ = "orders"
        __notify__ = NotifySpec(**options)
        id: Mapped[int] = mapped_column(primary_key=True)
        status: Mapped[str | None]

    Base.metadata.create_all(engine)
    return Order


def backends(engine) -> int:
    """How many sessions the database has, but for the one that asks."""
    with engine.connect() as connection:
        return connection.scalar(
            text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
                 " AND backend_type = 'client backend'")
        )  # fmt: skip


async def nothing_left(engine) -> None:
    """Wait until no task but this one is there, and no session; fails if they stay."""
    async with asyncio.timeout(10):
        while (  # noqa: ASYNC110
            left := asyncio.all_tasks() - {asyncio.current_task()}
        ) or await asyncio.to_thread(backends, engine):
            await asyncio.sleep(0.01)  # sessions end on the server's side
    assert not left


async def write(engine, *statements) -> None:
    await asyncio.to_thread(run, engine, *statements)


def test_cancelling_start_at_any_await(engine, aengine):
    """A start() that is cancelled, wherever it is, leaves no task and no connection, and the
    listener can be started later."""

    async def main():
        listener = AsyncListener(aengine, "a")
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
        await aengine.dispose()

    asyncio.run(main())


@pytest.mark.parametrize("way", ["get", "events", "async for"])
def test_cancelling_a_consumer_loses_no_event(engine, aengine, way):
    """However often and wherever who takes events is cancelled, each event is taken once, in
    order."""
    Order = orders(engine)
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
        async with AsyncListener(aengine, Order) as listener:
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


def test_cancelling_subscribe_at_any_await(engine, aengine):
    """A subscribe() that is cancelled was made or was not; the listener goes on, and it can be made
    again."""
    Order = orders(engine)

    async def main():
        async with AsyncListener(aengine, "a") as listener:
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


def test_two_tasks_share_the_events(engine, aengine):
    """Two tasks that iterate get each event once between them, and stop() ends both."""
    Order = orders(engine)

    async def main():
        taken: list[list[int]] = [[], []]

        async def consume(mine):
            async for change in listener:
                mine.append(change.identity[0])
                await asyncio.sleep(0)
                if sum(map(len, taken)) == 1000:
                    listener.stop()

        async with AsyncListener(aengine, Order) as listener:
            tasks = [asyncio.create_task(consume(mine)) for mine in taken]
            await write(engine, "INSERT INTO orders SELECT i FROM generate_series(1, 1000) AS i")
            await asyncio.wait_for(asyncio.gather(*tasks), 20)
        assert sorted(sum(taken, [])) == list(range(1, 1001))
        assert all(mine == sorted(mine) for mine in taken)

    asyncio.run(main())


def test_stop_any_number_of_times_and_from_anywhere(engine, aengine):
    """stop() before a start, twice, without await, from a callback of the loop and from another
    thread: it ends what waits, quietly."""

    async def main():
        listener = AsyncListener(aengine, "a")
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
        # who gives up waiting for its end has stopped it all the same
        with pytest.raises(asyncio.CancelledError):
            await listener.stop()
        assert await listener.get() is None
        await nothing_left(engine)
        await aengine.dispose()

    asyncio.run(main())


def test_started_again_after_a_stop_that_nobody_awaited(engine, aengine):
    """start() after a mere stop() begins anew, also in the middle of the first start(), whose end
    or cancelling is then its own affair."""

    async def main():
        listener = AsyncListener(aengine, "a")
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


def test_stopped_in_the_middle_of_a_start(engine, aengine):
    """A start() that another task stops returns, and nothing is left, wherever it was."""

    async def main():
        listener = AsyncListener(aengine, "a")
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


def test_handlers_may_be_async_or_plain(engine, aengine):
    """run() awaits what handlers and on_error return, one after the other, in order; what one
    raises loses no later event."""
    Order = orders(engine)
    calls = []

    async def failed(error, change):
        await asyncio.sleep(0)
        calls.append((type(error).__name__, change.identity))

    async def main():
        listener = AsyncListener(aengine, Order, "bye", on_error=failed)

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


def test_interrupted_at_any_await_it_is_a_lost_connection(aengine):
    """A question that takes too long is broken off, wherever it is, and that is a lost connection,
    not the end of the listener."""
    errors = errors_of(aengine.sync_engine)

    async def main():
        lost = 0
        for turns in range(400):
            connection = await greenlet_spawn(connect, aengine.sync_engine)
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


def test_a_program_that_never_waits_does_not_stop_the_reading(engine, aengine):
    """A loop body without an await, over many events, lets the receiver read on: heartbeats are
    answered, nothing overflows."""
    Order = orders(engine)

    async def main():
        async with AsyncListener(aengine, Order, buffer_size=30_000, heartbeat=0.2) as listener:
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


# -- the wrong engine, the wrong place -------------------------------------------------------------


def test_the_wrong_engine_names_the_right_class(engine, url, aengine):
    """An AsyncEngine given to Listener, and the reverse, is refused where it is given, with the
    class that takes it."""
    with pytest.raises(NotifyConfigError, match="Use AsyncListener"):
        Listener(aengine, "a")
    with pytest.raises(NotifyConfigError, match="Use AsyncListener"):
        Listener(aengine.sync_engine, "a")
    with pytest.raises(NotifyConfigError, match="Use Listener"):
        AsyncListener(engine, "a")
    with pytest.raises(NotifyConfigError, match="Give it the AsyncEngine itself"):
        AsyncListener(aengine.sync_engine, "a")
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


def test_life_cycle(engine, aengine):
    """Not started, started twice, in another loop: errors that say what to do. Then it works all
    the same."""
    listener = AsyncListener(aengine, "a")

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
        await aengine.dispose()

    asyncio.run(first())

    async def again():
        async with listener:
            await write(engine, "NOTIFY a")
            assert isinstance(await listener.get(10), Notification)
        await aengine.dispose()

    asyncio.run(again())


def test_missing_triggers_and_servers_are_told(url, engine, aengine):
    """start() raises what Listener's does, and leaves nothing."""
    Order = orders(engine)
    run(engine, "DROP TABLE orders")

    async def main():
        with pytest.raises(TriggersMissing, match="create_all"):
            await AsyncListener(aengine, Order).start()
        nowhere = create_async_engine(aengine.url.set(database="no_such_database"))
        with pytest.raises(ListenUnavailable, match="cannot connect") as caught:
            await AsyncListener(nowhere, "a").start()
        assert caught.value.reason == "connection"
        await nothing_left(engine)

    asyncio.run(main())


# -- the loop goes away ----------------------------------------------------------------------------


def test_a_loop_that_ends_takes_the_listener_along(engine, aengine):
    """asyncio.run() that returns while a listener runs closes its connection, and the next loop can
    start it again."""
    listener = AsyncListener(aengine, "a")

    async def forgetful():
        await listener.start()
        await write(engine, "NOTIFY a")
        assert isinstance(await listener.get(10), Notification)
        await aengine.dispose()

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


def test_a_task_that_somebody_cancels_is_not_silence(engine, aengine):
    """If somebody cancels all tasks of the loop, the listener's as well, who takes events is told,
    and the connection is closed."""

    async def main():
        listener = await AsyncListener(aengine, "a").start()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        with pytest.raises(ConnectionLost, match="cancelled"):
            await asyncio.wait_for(listener.get(), 10)
        await nothing_left(engine)
        async with listener:
            assert await listener.get(0) is None

    asyncio.run(main())


def test_a_listener_that_nobody_holds_ends(engine, aengine):
    """A listener that was dropped without stop() leaves no task and no connection behind."""

    async def main():
        listener = await AsyncListener(aengine, "a").start()
        del listener
        gc.collect()
        await nothing_left(engine)

    asyncio.run(main())


# -- values that only the server can read ----------------------------------------------------------


def things(engine, **columns):
    """A class with columns, marked with all values, installed."""

    class Base(DeclarativeBase):
        pass

    body = {name: mapped_column(type_) for name, type_ in columns.items()}
    body |= {
        "__tablename__": "things",
        "__notify__": NotifySpec(values="all"),
        "id": mapped_column(sa.Integer, primary_key=True),
    }
    Thing = type("Thing", (NotifyOnChange, Base), body)
    Thing.metadata.create_all(engine)
    return Thing


def test_the_programs_own_json_reader_is_used(engine, url):
    """An engine's json_deserializer reads the JSON of events as it reads that of a SELECT."""
    Thing = things(engine, a=pg.JSONB(), b=sa.JSON())
    aengine = create_async_engine(
        driver_url(url, "asyncpg"), json_deserializer=lambda s: json.loads(s, parse_float=Decimal)
    )

    async def main():
        async with AsyncListener(aengine, Thing) as listener:
            await write(
                engine,
                """INSERT INTO things VALUES ('{"x": [1.10]}', '{"y": 2.20}', 1), ('"\\u001e"', 'null', 2)""",
            )
            first, second = await listener.get(10), await listener.get(10)
        assert dict(first.new) == {
            "a": {"x": [Decimal("1.10")]},
            "b": {"y": Decimal("2.20")},
            "id": 1,
        }
        assert dict(second.new) == {"a": "\x1e", "b": None, "id": 2}

    asyncio.run(main())


def test_the_programs_own_json_reader_is_used_also_where_it_seldom_differs(engine, url):
    """A json_deserializer that makes something else of some documents only, by an object_hook,
    reads the JSON of events."""
    Thing = things(engine, a=pg.JSONB(), b=sa.JSON())
    hook = {"object_hook": lambda found: Decimal(found["money"]) if "money" in found else found}
    aengine = create_async_engine(
        driver_url(url, "asyncpg"), json_deserializer=lambda text: json.loads(text, **hook)
    )

    async def main():
        async with AsyncListener(aengine, Thing) as listener:
            await write(
                engine,
                """INSERT INTO things VALUES ('{"x": {"money": "1.10"}}', '{"y": [2.5]}', 1)""",
            )
            event = await listener.get(10)
        assert dict(event.new) == {"a": {"x": Decimal("1.10")}, "b": {"y": [2.5]}, "id": 1}
        await aengine.dispose()

    asyncio.run(main())


def test_the_programs_own_codecs_are_used(engine, url):
    """Codecs that the program sets for types on its connections make the values of events too."""
    Thing = things(
        engine, n=sa.Numeric(asdecimal=False), u=sa.Uuid(), e=sa.Enum("aB", "Ab", name="mixed")
    )
    aengine = create_async_engine(driver_url(url, "asyncpg"))
    number = uuid.uuid4()

    async def codecs(raw):
        await raw.set_type_codec(
            "numeric", encoder=str, decoder=lambda text: float(text) * 2, schema="pg_catalog"
        )
        await raw.set_type_codec("mixed", encoder=str, decoder=str.swapcase, schema="public")

    event.listen(aengine.sync_engine, "connect", lambda dbapi, _: dbapi.run_async(codecs))

    async def main():
        async with aengine.connect() as connection, AsyncListener(aengine, Thing) as listener:
            await write(engine, f"INSERT INTO things VALUES (1.5, '{number}', 'aB', 1)")
            selected = (await connection.execute(sa.text("SELECT n, u, e FROM things"))).one()
            assert tuple(selected) == (3.0, number, "Ab")
            assert dict((await listener.get(10)).new) == {"n": 3.0, "u": number, "e": "Ab", "id": 1}
        await aengine.dispose()

    asyncio.run(main())


def test_one_text_that_nobody_can_read(engine, url):
    """A value that the driver cannot read fails when it is asked for, as a SELECT of it does; all
    others of the message are there."""
    Thing = things(engine, d=sa.Date(), r=pg.INT4RANGE())
    aengine = create_async_engine(driver_url(url, "asyncpg"))

    async def main():
        async with AsyncListener(aengine, Thing) as listener:
            await write(engine, "INSERT INTO things SELECT CASE i WHEN 5 THEN '4714-11-24 BC' ELSE '2024-02-29'::date END,"
                                " int4range(i, i + 1), i FROM generate_series(1, 9) AS i")  # fmt: skip
            events = [await listener.get(10) for _ in range(9)]
        for number, change in enumerate(events, 1):
            assert change.identity == (number,)
            if number == 5:
                with pytest.raises(UndecodableValue, match="BC"):
                    dict(change.new)
            else:
                assert change.new["r"].lower == number

    asyncio.run(main())


def test_forged_texts_are_asked_for_and_refused(engine, url):
    """A forged message with texts that are none of their type's costs its own rows only; nothing of
    it is run as SQL."""
    Thing = things(engine, r=pg.INT4RANGE(), i=pg.INET())
    aengine = create_async_engine(driver_url(url, "asyncpg"))
    texts = [
        "[1,2)",
        "'; DROP TABLE things; --",
        "[1,2)}",
        '"',
        "",
        "\\",
        "[9,1)",
        "{}",
        "null",
        "é" * 100,
        "[3,4)",
    ]
    shape = json.dumps({"columns": ["id", "r", "i"], "carried": 3, "key": 1})
    rows = "\x1e".join(f"{number}\x1f{text_}\x1f10.0.0.1" for number, text_ in enumerate(texts))
    header = "\x1f".join(["I", "public.things", "1", "1", shape, ""])

    async def main():
        async with AsyncListener(aengine, Thing) as listener:

            def forge():
                with engine.begin() as connection:
                    payload = f"sa1 1 0 1\x1e{header}\x1e{rows}"
                    connection.execute(
                        text("SELECT pg_notify('public.things', :payload)"), {"payload": payload}
                    )

            await asyncio.to_thread(forge)
            events = [await listener.get(10) for _ in texts]
            readable = []
            for change in events:
                try:
                    readable.append(change.new["r"])
                except UndecodableValue as error:
                    assert error.attribute == "r"
            assert [change.identity for change in events] == [
                (number,) for number in range(len(texts))
            ]
            assert [r and r.lower for r in readable] == [1, None, 3]  # "" is NULL
            await write(engine, "INSERT INTO things VALUES ('[5,6)', '::1', 1)")
            assert (await listener.get(10)).new["r"].lower == 5

    asyncio.run(main())


def test_a_connection_lost_while_the_server_is_asked(engine, proxy):
    """What was not read yet when the connection went is covered by the Gap."""
    Thing = things(engine, r=pg.INT4RANGE())
    aengine = create_async_engine(driver_url(proxy.url, "asyncpg"))

    async def main():
        async with AsyncListener(aengine, Thing, heartbeat=0.3) as listener:
            await write(engine, "INSERT INTO things VALUES ('[1,2)', 1)")
            assert (await listener.get(10)).new["r"].lower == 1
            from sa_pgnotify.drivers.asyncpg import Connection

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(
                    Connection,
                    "_read_there",
                    lambda self, texts: (proxy.cut(), self.execute("SELECT 1")),
                )
                await write(engine, "INSERT INTO things VALUES ('[2,3)', 2)")
                assert isinstance(await listener.get(10), Gap)
            await write(engine, "INSERT INTO things VALUES ('[3,4)', 3)")
            assert (await listener.get(10)).identity == (3,)

    asyncio.run(main())


@pytest.mark.parametrize("kind", ["psycopg-asyncio", "asyncpg"], indirect=True)
def test_what_needs_nothing_else_is_delivered_at_once(engine, kind, monkeypatch):
    """A notification goes to who waits for it in the same turn of the loop: to resume the
    listener's task first takes as long again."""
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
def test_interrupted_in_a_callback_it_tells_a_gap(engine, kind, monkeypatch, caplog):
    """What is raised in the loop's callback, between a notification and the buffer, leaves a Gap in
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
