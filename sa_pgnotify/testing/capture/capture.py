"""Capture events in a test: expect one, wait for it, and know that there is no other.

::

    with CapturedChanges(engine, Order) as captured:
        place_order(engine)                                      # commits
        event = captured.expect(Inserted, Order, timeout=5.0)
        captured.none(Deleted)

NOTIFY and the change log publish at COMMIT, but most tests are rolled back. So it depends on the
argument: of an Engine, what is committed is captured, as a :class:`~sa_pgnotify.Listener` receives
it; of a Connection or Session, what its transaction would publish at a COMMIT, as
:mod:`sa_pgnotify.testing.capture.transaction` explains. To know that nothing came, no time is spent
waiting: a notification of its own, the fence, is sent after everything else, and when it arrives,
everything has arrived.
"""

from __future__ import annotations

import asyncio
import time
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

from sqlalchemy import Connection, Engine
from sqlalchemy.orm import Session, scoped_session
from sqlalchemy.util import greenlet_spawn

from ...drivers import ListenConnection, connect
from ...errors import NotifyConfigError, PgNotifyError
from ...events.kinds import Event, Notification
from ...listening.async_listener import AsyncListener
from ...listening.listener import Listener
from ...log.captures import covers
from ...log.tables import LogNames
from ...marking.sources import Wanted, expand
from ...marking.spec import marking_of
from ...sql import literal
from .expectations import Caught, check_what
from .transaction import Transaction

__all__ = ["AsyncCapturedChanges", "CapturedChanges"]

_WITHIN = "in this transaction"


class _Fence:
    """A notification that is sent after everything else: once it has arrived, so has everything that
    was committed before it.

    :ivar durable: whether a change log is read as well. The listener reads what is new in the log
        when it is asked to subscribe: once it has answered, it has read what came before.
    """

    def __init__(self, wanted: Wanted) -> None:
        self.channel = f"sa_pgnotify_fence_{uuid4().hex}"
        markings = [m for m in map(marking_of, wanted.tables) if m is not None]
        self.durable = any(marking.durable for marking in markings)
        self._captured = {m.log_schema for m in markings if m.capture == "wal"}
        self._sent = 0

    def is_captured(self, connection: ListenConnection, timeout: float) -> bool:
        """Wait until the log has what was committed to captured tables, and return whether it does."""
        return all(
            covers(connection.execute, LogNames(schema), timeout) for schema in self._captured
        )

    def send(self, connection: ListenConnection) -> None:
        self._sent += 1
        connection.execute(f"SELECT pg_catalog.pg_notify({literal(self.channel)}, '{self._sent}')")

    def is_own(self, event: Event) -> bool:
        return isinstance(event, Notification) and event.channel == self.channel

    def is_last(self, event: Event) -> bool:
        return (
            self.is_own(event)
            and isinstance(event, Notification)
            and event.payload == str(self._sent)
        )


class _BaseCaptured:
    """What the blocking and the asyncio class share."""

    def __init__(self, bind: Any, *sources: Any) -> None:
        """
        :param bind: an Engine, to capture what is committed; or a Connection or Session, to capture
            what its transaction would publish.
        :param sources: as a Listener takes them; plain channels only with an Engine.
        """
        self._bind = bind
        self._sources = sources
        self._wanted = expand(sources)
        self._caught = Caught()
        self._transaction: Transaction | None = None
        self._listener: Any = None
        self._sender: ListenConnection | None = None
        self._fence = _Fence(self._wanted)

    @property
    def events(self) -> list[Event]:
        """All events that have come until now, in order, expected or not."""
        return list(self._caught.events)

    def _take(self, events: list[Event]) -> None:
        self._caught.add(event for event in events if not self._fence.is_own(event))

    def _late(self, timeout: float) -> AssertionError:
        return AssertionError(
            f"the server did not answer within {timeout:g} s, so it is not known which events came"
        )

    def _begin_transaction(self, connection: Connection) -> None:
        self._transaction = Transaction(connection, self._sources)

    def _read(self) -> None:
        if self._transaction is None:
            raise PgNotifyError("nothing is captured yet", "Use CapturedChanges in a with block")
        self._take(self._transaction.read())

    def _end(self) -> None:
        if self._transaction is not None:
            self._transaction.close()
            self._transaction = None
        if self._sender is not None:
            self._sender.close()
            self._sender = None


