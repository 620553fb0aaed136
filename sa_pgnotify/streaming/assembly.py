"""How the messages of a stream are put together to the batches of one member.

A batch holds whole transactions, as far as they belong to the member's partitions: a relay publishes
a transaction in one piece. The member reads all messages and skips those of other partitions, whose
number counts for its place as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from ..events.changes import Change
from ..events.kinds import Gap
from ..relay.jetstream import PLACE
from .event_reader import EventReader
from .group import partition_of
from .reader import Received

__all__ = ["Assembly", "Cut", "Item"]

NO_PART = -1
"""Stands for the partition of a gap in the stream, which concerns all of them."""


@dataclass(frozen=True, slots=True)
class Item:
    """An event of a batch, with where it comes from.

    :ivar events: it alone; None if it is excluded. (So :class:`~sa_pgnotify.consuming.failures` takes
        it for a chunk of the log.)
    :ivar transaction: the relay and the transaction; None for a gap.
    :ivar message: None for a gap in the stream.
    :ivar before: when the message before it was stored, see :attr:`Received.stored`.
    """

    events: tuple[Change | Gap | None, ...]
    sequence: int
    part: int
    transaction: tuple[str, int] | None = None
    message: Received | None = None
    before: int = 0

    def key(self, number: int) -> tuple[int, int]:
        """Return what identifies the event."""
        return self.sequence, self.part


class Cut(NamedTuple):
    """What a batch is made of.

    :ivar until: the number of the last message that it covers.
    :ivar stored: when that was stored, see :attr:`Received.stored`; 0 if that is not known.
    """

    items: list[Item]
    until: int
    stored: int


class Assembly:
    """Takes the messages of a stream one by one.

    :param places: by partition of this member, the number of the last message that was handled.
    :ivar until: the number of the last message that was taken.
    :ivar is_whole: whether the publication of that message ends with it.
    :ivar is_last: whether the stream had no message after it.
    """

    def __init__(self, events: EventReader, partitions: int, places: Mapping[int, int]) -> None:
        self._events = events
        self._partitions = partitions
        self._places = dict(places)
        self._items: list[Item] = []
        self._lowest = min(self._places.values())
        self.until = self._lowest
        self._stored = 0
        self.is_whole = self.is_last = True

    def __len__(self) -> int:
        return len(self._items)

    def add(self, message: Received) -> None:
        """Take the next message of the stream."""
        if message.sequence > self.until + 1:
            self._missing(message.sequence - 1)
        before, self._stored = self._stored, message.stored
        self.until = message.sequence
        self.is_last = not message.pending
        headers = message.headers
        self.is_whole = PLACE in headers or "Nats-Batch-Id" not in headers
        part = partition_of(message.subject, self._partitions)
        if self._places.get(part, message.sequence) >= message.sequence:
            return  # of another member, or handled before this one took the partition over
        event = self._events.read(message)
        if event is not None:
            transaction = None
            if isinstance(event, Change):
                transaction = (message.subject.partition(".")[0], event.transaction_id)
            self._items.append(Item((event,), message.sequence, part, transaction, message, before))

    def _missing(self, until: int) -> None:
        """Put a gap where the stream has messages no more."""
        if self._lowest < until:
            self.report(
                until,
                f"messages {max(self._lowest, self.until) + 1} to {until} are not in the stream any more",
            )

    def report(self, sequence: int, detail: str) -> None:
        """Put a gap into the batch.

        :param sequence: the number of the last message that is missing.
        """
        gap = Gap("lost_position", datetime.now(UTC), detail)
        self._items.append(Item((gap,), sequence, NO_PART, before=self._stored))

    def cut(self, size: int, *, divide: bool = False) -> Cut | None:
        """Return a batch of about ``size`` events; None if more messages have to come first.

        :param divide: whether a transaction may be divided.
        """
        items = self._items
        if len(items) < size or not items:
            return None
        if divide and len(items) > size:
            return self._take(size)
        last = items[-1].transaction
        if len(items) > size and (last is None or last != items[-2].transaction):
            return self._take(len(items) - 1)
        return self.rest() if self.is_whole else None

    def rest(self) -> Cut:
        """Return all that was taken as a batch."""
        return self._take(len(self._items))

    def _take(self, count: int) -> Cut:
        taken, self._items = self._items[:count], self._items[count:]
        if not self._items:
            return Cut(taken, self.until, self._stored)
        return Cut(taken, self._items[0].sequence - 1, self._items[0].before)

    def passed(self, until: int) -> None:
        """Note that all messages up to a number are handled."""
        self._places = {part: max(place, until) for part, place in self._places.items()}
        self._lowest = max(self._lowest, until)

    @property
    def is_behind(self) -> bool:
        """Whether messages were taken that are not handled, all of them of other partitions."""
        return self._lowest < self.until

    def not_beyond(self, until: int) -> list[int]:
        """Return the partitions that are not further on than ``until``."""
        return [part for part, place in self._places.items() if place <= until]
