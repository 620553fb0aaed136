"""How far the rows of a table have been read as a beginning, in the order of their identity.

A scan is a part of a position, because the rows that it has read and the changes that were read
belong to one snapshot.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

__all__ = ["Scan", "replaced", "scans_from_json", "scans_to_json"]


@dataclass(frozen=True, slots=True)
class Scan:
    """How far the rows of a table have been read.

    :ivar relation: the table's name in messages. Joined inheritance is scanned by its root table.
    :ivar starts: whether the consumer begins with these rows: until one is read, its changes are
        not delivered. Otherwise it is a backfill, and changes are delivered as they are.
    :ivar where: JSON of the condition of a backfill, see :mod:`sa_pgnotify.scanning.where`; empty
        for all rows.
    :ivar after: PostgreSQL's texts of the identity of the last row that was read; None if none was.
    :ivar rows: how many rows were read.
    :ivar estimate: the planner's estimate of all rows, from the beginning of the scan.
    :ivar done: whether all rows were read.
    """

    relation: str
    starts: bool
    where: str = ""
    after: tuple[str, ...] | None = None
    rows: int = 0
    estimate: int = 0
    done: bool = False

    def reached(self, after: tuple[str, ...], rows: int) -> Scan:
        """Return the scan after a row, with ``rows`` rows in all."""
        return replace(self, after=after, rows=rows)

    def finished(self) -> Scan:
        """Return the scan after its last row."""
        return replace(self, done=True)


def replaced(scans: Iterable[Scan], old: Scan, new: Scan) -> tuple[Scan, ...]:
    """Return the scans with ``new`` for ``old``; without it if it is a backfill that is done."""
    kept = (new if scan is old else scan for scan in scans)
    return tuple(scan for scan in kept if scan.starts or not scan.done)


def scans_to_json(scans: Iterable[Scan]) -> str:
    """Return the text that :func:`scans_from_json` reads."""
    return json.dumps(
        [[s.relation, s.starts, s.where, s.after, s.rows, s.estimate, s.done] for s in scans]
    )


def scans_from_json(text: str) -> tuple[Scan, ...]:
    """Return what :func:`scans_to_json` has written.

    :raises ValueError: if it is anything else; TypeError as well.
    """
    return tuple(_scan(*fields) for fields in json.loads(text))


def _scan(
    relation: Any, starts: Any, where: Any, after: Any, rows: Any, estimate: Any, done: Any
) -> Scan:
    texts = [relation, where, *(after or ())]
    numbers, flags = [rows, estimate], [starts, done]
    for kind, values in ((str, texts), (int, numbers), (bool, flags)):
        if any(type(value) is not kind for value in values):
            raise TypeError(f"{values!r} are not what a scan has")
    return Scan(
        relation, starts, where, None if after is None else tuple(after), rows, estimate, done
    )
