"""Events for a test: expect one, wait for it, and know that there is no other.

::

    with CapturedChanges(engine, Order) as captured:
        place_order(engine)                                      # commits
        event = captured.expect(Inserted, Order, timeout=5.0)
        captured.none(Deleted)

It is hard because NOTIFY and the change log tell at COMMIT, and most tests are rolled back. So it
depends on what it is given: of an Engine, what is committed is captured, as a
:class:`~sa_pgnotify.Listener` is told of it; of a Connection or Session, what its transaction would
tell at a COMMIT, as :mod:`sa_pgnotify.testing.capture.transaction` explains. That nothing came is
found out without waiting for silence: a notification of our own is sent behind everything, and when
it arrives all has arrived.
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
from ...marking.sources import Wanted, expand
from ...marking.spec import marking_of
from ...sql import literal
from .expectations import Caught, check_what
from .transaction import Transaction

__all__ = ["AsyncCapturedChanges", "CapturedChanges"]

_WITHIN = "in this transaction"


class _Fence:
    """A notification behind everything: once it has arrived, so has what was committed before it.

    :ivar durable: whether a change log is read as well, of which the listener reads what is new
        when it is asked to subscribe: what the answer to that is behind, it has read.
    """

    def __init__(self, wanted: Wanted) -> None:
        self.channel = f"sa_pgnotify_fence_{uuid4().hex}"
        self.durable = any(
            marking is not None and marking.durable for marking in map(marking_of, wanted.tables)
        )
        self._sent = 0

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
    """What both ways to wait share."""

    def __init__(self, bind: Any, *sources: Any) -> None:
        """
        :param bind: an Engine, to capture what is committed; or a Connection or Session, to capture
            what its transaction would tell.
        :param sources: as a Listener takes them; plain channels of an Engine only.
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
        """All that came until now, in order, expected or not."""
        return list(self._caught.events)

    def _take(self, events: list[Event]) -> None:
        self._caught.add(event for event in events if not self._fence.is_own(event))

    def _late(self, timeout: float) -> AssertionError:
        return AssertionError(
            f"the server did not answer within {timeout:g} s, so it is not known what came"
        )

    def _begin_transaction(self, connection: Connection) -> None:
        self._transaction = Transaction(connection, self._sources)

    def _read(self) -> None:
        if self._transaction is None:
            raise PgNotifyError("nothing is captured here: use it in a with block")
        self._take(self._transaction.read())

    def _end(self) -> None:
        if self._transaction is not None:
            self._transaction.close()
            self._transaction = None
        if self._sender is not None:
            self._sender.close()
            self._sender = None


class CapturedChanges(_BaseCaptured):
    """The events of ``sources``, from the beginning of its ``with`` block.

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
        """The first event that fits and was not expected before. It waits, if it has to; within a
        transaction it never has to.

        :param what: a kind of event, an entity or plain channel, or both: ``expect(Updated,
            Order)``. Of several kinds any does, and of several entities: ``expect(Inserted,
            Updated, Order)``.
        :param timeout: seconds that it may take.
        :param fields: what its attributes must be equal to: ``identity=(7,)``,
            ``changed={"status"}``.
        :raises AssertionError: if none comes; it lists what did.
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
        """No event fits, of all that was committed (or written, within a transaction) before this
        call and was not expected yet.

        :param what: and ``fields``, as for :meth:`expect`; nothing for any event.
        :param timeout: seconds that the server may take to answer; silence is not waited for.
        :raises AssertionError: if one does.
        """
        check_what(self._wanted, what, fields)
        self._up_to_now(timeout)
        self._caught.refuse(what, fields)

    def so_far(self, timeout: float = 5.0) -> list[Event]:
        """All events of what was committed (or written) before this call, in order, expected or
        not."""
        self._up_to_now(timeout)
        return self.events

    def _up_to_now(self, timeout: float) -> None:
        if self._listener is None:
            self._read()
            return
        assert self._sender is not None
        deadline = time.monotonic() + timeout
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
    """The same in an event loop, of an AsyncEngine, AsyncConnection or AsyncSession: ``async
    with``, and each method is awaited."""

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
        """As :meth:`CapturedChanges.expect`."""
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
        """As :meth:`CapturedChanges.none`."""
        check_what(self._wanted, what, fields)
        await self._up_to_now(timeout)
        self._caught.refuse(what, fields)

    async def so_far(self, timeout: float = 5.0) -> list[Event]:  # noqa: ASYNC109 (as the thread's)
        """As :meth:`CapturedChanges.so_far`."""
        await self._up_to_now(timeout)
        return self.events

    async def _up_to_now(self, timeout: float) -> None:  # noqa: ASYNC109 (as the thread's)
        if self._listener is None:
            await greenlet_spawn(self._read)
            return
        assert self._sender is not None
        clock = asyncio.get_running_loop().time
        deadline = clock() + timeout
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
    """
    :raises NotifyConfigError: if it is neither a connection nor a session.
    """
    if isinstance(bind, Connection):
        return bind
    if isinstance(bind, Session | scoped_session):
        return bind.connection()
    raise _refused(CapturedChanges, bind)


def _refused(who: object, bind: object) -> NotifyConfigError:
    name = getattr(who, "__name__", type(who).__name__)
    return NotifyConfigError(
        name,
        f"it takes an Engine, a Connection or a Session (AsyncCapturedChanges those of asyncio), not {type(bind).__name__}",
    )
