"""What a relay has published, as one text: the sink keeps it with the messages, and the table of
consumers after the sink has confirmed.

The sink's text is the truth, and the table's is at most one publication behind, because the table is
written after each publication and before the next one. If the two differ, the process that published
ended before it could store its position, so the relay continues from the position in the sink's text.
If they are equal, the table's position counts: it may be further on, over changes of other tables, or
elsewhere, after ``seek()``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..consuming.chunks import Chunk
from ..consuming.positions import ConsumerTable
from ..errors import UnreadableData
from ..log.reader import LogRow
from ..log.snapshots import Position
from ..sql import Execute, literal

__all__ = ["Place", "adopt", "is_lost", "newest_of", "record", "recorded"]

Row = tuple[int, int, int]
"""A row of the log: its number, its transaction id, and the process id of the writer."""


@dataclass(frozen=True, slots=True)
class Place:
    """How far a relay has published.

    :ivar sink: what into, as ``str(sink)``.
    :ivar log: the log that was published, see :func:`sa_pgnotify.log.origin.origin_of`.
    :ivar number: of the publication, counted from 1; 0 before the first one.
    :ivar kept: whether the sink keeps the place (exactly once).
    :ivar newest: the row of the newest transaction that was published; None if none was.
    :ivar position: the position after the publication.
    """

    sink: str
    log: str
    number: int = 0
    kept: bool = True
    newest: Row | None = None
    position: Position | None = None

    def next(self, position: Position, newest: Row | None) -> Place:
        """Return the place after one more publication."""
        newest = newest or self.newest
        return replace(self, number=self.number + 1, position=position, newest=newest)

    def __str__(self) -> str:
        """Return the place as ASCII text on one line."""
        at = None if self.position is None else str(self.position)
        return json.dumps([1, self.sink, self.log, self.number, self.kept, self.newest, at])

    @classmethod
    def parse(cls, text: str) -> Place:
        """Return the place that ``str(place)`` wrote.

        :raises UnreadableData: if it did not.
        """
        try:
            version, sink, log, number, kept, newest, at = json.loads(text)
            if version != 1:
                raise ValueError(f"it is of version {version}")
            row = None if newest is None else (int(newest[0]), int(newest[1]), int(newest[2]))
            position = None if at is None else Position.parse(at)
            return cls(str(sink), str(log), int(number), bool(kept), row, position)
        except (ValueError, TypeError, IndexError) as error:
            raise UnreadableData(
                "Place",
                f"{text[:80]!r} is not what a relay has written ({error})",
                "If a newer version of sa_pgnotify wrote it, run that",
            ) from None


def newest_of(chunks: Sequence[Chunk]) -> Row | None:
    """Return the row of the newest transaction among chunks; None if there is none."""
    rows = [chunk.row for chunk in chunks if isinstance(chunk.row, LogRow) and chunk.row.xid]
    return max(((r.row_id, r.xid, r.pid) for r in rows), key=lambda row: row[1], default=None)


def recorded(execute: Execute, table: ConsumerTable) -> Place | None:
    """Return what the table of consumers knows to be published; None before a relay has begun."""
    found = execute(f"SELECT sink FROM {table.names.consumers} WHERE {table.key.condition}")
    return next((Place.parse(text) for (text,) in found if text is not None), None)


def record(execute: Execute, table: ConsumerTable, place: Place) -> None:
    """Store what was published in the table of consumers."""
    text = literal(str(place))
    execute(f"UPDATE {table.names.consumers} SET sink = {text} WHERE {table.key.condition}")


def adopt(execute: Execute, table: ConsumerTable, place: Place, log: str) -> None:
    """Move the relay to the place that the sink keeps."""
    assert place.position is not None
    at, stored = place.position, table.load_known(execute)
    known = {(scan.relation, scan.where) for scan in at.scans}
    # backfills that were asked for after that publication
    asked = (scan for scan in stored.position.scans if not scan.starts and scan.after is None)
    more = [scan for scan in asked if (scan.relation, scan.where) not in known]
    table.move(execute, replace(at, scans=(*at.scans, *more)), origin=log)
    record(execute, table, place)


def is_lost(execute: Execute, table: ConsumerTable, row: Row) -> bool:
    """Return whether the server has lost a transaction that was published, in a crash without
    ``synchronous_commit`` or a failover. A row that the log has removed does not count as lost."""
    number, xid, pid = row
    names = table.names
    found = f"EXISTS (SELECT FROM {names.rows} AS l WHERE id = {number} AND xid = {xid} AND pid = {pid})"
    removed = f"coalesce((SELECT removed FROM {names.head} WHERE id = 0), 0) >= {xid}"
    ((is_there,),) = execute(f"SELECT ({found} OR {removed})::int")
    return not is_there
