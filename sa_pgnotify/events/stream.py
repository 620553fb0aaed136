"""Notifications and rows of the change log in; messages, gaps and notifications out.

An item holds what arrived together, and becomes events only when a program takes it, see
:meth:`EventStream.events`. What cannot be read becomes a ``Gap`` in its place. The stream decides
and never waits. If it needs the server, because the columns of a table have changed, it sets
:attr:`EventStream.outdated`, and its owner runs the query.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from time import time
from typing import Any

from ..log.reader import LogRow
from ..log.tables import LogNames
from ..protocol.wire import LOST, MOVED, Malformed, MessageReader, Rows, logged_rows, one_line
from ..states import State, States
from .decoding import TableDecoder
from .kinds import Gap, Notification, Reason
from .layout import Undecodable
from .message import Message

__all__ = ["EventStream", "Item", "LogRead", "Route", "size_of"]


@dataclass(frozen=True, slots=True)
class LogRead:
    """Changes that were read from a log, and are not passed on.

    :ivar transaction_ids: the transactions that they belong to.
    """

    transaction_ids: frozenset[int]


Item = Message | Gap | Notification | LogRead
UNDECODABLE_SECONDS = 60.0
"""The fewest seconds between two lines in the program's log about things that could not be read. Each
of these things is a ``Gap`` as well."""


@dataclass(frozen=True)
class Route:
    """What a channel carries.

    :ivar sources: the tables whose changes arrive on it, by the name in the message's header.
    :ivar plain: whether a program asked for the channel by its name.
    :ivar log: the change log whose doorbell the channel is. The changes are then read from that
        log, and do not arrive on the channel.
    """

    sources: dict[str, TableDecoder]
    plain: bool
    log: LogNames | None = None


def size_of(item: Item) -> int:
    """Return how many events an item becomes."""
    return len(item) if isinstance(item, Message) else 1


class EventStream:
    """Decodes what one listener or consumer reads.

    :param states: reports what could not be read.
    :ivar routes: what each channel carries; notifications on others are ignored.
    :ivar complete_until: no change that was committed before this moment, by ``time.time()``, is
        missing.
    :ivar moved: whether a notification has reported that the triggers of a table are gone, or send
        on another channel.
    :ivar rung: whether a change log has something new; ``missing`` whether a change could not be
        written to one.
    :ivar outdated: the tables, by their names in messages, whose triggers are newer than the
        columns known here. Read the columns again, and give them to :meth:`renewed`.
    :ivar gaps: how many gaps the stream has made; ``latency`` seconds from the last message's
        statement to its arrival, None before the first.
    """

    def __init__(self, states: States | None = None) -> None:
        self.routes: dict[str, Route] = {}
        self.complete_until = time()
        self.moved = self.rung = self.missing = False
        self.outdated: dict[str, TableDecoder] = {}
        self.gaps = 0
        self.latency: float | None = None
        self._states = states or States()
        self._undecodable_until = 0.0
        self._reader = MessageReader()
        self._asked: dict[str, str] = {}
        self._transaction = self._rows_of_it = 0

    def reset(self) -> None:
        """Forget partly received messages, because the connection is gone."""
        self._reader.reset()
        self.moved = False
        self.outdated.clear()

    # -- reading -----------------------------------------------------------------------------------

    def notified(self, notifications: Iterable[tuple[str, str, int]]) -> list[Item]:
        """Return the items of notifications (channel, payload, pid), in the order of arrival."""
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
                place = f"channel {channel!r}"
                for found in self._reader.read(channel, payload, pid):
                    items.extend(self._decoded(route.sources, found, place))
        return items

    def try_single(self, channel: str, payload: str, pid: int) -> Item | None:
        """Return the item of one notification if that changes only figures of the stream: a
        notification of a plain channel, or a whole message of a table whose columns are known.
        Otherwise return None, and leave the notification to :meth:`notified`."""
        route = self.routes.get(channel)
        if route is None or route.log is not None:
            return None
        if route.plain:
            return None if route.sources else Notification(channel, payload, pid)
        rows = self._reader.whole(channel, payload, pid)
        source = None if rows is None else route.sources.get(rows.header.relation)
        if rows is None or source is None:
            return None
        try:
            if not source.is_simple(rows.header.shape):
                return None
            message = Message(source, rows, self.complete_until, None, self._count(rows))
        except Undecodable:
            return None
        self.latency = time() - rows.header.microseconds / 1e6
        return message

    def logged(self, rows: Iterable[LogRow], sources: dict[str, TableDecoder]) -> list[Item]:
        """Return the items of rows of the change log.

        :param sources: the tables whose changes are wanted, by their names in messages.
        """
        items: list[Item] = []
        for row in rows:
            found = logged_rows(row.header, row.text, row.pid)
            items.extend(self._decoded(sources, found, f"log {row.row_id}", row))
        return items

    def _decoded(
        self,
        sources: dict[str, TableDecoder],
        found: Rows | Malformed,
        place: str,
        logged: LogRow | None = None,
    ) -> Iterable[Message | Gap]:
        if isinstance(found, Malformed):
            yield self.undecodable(found.detail, self.complete_until)
            return
        source = sources.get(found.header.relation)
        if source is None:
            return  # a table that shares the channel, and that is not wanted
        try:
            first = self._count(found) if logged is None else 0
            message = Message(source, found, self.complete_until, logged, first)
            if not message.matches_types:
                message = self._outdated(source, message)
            self.latency = time() - found.header.microseconds / 1e6
        except Undecodable as error:
            yield self.undecodable(f"{place}, pid {found.header.pid}: {error}", self.complete_until)
        else:
            yield message

    def _count(self, rows: Rows) -> int:
        """Count the rows of the current transaction; return how many came before these."""
        if rows.header.transaction_id != self._transaction:
            self._transaction, self._rows_of_it = rows.header.transaction_id, 0
        before = self._rows_of_it
        self._rows_of_it += rows.size
        return before

    # -- tables whose columns have changed ---------------------------------------------------------

    def _outdated(self, source: TableDecoder, message: Message) -> Message:
        """Request that the table's columns are read again, unless they were for the same shape."""
        relation, shape = message.header.relation, message.header.shape
        if relation in self.outdated or self._asked.get(relation) != shape:
            self.outdated[relation], self._asked[relation] = source, shape
            return message
        return message.read_with(source)

    def renewed(self, sources: dict[str, TableDecoder], items: Iterable[Item]) -> list[Item]:
        """Return ``items``, with the messages of newer triggers decoded by the columns that were read
        again.

        :param sources: the new decoders of the :attr:`outdated` tables that still exist.
        """
        self.outdated.clear()
        for route in self.routes.values():
            route.sources.update({n: source for n, source in sources.items() if n in route.sources})
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

    # -- events and gaps ---------------------------------------------------------------------------

    def events(self, item: Item) -> Sequence[Any]:
        """Return the events of an item. A row that cannot be read becomes a ``Gap`` in its place, and
        the other rows are not affected."""
        if not isinstance(item, Message):
            return (item,)
        try:
            return item.events()
        except Undecodable as error:
            if len(item) == 1:
                return (self.undecodable(str(error), item.since),)
        return [event for row in item.each() for event in self.events(row)]

    def undecodable(self, detail: str, since: float) -> Gap:
        """Return the Gap for something that could not be read.

        :param detail: may hold anything that was sent.
        """
        detail = one_line(detail)
        if time() >= self._undecodable_until:
            self._undecodable_until = time() + UNDECODABLE_SECONDS
            self._states.report(State.UNDECODABLE, detail, missed=True)
        return self.gap("undecodable", since, detail)

    def lost_position(self, detail: str) -> Gap:
        """Return the Gap for changes that the change log no longer has."""
        self._states.report(State.LOST_POSITION, detail, missed=True)
        return self.gap("lost_position", self.complete_until, detail)

    def gap(self, reason: Reason, since: float, detail: str) -> Gap:
        """Return a Gap, and count it.

        :param since: nothing that was committed before this moment, by ``time.time()``, is missing.
        """
        self.gaps += 1
        return Gap(reason, datetime.fromtimestamp(since, UTC), detail)
