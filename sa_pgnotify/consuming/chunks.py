"""Changes that a consumer has read and not yet given out, and how they are cut into batches.

A batch should be small, a transaction should stay whole, and a position may lie anywhere: so what
is cut is a list of chunks, one for each row of the log, each of which knows the place behind any of
its changes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from ..events.changes import Change
from ..events.kinds import Gap
from ..log.reader import LogRow
from ..log.snapshots import Position

__all__ = ["Chunk", "TransactionPart", "cut", "transactions"]


@dataclass(frozen=True, slots=True)
class Chunk:
    """Changes of one row of the log, in order.

    :ivar events: one for each change; None for one that this consumer passes over.
    :ivar first: which of the row's changes is the first one here, counted from 0 in ``row.text``;
        ``until`` the first that is not.
    :ivar frees: tables whose places go when it is passed; ``lost`` what is stored then of changes
        that are missing in the log.
    """

    row: LogRow
    events: Sequence[Change | Gap | None]
    first: int
    until: int
    frees: tuple[str, ...] = ()
    lost: int | None = None

    @property
    def after(self) -> Position:
        """The place behind it."""
        return self.row.behind(self.until - 1)

    @property
    def ends(self) -> bool:
        """Whether its transaction ends with it."""
        return self.row.row_id == self.row.tx_end and self.until >= self.row.size

    def split(self, count: int) -> tuple[Chunk, Chunk]:
        """Its first ``count`` changes, and the others."""
        middle = self.first + count
        return replace(self, events=self.events[:count], until=middle), replace(
            self, events=self.events[count:], first=middle
        )

    def key(self, number: int) -> tuple[int, int]:
        """Which change one of its events is: the same whenever, and up to whichever snapshot, it is
        read."""
        return self.row.row_id, self.row.skipped + min(self.first + number, self.until - 1)

    @property
    def divisible(self) -> bool:
        """Whether each of its events is a change of its own; those of a TRUNCATE, one for each
        class, are one change."""
        return len(self.events) == self.until - self.first


class TransactionPart(NamedTuple):
    """The changes of one transaction in a batch.

    :ivar transaction_id: PostgreSQL's 64-bit transaction id.
    :ivar changes: in order; among them a :class:`~sa_pgnotify.Gap` where one could not be read.
    :ivar begins: whether the transaction begins here; else the batch before has more of it.
    :ivar ends: whether it ends here; else the next batch has more of it.
    """

    transaction_id: int
    changes: tuple[Change | Gap, ...]
    begins: bool
    ends: bool


def cut(waiting: deque[Chunk], size: int) -> list[Chunk]:
    """Take about ``size`` changes from the front of ``waiting``: whole transactions, unless the
    first one alone is longer."""
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
    """The chunks of a batch, by transaction.

    :param reached: the place before the first of them.
    """
    start = 0
    for place, chunk in enumerate(chunks, 1):
        if place < len(chunks) and chunks[place].row.tx_end == chunk.row.tx_end:
            continue
        changes = tuple(
            event for part in chunks[start:place] for event in part.events if event is not None
        )
        begins = start > 0 or chunk.row.tx_end != reached.tx_end
        if changes:
            yield TransactionPart(chunk.row.xid, changes, begins, chunk.ends)
        start = place
