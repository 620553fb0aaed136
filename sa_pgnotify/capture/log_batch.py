"""Transactions that a capture appends to the change log together, in one transaction of its own.

Many small transactions of the writers share one transaction of the log, because otherwise a capture
could not keep up with them. A reader that sees a row of the log must also see the change that the
row is about, so the log's transaction commits only after all captured transactions are visible.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from sqlalchemy import Connection

from ..log.captures import Slot
from ..log.snapshots import Snapshot
from ..sql import execute_on
from .composing import Composer, LogEntry
from .log_writer import LogWriter, Progress
from .pgoutput import Begin, Commit, RowChange
from .tables import CapturedTables
from .whole_transactions import Plain

__all__ = ["LogBatch"]

CHUNK_BYTES = 8 << 20
"""Bytes of a long transaction that are held in memory before they are written."""
NOT_VISIBLE = 0.001
"""Seconds between two looks whether a captured transaction is visible."""


class LogBatch:
    """Transactions that are appended to the log in one transaction."""

    def __init__(
        self,
        connection: Connection,
        writer: LogWriter,
        tables: CapturedTables,
        composer: Composer,
        flushed: int,
    ) -> None:
        self._connection = connection
        self._writer = writer
        self._tables = tables
        self._flushed = flushed
        self._composer = composer
        self._run = execute_on(connection)
        self._transaction: Any = None
        self._entries: list[LogEntry] = []
        self._size = 0
        self._relations: set[str] = set()
        self._xids: list[int] = []
        self._skips = False
        self.done = flushed

    @property
    def has_written(self) -> bool:
        """Whether there is anything for the log."""
        return bool(self._relations)

    def _execute(self, sql: str) -> Iterable[Any]:
        self._begin()
        return self._run(sql)

    def _begin(self) -> None:
        if self._transaction is None:
            self._transaction = self._connection.begin()

    def add(self, message: Plain) -> None:
        """Take one message of whole transactions."""
        kind, composer = type(message), self._composer
        if kind is RowChange:
            composer.add(message)  # type: ignore[arg-type]
        elif isinstance(message, Begin):
            # it was captured before, but not confirmed
            self._skips = message.commit_lsn < self._flushed
            xid = self._tables.full_xid(self._execute, message.xid)
            composer.begin(message, xid)
            if not self._skips:
                self._xids.append(xid)
            return
        elif isinstance(message, Commit):
            composer.end()
            if not self._skips:
                self.done = message.end_lsn
        else:
            composer.add(message)
        if composer.done:
            self._take(composer.done)

    def _take(self, entries: list[LogEntry]) -> None:
        if not self._skips:
            self._entries += entries
            for relation, header, rows in entries:
                self._relations.add(relation)
                self._size += len(header) + len(rows)
        entries.clear()
        if self._size > CHUNK_BYTES:
            self._write()

    def _write(self) -> None:
        if self._entries:
            self._begin()
            self._writer.append(self._connection, self._entries)
            self._entries, self._size = [], 0

    def commit(self, slot: Slot, at: Progress) -> None:
        """Append what is left, and commit once all captured transactions are visible."""
        self._write()
        execute, text = self._execute, self._writer.snapshot if self._relations else ""
        while True:
            if not text:
                ((text,),) = execute("SELECT pg_catalog.pg_current_snapshot()::text")
            if all(map(Snapshot.parse(text).has_ended, self._xids)):
                break
            # A decoded transaction becomes visible within moments, unless it waits for a standby.
            time.sleep(NOT_VISIBLE)
            text = ""
        self._writer.store(execute, slot, at, sorted(self._relations))
        self._transaction.commit()
        self._transaction = None

    def abandon(self) -> None:
        """Roll back."""
        if self._transaction is not None:
            with suppress(Exception):
                self._transaction.rollback()
            self._transaction = None
