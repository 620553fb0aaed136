"""The hub of a web server's process: browsers come and go, and each sees its rows change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Hashable
from contextlib import aclosing, asynccontextmanager
from types import TracebackType
from typing import Any, Self
from weakref import WeakValueDictionary

from sqlalchemy import ColumnElement, Row, Select
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from ..errors import NotifyConfigError
from ..live.async_feed import async_feed_of
from ..live.interface import new_query
from ..live.query import Query
from ..live.row_security import RowSecurity
from ..live.statement import LiveStatement, shape_of, values_of
from ..subscription.engines import asyncio_engine
from .browser import Browser
from .channel import Channel, Ended
from .ending import Ending
from .message import Message
from .row_json import plain

__all__ = ["Hub"]

HEARTBEAT = 15.0
"""Seconds of silence after which a comment is sent, so that no proxy closes the connection, and a
browser that is gone is noticed."""
PATIENCE = 0.5
"""Seconds that :meth:`Hub.stop` waits for evaluations that run, before it cancels them."""
GONE = (WebSocketDisconnect, RuntimeError, OSError)
"""What servers raise when something is sent to a browser that has gone."""
Criterion = Callable[[Any], ColumnElement[bool]]


class Hub:
    """Live pages of a web server: the rows of a statement, and then each change of them.

    ::

        hub = Hub(async_engine, authorize=RowSecurity(role="web_user", setting="app.user_id"))

        @app.get("/orders/live")
        async def live(request: Request, user: User = Depends(current_user)):
            statement = select(Order).where(Order.status == "open")
            return hub.events(statement, as_=str(user.id), request=request)

    A stream begins with the event ``rows``: an array of ``[key, row]``, in place of what the page
    has. Then come ``step`` events: ``{"put": [[key, row], ...], "gone": [key, ...]}``; of a statement
    with ORDER BY also ``"order": [key, ...]``, the keys of all rows. The event ``failed`` says that
    PostgreSQL refuses the statement.

    A browser that reconnects sends the id of the last event, and is sent what has changed since; by
    a process that does not know the id, all rows. A browser that reads slowly is sent fewer and
    larger steps. When the process is asked to end (SIGTERM, SIGINT), all streams end at once.

    :param engine: an asyncio engine. Each process has one listening connection for all browsers, and
        uses one connection of the pool for the time of an evaluation.
    :param authorize: who sees which rows: :class:`RowSecurity`, or a function that returns a
        condition for what ``as_`` is, which is added to the statement. None: everybody sees all.
    :param encode: makes what JSON can express of a row. By default an entity is an object of its
        loaded columns, and what JSON does not have is a text.
    :param heartbeat: seconds of silence after which something is sent.
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
        self._authorize = authorize
        self._encode = encode
        self._heartbeat = heartbeat
        self._channels: dict[Hashable, Channel] = {}
        self._statements: WeakValueDictionary[Hashable, LiveStatement] = WeakValueDictionary()
        self._shapes: WeakValueDictionary[Hashable, LiveStatement] = WeakValueDictionary()
        self._ending = Ending()
        self._stopping: set[asyncio.Task[None]] = set()

    def events(
        self, statement: Select[Any], *, request: Request, as_: Any = None
    ) -> StreamingResponse:
        """Return a response of server-sent events.

        :param as_: who sees the rows; a text for :class:`RowSecurity`.
        :param request: of the browser. Its header ``Last-Event-ID`` says what the page has.
        :raises NotifyConfigError: if the statement cannot be followed, or if ``as_`` is missing.
        """
        live = self._live(statement, as_)
        last_id = request.headers.get("last-event-id")
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return _EventStream(
            self._stream(live, as_, last_id), media_type="text/event-stream", headers=headers
        )

    async def websocket(
        self, statement: Select[Any], *, websocket: WebSocket, as_: Any = None
    ) -> None:
        """Accept a WebSocket, and send the same events on it, each as a JSON object with ``event``,
        ``id`` and ``data``, until it is closed.

        :param as_: see :meth:`events`.
        :param websocket: of the browser. Its query parameter ``last_event_id`` says what the page
            has.
        :raises NotifyConfigError: as :meth:`events`.
        """
        live = self._live(statement, as_)
        await websocket.accept()
        sending = asyncio.create_task(self._send(websocket, live, as_))
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
        """End all streams, and those that come."""
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

    def _live(self, statement: Select[Any], as_: Any) -> LiveStatement:
        """Return the statement that a browser follows, which those of others may share."""
        given: Select[Any] | None = None
        criterion: ColumnElement[bool] | None = None
        if isinstance(self._authorize, RowSecurity):
            if not isinstance(as_, str) or not as_:
                raise NotifyConfigError(
                    "Hub",
                    f"as_={as_!r} names no user",
                    "Give the text that the policies compare with",
                )
        elif self._authorize is not None:
            if as_ is None:
                raise NotifyConfigError(
                    "Hub", "as_ is missing, so authorize= has nobody to decide for"
                )
            given, criterion = statement, self._authorize(as_)
            statement = given.where(criterion)
        shape, parameters = shape_of(statement)
        found = self._statements.get((shape, values_of(parameters)))
        if found is not None:  # to analyse one takes milliseconds
            return found
        if given is not None and shape not in self._shapes:
            _refuse_unrelated(given, statement, criterion)
        live = LiveStatement(statement, "Hub")
        self._shapes[live.shape] = self._statements[live.shape, live.values] = live
        return live

    def _query(self, live: LiveStatement, as_: Any, ready: Callable[[], None]) -> Query:
        seen_by = (self._authorize, as_) if isinstance(self._authorize, RowSecurity) else None
        options: dict[str, Any] = {"old": False, "rows": live.is_ordered, "refresh": None}
        return new_query("Hub", live, ready, seen_by=seen_by, **options)

    @asynccontextmanager
    async def _browser(
        self, live: LiveStatement, as_: Any, last_id: str | None
    ) -> AsyncIterator[Browser]:
        self._ending.watch()
        who = as_ if isinstance(self._authorize, RowSecurity) else None
        key = (live.shape, live.values, who)
        channel = self._channels.get(key)
        if channel is None or channel.is_over:
            feed = async_feed_of(self._engine)
            channel = Channel(feed, lambda ready: self._query(live, as_, ready), self._encode)
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
        """Stop a channel, without waiting for an evaluation that runs: a stream ends at once."""
        task = asyncio.create_task(channel.stop(), name="sa_pgnotify page stops")
        self._stopping.add(task)
        task.add_done_callback(self._stopping.discard)

    async def _messages(
        self, live: LiveStatement, as_: Any, last_id: str | None
    ) -> AsyncGenerator[Message | None]:
        """Yield what to send to one browser; None for a sign of life."""
        async with self._browser(live, as_, last_id) as browser:
            try:
                while not self._ending.has_come:
                    message = await browser.message(self._heartbeat)
                    if not self._ending.has_come:
                        yield message
            except Ended as ended:
                yield ended.message

    async def _stream(
        self, live: LiveStatement, as_: Any, last_id: str | None
    ) -> AsyncGenerator[str]:
        async with aclosing(self._messages(live, as_, last_id)) as messages:
            async for message in messages:
                for piece in (": \n\n",) if message is None else message.as_event():
                    yield piece

    async def _send(self, websocket: WebSocket, live: LiveStatement, as_: Any) -> None:
        last_id = websocket.query_params.get("last_event_id")
        async with aclosing(self._messages(live, as_, last_id)) as messages:
            async for message in messages:
                if message is not None:
                    await websocket.send_text(message.as_json())
        await websocket.close(1012)  # the service restarts


def _refuse_unrelated(statement: Select[Any], restricted: Select[Any], criterion: Any) -> None:
    """
    :raises NotifyConfigError: if the condition of ``authorize`` names a table that the statement
        does not read, so that it would not restrict the rows.
    """
    if len(restricted.get_final_froms()) > len(statement.get_final_froms()):
        raise NotifyConfigError(
            "Hub",
            f"authorize= returned {criterion}, which names a table that the statement does not have in FROM",
            "Join that table, or make a condition with exists()",
        )


class _EventStream(StreamingResponse):
    """Closes its generator when the browser has gone in the middle of a message."""

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
