"""Every loss of a listener becomes a ``Gap``, once, and in its place: after what came before it, and
before what comes later.

A listener loses events in three ways: its connection breaks, a writer did not see it, or its program
takes events more slowly than they come. This module decides and never waits.
"""

from __future__ import annotations

from datetime import UTC, datetime

from ..events.kinds import Gap
from ..events.message import Message
from ..events.stream import EventStream, Item, size_of
from ..states import State, States

__all__ = ["Continuity"]

CONFIRMED_LATE = 1.0
"""Seconds. A notification may still be on its way to its backend when a question to the server
overtakes it, so an answer confirms only what was committed that long before the question."""


class Continuity:
    """What one listener has missed, and what its bounded buffer admits.

    :param buffer_size: how many events may wait for the program.
    :ivar received: how many events arrived, gaps and dropped ones included; those that went past
        :meth:`admit` are not.
    :ivar reconnects: how often a lost connection was made anew.
    """

    def __init__(self, stream: EventStream, buffer_size: int, states: States) -> None:
        self.received = self.reconnects = 0
        self._stream = stream
        self._buffer_size = buffer_size
        self._states = states
        self._lost_since: float | None = None
        self._is_overflowing = self._is_silent = False

    # -- the connection ----------------------------------------------------------------------------

    def lost(self) -> None:
        """Note that the connection broke, or that the triggers were altered."""
        if self._lost_since is None:
            self._lost_since = self._stream.complete_until
        self._stream.reset()

    def connected(self, asked: float, detail: str = "", *, silent: bool = False) -> list[Gap]:
        """Return what is published before anything that a new connection delivers.

        :param asked: when the connection began to be made, by ``time.time()``.
        :param detail: what is known to be missing.
        :param silent: whether a table has no enabled triggers, so that its changes are missing from
            now on as well.
        """
        self._is_silent = silent
        since, self._lost_since = self._lost_since, None
        self._stream.complete_until = asked
        if since is None:
            return []
        self.reconnects += 1
        routes = self._stream.routes.values()
        if not detail and all(route.log and not route.plain for route in routes):
            text = "nothing was missed: all of it is read in the change log"
            self._states.report(State.RECONNECTED, text)
            return []
        moment = f"{datetime.fromtimestamp(since, UTC):%Y-%m-%d %H:%M:%S} UTC"
        text = f"what was committed since {moment} may be missing"
        self._states.report(State.RECONNECTED, f"{text}. {detail}" if detail else text, missed=True)
        return [self._stream.gap("reconnected", since, detail)]

    def silent_writers_ended(self, since: float) -> Gap:
        """Return the Gap for transactions that wrote while nobody listened, and have ended.

        :param since: when the first of them was noticed, by ``time.time()``.
        """
        detail = "transactions that wrote while nobody listened have ended"
        state = State.RECONNECTED if self.reconnects else State.CONNECTED
        self._states.report(state, detail, missed=True)
        return self._stream.gap("reconnected" if self.reconnects else "started", since, detail)

    def heartbeat_confirmed(self, asked: float) -> None:
        """Note that the server answered a question which was put at ``asked``: what was committed
        before has been delivered.

        Not so while a table is silent: the Gap that reports its return covers all that was written
        meanwhile.
        """
        if not self._is_silent:
            confirmed = asked - CONFIRMED_LATE
            self._stream.complete_until = max(self._stream.complete_until, confirmed)

    # -- the buffer --------------------------------------------------------------------------------

    def try_single(self, channel: str, payload: str, pid: int) -> Item | None:
        """Return the item of a notification that may go past :meth:`admit`, to a program that waits
        for it; None for any other."""
        if self._is_overflowing:  # the end of which has to be reported
            return None
        item = self._stream.try_single(channel, payload, pid)
        return None if item is None or size_of(item) > self._buffer_size else item

    def admit(self, item: Item, waiting: int) -> list[Item]:
        """Return what of an item goes into the buffer, in which ``waiting`` events are: all of it, its
        beginning and a ``Gap``, or nothing.

        Once full, the buffer takes no more until half of it is free, so that a slow program gets long
        runs between few gaps.
        """
        size = size_of(item)
        self.received += size
        if isinstance(item, Message) and item.logged is not None:
            # It has waited in the log until there was room; one row of the log may be more than the
            # whole buffer.
            return [item]
        if self._is_overflowing and waiting > self._buffer_size // 2:
            return []
        if self._is_overflowing:
            self._states.report(State.OVERFLOW_ENDED, f"{waiting} events wait")
        self._is_overflowing = False
        free = self._buffer_size - waiting
        if size <= free or isinstance(item, Gap):
            return [item]
        self._is_overflowing = True
        text = f"{waiting} events wait, and the buffer takes {self._buffer_size}"
        self._states.report(State.OVERFLOW, text, missed=True)
        first: list[Item] = [item.first(free)] if isinstance(item, Message) and free > 0 else []
        detail = f"{self._buffer_size} events wait to be taken"
        return [*first, self._stream.gap("overflow", self._stream.complete_until, detail)]
