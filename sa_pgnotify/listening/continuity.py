"""Reporting each loss of a listener by one ``Gap``, in the place where events are missing.

A listener loses events in three ways: its connection breaks, a writer does not see it, or the
program takes events more slowly than they come. This module decides and never waits.
"""

from __future__ import annotations

from datetime import UTC, datetime

from ..events.kinds import Gap
from ..events.message import Message
from ..events.stream import EventStream, Item, size_of
from ..states import State, States

__all__ = ["Continuity"]

CONFIRMED_LATE = 1.0
"""Seconds. A query may overtake a notification that is on its way to the session. So the answer to
a query confirms only what was committed at least this long before the query."""


class Continuity:
    """Keeps account of what one listener has missed, and decides what its bounded buffer admits.

    :param buffer_size: how many events may wait for the program.
    :ivar received: how many events :meth:`admit` has seen, including gaps and dropped events.
    :ivar reconnects: how often the listener has reconnected after a loss.
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
        """Return the gap, if any, that comes before everything that a new connection delivers.

        :param asked: when the attempt to connect began, by ``time.time()``.
        :param detail: what is known to be missing.
        :param silent: whether a table has no enabled triggers, so that its changes will be missing
            as well.
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
        """Return the Gap for ended transactions that wrote while nobody listened.

        :param since: when the first of them was noticed, by ``time.time()``.
        """
        detail = "transactions that wrote while nobody listened have ended"
        state = State.RECONNECTED if self.reconnects else State.CONNECTED
        self._states.report(state, detail, missed=True)
        return self._stream.gap("reconnected" if self.reconnects else "started", since, detail)

    def heartbeat_confirmed(self, asked: float) -> None:
        """Note that the server has answered a query that was sent at ``asked``, by ``time.time()``:
        everything that was committed before has been delivered.

        While a table has no triggers, this is ignored, because the Gap that reports their return
        covers everything that was written without them.
        """
        if not self._is_silent:
            confirmed = asked - CONFIRMED_LATE
            self._stream.complete_until = max(self._stream.complete_until, confirmed)

    # -- the buffer --------------------------------------------------------------------------------

    def try_single(self, channel: str, payload: str, pid: int) -> Item | None:
        """Return the item of a notification that a waiting program may take without :meth:`admit`;
        None if there is more to decide."""
        if self._is_overflowing:  # admit() has to report its end
            return None
        item = self._stream.try_single(channel, payload, pid)
        return None if item is None or size_of(item) > self._buffer_size else item

    def admit(self, item: Item, waiting: int) -> list[Item]:
        """Return the part of an item that goes into the buffer, which holds ``waiting`` events: all of
        it, its beginning and a ``Gap``, or nothing.

        Once it was full, the buffer takes nothing until half of it is free, so that a slow program
        gets long runs of events and few gaps.
        """
        size = size_of(item)
        self.received += size
        if isinstance(item, Message) and item.logged is not None:
            # It was read from the log when there was room, and a single row of the log may have
            # more changes than the buffer.
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
