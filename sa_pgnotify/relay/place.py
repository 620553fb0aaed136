"""What a relay has published, as one text: the sink keeps it with the messages, and the table of
consumers after the sink has confirmed.

The sink's text is the truth, and the table's is at most one publication behind, because the table is
written after each publication and before the next one. If the two differ, the process that published
ended before it could store its position, so the relay continues from the position in the sink's text.
If they are equal, the table's position counts: it may be further on, over changes of other tables, or
elsewhere, after ``seek()``.

A sink's text is sealed with a secret that is only in the table of consumers. So a program that may
write into the broker cannot move the relay: a forged place is detected, and the relay ends instead
of skipping changes.
"""

from __future__ import annotations

import json
import secrets
import zlib
from base64 import b85decode, b85encode
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any, NamedTuple

from ..consuming.chunks import Chunk
from ..consuming.positions import ConsumerTable
from ..errors import UnreadableData, printable
from ..log.reader import LogRow
from ..log.scans import scans_from_json, scans_to_json
from ..log.snapshots import Position
from ..sql import Execute, literal

__all__ = ["Known", "Place", "Sealed", "adopt", "is_lost", "newest_of", "record", "recorded"]

Row = tuple[int, int, int]
"""A row of the log: its number, its transaction id, and the process id of the writer."""
VERSION = 2
SEAL_BYTES = 16


