"""A web server of a hub in the process of a test, and its browsers without a screen."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import uvicorn
from kinds import driver_url
from sqlalchemy import URL
from sqlalchemy.ext.asyncio import create_async_engine
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from sa_pgnotify import NotifyConfigError
from sa_pgnotify.web import Hub

PATIENCE = 20.0
"""Seconds that an event of a stream may take."""


class Site:
    """uvicorn in a thread. ``/live?as_=...`` is the stream of a statement for a user, and the same
    path a WebSocket.

    :param statement: what the pages follow, or makes it of the query parameters.
    :param engine: options of the hub's engine; ``hub`` those of the hub.
    """

    def __init__(self, url: URL, statement: Any, engine: dict[str, Any] | None = None, **hub: Any):
        self._statement = statement
        self._loop: asyncio.AbstractEventLoop | None = None
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.engine = create_async_engine(driver_url(url, "psycopg"), **engine or {})
        self.hub = Hub(self.engine, **hub)
        app = Starlette(
            routes=[Route("/live", self._live), WebSocketRoute("/live", self._socketed)]
        )
        config = uvicorn.Config(app, log_level="warning", lifespan="off")
        self.server = uvicorn.Server(config)

    def _asked(self, connection: Request | WebSocket) -> dict[str, Any]:
        query = connection.query_params
        statement = self._statement
        statement = statement(query) if callable(statement) else statement
        return {"statement": statement, "as_": query.get("as_")}

    async def _live(self, request: Request) -> Response:
        try:
            return self.hub.events(**self._asked(request), request=request)
        except NotifyConfigError as error:
            return PlainTextResponse(str(error), 400)

    async def _socketed(self, websocket: WebSocket) -> None:
        await self.hub.websocket(**self._asked(websocket), websocket=websocket)

    def _run(self) -> None:
        async def serve() -> None:
            self._loop = asyncio.get_running_loop()
            self._started.set()
            try:
                await self.server.serve(sockets=[self._socket])
            finally:
                await self.hub.stop()
                await self.engine.dispose()

        asyncio.run(serve())

    def __enter__(self) -> Self:
        self._thread.start()
        self._started.wait(PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread.is_alive():
            self.call(self.hub.stop())
        self.server.should_exit = True
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()

    def call(self, work: Any) -> Any:
        """Return what a coroutine gives in the server's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)

    def see(self, look: Callable[[], Any]) -> Any:
        """Return what a function gives in the server's loop."""

        async def looked() -> Any:
            return look()

        return self.call(looked())

    @property
    def is_empty(self) -> bool:
        """Whether no channel, no browser and no task of the hub is left."""

        def look() -> bool:
            tasks = [task for task in asyncio.all_tasks() if "sa_pgnotify" in task.get_name()]
            hub = self.hub
            return not (hub._channels or hub._ending._browsers or hub._stopping or tasks)

        return self.see(look)

    def browse(self, as_: str | None = None, **options: Any) -> Stream:
        return Stream(self.port, as_, **options)


@dataclass(frozen=True)
class Event:
    """
    :ivar lines: those of its data, as they came.
    """

    name: str
    data: Any
    id: str
    lines: tuple[str, ...] = ()


class Stream:
    """The stream of server-sent events of one browser.

    :param last_id: the header Last-Event-ID.
    :param parameters: of the URL.
    """

    def __init__(
        self,
        port: int,
        as_: str | None = None,
        *,
        last_id: str | bytes | None = None,
        path: str = "/live",
        **parameters: str,
    ) -> None:
        from urllib.parse import urlencode

        if as_ is not None:
            parameters["as_"] = as_
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        last = last_id.encode() if isinstance(last_id, str) else last_id
        header = b"" if last is None else b"Last-Event-ID: " + last + b"\r\n"
        self._file = self.socket.makefile("rb")
        self._chunk = b""
        self._lines: deque[str] = deque()
        self._has_ended = False
        self.comments = 0
        self.headers = {}
        try:
            self.socket.sendall(
                f"GET {path}?{urlencode(parameters)} HTTP/1.1\r\nHost: x\r\n".encode()
                + header
                + b"\r\n"
            )
            answer = self._file.readline().split()
        except OSError:
            answer = []
        if not answer:
            self.close()
            raise ConnectionError("no answer")
        self.status = int(answer[1])
        while (line := self._file.readline().strip()) != b"":
            name, _, value = line.decode().partition(": ")
            self.headers[name.lower()] = value

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self._file.close()
        self.socket.close()

    def body(self) -> str:
        """The rest of a response with a length."""
        return self._file.read(int(self.headers["content-length"])).decode()

    def _line(self) -> str | None:
        while b"\n" not in self._chunk:
            size = self._file.readline().strip()
            length = int(size or b"0", 16)
            if length == 0:
                return None
            self._chunk += self._file.read(length)
            self._file.read(2)
        line, _, self._chunk = self._chunk.partition(b"\n")
        return line.decode()

    def lines(self) -> list[str] | None:
        """The lines up to an empty one; None at the end of the stream."""
        lines = []
        while line := self._line():
            lines.append(line)
        return None if line is None else lines

    def next(self) -> Event | None:
        """The next event; None at the end of the stream."""
        deadline = time.monotonic() + PATIENCE
        while (lines := self.lines()) is not None:
            assert time.monotonic() < deadline, "no event came"
            if lines[0].startswith(":"):
                self.comments += 1
                continue
            fields = dict(line.partition(": ")[::2] for line in lines)
            assert len(fields) == len(lines)
            data = json.loads(fields["data"], parse_constant=_refuse)
            return Event(fields["event"], data, fields.get("id", ""), tuple(lines))
        return None

    def rows(self) -> dict[str, Any]:
        """All rows, which come next."""
        event = self.next()
        assert event is not None and event.name == "rows", event
        return dict(event.data)


def _refuse(constant: str) -> None:
    raise ValueError(f"JSON.parse refuses {constant}")


def follow(stream: Any, rows: dict[str, Any], until: Callable[[dict[str, Any]], bool]) -> int:
    """Keep ``rows`` as a page does until they are as wanted, and return the number of events."""
    count = 0
    while not until(rows):
        event = stream.next()
        assert event is not None and event.name in {"rows", "step"}, event
        count += 1
        if event.name == "rows":
            rows.clear()
            rows.update(event.data)
        else:
            for key in event.data["gone"]:
                del rows[key]  # it had been sent
            rows.update(event.data["put"])
    return count
