"""Servers and tests around a listener: gunicorn, uvicorn and the fixture for pytest. docs/hosts.md
says the same in words."""

from __future__ import annotations

import re
import signal
from contextlib import closing, contextmanager
from http.client import HTTPConnection

import pytest
from kinds import address
from programs import ROOT, Program
from sessions import sessions, sessions_end
from statements import run
from waiting import wait_until

CONF, SHOP, LIFESPAN, FIXTURE = re.findall(
    r"```python\n(.*?)```", (ROOT / "docs" / "hosts.md").read_text(), re.DOTALL
)


def get(port: int) -> str:
    with closing(HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        connection.request("GET", "/")
        return connection.getresponse().read().decode()


@contextmanager
def gunicorn(folder, conf: str, shop: str, *options: str):
    """gunicorn with these two files, and its port."""
    (folder / "gunicorn.conf.py").write_text(conf)
    (folder / "shop.py").write_text(shop)
    arguments = [
        "--chdir",
        folder,
        "--config",
        folder / "gunicorn.conf.py",
        "--bind",
        "127.0.0.1:0",
        "--no-control-socket",
        *options,
    ]
    with Program("-m", "gunicorn", *arguments, "shop:application", merged=True) as program:
        yield program, int(program.wait_for("Listening at").partition("127.0.0.1:")[2].split()[0])


def finish(program) -> None:
    """End it as a supervisor does, without complaint."""
    program.send(signal.SIGTERM)
    code, *_ = program.end()
    log = "\n".join(program.output.lines)
    # uvicorn raises the signal again when it has cleaned up
    assert code in (0, -signal.SIGTERM), log
    assert "Traceback" not in log, log
    assert "sa_pgnotify" not in log, log


@pytest.mark.sample(2)
@pytest.mark.parametrize("options", [(), ("--preload",)], ids=["forked first", "preloaded"])
def test_gunicorn(url, engine, tmp_path, options):
    """The program of the page: each of two workers listens, gets every event, and ends with its
    server, and neither ends before."""
    shop = SHOP.replace('"postgresql+psycopg2:///shop"', repr(address(url)))
    assert shop != SHOP
    with gunicorn(tmp_path, CONF, shop, "--workers", "2", *options) as (program, port):
        wait_until(lambda: sessions(engine) == 2)
        run(engine, "NOTIFY news, 'one'", "NOTIFY news, 'two'")
        for _ in range(10):  # whichever worker answers
            wait_until(lambda: get(port) == "one two")
        finish(program)
    sessions_end(engine)


BEFORE_FORK = """
import sys
from sqlalchemy import create_engine
from sa_pgnotify import Listener, PgNotifyError
listener = Listener(create_engine({address!r}), "news")
listener.on("news")(lambda notification: print("the parent got", notification.payload, flush=True))
listener.start()
import threading
threading.Thread(target=listener.run, daemon=True).start()

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    try:
        return [repr(listener.get(20)).encode()]
    except PgNotifyError as error:
        listener.start()
        return [str(error).encode()]
"""


def test_gunicorn_with_a_listener_from_before_the_fork(url, engine, tmp_path):
    """A worker that uses a preloaded listener gets an error with the fix, may start the listener
    again, and ends without affecting the parent's."""
    with gunicorn(tmp_path, "", BEFORE_FORK.format(address=address(url)), "--preload") as (
        program,
        port,
    ):
        assert "before a fork" in get(port)
        assert sessions(engine) == 2
        run(engine, "NOTIFY news, 'one'")
        program.wait_for("the parent got one")
        assert "payload='one'" in get(port)
        program.send(signal.SIGHUP)  # workers are replaced
        program.wait_for("Booting worker")
        wait_until(lambda: sessions(engine) == 1)
        run(engine, "NOTIFY news, 'two'")
        program.wait_for("the parent got two")
        assert "before a fork" in get(port)
        finish(program)
    sessions_end(engine)


@pytest.mark.thorough
def test_uvicorn_with_workers(url, engine, tmp_path):
    """Each of two workers listens in its lifespan, and both end with their server."""
    (tmp_path / "app.py").write_text(f"""
{LIFESPAN}
from fastapi import FastAPI
from sqlalchemy.ext.asyncio import create_async_engine

engine = create_async_engine({address(url, "psycopg")!r})
app = FastAPI(lifespan=lifespan)
""")
    with Program(
        "-m", "uvicorn", "--app-dir", tmp_path, "app:app", "--port", "0", "--workers", "2", merged=True
    ) as program:  # fmt: skip
        for _ in range(2):
            program.wait_for("startup complete")
        assert sessions(engine) == 2
        finish(program)
    sessions_end(engine)


def test_fixture(url, engine, tmp_path):
    """The fixture of the page works in a test, fails with a test, and leaves no session and no
    thread."""
    (tmp_path / "test_news.py").write_text(f"""
{FIXTURE}
import threading
from sqlalchemy import create_engine

@pytest.fixture
def engine():
    return create_engine({address(url)!r})

def test_failing(news):
    raise ValueError

def test_nothing_is_left():
    assert threading.enumerate() == [threading.current_thread()]
""")
    with Program(
        "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", tmp_path
    ) as program:
        code, printed, _ = program.end()
    assert code == 1
    assert "1 failed, 2 passed" in printed[-1]
    assert "test_failing" in printed[-2]
    sessions_end(engine)
