"""The messages of PostgreSQL's output plugin ``pgoutput``, protocol versions 1 to 4.

A message is binary, and how to read it depends on the messages before it: within a streamed block,
each message begins with a transaction id. :class:`Decoder` knows whether it is in such a block. It
decides and never waits.

The format is described in the chapter "Logical Replication Message Formats" of PostgreSQL's
manual.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from struct import Struct, error
from typing import Any, NamedTuple

from ..errors import UnreadableData

__all__ = [
    "UNCHANGED",
    "Begin",
    "Commit",
    "Decoder",
    "Emitted",
    "Message",
    "Relation",
    "RelationColumn",
    "RowChange",
    "StreamAbort",
    "StreamCommit",
    "StreamStart",
    "StreamStop",
    "Truncation",
    "Unchanged",
    "Values",
]

EPOCH = 946_684_800_000_000
"""Microseconds from 1970 to 2000, from which PostgreSQL counts."""


class Unchanged:
    """The type of :data:`UNCHANGED`."""

    def __repr__(self) -> str:
        return "UNCHANGED"


UNCHANGED = Unchanged()
"""Stands for a value that is stored out of line (TOAST) and did not change, which is not sent."""

Values = list["bytes | Unchanged | None"]
"""The values of a row, in the order of its relation's columns: the texts that the output functions
of their types write, and None for NULL."""


class Begin(NamedTuple):
    """The beginning of a transaction, all of whose changes follow.

    :ivar commit_lsn: where the record of its commit begins.
    :ivar microseconds: of its commit, since 1970-01-01 UTC.
    :ivar xid: its id without the epoch: 32 bits.
    """

    commit_lsn: int
    microseconds: int
    xid: int


class Commit(NamedTuple):
    """The end of a transaction.

    :ivar end_lsn: where the record of its commit ends.
    """

    commit_lsn: int
    end_lsn: int
    microseconds: int


class RelationColumn(NamedTuple):
    """A column of a relation.

    :ivar is_key: whether it is a part of the replica identity.
    """

    name: str
    type_oid: int
    is_key: bool


@dataclass(frozen=True, slots=True)
class Relation:
    """A table, as it was when the changes that follow were made.

    :ivar xid: of the message, in a streamed block; else 0. The same in each class below.
    :ivar oid: of the table, or of the partitioned table under whose name its changes are published.
    :ivar replica_identity: pg_class.relreplident: d(efault), n(othing), f(ull) or i(ndex).
    """

    xid: int
    oid: int
    schema: str
    name: str
    replica_identity: str
    columns: tuple[RelationColumn, ...]


class RowChange(NamedTuple):
    """An inserted, updated or deleted row.

    :ivar operation: one of I, U and D.
    :ivar old: of an update or a deletion, the old row; None if it was not sent.
    :ivar is_whole: whether ``old`` has all columns, and not only those of the replica identity.
    """

    xid: int
    operation: str
    oid: int
    old: Values | None
    new: Values | None
    is_whole: bool = True


@dataclass(frozen=True, slots=True)
class Truncation:
    """Tables that one statement emptied."""

    xid: int
    oids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Emitted:
    """What ``pg_logical_emit_message()`` wrote.

    :ivar is_transactional: whether it belongs to a transaction, and is sent with that.
    """

    xid: int
    is_transactional: bool
    lsn: int
    prefix: str
    content: bytes


class StreamStart(NamedTuple):
    """The beginning of a block of a transaction that is still open."""

    xid: int
    is_first: bool


class StreamStop(NamedTuple):
    """The end of such a block."""


class StreamCommit(NamedTuple):
    """The commit of a transaction that was sent in blocks; see :class:`Commit`."""

    xid: int
    commit_lsn: int
    end_lsn: int
    microseconds: int


class StreamAbort(NamedTuple):
    """The end of a transaction that was sent in blocks, or of a part of it, without effect.

    :ivar subxid: of the part, a savepoint; equals ``xid`` if it is the whole transaction.
    """

    xid: int
    subxid: int


Message = (
    Begin
    | Commit
    | Relation
    | RowChange
    | Truncation
    | Emitted
    | StreamStart
    | StreamStop
    | StreamCommit
    | StreamAbort
)

_INT8, _INT16, _INT32, _INT64 = (Struct(f"!{code}") for code in "BHIQ")
_BEGIN, _COMMIT, _STREAM_COMMIT = Struct("!QqI"), Struct("!xQQq"), Struct("!IxQQq")
_ROW = Struct("!Ic")


class _Reader:
    """Takes values from the front of a message."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes, start: int) -> None:
        self._data = data
        self._at = start

    def take(self, struct: Struct) -> tuple[Any, ...]:
        """Return several values at once."""
        self._at += struct.size
        return struct.unpack_from(self._data, self._at - struct.size)

    def _number(self, struct: Struct) -> int:
        (value,) = self.take(struct)
        return int(value)

    def int8(self) -> int:
        return self._number(_INT8)

    def int16(self) -> int:
        return self._number(_INT16)

    def int32(self) -> int:
        return self._number(_INT32)

    def int64(self) -> int:
        return self._number(_INT64)

    def letter(self) -> bytes:
        return self.bytes(1)

    def text(self) -> str:
        end = self._data.index(0, self._at)
        found = self._data[self._at : end].decode()
        self._at = end + 1
        return found

    def bytes(self, size: int) -> bytes:
        found = self._data[self._at : self._at + size]
        if len(found) < size:
            raise ValueError(f"{size - len(found)} bytes are missing")
        self._at += size
        return found

    def row(self) -> Values:
        """Return the values of a row."""
        data, at = self._data, self._at
        (count,) = _INT16.unpack_from(data, at)
        at += 2
        values: Values = []
        for _ in range(count):
            kind = data[at]
            at += 1
            if kind == 0x74:  # t: text
                (size,) = _INT32.unpack_from(data, at)
                at += 4 + size
                values.append(data[at - size : at])
            elif kind == 0x6E:  # n: NULL
                values.append(None)
            elif kind == 0x75:  # u: unchanged
                values.append(UNCHANGED)
            else:
                raise ValueError(f"a value of the kind {chr(kind)!r}")
        if at > len(data):
            raise ValueError(f"{at - len(data)} bytes are missing")
        self._at = at
        return values