@dataclass(frozen=True, slots=True)
class Place:
    """How far a relay has published.

    :ivar sink: what into, as ``str(sink)``.
    :ivar log: the log that was published, see
        :func:`sa_pgnotify.log.origin.database_and_log`.
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

    def fields(self) -> list[Any]:
        """Return what :meth:`of` reads, as JSON has it."""
        at = None if self.position is None else _packed(self.position)
        return [VERSION, self.sink, self.log, self.number, self.kept, self.newest, at]

    @classmethod
    def of(cls, fields: Sequence[Any]) -> Place:
        """Return the place of :meth:`fields`."""
        version, sink, log, number, kept, newest, at = fields
        if version != VERSION:
            raise ValueError(f"it is of version {version}")
        row = None if newest is None else (int(newest[0]), int(newest[1]), int(newest[2]))
        position = None if at is None else _unpacked(at)
        return cls(str(sink), str(log), int(number), bool(kept), row, position)


class Sealed(NamedTuple):
    """A place as a sink has it.

    :ivar text: the place; ``seal`` the keyed hash of the text, made with the relay's secret.
    """

    text: str
    seal: str

    def __str__(self) -> str:
        """Return ASCII text on one line."""
        return f"{self.text} {self.seal}"

    @classmethod
    def parse(cls, text: str) -> Sealed:
        """Return what ``str(sealed)`` wrote, or anything else."""
        written, _, seal = text.rpartition(" ")
        return cls(written, seal)

    @property
    def place(self) -> Place:
        """The place.

        :raises UnreadableData: if a relay of this version has not written the text.
        """
        try:
            return Place.of(json.loads(self.text))
        except Exception as error:  # anybody may have written it
            raise _unreadable(self.text, error) from None


@dataclass(frozen=True, slots=True)
class Known:
    """What the table of consumers stores about a relay.

    :ivar secret: for the seals, hexadecimal.
    :ivar found: the seal of the place that the sink had when the relay began under this name, which
        an earlier relay wrote and this one ignores; empty if there was none.
    """

    place: Place
    secret: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)
    found: str = ""

    def next(self, position: Position, newest: Row | None) -> Known:
        """Return what is known after one more publication."""
        return replace(self, place=self.place.next(position, newest))

    def sealed(self) -> Sealed:
        """Return the place as it is given to the sink."""
        text = json.dumps(self.place.fields())
        return Sealed(text, self._seal_of(text))

    def has_made(self, sealed: Sealed) -> bool:
        """Return whether a place of the sink was sealed with this secret."""
        own = self._seal_of(sealed.text)
        return secrets.compare_digest(own.encode(), sealed.seal.encode(errors="replace"))

    def _seal_of(self, text: str) -> str:
        key = bytes.fromhex(self.secret)
        return blake2b(text.encode(errors="replace"), key=key, digest_size=SEAL_BYTES).hexdigest()

    def __str__(self) -> str:
        return json.dumps([*self.place.fields(), self.secret, self.found])

    @classmethod
    def parse(cls, text: str) -> Known:
        """Return what ``str(known)`` wrote.

        :raises UnreadableData: if it did not.
        """
        try:
            *fields, secret, found = json.loads(text)
            return cls(Place.of(fields), bytes.fromhex(secret).hex(), str(found))
        except Exception as error:  # whatever is wrong with it
            raise _unreadable(text, error) from None


def _unreadable(text: str, error: Exception) -> UnreadableData:
    return UnreadableData(
        "Place",
        f"{printable(text, 80)!r} is not what a relay has written ({printable(str(error), 200)})",
        "If a newer version of sa_pgnotify wrote it, run that",
    )


# The names of the tables make up most of a position, and the key of the last row of a snapshot may be
# long; but what PostgreSQL has in a primary key it could compress to 2.7 kB.
MOST_UNPACKED = 64 << 20


def _packed(position: Position) -> str:
    """Return a position as short ASCII text."""
    numbers = [position.tx_end, position.row_id, position.row_part]
    sides = [position.last, position.target, position.tables, position.among]
    written = json.dumps([numbers, sides, scans_to_json(position.scans)], separators=(",", ":"))
    return b85encode(zlib.compress(written.encode())).decode()


def _unpacked(text: str) -> Position:
    unpack = zlib.decompressobj()
    written = unpack.decompress(b85decode(text), MOST_UNPACKED)
    if unpack.unconsumed_tail:
        raise ValueError("it is too long")
    (tx_end, row_id, row_part), (last, target, tables, among), scans = json.loads(written)
    read, ordered = (tuple((n, since) for n, since in given) for given in (tables, among))
    at = Position(last, target, tx_end, row_id, row_part, read, ordered, scans_from_json(scans))
    return Position.parse(str(at))  # checks the types


def newest_of(chunks: Sequence[Chunk]) -> Row | None:
    """Return the row of the newest transaction among chunks; None if there is none."""
    rows = [chunk.row for chunk in chunks if isinstance(chunk.row, LogRow) and chunk.row.xid]
    return max(((r.row_id, r.xid, r.pid) for r in rows), key=lambda row: row[1], default=None)


def recorded(execute: Execute, table: ConsumerTable) -> Known | None:
    """Return what the table of consumers knows to be published; None before a relay has begun."""
    found = execute(f"SELECT sink FROM {table.names.consumers} WHERE {table.key.condition}")
    return next((Known.parse(text) for (text,) in found if text is not None), None)


def record(execute: Execute, table: ConsumerTable, known: Known) -> None:
    """Store what was published in the table of consumers."""
    text = literal(str(known))
    execute(f"UPDATE {table.names.consumers} SET sink = {text} WHERE {table.key.condition}")


def adopt(execute: Execute, table: ConsumerTable, known: Known, origin: str) -> None:
    """Move the relay to the place that the sink keeps."""
    assert known.place.position is not None
    at, stored = known.place.position, table.load_known(execute)
    begun = {(scan.relation, scan.where) for scan in at.scans}
    # backfills that were asked for after that publication
    asked = (scan for scan in stored.position.scans if not scan.starts and scan.after is None)
    more = [scan for scan in asked if (scan.relation, scan.where) not in begun]
    table.move(execute, replace(at, scans=(*at.scans, *more)), origin=origin)
    record(execute, table, known)


def is_lost(execute: Execute, table: ConsumerTable, row: Row) -> bool:
    """Return whether the server has lost a transaction that was published, in a crash without
    ``synchronous_commit`` or a failover. A row that the log has removed does not count as lost."""
    number, xid, pid = row
    names = table.names
    found = f"EXISTS (SELECT FROM {names.rows} AS l WHERE id = {number} AND xid = {xid} AND pid = {pid})"
    removed = f"coalesce((SELECT removed FROM {names.head} WHERE id = 0), 0) >= {xid}"
    ((is_there,),) = execute(f"SELECT ({found} OR {removed})::int")
    return not is_there
