"""The listener for programs with threads: its own thread reads the connection, and the program takes
events from a buffer."""

from __future__ import annotations

import inspect
import os
import threading
import weakref
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import wait
from types import TracebackType
from typing import Any, Self, Unpack, overload

from sqlalchemy import Engine

from ..drivers.waiting import ThreadWaiting
from ..errors import ConnectionLost, NotifyConfigError, PgNotifyError
from ..events.changes import E_co
from ..events.kinds import Event
from ..states import OnState
from ..subscription.engines import blocking_engine
from .direct_read import DirectRead
from .handlers import Turn
from .interface import BaseListener, ListenerOptions, Source, added, removed
from .receiver import Receiver
from .receiver_thread import ReceiverThread
from .taking import ThreadTaker

__all__ = ["Listener"]


class Listener(BaseListener[E_co]):
    """Yields the events of ``sources``.

    ::

        with Listener(engine, Order) as listener:
            for event in listener:
                ...

    Once :meth:`start` has returned, LISTEN is committed: no later change is missed without a
    :class:`~sa_pgnotify.Gap`.

    :param engine: an engine of PostgreSQL and psycopg2 or psycopg. The listener opens a connection
        of its own, in the way that the engine does.
    :param sources: mapped classes, Tables, a MetaData or declarative base (for all of its marked
        tables), names of plain channels.
    :param buffer_size: how many events may wait for the program; beyond that it gets a
        ``Gap("overflow")``.
    :param heartbeat: seconds between two queries that check the connection. A dead connection is
        noticed within two of them.
    :param on_error: called with a handler's exception and the event. By default :meth:`run` raises
        the exception.
    :param on_state: called with each :class:`~sa_pgnotify.StateChange`, in the listener's thread,
        so it must not block.
    :raises NotifyConfigError: if a source cannot be listened to, or has nothing that is marked; if
        the engine is an asyncio engine.
    """

    @overload
    def __init__(
        self, engine: Engine, source: type[E_co], /, **options: Unpack[ListenerOptions]
    ) -> None: ...

    @overload
    def __init__(
        self: Listener[Any], engine: Engine, *sources: Source, **options: Unpack[ListenerOptions]
    ) -> None: ...

    def __init__(
        self,
        engine: Engine,
        *sources: Any,
        buffer_size: int = 100_000,
        heartbeat: float = 10.0,
        on_error: Callable[[Exception, Event], object] | None = None,
        on_state: OnState | None = None,
    ) -> None:
        blocking = blocking_engine(engine, "Listener", "AsyncListener")
        super().__init__(blocking, sources, buffer_size, heartbeat, on_state)
        self._on_error = on_error
        self._thread: ReceiverThread | None = None
        self._starting = threading.Lock()
        self._starter = os.getpid()
        self._taker: ThreadTaker | None = None
        self._finalizer = weakref.finalize(self, _nothing)

    # -- life --------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Connect, LISTEN and check that notifications arrive; then read in the background.

        :raises TriggersMissing: if a table has no enabled triggers.
        :raises ListenUnavailable: if no connection can be made, on a standby, or through a pooler
            that swallows LISTEN.
        :raises PgNotifyError: if it has been started already.
        """
        if self._starter != os.getpid():
            # In the child of a fork, a lock that another thread held stays locked for ever.
            self._starter, self._starting, self._thread = os.getpid(), threading.Lock(), None
        if not self._starting.acquire(blocking=False):
            raise PgNotifyError("this listener is being started already, by another thread")
        try:
            self._may_start(runs=self._thread is not None and self._thread.is_alive())
            self._thread = None
            if self._taker is not None:
                self._taker.close()
            receiver = self._new_receiver()
            receiver.begin()
            thread = ReceiverThread(receiver)
            # The thread has no reference to the listener, so that it ends when the listener is
            # dropped.
            self._finalizer.detach()
            self._finalizer = weakref.finalize(self, receiver.stop)
            self._finalizer.atexit = False
            thread.start()
            self._thread = thread
            return self
        finally:
            self._starting.release()

    def _new_receiver(self) -> Receiver:
        waiting = ThreadWaiting()
        receiver = self._receiver_with(waiting)
        direct_read = DirectRead(receiver.buffer, receiver.continuity, waiting)
        receiver.direct_read = direct_read
        self._taker, self._receiver = ThreadTaker(receiver, direct_read), receiver
        return receiver

    def stop(self) -> None:
        """End every iteration now, close the connection and end the thread.

        Safe from any thread, from a signal handler, and twice; also during :meth:`start`, which
        then returns at once. An attempt to connect cannot be interrupted: the thread ends when the
        attempt does.
        """
        receiver, taker, thread = self._receiver, self._taker, self._thread
        if receiver is not None and taker is not None:
            receiver.stop()
            taker.stop()
            if thread is not None:
                thread.wait()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    # -- taking events -----------------------------------------------------------------------------

    def _here(self) -> ThreadTaker:
        """Return what takes events in this process.

        :raises PgNotifyError: if the listener was not started, or was started before a fork.
        """
        self._started()
        assert self._taker is not None
        return self._taker

    def __iter__(self) -> Iterator[Event[E_co]]:
        return self.events()

    def events(self, timeout: float | None = None) -> Iterator[Event[E_co]]:
        """Yield events until :meth:`stop`, or until ``timeout`` seconds have passed without one; with
        0, only the events that wait already."""
        return self._here().events(self, timeout)

    def get(self, timeout: float | None = None) -> Event[E_co] | None:
        """Return the next event; None after ``timeout`` seconds without one, or when the listener is
        stopped.

        Several threads may take events from one listener; each event goes to one of them.
        """
        events = self.events(timeout)
        del self  # as in ThreadTaker.events()
        for event in events:  # and not next(events): see there
            return event
        return None

    def fileno(self) -> int:
        """Return a descriptor that is readable while events may wait.

        It is for loops that watch descriptors (``select``, ``loop.add_reader``, Twisted's reactor).
        When it is readable, take the events that wait: ``for event in listener.events(timeout=0)``
        does not block.

        The descriptor stays the same from :meth:`start` to :meth:`stop`. Remove it from the loop
        before :meth:`stop`, which closes it.

        :returns: the descriptor; -1 after :meth:`stop`.
        :raises PgNotifyError: if the listener was not started, or was started before a fork.
        """
        return self._here().fileno()

    # -- handlers ----------------------------------------------------------------------------------

    def _check_handler(self, handler: Any) -> None:
        if inspect.iscoroutinefunction(handler):
            raise _is_async(handler)

    def run(self) -> None:
        """Call the handlers that match each event, in the order of registration, until :meth:`stop`.

        An exception of a handler is passed to ``on_error``; by default this method raises it. If it
        is called again then, it goes on with the next handler.

        :raises NotifyConfigError: if a handler, or ``on_error``, returns an awaitable.
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
                    for event in events:
                        turn.event = event
                        break
                    else:
                        return
                for handler in turn:
                    try:
                        result = handler(turn.event)
                    except Exception as error:
                        if on_error is None:
                            raise
                        assert turn.event is not None
                        result = on_error(error, turn.event)
                    # Of a lambda, for example, which does not look async.
                    if result is not None and isinstance(result, Coroutine):
                        result.close()
                        raise _is_async(result)
            finally:
                turn.end()

    # -- subscriptions -----------------------------------------------------------------------------

    def subscribe(self, *sources: Source) -> None:
        """Listen to more sources, and return when the database has confirmed it. Safe from any thread.

        If it raises an error, nothing has changed.

        :raises TriggersMissing: as :meth:`start`.
        :raises NotifyConfigError: as the constructor.
        :raises ConnectionLost: if the connection broke, or the listener was stopped, before that.
        """
        self._command(added(sources))

    def unsubscribe(self, *sources: Source) -> None:
        """Stop listening to ``sources``, and return when the database has confirmed it. Buffered
        events are still yielded.

        :raises NotifyConfigError: if one of them was not given to the constructor or to
            :meth:`subscribe`.
        """
        self._command(removed(sources))

    def _command(self, change: Callable[[list[Any]], list[Any]]) -> None:
        receiver = self._receiver
        if receiver is None or receiver.ended:
            self._sources[:] = change(self._sources)
            return
        self._started()
        done = receiver.ask(change)
        while not done.done() and not receiver.ended:
            wait([done], timeout=1.0)
        if not done.done():  # it was asked for after the thread's last look
            raise ConnectionLost("the listener was stopped")
        done.result()


def _is_async(handler: Any) -> NotifyConfigError:
    name = getattr(handler, "__qualname__", handler)
    return NotifyConfigError(
        "Listener", f"the handler {name} is async, and would never run", "Use AsyncListener"
    )


def _nothing() -> None: ...
