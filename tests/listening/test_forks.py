"""Processes that fork while a listener runs."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import select
import threading

import pytest
from kinds import address, driver_url
from programs import Program
from receiving import take
from sessions import sessions_end
from sqlalchemy import NullPool, create_engine
from sqlalchemy.ext.asyncio import create_async_engine
from statements import run

from sa_pgnotify import AsyncListener, Listener, Notification, PgNotifyError

FORK = multiprocessing.get_context("fork")


# that forking with threads is a risk: hosts take it
forks = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")


def in_child(work) -> None:
    """Run ``work`` in a fork of this process, which ends as programs do; fails if that does."""
    child = FORK.Process(target=work)
    child.start()
    child.join(30)
    assert child.exitcode == 0


@forks
@pytest.mark.parametrize("driver", ["psycopg2", "psycopg"])
def test_fork(url, engine, driver):
    """In a child the listener refuses to be used, can be started again, and none of that affects
    the parent's connection."""
    listener = Listener(create_engine(driver_url(url, driver), poolclass=NullPool), "a")

    def child() -> None:
        for use in (
            listener.get,
            lambda: next(listener.events(0)),
            listener.fileno,
            lambda: listener.subscribe("b"),
            listener.run,
        ):
            with pytest.raises(PgNotifyError, match="before a fork"):
                use()
        with listener:
            mine = listener.fileno()
            assert os.fstat(mine).st_ino != parents
            run(engine, "NOTIFY a, 'child'")
            assert select.select([mine], [], [], 10)[0] == [mine]
            assert take(listener, 1)[0].payload == "child"
        gc.collect()

    with listener:
        parents = os.fstat(listener.fileno()).st_ino
        in_child(listener.stop)
        in_child(child)
        run(engine, "NOTIFY a, 'parent'")
        assert [event.payload for event in take(listener, 2)] == ["child", "parent"]
        assert listener.stats.gaps == 0
    sessions_end(engine)


@forks
def test_fork_while_locks_are_held(engine):
    """A fork that catches threads in the middle of taking events leaves no lock behind that would
    block the child."""
    listener = Listener(engine, "a")

    def child() -> None:
        with listener:
            run(engine, "NOTIFY a, 'child'")
            assert take(listener, 1)[0].payload == "child"

    with listener:
        takers = [threading.Thread(target=lambda: list(listener)) for _ in range(3)]
        for taker in takers:
            taker.start()
        for _ in range(5):
            in_child(child)
        listener.stop()
        for taker in takers:
            taker.join()


@forks
@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_fork_within_a_loop(url, engine, driver):
    """An AsyncListener refuses to be used in a child as well, and can be started again in the
    child's own loop; the parent's goes on."""
    made = create_async_engine(driver_url(url, driver), poolclass=NullPool)
    listener = AsyncListener(made, "a")

    async def in_the_child() -> None:
        for use in (
            listener.get(0),
            anext(listener.events(0)),
            listener.subscribe("b"),
            listener.run(),
        ):
            with pytest.raises(PgNotifyError, match="before a fork"):
                await use
        await listener.stop()
        async with listener:
            run(engine, "NOTIFY a, 'child'")
            event = await listener.get(10)
            assert isinstance(event, Notification)
            assert event.payload == "child"

    async def main() -> None:
        async with listener:
            in_child(lambda: asyncio.run(in_the_child()))
            run(engine, "NOTIFY a, 'parent'")
            assert [(await listener.get(10)).payload for _ in range(2)] == ["child", "parent"]
            assert listener.stats.gaps == 0

    asyncio.run(main())
    sessions_end(engine)


@pytest.mark.sample(3)
@pytest.mark.parametrize("way", ["sys.exit()", "return", "1 / 0", "await asyncio.sleep(0.01)"])
@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_a_child_ends_within_the_parents_loop(url, engine, driver, way):
    """However a child ends that was forked within a loop, its asyncio.run() does no harm to the
    parent's listener."""
    program = f"""
import asyncio, os, sys
from sqlalchemy.ext.asyncio import create_async_engine
from sa_pgnotify import AsyncListener
async def main():
    listener = await AsyncListener(create_async_engine(sys.argv[1]), "a", heartbeat=60).start()
    await asyncio.sleep(0)  # the listener waits
    child = os.fork()
    if not child:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what it says at its end is of no interest
        {way}
        return
    os.waitpid(child, 0)
    print("ended", flush=True)
    print(await listener.get(20), listener.stats.reconnects)
    await listener.stop()
asyncio.run(main())
"""
    with Program("-c", program, address(url, driver)) as parent:
        parent.wait_for("ended")
        run(engine, "NOTIFY a, 'sent'")
        code, printed, _ = parent.end()
    assert code == 0
    (line,) = printed
    assert "payload='sent'" in line
    assert line.endswith(" 0")
    sessions_end(engine)
