"""The rows of which a consumer has parked a change, so that later changes of them wait as well.

A change is about one row, an update of its key about two, and a TRUNCATE about all rows of its
entity. Two changes belong in order if they have a row in common.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from ..events.changes import Change, Truncated, Updated
from ..events.kinds import Gap
from ..events.moved_rows import previous_texts
from ..scanning.entity_rows import root_table

__all__ = ["HeldRows", "Rows", "rows_from_json", "rows_of", "rows_to_json"]

Rows = tuple[tuple[str, tuple[str, ...] | None], ...]
"""Rows that a change is about: the root table of each, and the texts of its identity; None for all
rows of that table."""


def rows_of(change: Change | Gap) -> Rows:
    """Return the rows that a change is about; nothing for a gap, which says of no row what has
    changed."""
    if isinstance(change, Gap):
        return ()
    root: Any = root_table(change.table, change._entity_layout.mapper)
    table = getattr(root, "fullname", change.table.fullname)
    if isinstance(change, Truncated):
        return ((table, None),)
    before = previous_texts(change) if isinstance(change, Updated) else None
    identities = [change._identity_texts(), *([] if before is None else [before])]
    return tuple((table, tuple(texts)) for texts in identities)


def rows_to_json(rows: Rows) -> str:
    """Return the text that :func:`rows_from_json` reads."""
    return json.dumps(rows)


def rows_from_json(text: str) -> Rows:
    """Return what :func:`rows_to_json` has written."""
    return tuple(
        (table, None if identity is None else tuple(identity))
        for table, identity in json.loads(text)
    )


class HeldRows:
    """Rows whose changes have to wait.

    :param parked: the rows of each change that is parked.
    """

    def __init__(self, parked: Iterable[Rows]) -> None:
        self._rows: dict[str, set[tuple[str, ...] | None]] = {}
        for rows in parked:
            self.add(rows)

    def add(self, rows: Rows) -> None:
        """Let changes of ``rows`` wait as well."""
        for table, identity in rows:
            self._rows.setdefault(table, set()).add(identity)

    def has(self, rows: Rows) -> bool:
        """Return whether a change of ``rows`` has to wait."""
        for table, identity in rows:
            held = self._rows.get(table)
            if held is not None and (identity is None or identity in held or None in held):
                return True
        return False

    def __bool__(self) -> bool:
        return bool(self._rows)
