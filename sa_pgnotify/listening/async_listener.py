"""The listener for asyncio: one task reads the connection, and the program takes events from a
buffer. It uses no thread."""

from __future__ import annotations

import asyncio
import inspect
import weakref
from collections.abc import AsyncIterator, Callable, Generator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack, overload

from sqlalchemy.util import greenlet_spawn

from ..drivers.waiting import LoopWaiting
from ..errors import ConnectionLost, PgNotifyError
from ..events.changes import E_co
from ..events.kinds import Event
from ..states import OnState
from ..subscription.engines import asyncio_engine
from .handlers import Turn
from .interface import BaseListener, ListenerOptions, Source, added, removed
from .receiver import Receiver
from .taking import AsyncTaker, async_events

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

__all__ = ["AsyncListener"]


class AsyncListener(BaseListener[E_co]):
    """Yields the events of ``sources`` in an event loop of asyncio or uvloop.

    ::

        async with AsyncListener(async_engine, Order) as listener:
            async for event in listener:
                ...

    Once :meth:`start` has returned, LISTEN is committed: no later change is missed without a
    :class:`~sa_pgnotify.Gap`. A listener belongs to the loop in which it was started; only
    :meth:`stop` may be called from elsewhere. Every await may be cancelled without losing an event,
    because an event is taken after the last wait.

    :param engine: an AsyncEngine of PostgreSQL and asyncpg or psycopg. The listener opens a
        connection of its own, in the way that the engine does.
    :param sources: mapped classes, Tables, a MetaData or declarative base (for all of its marked
        tables), names of plain channels.
    :param buffer_size: how many events may wait for the program; beyond that it gets a
        ``Gap("overflow")``.
    :param heartbeat: seconds between two queries that check the connection. A dead connection is
        noticed within two of them.
    :param on_error: called (and awaited, if it returns an awaitable) with a handler's exception and
        the event. By default :meth:`run` raises the exception.
    :param on_state: called with each :class:`~sa_pgnotify.StateChange`, in the listener's loop, so
        it must not block.
    :raises NotifyConfigError: if a source cannot be listened to, or has nothing that is marked; if
        the engine is not an AsyncEngine.
    """

    @overload
    def __init__(
        self, engine: AsyncEngine, source: type[E_co], /, **options: Unpack[ListenerOptions]
    ) -> None: ...

    @overload
    def __init__(
        self: AsyncListener[Any],
        engine: AsyncEngine,
        *sources: Source,
        **options: Unpack[ListenerOptions],
    ) -> None: ...

    def __init__(
        self,
        engine: AsyncEngine,
        *sources: Any,
        buffer_size: int = 100_000,
        heartbeat: float = 10.0,
        on_error: Callable[[Exception, Event], object] | None = None,
        on_state: OnState | None = None,
    ) -> None:
        blocking = asyncio_engine(engine, "AsyncListener", "Listener")
        super().__init__(blocking, sources, buffer_size, heartbeat, on_state)
        self._on_error = on_error
        self._task: asyncio.Task[None] | None = None
        self._taker: AsyncTaker | None = None
        self._finalizer = weakref.finalize(self, _nothing)

    # -- life --------------------------------------------------------------------------------------

    async def start(self) -> Self:
        """Connect, LISTEN and check that notifications arrive; then read in the background.

        :raises TriggersMissing: if a table has no enabled triggers.
        :raises ListenUnavailable: if no connection can be made, on a standby, or through a pooler
            that swallows LISTEN.
        :raises PgNotifyError: if it has been started already.
        """
        self._may_start(runs=self._runs())
        loop = asyncio.get_running_loop()
        waiting = LoopWaiting(loop)
        receiver = self._receiver = self._receiver_with(waiting)
        self._taker = AsyncTaker(receiver, loop)
        begun = loop.create_future()
        task = self._task = waiting.task = loop.create_task(
            _listen(receiver, begun), name="sa_pgnotify listener"
        )
        self._finalizer.detach()
        # The task has no reference to the listener, so that it ends when the listener is dropped.
        self._finalizer = weakref.finalize(self, receiver.stop)
        self._finalizer.atexit = False
        try:
            await asyncio.wait((task, begun), return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            receiver.stop()  # not self.stop(), because self may have been started again
            await Stopping(task)
            if not task.cancelled():
                task.exception()  # marks it as retrieved
            raise
        if not begun.done():
            if task.cancelled() and not receiver.link.stopping:
                raise ConnectionLost("the listener's task was cancelled, and not by stop()")
            if not task.cancelled():
                task.result()
        return self

    def stop(self) -> Stopping:
        """End every iteration now, close the connection and end the task.

        Safe from any thread, from a signal handler, and twice; also during :meth:`start`, which
        then returns at once.

        :returns: an awaitable, for the listener's loop: it waits until the connection is closed and
            the task has ended. It need not be awaited, for example in a callback or with
            ``loop.add_signal_handler``.
        """
        if self._receiver is not None:
            self._receiver.stop()
        return Stopping(self._task if self._runs() else None)

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    def _runs(self) -> bool:
        """Whether the listener's task runs, in a loop that is not closed, in this process."""
        task, receiver = self._task, self._receiver
        return (
            task is not None
            and not task.done()
            and not task.get_loop().is_closed()
            and receiver is not None
            and receiver.link.is_ours
        )

    # -- taking events -----------------------------------------------------------------------------

    def __aiter__(self) -> AsyncIterator[Event[E_co]]:
        return self.events()

    def events(self, timeout: float | None = None) -> AsyncIterator[Event[E_co]]:
        """Yield events until :meth:`stop`, or until ``timeout`` seconds have passed without one; with
        0, only the events that wait already.

        Several tasks may iterate, each by its own call; each event goes to one of them.
        """
        return async_events(self._here, timeout)

    # of silence, not of the whole
    async def get(self, timeout: float | None = None) -> Event[E_co] | None:  # noqa: ASYNC109
        """Return the next event; None after ``timeout`` seconds without one, or when the listener is
        stopped."""
        taker = self._here()
        try:
            return await taker.get(timeout)
        except BaseException:
            del self  # as in async_events()
            raise

    def _here(self) -> AsyncTaker:
        """Return what takes events in this event loop.

        :raises PgNotifyError: if the listener was not started, or was started in another event loop
            or process.
        """
        self._started()
        assert self._taker is not None
        self._taker.refuse_elsewhere()
        return self._taker

    # -- handlers ----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Call the handlers that match each event, in the order of registration, until :meth:`stop`.

        If a handler returns an awaitable, it is awaited before the next handler is called. An
        exception of a handler is passed to ``on_error``; by default this method raises it. If it is
        called again then, it goes on with the next handler.
        """
        events, handlers, on_error = self.events(), self._handlers, self._on_error
        buffer = self._started()
        del self  # as in get()
        while True:
            turn = Turn(handlers)
            try:
                if handlers.kept and not buffer.stopped:
                    turn = handlers.kept[0]
                    del handlers.kept[0]
                else:
                    async for event in events:
                        turn.event = event
                        break
                    else:
                        return
                for handler in turn:
                    try:
                        await _done(handler(turn.event))
                    except Exception as error:
                        if on_error is None:
                            raise
                        assert turn.event is not None
                        await _done(on_error(error, turn.event))
            finally:
                turn.end()

    # -- subscriptions -----------------------------------------------------------------------------

    async def subscribe(self, *sources: Source) -> None:
        """Listen to more sources, and return when the database has confirmed it. If this is cancelled,
        the change may still be made.

        If it raises an error, nothing has changed.

        :raises TriggersMissing: as :meth:`start`.
        :raises NotifyConfigError: as the constructor.
        :raises ConnectionLost: if the connection broke, or the listener was stopped, before that.
        """
        await self._command(added(sources))

    async def unsubscribe(self, *sources: Source) -> None:
        """Stop listening to ``sources``, and return when the database has confirmed it. Buffered
        events are still yielded.

        :raises NotifyConfigError: if one of them was not given to the constructor or to
            :meth:`subscribe`.
        """
        await self._command(removed(sources))

    async def _command(self, change: Callable[[list[Any]], list[Any]]) -> None:
        if self._receiver is None or self._receiver.ended:
            self._sources[:] = change(self._sources)
            return
        self._here()
        await asyncio.wrap_future(self._receiver.ask(change))


class Stopping:
    """What :meth:`AsyncListener.stop` returns. To await it is to wait for the end of the listener's
    task."""

    def __init__(self, task: asyncio.Task[None] | None) -> None:
        self._task = task

    def __await__(self) -> Generator[Any, None, None]:
        task = self._task
        if task is None or task.done() or task is asyncio.current_task():
            return
        if task.get_loop() is not asyncio.get_running_loop():
            raise PgNotifyError(
                "this listener was started in another event loop", "Await its end there"
            )
        yield from asyncio.wait((task,)).__await__()


async def _listen(receiver: Receiver, begun: asyncio.Future[None]) -> None:
    await greenlet_spawn(receiver.begin)
    if not begun.done():
        begun.set_result(None)
    await greenlet_spawn(receiver.run)


async def _done(result: Any) -> None:
    if inspect.isawaitable(result):
        await result


def _nothing() -> None: ...