class Decoder:
    """Decodes the messages of one slot, in the order in which they arrive."""

    def __init__(self) -> None:
        self._is_streaming = False

    def decode(self, data: bytes) -> Message | None:
        """Return the message; None if it is of a kind that is not needed here (types, origins).

        :raises UnreadableData: if it is of an unknown kind, or damaged.
        """
        kind = data[:1]
        read = _KINDS.get(kind)
        if read is None:
            raise UnreadableData(
                "pgoutput",
                f"a message of the kind {kind!r}",
                "The capture knows protocol versions 1 to 4 without two_phase; make the slot by it",
            )
        reader = _Reader(data, 1)
        try:
            xid = reader.int32() if self._is_streaming and kind in b"RYIUDTM" else 0
            message = read(reader, xid)
        except (error, ValueError, IndexError) as why:
            raise UnreadableData(
                "pgoutput", f"a message of the kind {kind!r} is damaged: {why}"
            ) from why
        if kind in b"SE":
            self._is_streaming = kind == b"S"
        return message


def _begin(reader: _Reader, _: int) -> Begin:
    lsn, moment, xid = reader.take(_BEGIN)
    return Begin(lsn, moment + EPOCH, xid)


def _commit(reader: _Reader, _: int) -> Commit:
    lsn, end, moment = reader.take(_COMMIT)
    return Commit(lsn, end, moment + EPOCH)


def _relation(reader: _Reader, xid: int) -> Relation:
    oid, schema, name = reader.int32(), reader.text(), reader.text()
    identity = reader.letter().decode()
    columns = []
    for _ in range(reader.int16()):
        is_key, column, type_oid, _modifier = (
            reader.int8(),
            reader.text(),
            reader.int32(),
            reader.int32(),
        )
        columns.append(RelationColumn(column, type_oid, bool(is_key & 1)))
    return Relation(xid, oid, schema or "pg_catalog", name, identity, tuple(columns))


def _ignored(_: _Reader, __: int) -> None:
    return None


def _insert(reader: _Reader, xid: int) -> RowChange:
    oid, kind = reader.take(_ROW)
    _expect(kind, b"N")
    return RowChange(xid, "I", oid, None, reader.row())


def _update(reader: _Reader, xid: int) -> RowChange:
    oid, kind = reader.take(_ROW)
    old = None
    if kind != b"N":
        _expect(kind, b"KO")
        old = reader.row()
        _expect(reader.letter(), b"N")
    return RowChange(xid, "U", oid, old, reader.row(), kind == b"O")


def _delete(reader: _Reader, xid: int) -> RowChange:
    oid, kind = reader.take(_ROW)
    _expect(kind, b"KO")
    return RowChange(xid, "D", oid, reader.row(), None, kind == b"O")


def _truncate(reader: _Reader, xid: int) -> Truncation:
    count = reader.int32()
    reader.int8()
    return Truncation(xid, tuple(reader.int32() for _ in range(count)))


def _emitted(reader: _Reader, xid: int) -> Emitted:
    flags, lsn, prefix = reader.int8(), reader.int64(), reader.text()
    return Emitted(xid, bool(flags & 1), lsn, prefix, reader.bytes(reader.int32()))


def _stream_start(reader: _Reader, _: int) -> StreamStart:
    return StreamStart(reader.int32(), bool(reader.int8()))


def _stream_stop(_: _Reader, __: int) -> StreamStop:
    return StreamStop()


def _stream_commit(reader: _Reader, _: int) -> StreamCommit:
    xid, lsn, end, moment = reader.take(_STREAM_COMMIT)
    return StreamCommit(xid, lsn, end, moment + EPOCH)


def _stream_abort(reader: _Reader, _: int) -> StreamAbort:
    return StreamAbort(reader.int32(), reader.int32())


def _expect(found: bytes, wanted: bytes) -> None:
    if found not in wanted:
        raise ValueError(f"{found!r} in place of {wanted!r}")


_KINDS: dict[bytes, Callable[[_Reader, int], Message | None]] = {
    b"B": _begin,
    b"C": _commit,
    b"O": _ignored,
    b"R": _relation,
    b"Y": _ignored,
    b"I": _insert,
    b"U": _update,
    b"D": _delete,
    b"T": _truncate,
    b"M": _emitted,
    b"S": _stream_start,
    b"E": _stream_stop,
    b"c": _stream_commit,
    b"A": _stream_abort,
}
"""How each kind of message is read, by its first byte. Those of ``two_phase`` are missing, because
the capture's slot does not ask for them."""
