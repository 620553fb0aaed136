"""Measure the memory and the connections of a process that serves one live page to many browsers.

``python benchmarks/browsers.py [--browsers 1000] [--users 1] [--url ...]`` runs uvicorn in a
separate process, and connects to it with bare sockets. The memory of a browser is the growth of the
server's resident set from the moment when the first browser has its rows until all browsers have
them, divided by the number of the other browsers.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import selectors
import socket
import subprocess
import sys
import time
from pathlib import Path

from sqlalchemy import create_engine, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from sa_pgnotify import NotifyOnChange, NotifySpec

HERE = Path(__file__)


class Base(DeclarativeBase):
    pass


class Note(NotifyOnChange, Base):
    __tablename__ = "browser_notes"
    __notify__ = NotifySpec(durable=True)
    id: Mapped[int] = mapped_column(primary_key=True)
    owner: Mapped[int]
    body: Mapped[str]


def app() -> object:
    """Return the program that uvicorn serves."""
    from sqlalchemy import select
    from sqlalchemy.ext.asyncio import create_async_engine
    from starlette.applications import Starlette
    from starlette.routing import Route

    from sa_pgnotify.web import Hub

    hub = Hub(
        create_async_engine(os.environ["DATABASE_URL"]), authorize=lambda user: Note.owner == user
    )

    async def live(request):
        as_ = int(request.query_params["as_"])
        return hub.events(select(Note.id, Note.body), as_=as_, request=request)

    return Starlette(routes=[Route("/live", live)])


def resident(pid: int) -> int:
    """Return the resident set of a process in kilobytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1])


def wait_for(sockets: list[socket.socket], wanted: bytes) -> float:
    """Read until each socket has received ``wanted``, and return the elapsed seconds."""
    began = time.monotonic()
    found = dict.fromkeys(sockets, b"")
    with selectors.DefaultSelector() as selector:
        for each in sockets:
            selector.register(each, selectors.EVENT_READ)
        while found:
            ready = selector.select(30)
            assert ready, f"{len(found)} browsers were sent nothing"
            for key, _ in ready:
                found[key.fileobj] += key.fileobj.recv(65536)
                if wanted in found[key.fileobj]:
                    selector.unregister(key.fileobj)
                    del found[key.fileobj]
    return time.monotonic() - began


def measure(url: str, browsers: int, users: int) -> None:
    engine = create_engine(url)
    Base.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(text("TRUNCATE browser_notes"))
        connection.execute(
            text("INSERT INTO browser_notes SELECT i, i % :users, 'first' FROM generate_series(1, greatest(20, :users)) AS i"),
            {"users": users},
        )  # fmt: skip
    program = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "--app-dir", HERE.parent, "--factory", "browsers:app", "--port", "0",
         "--no-access-log"],
        env={**os.environ, "DATABASE_URL": url.replace("psycopg2", "psycopg")}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert program.stderr is not None
        for line in program.stderr:
            if found := re.search(r"running on http://127.0.0.1:(\d+)", line):
                break
        port, sockets = int(found[1]), []

        def open_some(count: int) -> None:
            for _ in range(count):
                each = socket.create_connection(("127.0.0.1", port))
                as_ = len(sockets) % users
                each.sendall(f"GET /live?as_={as_} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                sockets.append(each)

        open_some(1)
        wait_for(sockets, b"event: rows")
        before = resident(program.pid)
        open_some(browsers - 1)
        took = wait_for(sockets[1:], b"event: rows")
        after = resident(program.pid)
        with engine.connect() as connection:
            listening = connection.scalar(
                text("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'sa_pgnotify%' AND datname = current_database()")
            )  # fmt: skip
        with engine.begin() as connection:
            connection.execute(text("UPDATE browser_notes SET body = 'second'"))
        step = wait_for(sockets, b"second")
        print(f"{browsers} browsers of {users} users: {(after - before) / (browsers - 1):.1f} kB each, {listening} listening connection, "
              f"all have rows after {took:.2f} s, a step after {step:.3f} s")  # fmt: skip
        for each in sockets:
            each.close()
    finally:
        program.terminate()
        program.wait(20)
    with engine.begin() as connection:
        Base.metadata.drop_all(connection)
    engine.dispose()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="postgresql+psycopg2:///shop")
    parser.add_argument("--browsers", type=int, default=1000)
    parser.add_argument("--users", type=int, default=1)
    options = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    measure(options.url, options.browsers, options.users)
