"""The hub that sends live rows to all browsers of a web server's process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Hashable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Self
from weakref import WeakValueDictionary

from sqlalchemy import ColumnElement, Row, Select
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from ..arguments import refuse_not_callable
from ..errors import NotifyConfigError
from ..live.async_feed import async_feed_of
from ..live.interface import new_query
from ..live.query import Query
from ..live.row_security import RowSecurity
from ..live.statement import LiveStatement, refuse_others, shape_of, values_of
from ..subscription.engines import asyncio_engine
from .browser import Browser
from .channel import Channel, Ended
from .ending import Ending
from .message import Message
from .row_json import plain

__all__ = ["Hub"]

HEARTBEAT = 15.0
"""The seconds of silence after which a comment is sent, so that no proxy closes the connection, and
so that a browser that has gone is noticed."""
PATIENCE = 0.5
"""The seconds that :meth:`Hub.stop` waits for running evaluations before it cancels them."""
GONE = (WebSocketDisconnect, RuntimeError, OSError)
"""The errors that servers raise when something is sent to a browser that has gone."""
Criterion = Callable[[Any], ColumnElement[bool]]


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class _Page:
    """What one or more browsers follow.

    :ivar key: equal for browsers that see the same rows.
    :ivar statement: with the condition of ``authorize``.
    :ivar live: the analysis that statements of its shape share, because it takes milliseconds.
    :ivar seen_by: the row-level security and the user; None if there is none.
    """

    key: Hashable
    statement: Select[Any]
    live: LiveStatement
    seen_by: tuple[RowSecurity, str] | None


class Hub:
    """Sends the rows of statements, and then every change to them, to the browsers of live pages.

    ::

        hub = Hub(async_engine, authorize=RowSecurity(role="web_user", setting="app.user_id"))

        @app.get("/orders/live")
        async def live(request: Request, user: User = Depends(current_user)):
            statement = select(Order).where(Order.status == "open")
            return hub.events(statement, as_=str(user.id), request=request)

    A stream begins with the event ``rows``: an array of ``[key, row]`` that replaces the rows of
    the page. A key is a string. Then come ``step`` events:
    ``{"put": [[key, row], ...], "gone": [key, ...]}``. If the statement has an ORDER BY, a step
    also has ``"order": [key, ...]``, the keys of all rows. The event ``failed`` ends a stream whose
    query has failed, for example because PostgreSQL refuses the statement, or because a trigger is
    missing; the log of the process has the error.

    A browser that reconnects sends the id of the last event. If this process knows the id, the
    browser is sent what has changed since then, and otherwise all rows. A browser that reads slowly
    is sent fewer and larger steps. On SIGTERM and SIGINT, all streams end at once.

    Use a hub in one event loop at a time. ``async with hub`` stops it at the end.

    :param engine: an asyncio engine. Each process has one listening connection for all browsers,
        and borrows one connection from the pool during an evaluation.
    :param authorize: decides who sees which rows. With :class:`RowSecurity`, the policies of the
        tables do. A function is given ``as_`` and returns a condition, which is added to the
        statement. With None, everybody sees all rows.
    :param encode: converts a row to what JSON can express. By default an entity becomes an object
        of its loaded columns, and types that JSON does not have become strings.
    :param heartbeat: seconds of silence after which a comment is sent. Nothing is sent on a
        WebSocket, where servers have heartbeats of their own.
    :raises NotifyConfigError: if the engine is not an asyncio engine.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        *,
        authorize: RowSecurity | Criterion | None = None,
        encode: Callable[[Row[Any]], Any] = plain,
        heartbeat: float = HEARTBEAT,
    ) -> None:
        asyncio_engine(engine, "Hub", "a Hub of an AsyncEngine")
        self._engine = engine
        if not isinstance(authorize, RowSecurity):
            refuse_not_callable("Hub", "authorize", authorize, "the user, or a RowSecurity")
        self._authorize = authorize
        self._encode = encode
        self._heartbeat = heartbeat
        self._channels: dict[Hashable, Channel] = {}
        self._pages: WeakValueDictionary[Hashable, _Page] = WeakValueDictionary()
        self._shapes: WeakValueDictionary[Hashable, LiveStatement] = WeakValueDictionary()
        self._ending = Ending()
        self._stopping: set[asyncio.Task[None]] = set()

    def events(
        self, statement: Select[Any], *, request: Request, as_: Any = None
    ) -> StreamingResponse:
        """Return a response that streams server-sent events.

        The statement is run after the response has begun. If it fails, the stream ends with the
        event ``failed``, and the error is logged.

        :param request: the request of the browser. Its header ``Last-Event-ID`` identifies the rows
            that the page has.
        :param as_: the user who sees the rows: with :class:`RowSecurity` a string that is not
            empty, and with a function whatever it takes, but not None. Without ``authorize``, it is
            ignored.
        :raises NotifyConfigError: if the statement cannot be followed, or if ``as_`` is missing.
        """
        page = self._page(statement, as_)
        last_id = request.headers.get("last-event-id")
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return _EventStream(
            self._stream(page, last_id), media_type="text/event-stream", headers=headers
        )

    async def websocket(
        self, statement: Select[Any], *, websocket: WebSocket, as_: Any = None
    ) -> None:
        """Accept a WebSocket, and send the events of :meth:`events` on it until it is closed.

        Each event is a JSON object with ``event``, ``id`` and ``data``. When the hub or the query
        ends, the WebSocket is closed with the code 1012 (service restart).

        :param websocket: the WebSocket of the browser. Its query parameter ``last_event_id``
            identifies the rows that the page has.
        :param as_: see :meth:`events`.
        :raises NotifyConfigError: if the statement cannot be followed, or if ``as_`` is missing.
            The WebSocket is not accepted then.
        """
        page = self._page(statement, as_)
        await websocket.accept()
        sending = asyncio.create_task(self._send(websocket, page))
        receiving = asyncio.create_task(_until_closed(websocket))
        try:
            await asyncio.wait({sending, receiving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sending, receiving):
                task.cancel()
            await asyncio.wait({sending, receiving})
        error = None if sending.cancelled() else sending.exception()
        if error is not None and not isinstance(error, GONE):
            raise error

    async def stop(self) -> None:
        """End all streams, and each stream that is started later, until ``async with`` is used.

        It may be called twice. Evaluations that still run after 0.5 seconds are cancelled.
        """
        self._ending.end()
        for channel in self._channels.values():
            self._stop(channel)
        self._channels.clear()
        if self._stopping:
            _, late = await asyncio.wait(self._stopping, timeout=PATIENCE)
            for task in late:
                task.cancel()

    async def __aenter__(self) -> Self:
        self._ending.has_come = False
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    # -- streams -----------------------------------------------------------------------------------

    def _page(self, statement: Select[Any], as_: Any) -> _Page:
        """Return what a browser follows; browsers that see the same rows share it."""
        refuse_others(statement, "Hub")  # options of the execution are no part of the shape
        seen_by: tuple[RowSecurity, str] | None = None
        given: Select[Any] | None = None
        criterion: ColumnElement[bool] | None = None
        if isinstance(self._authorize, RowSecurity):
            if not isinstance(as_, str) or not as_:
                raise NotifyConfigError(
                    "Hub",
                    f"as_={as_!r} does not name a user",
                    "Pass the string that the policies compare with",
                )
            seen_by = self._authorize, as_
        elif self._authorize is not None:
            if as_ is None:
                raise NotifyConfigError(
                    "Hub", "as_ is missing", "Pass the user that authorize= should decide for"
                )
            given, criterion = statement, self._authorize(as_)
            statement = given.where(criterion)
        shape, parameters = shape_of(statement)
        key = (shape, values_of(parameters), seen_by)
        if shape is not None and (known := self._pages.get(key)) is not None:
            return known
        live = self._shapes.get(shape)
        if live is None:
            if given is not None:
                _refuse_unrelated(given, statement, criterion)
            live = LiveStatement(statement, "Hub")
            self._shapes[live.shape] = live
        page = _Page((live.shape, *key[1:]), statement, live, seen_by)
        self._pages[page.key] = page
        return page

    def _query(self, page: _Page, ready: Callable[[], None]) -> Query:
        options: dict[str, Any] = {"live": page.live, "seen_by": page.seen_by, "refresh": None}
        rows = page.live.is_ordered
        return new_query("Hub", page.statement, ready, old=False, rows=rows, **options)

    @asynccontextmanager
    async def _browser(self, page: _Page, last_id: str | None) -> AsyncIterator[Browser]:
        self._ending.watch()
        key = page.key
        channel = self._channels.get(key)
        if channel is None or channel.is_over:
            feed = async_feed_of(self._engine)
            channel = Channel(feed, partial(self._query, page), self._encode)
            self._channels[key] = channel
        browser = channel.join(last_id)
        self._ending.add(browser)
        try:
            yield browser
        finally:
            self._ending.discard(browser)
            if channel.leave(browser) and self._channels.get(key) is channel:
                del self._channels[key]
                self._stop(channel)

    def _stop(self, channel: Channel) -> None:
        """Stop a channel in a task, so that a stream does not wait for a running evaluation."""
        task = asyncio.create_task(channel.stop(), name="sa_pgnotify page stops")
        self._stopping.add(task)
        task.add_done_callback(self._stopping.discard)

    async def _messages(self, page: _Page, last_id: str | None) -> AsyncGenerator[Message | None]:
        """Yield the messages for one browser; None for a heartbeat."""
        async with self._browser(page, last_id) as browser:
            try:
                while not self._ending.has_come:
                    message = await browser.message(self._heartbeat)
                    if not self._ending.has_come:
                        yield message
            except Ended as ended:
                yield ended.message

    async def _stream(self, page: _Page, last_id: str | None) -> AsyncGenerator[str]:
        async with aclosing(self._messages(page, last_id)) as messages:
            async for message in messages:
                for piece in (": \n\n",) if message is None else message.as_event():
                    yield piece

    async def _send(self, websocket: WebSocket, page: _Page) -> None:
        last_id = websocket.query_params.get("last_event_id")
        async with aclosing(self._messages(page, last_id)) as messages:
            async for message in messages:
                if message is not None:
                    await websocket.send_text(message.as_json())
        await websocket.close(1012)  # service restart


def _refuse_unrelated(statement: Select[Any], restricted: Select[Any], criterion: Any) -> None:
    """Refuse a condition of ``authorize`` that would not restrict the rows.

    :raises NotifyConfigError: if the condition names a table that the statement does not read.
    """
    if len(restricted.get_final_froms()) > len(statement.get_final_froms()):
        raise NotifyConfigError(
            "Hub",
            f"authorize= returned {criterion}, which names a table that the statement does not have in FROM",
            "Join that table, or make a condition with exists()",
        )


class _EventStream(StreamingResponse):
    """Closes its generator also when the browser disconnects in the middle of a message."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        iterator: Any = self.body_iterator
        async with aclosing(iterator):
            await super().__call__(scope, receive, send)


async def _until_closed(websocket: WebSocket) -> None:
    try:
        while True:
            await websocket.receive()
    except GONE:
        return
