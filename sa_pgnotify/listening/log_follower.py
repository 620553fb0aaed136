"""Reading the change logs of a listener's durable tables, as far as its buffer has room.

Changes that do not fit stay in the log, so they are not lost.
"""

from __future__ import annotations

from collections import deque
from math import inf

from ..drivers import ListenConnection
from ..events.decoding import TableDecoder
from ..events.message import Message
from ..events.stream import EventStream, Item, LogRead
from ..log.tables import LogNames
from ..log.tail import Tail
from ..states import State, States
from ..subscription.link import Link
from .intake import Intake

__all__ = ["LogFollower"]

FULL_SECONDS = 0.02
"""Seconds to wait before checking a full buffer again."""


class LogFollower:
    """Reads each log that a route belongs to.

    :param passes_on: whether to deliver the changes; otherwise only :class:`LogRead` is delivered.
    """

    def __init__(
        self, link: Link, stream: EventStream, intake: Intake, states: States, *, passes_on: bool
    ) -> None:
        self._link = link
        self._stream = stream
        self._intake = intake
        self._states = states
        self._passes_on = passes_on
        self._tails: dict[LogNames, Tail] = {}
        self._read: deque[Item] = deque()  # items that were read, and are not in the buffer yet

    @property
    def follows(self) -> bool:
        """Whether there is a log to follow."""
        return bool(self._tails)

    def subscribed(self, connection: ListenConnection, *, anew: bool) -> None:
        """Follow the logs of the stream's routes. A log that was followed before is read on from
        there, even if the connection is lost within this call and another one is tried.

        :param anew: whether ``connection`` is a new one.
        """
        known, tails = self._tails, dict[LogNames, Tail]()
        for route in self._stream.routes.values():
            if route.log is None:
                continue
            tail = tails[route.log] = known.get(route.log) or Tail(route.log, ())
            tail.reader.relations = tuple(route.sources)
            if not anew and route.log in known:
                tail.verify(connection.execute)
                tail.wake()  # the tables may be other ones
            elif (lost := tail.connected(connection.execute)) is not None:
                self._read.append(self._stream.lost_position(lost))
        for log in known.keys() - tails.keys() if not anew else ():
            known[log].leave(connection.execute)
        self._tails = tails

    def verify(self, connection: ListenConnection) -> None:
        """Check that each log is still the one that was followed.

        :raises ListenUnavailable: if its tables were created again.
        """
        for tail in self._tails.values():
            tail.verify(connection.execute)

    def ring(self, *, missing: bool = False) -> None:
        """Read soon, because a writer has rung, or because there may be changes of writers that do
        not ring.

        :param missing: whether a writer has reported that it could not write a change to the log.
        """
        for tail in self._tails.values():
            tail.wake()
            if missing:
                tail.losses.wake()

    @property
    def due_in(self) -> float:
        """Seconds until :meth:`run` may have something to do."""
        if self._read:
            return 0.0 if self._intake.has_room(self._read[0]) else FULL_SECONDS
        return min((tail.due_in for tail in self._tails.values()), default=inf)

    def run(self, connection: ListenConnection) -> None:
        """Read the logs, and deliver what the buffer has room for."""
        if self._stream.rung:
            self.ring(missing=self._stream.missing)
            self._stream.rung = self._stream.missing = False
        for tail in self._tails.values():
            if not self._read and tail.due_in <= 0:
                self._read_page(connection, tail)
        while self._read and self._intake.has_room(self._read[0]):
            self._intake.deliver(connection, [self._read[0]])
            self._read.popleft()
        for tail in self._tails.values():
            if tail.has_woken:
                with self._link.deadline(connection):
                    tail.settle(connection.execute)

    def _read_page(self, connection: ListenConnection, tail: Tail) -> None:
        place = tail.reader.position
        try:
            with self._link.deadline(connection):
                rows = tail.read(connection.execute)
            items = self._stream.logged(rows, self._sources_of(tail))
            items = self._intake.decoded(connection, items)
            if rows and not self._passes_on:
                items = [item for item in items if not isinstance(item, Message)]
                items.append(LogRead(frozenset(row.xid for row in rows)))
        except BaseException:
            tail.reader.go_to(place)  # so that the same rows are read again
            raise
        if (problem := tail.losses.new_problem()) is not None:
            self._states.report(State.LOSSES_UNSEEN, problem)
        if (lost := tail.take_loss()) is not None:
            self._read.append(self._stream.lost_position(lost))
        self._read.extend(items)

    def _sources_of(self, tail: Tail) -> dict[str, TableDecoder]:
        routes = self._stream.routes.values()
        return next(route.sources for route in routes if route.log == tail.names)
