"""The listener for programs with threads: a thread of its own keeps the connection, the program
takes events from a buffer."""

from __future__ import annotations

import atexit
import inspect
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import wait
from itertools import repeat
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Engine

from ..drivers.waiting import ThreadWaiting
from ..drivers.wakeup import Wakeup
from ..errors import ConnectionLost, NotifyConfigError, PgNotifyError
from ..events.changes import Event
from ..states import OnState
from .buffer import Buffer
from .direct_read import DirectRead
from .handlers import Turn
from .interface import BaseListener, added, removed
from .receiver import Receiver

__all__ = ["Listener"]

EXIT_PATIENCE = 5.0
"""Seconds that an interpreter's exit waits for the listeners' threads, which may be in attempts to
connect."""


class Listener(BaseListener):
    """Yields the events of ``sources``.

    ::

        with Listener(engine, Order) as listener:
            for event in listener:
                ...

    Once :meth:`start` has returned, LISTEN is committed: no later change is missed without a
    :class:`~sa_pgnotify.Gap`.

    :param engine: an engine of PostgreSQL and psycopg2 or psycopg. The listener makes a connection
        of its own the way the engine does.
    :param sources: mapped classes, Tables, a MetaData or declarative base (all of it that is
        marked), names of plain channels.
    :param buffer_size: how many events may wait for the program; then comes ``Gap("overflow")``.
    :param heartbeat: seconds between two questions to the server. A silent connection is found out
        within two of them.
    :param on_error: called with what a handler raised and the event; by default the error leaves
        :meth:`run`.
    :param on_state: called with each :class:`~sa_pgnotify.StateChange`, in the thread that reads:
        it must not block.
    :raises NotifyConfigError: if a source is nothing that can be listened to, or nothing of it is
        marked; if the engine is asyncio's.
    """

    def __init__(
        self,
        engine: Engine,
        *sources: Any,
        buffer_size: int = 100_000,
        heartbeat: float = 10.0,
        on_error: Callable[[Exception, Event], object] | None = None,
        on_state: OnState | None = None,
    ) -> None:
        given: Any = engine
        if hasattr(given, "sync_engine") or (isinstance(given, Engine) and given.dialect.is_async):
            raise NotifyConfigError(
                "Listener",
                "this engine is asyncio's. Use AsyncListener, and give it the AsyncEngine",
            )
        if not isinstance(given, Engine):
            raise NotifyConfigError(
                "Listener",
                f"it takes an Engine, as create_engine() makes, not {type(given).__name__}",
            )
        super().__init__(engine, sources, buffer_size, heartbeat, on_state)
        self._on_error = on_error
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._starter = os.getpid()
        # a signal that meets its acquisition leaves it to the thread that goes on
        self._taking = threading.RLock()
        self._direct_read: DirectRead | None = None
        self._bell: Wakeup | None = None
        self._finalizer = weakref.finalize(self, _nothing)

    # -- life --------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Connect, LISTEN and make sure that notifications arrive; then read in the background.

        :raises TriggersMissing: if a table has no enabled triggers.
        :raises ListenUnavailable: if there is no connection, on a standby, or through a pooler that
            swallows LISTEN.
        :raises PgNotifyError: if it has been started already.
        """
        # a fork's child, in which another thread's locks stay locked
        if self._starter != os.getpid():
            self._starter, self._starting, self._taking, self._thread = (
                os.getpid(),
                threading.Lock(),
                threading.RLock(),
                None,
            )
        if not self._starting.acquire(blocking=False):
            raise PgNotifyError("this listener is being started already, by another thread")
        try:
            self._may_start(runs=self._thread is not None and self._thread.is_alive())
            self._thread = None
            self._close_bell()
            waiting = ThreadWaiting()
            receiver = Receiver(
                self._engine,
                self._sources,
                waiting,
                self._buffer_size,
                self._heartbeat,
                self._states,
            )
            self._direct_read = receiver.direct_read = DirectRead(
                receiver.buffer, receiver.continuity, waiting
            )
            self._receiver = receiver
            receiver.begin()
            thread = threading.Thread(target=receiver.run, name="sa_pgnotify listener", daemon=True)
            self._finalizer.detach()
            # the thread does not hold the listener: one that was dropped ends
            self._finalizer = weakref.finalize(self, receiver.stop)
            self._finalizer.atexit = False
            try:
                thread.start()
            except BaseException:
                receiver.stop()
                receiver.run()  # which ends at once, and closes the connection
                raise
            self._thread = thread
            _running[thread] = receiver
            return self
        finally:
            self._starting.release()

    def stop(self) -> None:
        """End every iteration now, close the connection and end the thread. Safe from any thread,
        from a signal handler, and twice; while :meth:`start` is at work too, which then returns at
        once.

        Only an attempt to connect that is under way cannot be broken off: its thread ends with it.
        """
        receiver, direct_read, thread = self._receiver, self._direct_read, self._thread
        if receiver is not None and direct_read is not None:
            receiver.stop()
            direct_read.stop()
            self._close_bell()
            while (
                thread is not None
                and thread is not threading.current_thread()
                and thread.is_alive()
                and not receiver.link.connecting
            ):
                thread.join(0.05)

    def _close_bell(self) -> None:
        bell, self._bell = self._bell, None
        if bell is not None:
            bell.close()

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

    def __iter__(self) -> Iterator[Event]:
        return self.events()

    def events(self, timeout: float | None = None) -> Iterator[Event]:
        """Events until :meth:`stop`, or until ``timeout`` seconds have passed without one; with 0,
        those that wait."""
        buffer = self._started()
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            while True:
                current = buffer.current  # another thread may put the next one in its place
                try:
                    # A signal's handler may run after a call, and what the call returned would be
                    # lost if it raised. A step of a for loop is not a call.
                    for event in map(deque.popleft, repeat(current)):
                        if buffer.stopped:
                            return
                        yield event
                        deadline = None if timeout is None else time.monotonic() + timeout
                except IndexError:  # there are no more
                    pass
                self._started()  # a loop may have been forked in the middle
                if not self._next_item(buffer, current, deadline):
                    return
        except BaseException:
            # a notebook keeps tracebacks: a listener that was interrupted there must not live as
            # long
            del self
            raise

    def get(self, timeout: float | None = None) -> Event | None:
        """The next event; None after ``timeout`` seconds without one, or when the listener is
        stopped.

        Several threads may take events from one listener; each event goes to one of them.
        """
        events = self.events(timeout)
        del self  # as in events()
        for event in events:  # and not next(events): see there
            return event
        return None

    def fileno(self) -> int:
        """A descriptor that is readable while events may wait, for loops that watch descriptors
        (``select``, ``loop.add_reader``, Twisted's reactor). When it is, take what is there: ``for
        event in listener.events(timeout=0)``, which does not wait.

        It is the same from :meth:`start` to :meth:`stop`, which closes it: take it out of the loop
        before.

        :returns: the descriptor; -1 after :meth:`stop`.
        :raises PgNotifyError: if the listener was not started, or before a fork.
        """
        buffer = self._started()
        if self._bell is None:
            if buffer.stopped:
                return -1
            self._bell = bell = Wakeup()
            buffer.on_put.append(bell.ring)
            bell.ring()  # for what has come already
        return self._bell.fileno()

    def _next_item(self, buffer: Buffer, seen: deque[Event], deadline: float | None) -> bool:
        """Put the events of the buffer's next item in the place of ``seen``; False if there is none
        in time, or no more at all."""
        taking, direct_read, bell = self._taking, self._direct_read, self._bell
        assert direct_read is not None
        del self  # as in events()
        if not taking.acquire(
            timeout=-1 if deadline is None else max(0.0, deadline - time.monotonic())
        ):
            return False
        try:
            quiet = False
            while not buffer.stopped:
                if buffer.current is not seen or buffer.advance():
                    if bell is not None and quiet:
                        bell.ring()  # what came before quiet() may be more than this
                    return True
                if bell is not None and not quiet:
                    bell.quiet()
                    quiet = True
                    continue
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return False
                direct_read.wait(left)
            return False
        finally:
            taking.release()

    # -- handlers ----------------------------------------------------------------------------------

    def _check_handler(self, handler: Any) -> None:
        if inspect.iscoroutinefunction(handler):
            raise _is_async(handler)

    def run(self) -> None:
        """Call the handlers that fit each event, in the order of registration, until :meth:`stop`.

        What a handler raises goes to ``on_error``, by default out of this method; the next call
        goes on with the handler after it.

        :raises NotifyConfigError: if a handler, or ``on_error``, turns out to be async.
        """
        events, handlers, on_error, buffer = (
            self.events(),
            self._handlers,
            self._on_error,
            self._started(),
        )
        del self  # as in events()
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
                    # of a lambda, say, which does not look async
                    if result is not None and isinstance(result, Coroutine):
                        result.close()
                        raise _is_async(result)
            finally:
                turn.end()

    # -- subscriptions -----------------------------------------------------------------------------

    def subscribe(self, *sources: Any) -> None:
        """Listen to more; returns when the database has confirmed. From any thread.

        :raises TriggersMissing: as :meth:`start`; nothing has changed then.
        :raises NotifyConfigError: as the constructor; nothing has changed then.
        :raises ConnectionLost: if the connection broke meanwhile, or the listener was stopped;
            nothing has changed then.
        """
        self._command(added(sources))

    def unsubscribe(self, *sources: Any) -> None:
        """Listen to ``sources`` no longer; returns when the database has confirmed. What is
        buffered is still yielded.

        :raises NotifyConfigError: if one of them is not what was given to the constructor or to
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
        if not done.done():  # it came when the thread had looked for the last time
            raise ConnectionLost("the listener was stopped")
        done.result()


def _is_async(handler: Any) -> NotifyConfigError:
    name = getattr(handler, "__qualname__", handler)
    return NotifyConfigError(
        "Listener", f"the handler {name} is async, and would never run. Use AsyncListener"
    )


def _nothing() -> None: ...


_running: weakref.WeakKeyDictionary[threading.Thread, Receiver] = weakref.WeakKeyDictionary()


@atexit.register
def _stop_all() -> None:
    """At the interpreter's exit: a thread that reads while its modules go away would end by a
    traceback, or not at all."""
    for receiver in list(_running.values()):
        receiver.stop()
    deadline = time.monotonic() + EXIT_PATIENCE
    for thread in list(_running):
        thread.join(max(0.0, deadline - time.monotonic()))
