"""Direct read: the thread that waits for events reads the connection, which the receiver's thread
lends to it.

Handing an event from thread to thread adds latency, so the waiting thread reads the socket itself.
Three things make this difficult: an exception may be raised anywhere in the program's thread; after
any event, the program may do something else for an hour; and signal handlers do not run while a
driver waits for the server. So the receiver's thread (the owner) does everything that may take time
or needs more than one notification, and takes the connection back when no thread waits. The waiting
thread (the taker) takes a notification from the connection in a single step.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from time import monotonic
from typing import NamedTuple

from ..drivers import ListenConnection
from ..drivers.waiting import Waiting
from ..drivers.wakeup import Wakeup, readable
from .buffer import Buffer
from .continuity import Continuity

__all__ = ["DirectRead"]

LINGER = 0.5
"""Seconds that a connection stays lent after an event was taken, because the thread that took it
usually waits for the next one soon."""


class Taker(Enum):
    """The state of the program's threads."""

    AWAY = "no thread waits for events"
    WAITS = "a thread waits for events"


class Owner(Enum):
    """The state of the receiver's thread."""

    AT_WORK = "it reads the connection, or will within LINGER seconds"
    RESTS = "the connection is lent, and it sleeps until it is woken"


class _Loan(NamedTuple):
    connection: ListenConnection
    descriptor: int  # kept here, because a closed connection has none


class DirectRead:
    """Lends the connection of one listener to the thread that waits for events.

    :param continuity: makes items of notifications.
    :param waiting: how the owner waits.
    :ivar worthwhile: whether the owner would lend the connection now; only the owner assigns this.
    """

    def __init__(self, buffer: Buffer, continuity: Continuity, waiting: Waiting) -> None:
        self.worthwhile = False
        self._buffer = buffer
        self._continuity = continuity
        self._waiting = waiting
        self._wakeup = Wakeup()
        self._wakeup_is_stale = False
        self._loan: _Loan | None = None
        self._taker = Taker.AWAY
        self._owner = Owner.AT_WORK
        buffer.on_put.append(self._wake_taker)

    @property
    def _thread_waits(self) -> bool:
        return self._taker is Taker.WAITS

    # -- the owner ---------------------------------------------------------------------------------

    def lend(
        self, connection: ListenConnection, seconds: float, wanted: Callable[[], bool]
    ) -> bool:
        """Let the thread that waits for events read the connection, for at most ``seconds``.

        :param wanted: returns whether the owner needs the connection. Code that changes this must
            call ``waiting.wake()``.
        :returns: whether the connection was lent. It is not if no thread waits, or if something
            else has to be done first.
        """
        if not (self._thread_waits and self.worthwhile) or connection.pending():
            return False
        until = monotonic() + seconds
        self._loan = _Loan(connection, connection.fileno())
        self._wake_taker()  # so that it waits on the connection from now on
        try:
            while self._rest(until) and not wanted():
                # It would be expensive to wake this thread for each event.
                self._waiting.wait(None, min(LINGER, until - monotonic()))
                if not self._thread_waits or wanted():
                    break
        finally:
            self._loan = None
            self._buffer.end_turn()
            self._wake_taker()
        return True

    def _rest(self, until: float) -> bool:
        """Sleep until no thread waits any more. Return False if the time is over, or if the connection
        was given back."""
        self._owner = Owner.RESTS
        if self._thread_waits and self._loan is not None:
            self._waiting.wait(None, until - monotonic())
        self._owner = Owner.AT_WORK
        return self._loan is not None and monotonic() < until

    def _wake_taker(self) -> None:
        if self._thread_waits:
            self._wakeup.set()

    # -- the taker ---------------------------------------------------------------------------------

    def wait(self, seconds: float | None) -> None:
        """Wait until there may be an event to take, for at most ``seconds``. One thread at a time, and
        signal handlers that run within its wait."""
        before = self._taker  # WAITS if a signal handler runs within a wait
        try:
            self._taker = Taker.WAITS
            # It is cleared only now, because clearing it on wake-up would have delayed an event.
            if self._wakeup_is_stale:
                self._wakeup.clear()
                self._wakeup_is_stale = False
            loan = self._loan
            if not self._buffer.empty or self._buffer.stopped:
                return
            if loan is not None:
                self._read(loan, seconds)
                return
            if self.worthwhile:
                self._waiting.wake()  # so that the owner lends the connection
            readable((self._wakeup.fileno(),), seconds)
            self._wakeup_is_stale = True
        finally:
            self._taker = before
            is_nested = before is Taker.WAITS
            if is_nested:
                self._wakeup.set()  # this wait may have consumed a wake-up of the outer one
            if self._owner is Owner.RESTS:
                self._waiting.wake()
            if self._buffer.stopped and not is_nested:
                self._wakeup.close()

    def _read(self, loan: _Loan, seconds: float | None) -> None:
        connection, turn = loan.connection, self._buffer.turn()
        wakeup = self._wakeup.fileno()
        if not connection.pending():
            found = readable((loan.descriptor, wakeup), seconds)
            self._wakeup_is_stale = wakeup in found
            if loan.descriptor not in found:
                return
        if self._loan is not loan:
            return
        note = connection.peek()
        item = note and self._continuity.try_single(*note)
        if item:
            self._buffer.take(turn, connection.inbox, item)
        else:
            self._loan = None  # the owner reads what has arrived
            self._waiting.wake()

    def stop(self) -> None:
        """End the wait. No thread will wait afterwards. Safe from any thread, from a signal handler,
        and twice."""
        self._wake_taker()
        if not self._thread_waits:
            self._wakeup.close()  # otherwise the taker does
