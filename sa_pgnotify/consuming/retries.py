"""Giving parked changes out again, and keeping the changes of a row in order meanwhile.

A parked change comes in a batch of its own kind, which does not move the position. It stays in its
table until that batch is committed, so whatever dies, it is either parked or processed. Everything
here runs in a transaction that has locked the position, so nothing is parked or marked at the same
time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import takewhile

from ..drivers import ListenConnection
from ..events.changes import Change
from ..log.scans import Scan
from ..protocol.wire import US
from ..sql import Execute
from .chunks import Chunk
from .held_rows import HeldRows, rows_of
from .parked import ParkedChange, ParkedTable, Reason
from .positions import ConsumerTable, StoredPosition
from .read_ahead import ReadAhead

__all__ = ["Retries"]


class Retries:
    """What one consumer gives out again.

    :param keeps_order: whether later changes of a row wait behind a parked one (``park_key``).
    :param is_possible: whether changes may come again at all; those of a relay may not.
    :ivar due: whether there may be something to give out again, as far as is known.
    """

    def __init__(self, ahead: ReadAhead, *, keeps_order: bool, is_possible: bool) -> None:
        self._ahead = ahead
        self._keeps_order = keeps_order
        self._is_possible = is_possible
        self.due = False

    def note(self, stored: StoredPosition) -> bool:
        """Note what is stored, and return whether something is to be given out again."""
        self.due = self._is_possible and stored.is_retrying
        return self.due

    def waiting(
        self, execute: Execute, table: ConsumerTable, chunks: Iterable[Chunk]
    ) -> dict[tuple[int, int], Reason]:
        """Return the changes of the log that have to wait behind parked ones, by their keys."""
        held = ParkedTable(table).held(execute) if self._keeps_order else HeldRows(())
        found: dict[tuple[int, int], Reason] = {}
        if not held:
            return found
        for chunk in chunks:
            for number, event in enumerate(chunk.events):
                if isinstance(event, Change) and held.has(rows := rows_of(event)):
                    found[chunk.key(number)] = Reason(
                        "waits for a change of the same row", 0, event
                    )
                    held.add(rows)
        return found

    def take(
        self,
        connection: ListenConnection,
        execute: Execute,
        table: ConsumerTable,
        stored: StoredPosition,
        size: int,
    ) -> list[Chunk]:
        """Return the next changes to give out again, at most ``size``.

        :param execute: runs SQL in the transaction that has locked the position.
        :returns: nothing if this transaction should be committed as it is, and the position read
            again.
        """
        parked = ParkedTable(table)
        marked = parked.to_retry(execute, size)
        if not marked:
            parked.end_retrying(execute)
            self.due = False
            return []
        marked = self._in_order(execute, parked, marked)
        if rows := list(takewhile(lambda change: change.was_read, marked)):
            self._read_again(execute, table, stored, rows)
            parked.remove(execute, [change.id for change in rows])
            return []
        changes = takewhile(lambda change: not change.was_read, marked)
        chunks = [self._chunk(connection, change, stored) for change in changes]
        unread = [chunk.parked for chunk in chunks if _is_empty(chunk)]
        if unread:  # changes of classes that this version does not read
            parked.leave(execute, filter(None, unread))
        return [chunk for chunk in chunks if not _is_empty(chunk)]

    def _in_order(
        self, execute: Execute, parked: ParkedTable, marked: list[ParkedChange]
    ) -> list[ParkedChange]:
        """Return the changes of ``marked`` that can be given out now, and let the others stay
        parked: of tables that this version does not read, and, to keep the order, those behind a
        change that has failed again."""
        held = parked.held(execute, marked=False) if self._keeps_order else HeldRows(())
        possible: list[ParkedChange] = []
        stay: list[int] = []
        for change in marked:
            if not held.has(change.rows) and self._can_be_given(change):
                possible.append(change)
                continue
            stay.append(change.id)
            if self._keeps_order:
                held.add(change.rows)
        if stay:
            parked.leave(execute, stay)
        return possible

    def _can_be_given(self, change: ParkedChange) -> bool:
        if not change.was_read:
            return change.relation in self._ahead.sources
        _, relation, *is_gap = change.header.split(US)
        return relation in self._ahead.scanner.roots() and not is_gap

    def _read_again(
        self,
        execute: Execute,
        table: ConsumerTable,
        stored: StoredPosition,
        rows: list[ParkedChange],
    ) -> None:
        """Have rows read again that a snapshot or a backfill had read, as of a later snapshot."""
        of_table: dict[str, list[list[str]]] = {}
        for row in rows:
            of_table.setdefault(row.relation, []).append(row.text.split(US))
        scans: list[Scan] = [
            self._ahead.scanner.again(relation, found) for relation, found in of_table.items()
        ]
        to = replace(stored.position, scans=(*stored.position.scans, *scans))
        table.move(execute, to, origin=stored.origin)

    def _chunk(
        self, connection: ListenConnection, change: ParkedChange, stored: StoredPosition
    ) -> Chunk:
        chunk = self._ahead.decode(connection, change.as_logged(stored.position))
        return replace(chunk, parked=change.id)


def _is_empty(chunk: Chunk) -> bool:
    return all(event is None for event in chunk.events)
