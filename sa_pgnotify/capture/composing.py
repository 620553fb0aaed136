"""Making rows of the change log from decoded changes, as the trigger of the table would write them.

A trigger sees statements; the write-ahead log knows only rows. So consecutive changes of one kind
share a row of the log, as long as it stays small enough for a reader to hold. Everything else is
the same, field by field: see :mod:`sa_pgnotify.protocol.wire`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple, Protocol

from ..errors import UnreadableData
from ..protocol.wire import MASK_BITS, escaped_field
from ..triggers.column_sql import as_in_database
from ..triggers.templates.v1_log import LONGEST_STATEMENT, PIECE_BYTES
from ..triggers.templates.v1_rows import RowSql
from ..triggers.trigger_set import TriggerSet
from .pgoutput import (
    UNCHANGED,
    Begin,
    Emitted,
    Relation,
    RowChange,
    Truncation,
    Unchanged,
    Values,
)

__all__ = ["CONTEXT_PREFIX", "CapturedTable", "Composer", "LogEntry"]

CONTEXT_PREFIX = "sa_pgnotify.context"
"""The prefix of the logical message by which ``change_context`` travels; its content is JSON, or
empty."""
_ESC, _RS, _US = b"\x1b", b"\x1e", b"\x1f"
_OPERATIONS = {"I": "insert", "U": "update", "D": "delete", "T": "truncate"}
MOST_PLANS = 1000
"""How many combinations of changed columns are remembered for a table."""
_NOT_IDENTIFIED = (
    "55000 the old row was not written: the REPLICA IDENTITY of the table or of a partition "
    "is not FULL. Run metadata.create_all(engine)"
)


class LogEntry(NamedTuple):
    """A row of the log, but for its number and its transaction."""

    relation: str
    header: str
    rows: str


class CapturedTable(NamedTuple):
    """A table whose changes are captured.

    :ivar relation: its name in messages.
    """

    relation: str
    triggers: TriggerSet


class _Unreadable(Exception):
    """A change cannot be written; its text is an SQLSTATE and the reason."""


class _RowWriter:
    """Writes the rows of one table, whose columns are as its last description says.

    :param type_of: returns the OID of the type under a domain, given the domain's.
    """

    def __init__(
        self, table: CapturedTable, relation: Relation, type_of: Callable[[int], int]
    ) -> None:
        marking = table.triggers.marking
        places = {column.name: place for place, column in enumerate(relation.columns)}
        types = {c.name: c.type_oid for c in relation.columns}
        columns = tuple(
            as_in_database(c, type_of(types[c.name]), is_virtual=False)
            for c in table.triggers.columns
            if c.name in places
        )
        if marking.values != "all":
            marking = replace(marking, values=tuple(v for v in marking.values if v in places))
        self.operations = marking.operations
        self.around: dict[
            str, tuple[str, str]
        ] = {}  # what stands around the transaction in a header
        self.relation = table.relation
        self.layout = RowSql(marking, columns)
        self._compared = [places[c.name] for c in self.layout.compared]
        self._carried = self._compared[: len(self.layout.carried)]
        watched = marking.update_of or tuple(c.name for c in columns)
        self._plans: dict[tuple[bool, ...], tuple[list[bytes], list[int]]] = {}
        self._watched = [c.name in watched for c in self.layout.compared]
        self._key_is_enough = all(
            c.name in marking.key or relation.columns[places[c.name]].is_key
            for c in self.layout.carried
        )

    def write(self, change: RowChange) -> bytes | None:
        """Return the row; None if nothing that is published has changed.

        :raises _Unreadable: if the write-ahead log lacks what the row needs.
        """
        if change.operation == "U":
            return self._update(change)
        values = change.new if change.operation == "I" else change.old
        if values is None or not (change.is_whole or self._key_is_enough):
            raise _Unreadable(_NOT_IDENTIFIED)
        return _joined([values[place] for place in self._carried])

    def _update(self, change: RowChange) -> bytes | None:
        old, new = change.old, change.new
        if old is None or new is None or not change.is_whole:
            raise _Unreadable(_NOT_IDENTIFIED)
        changed = tuple([new[p] is not UNCHANGED and new[p] != old[p] for p in self._compared])
        plan = self._plans.get(changed)
        if plan is None:
            if len(self._plans) >= MOST_PLANS:
                self._plans.clear()
            plan = self._plans[changed] = self._plan(changed)
        masks, before = plan
        if not masks:
            return None
        after = [old[p] if new[p] is UNCHANGED else new[p] for p in self._carried]
        return _joined([*masks, *after, *[old[p] for p in before]])

    def _plan(self, changed: tuple[bool, ...]) -> tuple[list[bytes], list[int]]:
        """Return the masks of an update that has changed these columns, or none if it is not
        published, and the places of the old values."""
        if not any(map(bool.__and__, changed, self._watched)):
            return [], []
        masks = [
            str(sum(1 << bit for bit, is_set in enumerate(part) if is_set)).encode()
            for start in range(0, len(changed), MASK_BITS)
            if (part := changed[start : start + MASK_BITS])
        ]
        carried = zip(self._carried, changed, strict=False)
        return masks, [place for place, is_changed in carried if is_changed]


def _joined(values: Values) -> bytes:
    """Return values as the fields of one row."""
    try:
        row = _US.join(values)  # type: ignore[arg-type]  # mostly all are texts
        if all(values) and row.count(_US) == len(values) - 1 and not (_ESC in row or _RS in row):
            return row
    except TypeError:
        pass  # NULL, or a value that was not sent
    given = [value for value in values if not isinstance(value, Unchanged)]
    return _US.join(
        escaped_field(None if value is None else value.decode()).encode() for value in given
    )


class Known(Protocol):
    """What is known of the tables of the database."""

    def table_of(self, relation: Relation) -> CapturedTable | None:
        """Return the table to capture; None if it is not wanted."""
        ...

    def root_of(self, oid: int) -> int:
        """Return the OID of the partitioned table that a table is a partition of; 0 if it no longer
        exists, and its own if it is not a partition."""
        ...

    def type_of(self, oid: int) -> int:
        """Return the OID of the type under a domain."""
        ...


class Composer:
    """Makes rows of the log from the changes of one transaction after the other.

    The server says of each old row whether it is whole, but for a partition it answers for the
    root table. So the partitions whose REPLICA IDENTITY is not FULL are remembered: while there are
    any, no old row of their root is trusted.

    :ivar done: the rows of the log that are complete, which the caller takes from there.
    """

    def __init__(self, known: Known) -> None:
        self.done: list[LogEntry] = []
        self._known = known
        self._partial: dict[int, int] = {}  # partition: its root
        self._writers: dict[int, _RowWriter | None] = {}
        self._context = ""
        self._transaction = ""
        self._run: tuple[_RowWriter, str] | None = None
        self._rows: list[bytes] = []
        self._size = 0

    def begin(self, begin: Begin, xid: int) -> None:
        """Begin a transaction.

        :param xid: its id with the epoch.
        """
        self._context, self._transaction = "", f"{xid}\x1f{begin.microseconds}"

    def add(self, message: Relation | RowChange | Truncation | Emitted) -> None:
        """Take a message; the rows of the log that it completes are appended to :attr:`done`."""
        if isinstance(message, RowChange):
            self._row(message)
        elif isinstance(message, Relation):
            self.end()
            self._describe(message)
        elif isinstance(message, Truncation):
            self.end()
            for oid in message.oids:
                writer = self._writers.get(oid)
                if writer is not None and "truncate" in writer.operations:
                    self.done.append(self._entry(writer, "T", ""))
        elif message.prefix == CONTEXT_PREFIX and message.is_transactional:
            self.end()
            self._context = message.content.decode()

    def _describe(self, relation: Relation) -> None:
        table = self._known.table_of(relation)
        writer = None if table is None else _RowWriter(table, relation, self._known.type_of)
        self._writers[relation.oid] = writer
        self._partial.pop(relation.oid, None)
        if table is None and relation.replica_identity != "f":
            self._partial[relation.oid] = self._known.root_of(relation.oid)

    def _row(self, change: RowChange) -> None:
        if change.oid not in self._writers:
            raise UnreadableData("pgoutput", f"a change of the unknown table {change.oid}")
        writer, operation = self._writers[change.oid], change.operation
        if writer is None or _OPERATIONS[operation] not in writer.operations:
            return
        if self._run != (run := (writer, operation)):
            self.end()
            self._run = run
        try:
            if self._partial and change.old and {0, change.oid} & {*self._partial.values()}:
                raise _Unreadable(_NOT_IDENTIFIED)
            row = writer.write(change)
            if row is not None and len(row) > LONGEST_STATEMENT:
                raise _Unreadable(f"54000 a row of {len(row)} bytes is longer than the log takes")
        except (_Unreadable, UnicodeDecodeError) as why:
            self.end()
            reason = why if isinstance(why, _Unreadable) else f"22021 {why}"
            self.done.append(LogEntry(writer.relation, f"failed {reason}", ""))
            return
        if row is None:
            return
        self._rows.append(row)
        self._size += len(row) + 1
        if self._size > PIECE_BYTES:
            self.end()

    def end(self) -> None:
        """Append what is left, at the end of a transaction."""
        if self._rows:
            assert self._run is not None
            writer, operation = self._run
            try:
                entry = self._entry(writer, operation, _RS.join(self._rows).decode())
            except UnicodeDecodeError as why:
                entry = LogEntry(writer.relation, f"failed 22021 {why}", "")
            self._rows, self._size = [], 0
            self.done.append(entry)
        self._run = None

    def _entry(self, writer: _RowWriter, operation: str, rows: str) -> LogEntry:
        around = writer.around.get(operation)
        if around is None:
            shape = writer.layout.shape(_OPERATIONS[operation].upper())
            around = f"{operation}\x1f{writer.relation}\x1f", f"\x1f{shape}\x1f"
            writer.around[operation] = around
        before, after = around
        context = escaped_field(self._context) if self._context else ""
        return LogEntry(writer.relation, f"{before}{self._transaction}{after}{context}", rows)
