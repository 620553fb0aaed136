"""Interpreters that end without stopping their listeners."""

from __future__ import annotations

import signal
import socket
import time

import pytest
from kinds import address
from programs import Program, ended
from sessions import sessions_end
from sqlalchemy import NullPool, create_engine

HEAD = """
import asyncio, signal, sys, threading
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import create_async_engine
from sa_pgnotify import AsyncListener, Listener
def listener():
    return Listener(create_engine(sys.argv[1]), "a")
def follow(listener):
    with listener:
        print("ready")
        for event in listener:
            pass
async def forget():
    global kept
    kept = await AsyncListener(create_async_engine(sys.argv[2]), "a").start()
"""


ENDS = {
    "never stopped": ("kept = listener().start()", 0),
    "never started": ("kept = listener()", 0),
    "daemon that iterates": (
        "threading.Thread(target=follow, args=[listener()], daemon=True).start(); sys.stdin.readline()",
        0,
    ),
    "sys.exit in a loop": (
        "with listener() as one:\n    for event in one.events(0.1): pass\n    sys.exit(3)",
        3,
    ),
    "sys.exit without a stop": ("kept = listener().start(); sys.exit(3)", 3),
    "a cycle of references": ("kept = listener().start(); kept.me = kept; del kept", 0),
    "stopped in a finalizer": (
        "class Holder:\n    def __init__(self): self.it = listener().start()\n    def __del__(self): self.it.stop()\nkept = Holder()",
        0,
    ),
    "asyncio.run ends": ("asyncio.run(forget())", 0),
    "asyncio.run ends, then stop": ("asyncio.run(forget()); kept.stop()", 0),
    "asyncio and sys.exit": (
        "async def main():\n    await forget()\n    sys.exit(3)\nasyncio.run(main())",
        3,
    ),
}


@pytest.mark.sample(6)
@pytest.mark.parametrize("driver", ["psycopg2", "psycopg"])
@pytest.mark.parametrize(("code", "status"), ENDS.values(), ids=ENDS.keys())
def test_end(url, engine, code, status, driver):
    """However a program ends that has not stopped its listener, it does so at once, with its own
    exit code and not a word."""
    async_driver = "psycopg" if driver == "psycopg" else "asyncpg"
    with Program("-c", HEAD + code, address(url, driver), address(url, async_driver)) as program:
        if "stdin" in code:
            program.wait_for("ready")
        assert ended(program) == (status, "")
    sessions_end(engine)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_end_by_a_signal(url, engine, number):
    """Ctrl-C ends an iteration as it ends any loop, and SIGTERM a program that does not handle it;
    no session stays."""
    with Program("-c", HEAD + "follow(listener())", address(url)) as program:
        program.wait_for("ready")
        program.send(number)
        code, errors = ended(program)
        assert code == -number
        assert errors.splitlines()[-1:] == (
            ["KeyboardInterrupt"] if number == signal.SIGINT else []
        )
    sessions_end(engine)


def test_end_of_asyncio_by_ctrl_c(url, engine):
    """Ctrl-C ends asyncio.run() by KeyboardInterrupt, the connection closed before the loop."""
    code = "async def main():\n    await forget()\n    print('ready')\n    await kept.get()\nasyncio.run(main())"
    with Program("-c", HEAD + code, address(url), address(url, "asyncpg")) as program:
        program.wait_for("ready")
        program.send(signal.SIGINT)
        code, errors = ended(program)
        assert code == -signal.SIGINT
        assert errors.splitlines()[-1] == "KeyboardInterrupt"
        assert "Warning" not in errors
    sessions_end(engine)


def test_end_by_an_error(url, engine):
    """An exception out of a loop is the only thing that the program says."""
    with Program("-c", HEAD + "kept = listener().start()\n1 / 0", address(url)) as program:
        code, errors = ended(program)
    assert code == 1
    assert errors.splitlines()[-1] == "ZeroDivisionError: division by zero"
    assert errors.count("Traceback") == 1
    sessions_end(engine)


@pytest.mark.parametrize("state", ["stalled", "refused"])
def test_end_without_a_server(proxy, state):
    """A program ends in time while the server does not answer, and while it cannot be reached."""
    code = "kept = listener().start()\nprint('ready')\nsys.stdin.readline()\nkept = kept"
    with Program("-c", HEAD + code, address(proxy.url)) as program:
        program.wait_for("ready")
        if state == "stalled":
            proxy.stall()
        else:
            proxy.refuse()
            proxy.cut()
        code, errors = ended(program)
        assert code == 0
        assert "Traceback" not in errors


@pytest.mark.thorough
def test_end_within_an_attempt_to_connect(url):
    """A program ends within 5 seconds while its listeners try to connect to a host that never
    answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        code = f"""
made = create_engine(sys.argv[1])
from sqlalchemy import event
made.ready = False
@event.listens_for(made, "do_connect")
def connect(dialect, record, args, kwargs):
    if made.ready:
        kwargs.update(host="127.0.0.1", port={silent.getsockname()[1]}, sslmode="disable", gssencmode="disable")
kept = [Listener(made, "a").start() for _ in range(3)]
made.ready = True
print("ready")
sys.stdin.readline()
"""
        with Program("-c", HEAD + code, address(url)) as program:
            program.wait_for("ready")
            engine = create_engine(url, poolclass=NullPool)
            from sessions import terminate_listener

            terminate_listener(engine)
            silent.settimeout(20)
            attempts = [silent.accept()[0] for _ in range(3)]  # they are under way
            begun = time.monotonic()
            code, errors = ended(program)
            assert 4 < time.monotonic() - begun < 10
            for attempt in attempts:
                attempt.close()
            assert code == 0
            assert "Traceback" not in errors