class CapturedChanges(_BaseCaptured):
    """Captures the events of ``sources``, from the beginning of its ``with`` block.

    :raises TriggersMissing: where the block begins, if a table has no enabled triggers.
    """

    def __enter__(self) -> Self:
        if isinstance(self._bind, Engine):
            self._listener = Listener(self._bind, *self._sources, self._fence.channel).start()
            try:
                self._sender = connect(self._bind)
            except BaseException:
                self._listener.stop()
                raise
        else:
            self._begin_transaction(_connection_of(self._bind))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._listener is not None:
            self._listener.stop()
        self._end()

    def expect(self, *what: Any, timeout: float = 5.0, **fields: Any) -> Any:
        """Return the first event that matches and was not expected before.

        It waits for the event if necessary; within a transaction that is never necessary.

        :param what: a kind of event, an entity or plain channel, or both: ``expect(Updated,
            Order)``. If several kinds or several entities are given, any of them matches:
            ``expect(Inserted, Updated, Order)``.
        :param timeout: seconds to wait for the event.
        :param fields: what its attributes must be equal to: ``identity=(7,)``,
            ``changed={"status"}``.
        :raises AssertionError: if none comes; it lists the events that came.
        """
        check_what(self._wanted, what, fields)
        deadline = time.monotonic() + timeout
        if self._listener is None:
            self._read()
        while (found := self._caught.take(what, fields)) is None:
            event = (
                None
                if self._listener is None
                else self._listener.get(max(0.0, deadline - time.monotonic()))
            )
            if event is None:
                raise self._caught.missing(
                    what, fields, _WITHIN if self._listener is None else f"within {timeout:g} s"
                )
            self._take([event])
        return found

    def none(self, *what: Any, timeout: float = 5.0, **fields: Any) -> None:
        """Check that no event matches, of all that was committed (within a transaction: written)
        before this call and was not expected yet.

        :param what: as for :meth:`expect`, like ``fields``; nothing matches any event.
        :param timeout: seconds that the server may take to answer. No time is spent waiting for
            silence.
        :raises AssertionError: if an event matches.
        """
        check_what(self._wanted, what, fields)
        self._up_to_now(timeout)
        self._caught.refuse(what, fields)

    def so_far(self, timeout: float = 5.0) -> list[Event]:
        """Return all events of what was committed (within a transaction: written) before this call,
        in order, expected or not."""
        self._up_to_now(timeout)
        return self.events

    def _up_to_now(self, timeout: float) -> None:
        if self._listener is None:
            self._read()
            return
        assert self._sender is not None
        deadline = time.monotonic() + timeout
        if not self._fence.is_captured(self._sender, timeout):
            raise self._late(timeout)
        if self._fence.durable:
            self._listener.subscribe(self._fence.channel)
        self._fence.send(self._sender)
        while (
            event := self._listener.get(max(0.0, deadline - time.monotonic()))
        ) is None or not self._fence.is_last(event):
            if event is None:
                raise self._late(timeout)
            self._take([event])
        if self._fence.durable:
            self._listener.subscribe(self._fence.channel)
            self._take(list(self._listener.events(timeout=0)))


class AsyncCapturedChanges(_BaseCaptured):
    """Captures events in an event loop, from an AsyncEngine, AsyncConnection or AsyncSession.

    It is used with ``async with``, and each method is awaited.
    """

    async def __aenter__(self) -> Self:
        engine = getattr(self._bind, "sync_engine", None)
        if hasattr(self._bind, "run_sync"):
            await self._bind.run_sync(lambda sync: self._begin_transaction(_connection_of(sync)))
        elif isinstance(engine, Engine):
            self._listener = await AsyncListener(
                self._bind, *self._sources, self._fence.channel
            ).start()
            try:
                self._sender = await greenlet_spawn(connect, engine)
            except BaseException:
                await self._listener.stop()
                raise
        else:
            raise _refused(self, self._bind)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._listener is not None:
            await self._listener.stop()
        await greenlet_spawn(self._end)

    # as the thread's
    async def expect(self, *what: Any, timeout: float = 5.0, **fields: Any) -> Any:  # noqa: ASYNC109
        """Return an event, like :meth:`CapturedChanges.expect`."""
        check_what(self._wanted, what, fields)
        clock = asyncio.get_running_loop().time
        deadline = clock() + timeout
        if self._listener is None:
            await greenlet_spawn(self._read)
        while (found := self._caught.take(what, fields)) is None:
            event = (
                None
                if self._listener is None
                else await self._listener.get(max(0.0, deadline - clock()))
            )
            if event is None:
                raise self._caught.missing(
                    what, fields, _WITHIN if self._listener is None else f"within {timeout:g} s"
                )
            self._take([event])
        return found

    # as the thread's
    async def none(self, *what: Any, timeout: float = 5.0, **fields: Any) -> None:  # noqa: ASYNC109
        """Check that no event matches, like :meth:`CapturedChanges.none`."""
        check_what(self._wanted, what, fields)
        await self._up_to_now(timeout)
        self._caught.refuse(what, fields)

    async def so_far(self, timeout: float = 5.0) -> list[Event]:  # noqa: ASYNC109 (as the thread's)
        """Return all events so far, like :meth:`CapturedChanges.so_far`."""
        await self._up_to_now(timeout)
        return self.events

    async def _up_to_now(self, timeout: float) -> None:  # noqa: ASYNC109 (as the thread's)
        if self._listener is None:
            await greenlet_spawn(self._read)
            return
        assert self._sender is not None
        clock = asyncio.get_running_loop().time
        deadline = clock() + timeout
        if not await greenlet_spawn(self._fence.is_captured, self._sender, timeout):
            raise self._late(timeout)
        if self._fence.durable:
            await self._listener.subscribe(self._fence.channel)
        await greenlet_spawn(self._fence.send, self._sender)
        while (
            event := await self._listener.get(max(0.0, deadline - clock()))
        ) is None or not self._fence.is_last(event):
            if event is None:
                raise self._late(timeout)
            self._take([event])
        if self._fence.durable:
            await self._listener.subscribe(self._fence.channel)
            self._take([event async for event in self._listener.events(timeout=0)])


def _connection_of(bind: Any) -> Connection:
    """Return the connection to capture from.

    :raises NotifyConfigError: if ``bind`` is neither a connection nor a session.
    """
    if isinstance(bind, Connection):
        return bind
    if isinstance(bind, Session | scoped_session):
        return bind.connection()
    raise _refused(CapturedChanges, bind)


def _refused(capture: object, bind: object) -> NotifyConfigError:
    name = getattr(capture, "__name__", type(capture).__name__)
    return NotifyConfigError(
        name,
        f"it captures from an Engine, a Connection or a Session (AsyncCapturedChanges: from those of asyncio), not {type(bind).__name__}",
    )
