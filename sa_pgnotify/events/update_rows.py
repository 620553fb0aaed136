"""The rows of an UPDATE's message, split into columns.

A row carries its new values, and the old values of the columns that its mask says have changed. So
rows can differ in length. The rows of most statements change the same columns, and then they can
all be split at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ..protocol.wire import Rows
from .layout import Layout

__all__ = ["Columns", "UpdateColumns", "split_updates"]

Columns = dict[int, list[str | None]]
"""The texts of each field, by index."""
Changed = Callable[[Layout, tuple[str | None, ...]], frozenset[int]]


class UpdateColumns(NamedTuple):
    """What the rows of an UPDATE hold.

    :ivar changed: for each row, the indexes of the columns that changed.
    :ivar new: the fields after the update.
    :ivar old: the fields before the update, of the columns that changed in some row.
    """

    changed: list[frozenset[int]]
    new: Columns
    old: Columns


def split_updates(rows: Rows, layout: Layout, changed: Changed) -> UpdateColumns:
    """Return the columns of the rows of an UPDATE.

    :param changed: :meth:`TableDecoder.changed`, which remembers what masks mean.
    :raises ValueError: if a row does not have as many fields as its mask says.
    :raises Undecodable: if a mask is invalid.
    """
    return _split_together(rows, layout, changed) or _split_each(rows, layout, changed)


def _split_together(rows: Rows, layout: Layout, changed_by: Changed) -> UpdateColumns | None:
    """Split all rows at once; return None if they did not all change the same columns."""
    masks = rows.masks(layout.masks)
    changed = changed_by(layout, masks)
    before = [place for place in sorted(changed) if place < layout.carried]
    start, stop = layout.masks, layout.masks + layout.fields
    try:
        columns = rows.columns(stop + len(before))
    except ValueError:
        return None
    # If each has the first one's mask where the next row would begin, each begins there.
    if any(column != [mask] * rows.size for mask, column in zip(masks, columns)):
        return None
    new, old = columns[start:stop], columns[stop:]
    return UpdateColumns([changed] * rows.size, dict(enumerate(new)), dict(zip(before, old)))


def _split_each(rows: Rows, layout: Layout, changed_by: Changed) -> UpdateColumns:
    start, stop = layout.masks, layout.masks + layout.fields
    split = rows.split()
    changes = [changed_by(layout, tuple(row[:start])) for row in split]
    new = dict(enumerate(map(list, zip(*[row[start:stop] for row in split]))))
    old: Columns = {}
    for number, (row, changed) in enumerate(zip(split, changes)):
        before = [place for place in sorted(changed) if place < layout.carried]
        if len(row) != stop + len(before):
            raise ValueError(f"a row of {len(row)} fields does not match its mask")
        for place, text in zip(before, row[stop:]):
            if place not in old:
                old[place] = new[place].copy()
            old[place][number] = text
    return UpdateColumns(changes, new, old)
