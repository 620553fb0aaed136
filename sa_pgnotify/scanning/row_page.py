"""Rows that were read from a table: what their events read their values from, as others do from a
message of a trigger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import blake2b
from types import MappingProxyType
from typing import Any

from sqlalchemy import Table

from ..events.entity_layout import EntityLayout
from ..events.values import Values
from ..log.scans import Scan, replaced
from ..log.snapshots import Position
from ..protocol.wire import EXISTING, RS, US
from .entity_rows import EntityRows

__all__ = ["RowPage"]

_EMPTY: Mapping[str, Any] = MappingProxyType({})


@dataclass(eq=False, slots=True)
class RowPage:
    """A page of rows, in the order of their identity.

    It stands for the row of the log that brings a change: it knows the position after each row.

    :ivar number: a negative number of its own, where rows of the log have theirs.
    :ivar entity: what the rows are of.
    :ivar scan: before the first row.
    :ivar start: the position at which everything was read that the snapshot of the page has seen.
    :ivar rows: as the SELECT of ``entity`` gives them.
    :ivar is_last: whether no row follows.
    :ivar occurred_at: when the snapshot was taken; ``backend_pid`` of the session that took it.
    :ivar new: for each class, the values of all rows; None for rows of other classes.
    """

    number: int
    entity: EntityRows
    scan: Scan
    start: Position
    rows: Sequence[Sequence[Any]]
    is_last: bool
    occurred_at: datetime
    backend_pid: int
    new: dict[EntityLayout, list[Values]] = field(default_factory=dict)

    @property
    def table(self) -> Table:
        return self.entity.table

    @property
    def relation(self) -> str:
        return self.entity.relation

    def key_texts(self, row: int) -> tuple[str, ...]:
        """Return PostgreSQL's texts of the identity of a row."""
        return self.entity.key_texts(self.rows[row])

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
    def origin(self) -> int:
        return self.transaction_id

    @property
    def begins(self) -> bool:
        return False

    @property
    def ends(self) -> bool:
        return False

    @property
    def pid(self) -> int:
        return self.backend_pid

    @property
    def header(self) -> str:
        """What the table of parked changes has in place of a message's header. One more field says
        that there are no rows, but a gap in place of them."""
        return US.join((EXISTING, self.relation, *(() if self.rows else ("",))))

    @property
    def text(self) -> str:
        """The identity of each row, as fields of rows."""
        return RS.join(map(US.join, map(self.entity.key_texts, self.rows)))

    @property
    def size(self) -> int:
        return max(1, len(self.rows))

    def after_change(self, change: int) -> Position:
        """Return the position after one of the rows, which are counted from 0."""
        scan = self.scan
        if self.rows:
            scan = scan.reached(self.key_texts(change), scan.rows + change + 1)
        if self.is_last and change + 1 >= self.size:
            scan = scan.finished()
        return replace(self.start, scans=replaced(self.start.scans, self.scan, scan))

    def change_key(self, change: int) -> tuple[int, int]:
        """Return what identifies one of the rows, whichever page brings it."""
        text = US.join((self.relation, *(self.key_texts(change) if self.rows else ())))
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
        return list(self.key_texts(row))

    def json(self, layout: EntityLayout, row: int) -> None:
        """Return None: the event has to be written value by value."""

    def ordinal(self, row: int) -> None:
        """Return None: the row has no transaction."""
