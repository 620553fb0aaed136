"""The rows that have changed since the queries of a feed were evaluated, by their tables."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping

from sqlalchemy import Table

from ..errors import UndecodableValue
from ..events.changes import Change, Updated
from ..events.decoding import TableDecoder
from ..events.kinds import Gap
from ..events.layout import Undecodable
from ..events.message import Message
from ..events.stream import EventStream
from ..log.captures import covers
from ..log.reader import LogReader
from ..log.snapshots import Position, Snapshot, together
from ..log.tables import LogNames
from ..marking.spec import marking_of
from ..sql import Execute

__all__ = ["Changes", "is_captured", "read_captured", "read_window"]

MOST_ROWS = 50_000
"""If more rows of a table have changed, they are not remembered one by one."""


class Changes:
    """The tables that have changed, each with the identities of its changed rows.

    :ivar everything: whether any row of any table may have changed.
    """

    def __init__(self) -> None:
        self.everything = False
        self._rows: dict[Table, set[Hashable] | None] = {}

    def __bool__(self) -> bool:
        return self.everything or bool(self._rows)

    def add(self, event: object) -> None:
        """Note an event.

        After a gap, any row of any table may have changed; after a change whose identity cannot be
        read, any row of its table.
        """
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
            except (UndecodableValue, TypeError):  # it cannot be read, or is not hashable
                identities = []
            if not identities or len(known) > MOST_ROWS:
                self._rows[event.table] = None

    def add_message(self, message: Message) -> None:
        """Note the changes of a message of a log."""
        known = self._rows.setdefault(message.table, set())
        if known is None:
            return
        try:
            identities = message.identities()
            known.update(identities or ())
        except (Undecodable, UndecodableValue, TypeError):
            identities = None
        if identities is None or len(known) > MOST_ROWS:
            self._rows[message.table] = None

    def add_any(self, table: Table) -> None:
        """Note that any rows of a table may have changed."""
        self._rows[table] = None

    def within(self, tables: Iterable[Table]) -> Mapping[Table, set[Hashable] | None]:
        """Return those of ``tables`` that have changed, with the identities of the changed rows.

        None in place of identities means that any row may have changed.
        """
        if self.everything:
            return dict.fromkeys(tables)
        return {table: self._rows[table] for table in tables if table in self._rows}

    def update(self, other: Changes) -> None:
        """Add what ``other`` has noted."""
        self.everything |= other.everything
        for table, rows in other._rows.items():
            known = self._rows.setdefault(table, set())
            self._rows[table] = None if known is None or rows is None else known | rows


def read_window(
    execute: Execute, log: LogNames, sources: dict[str, TableDecoder], last: str, into: Changes
) -> Snapshot:
    """Add to ``into`` the changes of a log between a snapshot and the one that ``execute`` sees.

    :param last: the earlier snapshot, as ``pg_snapshot`` in text form.
    :param sources: the decoders of the tables to read, by the tables' names in messages.
    :returns: the snapshot that ``execute`` sees.
    """
    reader = LogReader(log, sources, Position(last, tables=together(sources)))
    stream = EventStream()
    while True:
        rows = reader.read(execute)
        for item in stream.logged(rows, sources):
            if isinstance(item, Message):
                into.add_message(item)
            else:
                into.add(item)
        if reader.lost is not None or stream.outdated:
            into.everything = True
        if reader.position.target is None or into.everything:
            return reader.snapshot


def is_captured(sources: dict[str, TableDecoder]) -> bool:
    """Return whether the changes of one of these tables are captured from the write-ahead log."""
    markings = (marking_of(source.table) for source in sources.values())
    return any(marking is not None and marking.capture == "wal" for marking in markings)


def read_captured(
    execute: Execute, log: LogNames, sources: dict[str, TableDecoder], last: str, into: Changes
) -> None:
    """Add to ``into`` the changes of a log since a snapshot, at least up to those that were
    committed before this is called.

    A change may come twice, in two evaluations, which does no harm: a row that is looked up again
    without a change makes no step. If the capture is not there in time, anything may have changed.

    :param execute: in autocommit, beside the transaction that evaluates.
    """
    if covers(execute, log):
        read_window(execute, log, sources, last, into)
    else:
        into.everything = True
