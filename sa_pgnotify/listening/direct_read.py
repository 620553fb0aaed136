"""The reading of a connection, lent by the thread that listens to the thread that waits for events.

An event that one thread hands over to another comes late, so who waits for events reads the
connection itself. It is hard because an exception may fall anywhere in a program's thread, because
the program may do something else for an hour after any event, and because a driver that waits for a
server hears no signal. So the thread that listens stays the owner: it does whatever may take time
or needs more than one notification, and takes the reading back when nobody waits. What the
program's thread takes, it takes in one step.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from ..drivers import ListenConnection
from ..drivers.waiting import Waiting
from ..drivers.wakeup import Wakeup, readable
from .buffer import Buffer
from .continuity import Continuity

__all__ = ["DirectRead"]

LINGER = 0.5
"""Seconds that a connection stays lent after an event was taken: whoever took it will mostly wait
for the next one soon."""


class DirectRead:
    """
    :param continuity: what makes items of notifications, for whoever reads the connection.
    :param waiting: how the thread that listens waits.
    :ivar calm: whether what comes is such that it is worth while; the thread that listens says so.
    """

    def __init__(self, buffer: Buffer, continuity: Continuity, waiting: Waiting) -> None:
        self._buffer = buffer
        self._continuity = continuity
        self._waiting = waiting
        self._bell = Wakeup()
        # and its descriptor, which a closed one does not tell any more
        self._lent: tuple[ListenConnection, int] | None = None
        self._heard = False
        self._waits = False  # somebody waits for events
        self._asleep = False  # the thread that listens wants to be woken when he does no longer
        self.calm = False
        buffer.on_put.append(self._ring)

    # -- the thread that listens -------------------------------------------------------------------

    def lend(
        self, connection: ListenConnection, seconds: float, wanted: Callable[[], bool]
    ) -> bool:
        """While somebody waits for events, let him read the connection, at most for ``seconds``.

        :param wanted: whether the connection is wanted for something else; who makes it so calls
            ``waiting.wake()``.
        :returns: False if nobody waits, or this is not the time for it.
        """
        if not (self._waits and self.calm) or connection.pending():
            return False
        until = monotonic() + seconds
        self._lent = connection, connection.fileno()
        self._ring()  # he is to look at it from now on
        try:
            while self._rest(until) and not wanted():
                # to be woken for each event would cost too much
                self._waiting.wait(None, min(LINGER, until - monotonic()))
                if not self._waits or wanted():
                    break
        finally:
            self._lent = None
            self._buffer.end_turn()
            self._ring()
        return True

    def _rest(self, until: float) -> bool:
        """Wait until he waits no longer; False when it is time, or he has given it back."""
        self._asleep = True
        if self._waits and self._lent is not None:
            self._waiting.wait(None, until - monotonic())
        self._asleep = False
        return self._lent is not None and monotonic() < until

    def _ring(self) -> None:
        if self._waits:
            self._bell.ring()

    # -- who waits for events ----------------------------------------------------------------------

    def wait(self, seconds: float | None) -> None:
        """Wait until there may be something in the buffer or at hand, at most ``seconds``. One at a
        time."""
        nested = self._waits  # in a signal's handler
        try:
            self._waits = True
            # and not when it was: that would have been time in which an event was late
            if self._heard:
                self._bell.quiet()
                self._heard = False
            lent = self._lent
            if not self._buffer.empty or self._buffer.stopped:
                return
            if lent is not None:
                self._read(lent, seconds)
                return
            if self.calm:
                self._waiting.wake()  # so that it is lent
            readable((self._bell.fileno(),), seconds)
            self._heard = True
        finally:
            self._waits = nested
            if nested:
                self._bell.ring()  # which was heard for him
            if self._asleep:
                self._waiting.wake()
            if self._buffer.stopped and not nested:
                self._bell.close()

    def _read(self, lent: tuple[ListenConnection, int], seconds: float | None) -> None:
        bell, (connection, descriptor), turn = self._bell.fileno(), lent, self._buffer.turn()
        if not connection.pending():
            found = readable((descriptor, bell), seconds)
            self._heard = bell in found
            if descriptor not in found:
                return
        if self._lent is not lent:
            return
        note = connection.peek()
        item = note and self._continuity.try_single(*note)
        if item:
            self._buffer.take(turn, connection.inbox, item)
        else:
            self._lent = None  # what there is, the thread that listens shall see to
            self._waiting.wake()

    def stop(self) -> None:
        """Nobody will wait any more. From any thread, from a signal handler, and twice."""
        self._ring()
        if not self._waits:
            self._bell.close()  # else he does
