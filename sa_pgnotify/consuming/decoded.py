"""What of a row of the change log a consumer is given."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from zlib import crc32

from ..events.changes import Change
from ..events.kinds import Gap
from ..events.layout import Undecodable
from ..events.message import Message
from ..events.stream import EventStream, Item
from ..log.reader import LogRow
from .chunks import Chunk
from .positions import ConsumerKey

__all__ = ["chunk_of", "part_of"]


def chunk_of(
    row: LogRow,
    items: Iterable[Item],
    protocol: EventStream,
    key: ConsumerKey,
    read: Callable[[Mapping[int, list[str]]], Mapping[int, list[str]]],
) -> Chunk:
    """The events of a row, one for each change, None in the place of one that is not for this
    consumer.

    :param items: what ``protocol`` has made of the row.
    :param read: as :meth:`sa_pgnotify.drivers.ListenConnection.read`.
    """
    size = row.size
    events: list[Change | Gap | None] = []
    for item in items:
        if isinstance(item, Message):
            for message in item.resolve_on_server(read) if item.has_server_read_fields else (item,):
                events.extend(_events(protocol, message))
        elif isinstance(item, Gap):
            events.extend([item, *[None] * (size - 1)])  # one for all
    if key.parts > 1:
        events = [_of_part(event, key) for event in events]
    return Chunk(row, events or [None] * size, 0, size)


def _of_part(event: Change | Gap | None, key: ConsumerKey) -> Change | Gap | None:
    """The event, if it is of this consumer's part: what is of no part, as a gap, is of all."""
    if not isinstance(event, Change) or event.identity is None:
        return event
    return event if part_of(event._identity_texts(), key.parts) == key.part else None


def _events(protocol: EventStream, message: Message) -> list[Change | Gap | None]:
    """One for each change of a message, in order; of those of a TRUNCATE, one for each class."""
    try:
        events: list[Any] = message.events()
    except Undecodable:
        told: list[Sequence[Any]] = [protocol.events(row) or [None] for row in message.each()]
        return [events[0] for events in told]
    if len(events) == len(message) or (events and events[0].identity is None):
        return events
    # some are of classes that nobody asked for
    every: list[Change | Gap | None] = [None] * len(message)
    for event in events:
        every[event._row] = event
    return every


def part_of(identity: Iterable[str], parts: int) -> int:
    """Which of so many parts a row belongs to: the same in every process, by PostgreSQL's texts of
    its identity."""
    return crc32("\x1f".join(identity).encode()) % parts
