"""Rows of the log as events for a consumer, and how they are cut into batches.

A batch should be small, a transaction should stay whole, and a position may lie anywhere. So
batches are cut from a list of chunks: one for each row of the log, which knows the position after
each of its changes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple
from zlib import crc32

from ..events.changes import Change, Updated
from ..events.kinds import Gap
from ..events.layout import Undecodable
from ..events.message import Message
from ..events.moved_rows import entered, left, previous_texts
from ..events.stream import EventStream, Item
from ..log.reader import LogRow
from ..log.snapshots import Position
from ..scanning.row_page import RowPage
from .positions import ConsumerKey

__all__ = ["Chunk", "TransactionPart", "cut", "decode", "part_of", "transactions"]


@dataclass(frozen=True, slots=True)
class Chunk:
    """Changes of one row of the log, in order; or rows of a table, which are not a transaction.

    :ivar events: one for each change; None for a change that is not for this consumer.
    :ivar first: the index of the first change in ``row.text``; ``until`` that after the last one.
    :ivar frees: the tables whose places are freed when the chunk is passed.
    :ivar lost: how many changes are known to be missing in the log once the chunk is passed; None
        if as many as before.
    :ivar parked: the number of a parked change that is given out again; None for changes that are
        read from the log.
    """

    row: LogRow | RowPage
    events: Sequence[Change | Gap | None]
    first: int
    until: int
    frees: tuple[str, ...] = ()
    lost: int | None = None
    parked: int | None = None

    @property
    def after(self) -> Position:
        """The position after the chunk."""
        return self.row.after_change(self.until - 1)

    @property
    def begins(self) -> bool:
        """Whether a transaction begins with the chunk, although that of the log does not."""
        return self.row.begins and not self.first

    @property
    def ends(self) -> bool:
        """Whether the chunk is the end of its transaction."""
        row = self.row
        return (row.row_id == row.tx_end or row.ends) and self.until >= row.size

    def split(self, count: int) -> tuple[Chunk, Chunk]:
        """Return the first ``count`` changes, and the others."""
        middle = self.first + count
        return replace(self, events=self.events[:count], until=middle), replace(
            self, events=self.events[count:], first=middle
        )

    def key(self, number: int) -> tuple[int, int]:
        """Return the key of the change of event ``number``, see
        :meth:`sa_pgnotify.log.reader.LogRow.change_key`."""
        return self.row.change_key(min(self.first + number, self.until - 1))

    @property
    def divisible(self) -> bool:
        """Whether each event is a change of its own. A TRUNCATE is one change, with an event for
        each class."""
        return len(self.events) == self.until - self.first


class TransactionPart(NamedTuple):
    """The changes of one transaction in a batch.

    :ivar transaction_id: PostgreSQL's 64-bit transaction id.
    :ivar changes: its changes in order; a :class:`~sa_pgnotify.Gap` stands for a change that could
        not be read.
    :ivar begins: whether the transaction begins here; else the previous batch has more of it.
    :ivar ends: whether the transaction ends here; else the next batch has more of it.
    """

    transaction_id: int
    changes: tuple[Change | Gap, ...]
    begins: bool
    ends: bool


def cut(waiting: deque[Chunk], size: int) -> list[Chunk]:
    """Take about ``size`` changes from the front of ``waiting``, in whole transactions unless the
    first one is longer."""
    taken: list[Chunk] = []
    count = whole = 0
    while waiting and count < size:
        chunk = waiting.popleft()
        if len(chunk.events) > size - count and chunk.divisible:
            chunk, rest = chunk.split(size - count)
            waiting.appendleft(rest)
        taken.append(chunk)
        count += len(chunk.events)
        if chunk.ends:
            whole = len(taken)
    if whole:
        waiting.extendleft(reversed(taken[whole:]))
        del taken[whole:]
    return taken


def transactions(chunks: Sequence[Chunk], reached: Position) -> Iterator[TransactionPart]:
    """Return the changes of a batch by transaction.

    :param reached: the position before the first chunk.
    """
    start = 0
    for place, chunk in enumerate(chunks, 1):
        following = chunks[place] if place < len(chunks) else None
        if following and following.row.tx_end == chunk.row.tx_end and not following.begins:
            continue
        changes = tuple(
            event for part in chunks[start:place] for event in part.events if event is not None
        )
        begins = start > 0 or chunk.row.tx_end != reached.tx_end or chunks[0].begins
        if changes:
            yield TransactionPart(chunk.row.origin or chunk.row.xid, changes, begins, chunk.ends)
        start = place


def decode(
    row: LogRow,
    items: Iterable[Item],
    stream: EventStream,
    key: ConsumerKey,
    read: Callable[[Mapping[int, list[str]]], Mapping[int, list[str]]],
) -> Chunk:
    """Return the events of a row, one for each change.

    :param items: the items that ``stream`` made of the row.
    :param read: as :meth:`sa_pgnotify.drivers.ListenConnection.read`.
    """
    size = row.size
    events: list[Change | Gap | None] = []
    for item in items:
        if isinstance(item, Message):
            for message in item.resolve_on_server(read) if item.has_server_read_fields else (item,):
                events.extend(_events(stream, message))
        elif isinstance(item, Gap):
            events.extend([item, *[None] * (size - 1)])  # one gap for all changes of the row
    if key.parts > 1:
        events = [_of_part(event, key) for event in events]
    return Chunk(row, events or [None] * size, 0, size)


def _of_part(event: Change | Gap | None, key: ConsumerKey) -> Change | Gap | None:
    """Return the event if it belongs to the consumer's part, else None. An event without an
    identity, such as a gap, belongs to all parts.

    A row whose identity moves from one part to another is gone for the one, and new for the other.
    """
    if not isinstance(event, Change) or event.identity is None:
        return event
    is_here = part_of(event._identity_texts(), key.parts) == key.part
    before = previous_texts(event) if isinstance(event, Updated) else None
    if before is None or (part_of(before, key.parts) == key.part) == is_here:
        return event if is_here else None
    assert isinstance(event, Updated)
    return entered(event) if is_here else left(event)


def _events(stream: EventStream, message: Message) -> list[Change | Gap | None]:
    """Return one event for each change, in order; of a TRUNCATE, one for each class."""
    try:
        events: list[Any] = message.events()
    except Undecodable:
        single: list[Sequence[Any]] = [stream.events(row) or [None] for row in message.each()]
        return [events[0] for events in single]
    if len(events) == len(message) or (events and events[0].identity is None):
        return events
    # Some are of classes that the consumer does not read.
    every: list[Change | Gap | None] = [None] * len(message)
    for event in events:
        every[event._row] = event
    return every


def part_of(identity: Iterable[str], parts: int) -> int:
    """Return which of ``parts`` parts a row belongs to: the same in every process.

    :param identity: PostgreSQL's texts of the row's identity.
    """
    return crc32("\x1f".join(identity).encode()) % parts
