"""The events of a page whose rows are all of one class, made when a program takes them.

A page may have thousands of rows. Python's garbage collector inspects again and again what lives
longer than it takes to process one, and that cost a third of the time of a page of 10,000 rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count, repeat
from typing import Any, overload

from ..events.changes import Change, Existing
from ..events.kinds import Gap
from ..events.values import Values
from .entity_rows import RowShape
from .row_page import RowPage

__all__ = ["Events", "PageEvents"]

Events = Sequence[Change | Gap | None]


class PageEvents(Events):
    """The events of some rows of a page.

    :param rows: the indexes of the rows.
    """

    def __init__(self, page: RowPage, shape: RowShape, rows: range) -> None:
        self._page = page
        self._shape = shape
        self._rows = rows

    @classmethod
    def of(cls, page: RowPage, shape: RowShape) -> PageEvents:
        """Return the events of all rows of a page."""
        values: Any = _PageValues(page, shape)
        page.new[shape.layout] = values
        return cls(page, shape, range(len(page.rows)))

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Existing]:
        page: Any = self._page
        start, stop = self._rows.start, self._rows.stop
        identities = map(self._shape.identity, self._page.rows[start:stop])
        return map(Existing, repeat(page), repeat(self._shape.layout), count(start), identities)

    @overload
    def __getitem__(self, place: int) -> Existing: ...

    @overload
    def __getitem__(self, place: slice) -> PageEvents: ...

    def __getitem__(self, place: int | slice) -> Existing | PageEvents:
        rows = self._rows[place]
        if isinstance(rows, range):
            return PageEvents(self._page, self._shape, rows)
        page: Any = self._page
        identity = self._shape.identity(self._page.rows[rows])
        return Existing(page, self._shape.layout, rows, identity)


class _PageValues(Sequence[Values]):
    """The values of all rows of a page."""

    __slots__ = ("_positions", "_rows", "_values")

    def __init__(self, page: RowPage, shape: RowShape) -> None:
        self._rows = page.rows
        self._positions = shape.layout.positions
        self._values = tuple if page.entity.is_bare(shape) else shape.values

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, row: Any) -> Any:
        return Values(self._positions, self._values(self._rows[row]))
