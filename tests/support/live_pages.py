"""The live page of orders as its users see it: the program served, and browsers without a screen."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any, Self

from kinds import address
from programs import EXAMPLES, Program
from sqlalchemy import URL, Engine, text
from sqlalchemy.exc import DBAPIError
from statements import run

PAGE = EXAMPLES / "live_orders"
SEEN_BY = """SELECT o.id, c.name, o.total::text, o.status FROM orders o JOIN customers c ON c.id = o.customer_id
             WHERE o.status <> 'paid'"""


def create_tables(url: URL) -> None:
    """Create the tables of the page as its reader does, by the program that is there for it."""
    environment = {"DATABASE_URL": address(url, "psycopg"), "PYTHONPATH": str(PAGE.parent.parent)}
    subprocess.run([sys.executable, str(PAGE / "tables.py")], env=environment, check=True)


def drop_role(engine: Engine) -> None:
    """Drop the role of the page's users, unless another test uses it."""
    with contextlib.suppress(DBAPIError):
        run(engine, "DROP OWNED BY shop_user", "DROP ROLE shop_user")


@contextmanager
def served(url: URL, *options: str, port: int = 0) -> Iterator[tuple[Program, int]]:
    """The program, as its docstring starts it, and the port that it serves."""
    with Program(
        "-m", "uvicorn", "--app-dir", PAGE, "app:app", "--port", str(port), *options,
        merged=True, DATABASE_URL=address(url, "psycopg"),
    ) as program:  # fmt: skip
        line = program.output.wait_for("running on")
        for _ in range(
            2 if "--workers" in options else 0
        ):  # they listen, the first process does not
            program.output.wait_for("startup complete")
        yield program, int(line.partition("127.0.0.1:")[2].split()[0])


def finish(program: Program) -> list[str]:
    """End the program as a supervisor does, and return what it printed then."""
    program.send(signal.SIGTERM)
    code, *_ = program.end()
    assert code in (0, -signal.SIGTERM)  # uvicorn raises the signal again when it has cleaned up
    return program.output.lines


def seen_by(engine: Engine, user: int) -> dict[int, tuple[str, str, str]]:
    """What a SELECT of the user gives, by the order's id."""
    with engine.connect() as connection:
        connection.execute(
            text(
                "SELECT set_config('role', 'shop_user', true), set_config('shop.user_id', :user, true)"
            ),
            {"user": str(user)},
        )
        return {row[0]: tuple(row[1:]) for row in connection.execute(text(SEEN_BY))}


class Reader(threading.Thread):
    """A browser that reads the stream of one user, and reconnects as EventSource does.

    :ivar rows: what its page shows, by key.
    :ivar received: all bytes that it was sent.
    :ivar resumed: how often it was sent something else than all rows after a reconnect.
    """

    def __init__(self, port: int, user: int, path: str | None = None) -> None:
        super().__init__(daemon=True)
        self.user = user
        self.rows: dict[str, dict[str, Any]] = {}
        self.received = b""
        self.connects = self.wholes = self.steps = self.failures = 0
        self._port = port
        self._path = path or f"/orders?user={user}"
        self._last = ""
        self._ended = threading.Event()
        self._connection: HTTPConnection | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.cut()
        self.join(10)

    def cut(self) -> None:
        """Lose the connection."""
        connection = self._connection
        if connection is not None and connection.sock is not None:
            with contextlib.suppress(OSError):
                connection.sock.shutdown(2)

    @property
    def resumed(self) -> int:
        return self.connects - self.wholes

    @property
    def orders(self) -> dict[int, tuple[str, str, str]]:
        """What the page shows, as :func:`seen_by` gives it."""
        return {
            row["id"]: (row["name"], row["total"], row["status"]) for row in [*self.rows.values()]
        }

    def run(self) -> None:
        while not self._ended.is_set():
            with contextlib.suppress(OSError, HTTPException, AttributeError, ValueError):
                self._read()
            self._ended.wait(0.05)

    def _read(self) -> None:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=30)
        with closing(connection):
            self._connection = connection
            headers = {"Last-Event-ID": self._last} if self._last else {}
            connection.request("GET", self._path, headers=headers)
            with connection.getresponse() as response:
                if response.status == 200:
                    self.connects += 1
                    self._read_events(response)

    def _read_events(self, response: HTTPResponse) -> None:
        name = token = ""
        for raw in response:
            self.received += raw
            field, _, value = raw.decode().rstrip("\n").partition(": ")
            if field == "id":
                token = value
            elif field == "event":
                name = value
            elif field == "data":
                self._take(name, json.loads(value))
                self._last = token or self._last

    def _take(self, name: str, data: Any) -> None:
        if name == "rows":
            self.rows = dict(data)
            self.wholes += 1
        elif name == "step":
            for key in data["gone"]:
                self.rows.pop(key, None)
            self.rows.update(data["put"])
            self.steps += 1
        else:
            self.failures += 1
