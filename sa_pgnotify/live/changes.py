"""What has changed since the queries of a feed were evaluated: which rows of which tables."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Any

from sqlalchemy import Table

from ..errors import UndecodableValue
from ..events.changes import Change, Updated
from ..events.decoding import TableDecoder
from ..events.kinds import Gap
from ..events.message import Message
from ..events.stream import EventStream
from ..log.reader import LogReader
from ..log.snapshots import Position, together
from ..log.tables import LogNames
from ..sql import Execute

__all__ = ["Changes", "read_window"]

MOST_ROWS = 50_000
"""Beyond so many changed rows of a table, they are not remembered one by one."""


class Changes:
    """
    :ivar everything: whether any row of any table may have changed.
    """

    def __init__(self) -> None:
        self.everything = False
        self._rows: dict[Table, set[Hashable] | None] = {}

    def __bool__(self) -> bool:
        return self.everything or bool(self._rows)

    def add(self, event: object) -> None:
        """Note an event. A gap, or a row whose identity cannot be read, may stand for any change."""
        if isinstance(event, Gap):
            self.everything = True
        elif isinstance(event, Change):
            known = self._rows.setdefault(event.table, set())
            if known is None:
                return
            try:
                before = event.previous_identity if isinstance(event, Updated) else None
                identities = [x for x in (event.identity, before) if x is not None]
                known.update(identities)
            except (UndecodableValue, TypeError):  # not readable, or not hashable
                identities = []
            if not identities or len(known) > MOST_ROWS:
                self._rows[event.table] = None

    def add_any(self, table: Table) -> None:
        """Note that any rows of a table may have changed."""
        self._rows[table] = None

    def within(self, tables: Iterable[Table]) -> Mapping[Table, set[Hashable] | None]:
        """Return the tables among ``tables`` that have changed, with the identities of the rows that
        did; None for any rows."""
        if self.everything:
            return dict.fromkeys(tables)
        return {table: self._rows[table] for table in tables if table in self._rows}

    def update(self, other: Changes) -> None:
        """Note what ``other`` has noted, too."""
        self.everything |= other.everything
        for table, rows in other._rows.items():
            known = self._rows.setdefault(table, set())
            self._rows[table] = None if known is None or rows is None else known | rows


def read_window(
    execute: Execute, log: LogNames, sources: dict[str, TableDecoder], last: str, into: Changes
) -> None:
    """Note what a log has between a snapshot and the one that ``execute`` sees.

    :param last: the snapshot, as PostgreSQL writes it.
    :param sources: the tables that are wanted, by their names in messages.
    """
    reader = LogReader(log, sources, Position(last, tables=together(sources)))
    stream = EventStream()
    while True:
        rows = reader.read(execute)
        for item in stream.logged(rows, sources):
            events: Iterable[Any] = item.events() if isinstance(item, Message) else (item,)
            for event in events:
                into.add(event)
        if reader.lost is not None or stream.outdated:
            into.everything = True
        if reader.position.target is None or into.everything:
            return
