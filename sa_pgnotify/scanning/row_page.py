"""Rows that were read from a table: what their events read their values from, as others do from a
message of a trigger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import blake2b
from types import MappingProxyType
from typing import Any

from sqlalchemy import Table

from ..events.changes import Existing
from ..events.entity_layout import EntityLayout
from ..events.values import Values
from ..log.scans import Scan, replaced
from ..log.snapshots import Position
from ..protocol.wire import EXISTING, RS, US

__all__ = ["RowPage"]

_EMPTY: Mapping[str, Any] = MappingProxyType({})


@dataclass(eq=False, slots=True)
class RowPage:
    """A page of rows, in the order of their identity.

    It stands for the row of the log that brings a change: it knows the position after each row.

    :ivar number: a negative number of its own, where rows of the log have theirs.
    :ivar relation: the name in messages of the table that every row has a part in.
    :ivar scan: before the first row.
    :ivar start: the position at which everything was read that the snapshot of the page has seen.
    :ivar keys: PostgreSQL's texts of the identity of each row.
    :ivar new: for each entity, the values of all rows; None for rows of other entities.
    :ivar is_last: whether no row follows.
    """

    number: int
    relation: str
    table: Table
    scan: Scan
    start: Position
    keys: Sequence[tuple[str, ...]]
    is_last: bool
    occurred_at: datetime
    backend_pid: int
    new: dict[EntityLayout, list[Values]]

    @classmethod
    def of_nothing(cls, number: int, table: Table, scan: Scan, start: Position) -> RowPage:
        """Return a page without rows, after which the scan has ended."""
        now = datetime.now(UTC)
        return cls(number, scan.relation, table, scan, start, (), True, now, 0, {})

    # -- as a row of the log -----------------------------------------------------------------------

    @property
    def row_id(self) -> int:
        return self.number

    @property
    def tx_end(self) -> int:
        return self.number

    @property
    def xid(self) -> int:
        return self.transaction_id

    @property
    def pid(self) -> int:
        return self.backend_pid

    @property
    def header(self) -> str:
        """What the table of parked changes has in place of a message's header."""
        return US.join((EXISTING, self.relation))

    @property
    def text(self) -> str:
        """The identity of each row, as fields of rows."""
        return RS.join(map(US.join, self.keys))

    @property
    def size(self) -> int:
        return max(1, len(self.keys))

    def after_change(self, change: int) -> Position:
        """Return the position after one of the rows, which are counted from 0."""
        scan = self.scan
        if self.keys:
            scan = scan.reached(self.keys[change], scan.rows + change + 1)
        if self.is_last and change + 1 >= self.size:
            scan = scan.finished()
        return replace(self.start, scans=replaced(self.start.scans, self.scan, scan))

    def change_key(self, change: int) -> tuple[int, int]:
        """Return what identifies one of the rows, whichever page brings it."""
        text = US.join((self.relation, *(self.keys[change] if self.keys else ())))
        return -int.from_bytes(blake2b(text.encode(), digest_size=7).digest()) - 1, 0

    # -- as a message ------------------------------------------------------------------------------

    @property
    def transaction_id(self) -> int:
        return 0

    @property
    def context(self) -> Mapping[str, Any]:
        return _EMPTY

    def position(self, row: int) -> Position:
        """Return the position after a row."""
        return self.after_change(row)

    def key(self, row: int) -> None:
        """Return None: the change log does not hold these rows."""
        return

    def identity_texts(self, layout: EntityLayout, row: int) -> list[str]:
        """Return PostgreSQL's texts of the identity of a row."""
        return list(self.keys[row])

    def event(self, layout: EntityLayout, row: int, identity: tuple[Any, ...]) -> Existing:
        """Return the event of a row."""
        return Existing(self, layout, row, identity)  # type: ignore[arg-type]
