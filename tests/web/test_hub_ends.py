"""A process with open pages ends at once and without an error, with each server and framework."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import re
import signal
import time
from contextlib import ExitStack, contextmanager

import pytest
from hub_site import Stream
from hub_tables import add, models
from kinds import address
from programs import EXAMPLES, ROOT, SUPPORT, Program
from sessions import sessions_end

from sa_pgnotify.web.browser import Browser
from sa_pgnotify.web.ending import Ending

SERVERS = {
    "uvicorn": ["-m", "uvicorn", "hub_programs:app", "--port", "0"],
    "uvicorn, 2 workers": ["-m", "uvicorn", "hub_programs:app", "--port", "0", "--workers", "2"],
    "uvicorn, uvloop": ["-m", "uvicorn", "hub_programs:app", "--port", "0", "--loop", "uvloop"],
    "hypercorn": ["-m", "hypercorn", "hub_programs:app", "--bind", "127.0.0.1:0", "--graceful-timeout", "0"],
    "gunicorn": ["-m", "gunicorn", "hub_programs:app", "--bind", "127.0.0.1:0", "-k", "uvicorn_worker.UvicornWorker", "--no-control-socket"],
    "gunicorn, 2 workers": ["-m", "gunicorn", "hub_programs:app", "--bind", "127.0.0.1:0", "-k", "uvicorn_worker.UvicornWorker", "--no-control-socket", "--workers", "2"],
}  # fmt: skip
NEEDS = {"hypercorn": "hypercorn", "gunicorn": "uvicorn_worker", "litestar": "litestar"}
OF_SERVERS = (
    r"unclosed <socket|tracemalloc|INFO. Error while closing socket|advanced_alchemy.*Deprecation"
)
"""Warnings that servers print with ``python -X dev`` whatever the program does."""
SECONDS = 1.0
"""The longest time in which all streams must end."""


@pytest.fixture(autouse=True)
def _tables(engine):
    models().metadata.create_all(engine)
    add(engine, "a", 1)


def skip_without(name: str) -> None:
    needed = NEEDS.get(name.partition(",")[0])
    if needed and importlib.util.find_spec(needed) is None:
        pytest.skip(f"{needed} is not installed")


@contextmanager
def served(url, server: str, framework: str, *options: str):
    skip_without(server), skip_without(framework)
    path = os.pathsep.join(map(str, (SUPPORT, EXAMPLES, ROOT)))
    with Program(
        *SERVERS[server], *options,
        merged=True, DATABASE_URL=address(url, "psycopg"), FRAMEWORK=framework, PYTHONPATH=path,
    ) as program:  # fmt: skip
        line = program.wait_for(r"(running on|Running on|Listening at).*127\.0\.0\.1:\d")
        yield program, int(re.search(r"127\.0\.0\.1:(\d+)", line)[1])


def opened(port: int) -> Stream:
    for _ in range(200):  # workers may not listen yet
        try:
            return Stream(port)
        except OSError:
            time.sleep(0.05)
    raise AssertionError("nobody listens")


def complaints(program) -> list[str]:
    program.end()
    return [
        line
        for line in program.output.lines
        if re.search(r"Traceback|Error|Exception|Warning|never retrieved|destroyed|exceeded|ERROR", line)
        and not re.search(OF_SERVERS, line)
    ]  # fmt: skip


def test_signals_end_the_streams_of_a_later_loop():
    """A program that runs several event loops, one after the other, ends the streams of the one
    that runs, also if a server sets its own handlers for each."""
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    ending = Ending()

    async def first() -> None:
        ending.watch()

    async def second() -> None:
        ending.watch()
        browser = Browser(None, None)
        ending.add(browser)
        signal.raise_signal(signal.SIGTERM)
        await browser._ready.wait()

    try:
        asyncio.run(first())
        asyncio.run(asyncio.wait_for(second(), SECONDS))
        ending.has_come = False
        signal.signal(signal.SIGTERM, lambda *_: None)  # as uvicorn does when it begins again
        asyncio.run(asyncio.wait_for(second(), SECONDS))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ending.has_come


@pytest.mark.sample(8)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
@pytest.mark.parametrize(
    "server, framework",
    [
        *((server, "starlette") for server in SERVERS if server != "hypercorn"),
        ("uvicorn", "fastapi"),
        ("uvicorn", "litestar"),
    ],
)
def test_end(url, engine, server, framework, number):
    """All streams end in less than a second, and the process exits by itself and prints no
    error."""
    with served(url, server, framework) as (program, port), ExitStack() as stack:
        streams = [stack.enter_context(opened(port)) for _ in range(20)]
        for stream in streams:
            assert set(stream.rows()) == {"[1]"}
        program.send(number)
        began = time.monotonic()
        for stream in streams:
            assert stream.next() is None
        took = time.monotonic() - began
        assert took < SECONDS
        if server.startswith("gunicorn") and number == signal.SIGINT:
            return  # gunicorn does not end then, whatever the program: its worker gets SIGQUIT
        code = program.process.wait(10)
        print(
            f"{server}, {framework}, {number.name}: streams {took:.3f} s, process {time.monotonic() - began:.3f} s, code {code}"
        )
        assert complaints(program) == []
    sessions_end(engine)


@pytest.mark.thorough
@pytest.mark.sample(3)
@pytest.mark.parametrize("framework", ["starlette", "fastapi", "litestar"])
def test_end_with_websockets(url, engine, framework):
    """The server closes WebSockets with the code for a service restart, and prints no error."""
    client = pytest.importorskip("websockets.sync.client")
    from websockets.exceptions import ConnectionClosed

    with served(url, "uvicorn", framework) as (program, port), ExitStack() as stack:
        opened(port).close()
        opens = [
            stack.enter_context(client.connect(f"ws://127.0.0.1:{port}/socket", proxy=None))
            for _ in range(5)
        ]
        for each in opens:
            assert '"event":"rows"' in each.recv(20)
        program.send(signal.SIGTERM)
        began = time.monotonic()
        for each in opens:
            with pytest.raises(ConnectionClosed) as closed:
                each.recv(20)
            assert closed.value.rcvd.code == 1012
        print(f"{framework}: sockets {time.monotonic() - began:.3f} s")
        assert time.monotonic() - began < SECONDS
        program.process.wait(10)
        assert complaints(program) == []
    sessions_end(engine)


def test_reload_while_the_process_ends(url, engine):
    """A page that is requested again while the process ends gets no response that hangs."""
    with served(url, "uvicorn", "starlette") as (program, port), ExitStack() as stack:
        streams = [stack.enter_context(opened(port)) for _ in range(10)]
        for stream in streams:
            stream.rows()
        waiting = [stack.enter_context(opened(port)) for _ in range(10)]  # sent, but not answered
        program.send(signal.SIGTERM)
        began = time.monotonic()
        for _ in range(50):
            try:
                with Stream(port) as late:
                    while late.next() is not None:
                        pass
            except OSError:
                break
        for stream in (*streams, *waiting):
            while stream.next() is not None:
                pass
        program.process.wait(10)
        assert time.monotonic() - began < 2
        assert complaints(program) == []


@pytest.mark.thorough
@pytest.mark.sample(3)
@pytest.mark.parametrize("framework", ["starlette", "fastapi", "litestar"])
def test_hypercorn(url, engine, framework):
    """Under hypercorn, streams end after its ``--graceful-timeout``, because it does not signal its
    workers, but cancels what is running."""
    client = pytest.importorskip("websockets.sync.client")
    with served(url, "hypercorn", framework) as (program, port), opened(port) as stream:
        assert set(stream.rows()) == {"[1]"}
        with client.connect(f"ws://127.0.0.1:{port}/socket", proxy=None) as websocket:
            assert '"event":"rows"' in websocket.recv(20)
            add(engine, "a", 2)
            assert '"event":"step"' in websocket.recv(20)
        assert stream.next().name == "step"
        program.send(signal.SIGTERM)
        assert stream.next() is None
        program.process.wait(10)
    sessions_end(engine)


@pytest.mark.thorough
def test_end_beside_a_browser_that_does_not_read(url, engine):
    """uvicorn waits for a browser that does not read until ``--timeout-graceful-shutdown`` has
    passed; the streams of others end at once."""
    add(engine, "a", 2, body="x" * 20_000_000)
    with served(url, "uvicorn", "starlette", "--timeout-graceful-shutdown", "1") as (program, port):
        with opened(port) as stream, opened(port):
            stream.rows()
            program.send(signal.SIGTERM)
            began = time.monotonic()
            assert stream.next() is None
            assert time.monotonic() - began < SECONDS
            program.process.wait(10)
            program.end()
    sessions_end(engine)
