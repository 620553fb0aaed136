"""The listener for programs with threads: its own thread keeps the connection, and the program takes
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

    :param engine: an engine of PostgreSQL and psycopg2 or psycopg. The listener makes a connection
        of its own the way the engine does.
    :param sources: mapped classes, Tables, a MetaData or declarative base (for all of its marked
        tables), names of plain channels.
    :param buffer_size: how many events may wait for the program; beyond that it gets a
        ``Gap("overflow")``.
    :param heartbeat: seconds between two questions to the server. A dead connection is noticed within
        two of them.
    :param on_error: called with what a handler raised and the event; by default the error leaves
        :meth:`run`.
    :param on_state: called with each :class:`~sa_pgnotify.StateChange`, in the thread that reads:
        it must not block.
    :raises NotifyConfigError: if a source cannot be listened to, or has nothing that is marked; if the
        engine is asyncio's.
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
        """Connect, LISTEN and make sure that notifications arrive; then read in the background.

        :raises TriggersMissing: if a table has no enabled triggers.
        :raises ListenUnavailable: if there is no connection, on a standby, or through a pooler that
            swallows LISTEN.
        :raises PgNotifyError: if it has been started already.
        """
        if self._starter != os.getpid():
            # In the child of a fork the locks that another thread held stay locked.
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
            # The thread does not hold the listener, so that one which was dropped ends.
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
        receiver = Receiver(
            self._engine, self._sources, waiting, self._buffer_size, self._heartbeat, self._states
        )
        direct_read = DirectRead(receiver.buffer, receiver.continuity, waiting)
        receiver.direct_read = direct_read
        self._taker, self._receiver = ThreadTaker(receiver, direct_read), receiver
        return receiver

    def stop(self) -> None:
        """End every iteration now, close the connection and end the thread. Safe from any thread,
        from a signal handler, and twice; while :meth:`start` is at work too, which then returns at
        once.

        Only an attempt to connect that is under way cannot be broken off: its thread ends with it.
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
        """
        :raises PgNotifyError: if the listener was not started, or was before a fork.
        """
        self._started()
        assert self._taker is not None
        return self._taker

    def __iter__(self) -> Iterator[Event[E_co]]:
        return self.events()

    def events(self, timeout: float | None = None) -> Iterator[Event[E_co]]:
        """Yield events until :meth:`stop`, or until ``timeout`` seconds have passed without one; with
        0, those that wait."""
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
        """Return a descriptor that is readable while events may wait, for loops that watch descriptors
        (``select``, ``loop.add_reader``, Twisted's reactor). When it is, take what is there: ``for
        event in listener.events(timeout=0)``, which does not wait.

        It is the same from :meth:`start` to :meth:`stop`, which closes it: take it out of the loop
        before.

        :returns: the descriptor; -1 after :meth:`stop`.
        :raises PgNotifyError: if the listener was not started, or before a fork.
        """
        return self._here().fileno()

    # -- handlers ----------------------------------------------------------------------------------

    def _check_handler(self, handler: Any) -> None:
        if inspect.iscoroutinefunction(handler):
            raise _is_async(handler)

    def run(self) -> None:
        """Call the handlers that fit each event, in the order of registration, until :meth:`stop`.

        An error of a handler goes to ``on_error``, by default out of this method; the next call of
        this method goes on with the handler after it.

        :raises NotifyConfigError: if a handler, or ``on_error``, turns out to be async.
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
        """Listen to more; return when the database has confirmed. Safe from any thread.

        :raises TriggersMissing: as :meth:`start`; nothing has changed then.
        :raises NotifyConfigError: as the constructor; nothing has changed then.
        :raises ConnectionLost: if the connection broke meanwhile, or the listener was stopped;
            nothing has changed then.
        """
        self._command(added(sources))

    def unsubscribe(self, *sources: Source) -> None:
        """Stop listening to ``sources``; return when the database has confirmed. Buffered events are
        still yielded.

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
