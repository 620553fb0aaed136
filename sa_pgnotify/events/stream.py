"""The core of listening: notifications in, events and gaps out. It decides and never waits.

It is hard because loss must be told in its place: after all that came before it, before all that
comes later, exactly once. So everything that is yielded passes through here, in order. What waits
and moves bytes is :mod:`sa_pgnotify.listening.receiver`.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from time import time
from typing import Literal

from ..log.reader import LogRow
from ..log.tables import LogNames
from ..protocol.wire import (
    LOST,
    MOVED,
    Malformed,
    MessageReader,
    Rows,
    logged_rows,
    one_line,
)
from ..states import States
from .changes import Event, Gap, Notification, Reason
from .decoding import TableDecoder, Undecodable
from .message import Message

__all__ = ["EventStream", "Item", "Route", "size_of"]

Item = Message | Gap | Notification
FIRST_DELAY, LONGEST_DELAY = 0.1, 30.0
"""Seconds before the first attempt to reconnect, and the most between two; each waits up to twice
as long as the one before."""
UNDECODABLE_SECONDS = 60.0
"""How often it is logged at most that something could not be read; each is told by a ``Gap``."""


@dataclass(frozen=True)
class Route:
    """What a channel carries.

    :ivar sources: the tables whose changes it brings, by the name in the message's header.
    :ivar plain: whether somebody asked for the channel by its name.
    :ivar log: the change log of which it is the doorbell, and from which the changes come then.
    """

    sources: dict[str, TableDecoder]
    plain: bool
    log: LogNames | None = None


def size_of(item: Item) -> int:
    """How many events an item comes to."""
    return len(item) if isinstance(item, Message) else 1


class EventStream:
    """State of one listener.

    :param buffer_size: how many events may wait for the program.
    :param states: what tells of overflows, and of what cannot be read.
    :ivar moved: a notification says that triggers of a table went, or send on another channel: look
        whether that is so.
    :ivar rung: there is something new in a change log; ``missing``: something could not be written
        into it.
    :ivar outdated: the sources, by relation, of which came a message whose trigger was made for
        other columns, or types: read their columns again, and give them to :meth:`renewed`.
    """

    def __init__(self, buffer_size: int, states: States | None = None) -> None:
        self._buffer_size = buffer_size
        self._states = states or States()
        self._undecodable_until = 0.0
        self.routes: dict[str, Route] = {}
        self._reader = MessageReader()
        self._attempts = 0
        self._lost_since: float | None = None
        self._complete_until = time()
        self._overflowing = self._silent = False
        self.moved = self.rung = self.missing = False
        self.outdated: dict[str, TableDecoder] = {}
        self._asked: dict[str, str] = {}
        self.received = self.gaps = self.reconnects = 0
        self.latency: float | None = None

    # -- the connection ----------------------------------------------------------------------------

    def lost(self) -> None:
        """The connection broke."""
        if self._lost_since is None:
            self._lost_since = self._complete_until
        self._reader.reset()
        self.moved = False
        self.outdated.clear()

    def delay(self) -> float:
        """Seconds to wait before the next attempt to connect: exponential, with full jitter, so
        that a thousand listeners do not come back at once (M. Brooker, "Exponential Backoff And
        Jitter", 2015)."""
        self._attempts += 1
        # no secret
        return random.uniform(0, min(LONGEST_DELAY, FIRST_DELAY * 2 ** min(self._attempts, 20)))  # noqa: S311

    def settled(self) -> None:
        """The connection does what it is for: the next loss is a new one."""
        self._attempts = 0

    def connected(self, asked: float, detail: str = "", *, silent: bool = False) -> list[Item]:
        """A connection listens and was probed: what is to be told before anything that it brings.

        :param asked: when it began to be made, by ``time.time()``.
        :param detail: what is known to be missing.
        :param silent: whether a table has no enabled triggers, so that its changes are missing from
            now on, too.
        """
        self.settled()
        self._silent = silent
        since, self._lost_since = self._lost_since, None
        self._complete_until = asked
        if since is None:
            return []
        self.reconnects += 1
        if not detail and all(route.log and not route.plain for route in self.routes.values()):
            self._states.report(
                "reconnected", "nothing was missed: all of it is read in the change log"
            )
            return []
        said = f"what was committed since {datetime.fromtimestamp(since, UTC):%Y-%m-%d %H:%M:%S} UTC may be missing"
        self._states.report("reconnected", f"{said}. {detail}" if detail else said, missed=True)
        return [self._gap("reconnected", since, detail)]

    def untold(self, since: float) -> Gap:
        """Return the Gap for transactions that wrote while nobody listened, sent nothing, and have
        ended."""
        detail = "transactions that wrote while nobody listened have ended"
        state: Literal["reconnected", "connected"] = (
            "reconnected" if self.reconnects else "connected"
        )
        self._states.report(state, detail, missed=True)
        return self._gap("reconnected" if self.reconnects else "started", since, detail)

    def heartbeat_confirmed(self, asked: float) -> None:
        """The server answered a question that was put at ``asked``: what was committed before that
        has been delivered.

        Less a second, since a notification may still have been on its way to its backend when the
        question overtook it. Not if a table is silent: the Gap that reports its return covers all
        that was written meanwhile.
        """
        if self._silent:
            return
        self._complete_until = max(self._complete_until, asked - 1.0)

    # -- what it brings ----------------------------------------------------------------------------

    def notified(self, notifications: Iterable[tuple[str, str, int]]) -> list[Item]:
        """Notifications (channel, payload, pid), in the order of their arrival, as items to
        deliver."""
        items: list[Item] = []
        for channel, payload, pid in notifications:
            route = self.routes.get(channel)
            if route is None:
                continue  # unsubscribed while it was on its way
            if route.plain:
                items.append(Notification(channel, payload, pid))
            if route.sources and payload == MOVED:
                self.moved = True
            elif route.log:
                self.rung = True
                self.missing |= payload == LOST
            elif route.sources:
                items.extend(self._changes(route.sources, channel, payload, pid))
        return items

    def try_single(self, channel: str, payload: str, pid: int) -> Item | None:
        """The item of a notification that changes nothing here but figures: what a plain channel
        brings, or a message that is whole, of a table that is known as it is. None if it is no
        such, and :meth:`notified` has to see to it."""
        route = self.routes.get(channel)
        if route is None or route.log is not None or self._overflowing:  # whose end is to be told
            return None
        if route.plain:
            return None if route.sources else Notification(channel, payload, pid)
        rows = self._reader.whole(channel, payload, pid)
        source = None if rows is None else route.sources.get(rows.header.relation)
        if rows is None or source is None or rows.size > self._buffer_size:
            return None
        try:
            if not source.is_simple(rows.header.shape):
                return None
            message = Message(source, rows, self._complete_until)
        except Undecodable:
            return None
        self.latency = time() - rows.header.microseconds / 1e6
        return message

    def logged(self, rows: Iterable[LogRow], sources: dict[str, TableDecoder]) -> list[Item]:
        """What was read in the change log, as items to deliver.

        :param sources: the tables whose changes are wanted, by their names in messages.
        """
        return [
            item
            for row in rows
            for item in self._decoded(
                sources, logged_rows(row.header, row.text, row.pid), f"log {row.row_id}", row
            )
        ]

    def lost_position(self, detail: str) -> Gap:
        self._states.report("lost position", detail, missed=True)
        return self._gap("lost_position", self._complete_until, detail)

    def renewed(self, sources: dict[str, TableDecoder], items: Iterable[Item]) -> list[Item]:
        """``items``, those from newer triggers decoded with what was read anew about the columns of
        their tables.

        :param sources: for those of :attr:`outdated` whose tables are still there.
        """
        self.outdated.clear()
        for route in self.routes.values():
            route.sources.update(
                {name: source for name, source in sources.items() if name in route.sources}
            )
        return [
            self._renewed(item, sources) if isinstance(item, Message) else item for item in items
        ]

    def _renewed(self, message: Message, sources: dict[str, TableDecoder]) -> Item:
        if message.matches_types:
            return message
        source = sources.get(message.header.relation, message.source)
        try:
            return message.read_with(source)
        except Undecodable as error:
            return self.undecodable(str(error), message.since)

    def _changes(
        self, sources: dict[str, TableDecoder], channel: str, payload: str, pid: int
    ) -> Iterable[Item]:
        for found in self._reader.read(channel, payload, pid):
            yield from self._decoded(sources, found, f"channel {channel!r}")

    def _decoded(
        self,
        sources: dict[str, TableDecoder],
        found: Rows | Malformed,
        place: str,
        logged: LogRow | None = None,
    ) -> Iterable[Item]:
        if isinstance(found, Malformed):
            yield self.undecodable(found.detail, self._complete_until)
            return
        source = sources.get(found.header.relation)
        if source is None:
            return  # a table that shares the channel, and that nobody asked for
        try:
            message = Message(source, found, self._complete_until, logged)
            if not message.matches_types:
                relation, shape = found.header.relation, found.header.shape
                if relation in self.outdated or self._asked.get(relation) != shape:
                    self.outdated[relation], self._asked[relation] = source, shape
                else:
                    message = message.read_with(source)  # the answer would be the same
            self.latency = time() - found.header.microseconds / 1e6
        except Undecodable as error:
            yield self.undecodable(
                f"{place}, pid {found.header.pid}: {error}", self._complete_until
            )
        else:
            yield message

    def events(self, item: Item) -> Sequence[Event]:
        """The events of an item; where a row cannot be read, a ``Gap`` in its place, and the others
        all the same."""
        if not isinstance(item, Message):
            return (item,)
        try:
            return item.events()
        except Undecodable as error:
            if len(item) == 1:
                return (self.undecodable(str(error), item.since),)
        return [event for row in item.each() for event in self.events(row)]

    def undecodable(self, detail: str, since: float) -> Gap:
        detail = one_line(detail)  # which may hold anything that was sent
        if time() >= self._undecodable_until:
            self._undecodable_until = time() + UNDECODABLE_SECONDS
            self._states.report("undecodable", detail, missed=True)
        return self._gap("undecodable", since, detail)

    def admit(self, item: Item, waiting: int) -> list[Item]:
        """What of an item goes into the buffer, where ``waiting`` events are: the item, its
        beginning and a ``Gap``, or nothing.

        Once full, the buffer takes no more until half of it is free, so that a slow program gets
        long runs between few gaps.
        """
        size = size_of(item)
        self.received += size
        if isinstance(item, Message) and item.logged is not None:
            # it has waited in the log for its room, and one row of that may be more than the whole
            # buffer
            return [item]
        if self._overflowing and waiting > self._buffer_size // 2:
            return []
        if self._overflowing:
            self._states.report("overflow ended", f"{waiting} events wait")
        self._overflowing = False
        free = self._buffer_size - waiting
        if size <= free or isinstance(item, Gap):
            return [item]
        self._overflowing = True
        self._states.report(
            "overflow",
            f"{waiting} events wait, and the buffer takes {self._buffer_size}",
            missed=True,
        )
        first: list[Item] = [item.first(free)] if isinstance(item, Message) and free > 0 else []
        return [
            *first,
            self._gap(
                "overflow", self._complete_until, f"{self._buffer_size} events wait to be taken"
            ),
        ]

    def _gap(self, reason: Reason, since: float, detail: str) -> Gap:
        self.gaps += 1
        return Gap(reason, datetime.fromtimestamp(since, UTC), detail)
