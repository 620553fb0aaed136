"""Transactions that a capture appends to the change log together, in one transaction of its own.

The log has many small transactions of the writers in one, because otherwise a capture could not keep
up with them. A reader who sees a row of the log must also see what the row is about, so the
transaction commits only after all that it has captured can be seen.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from sqlalchemy import Connection

from ..log.captures import Slot
from ..log.snapshots import Snapshot
from ..sql import Execute, execute_on
from .composing import Composer, LogEntry
from .log_writer import LogWriter, Progress
from .pgoutput import Begin, Commit
from .tables import CapturedTables

__all__ = ["LogBatch"]

CHUNK_BYTES = 8 << 20
"""How much of a long transaction is held in memory."""
NOT_VISIBLE = 0.001
"""Seconds between two looks whether a transaction that was captured can be seen."""


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

    @property
    def _execute(self) -> Execute:
        if self._transaction is None:
            self._transaction = self._connection.begin()
            execute = execute_on(self._connection)
            # what is confirmed must not be lost in a crash
            execute(
                "SELECT pg_catalog.set_config('synchronous_commit', 'on', true)"
                " WHERE pg_catalog.current_setting('synchronous_commit') = 'off'"
            )
        return execute_on(self._connection)

    def add(self, message: Any) -> None:
        """Take one message of whole transactions."""
        if isinstance(message, Begin):
            # it was captured, and not confirmed
            self._skips = message.commit_lsn < self._flushed
            xid = self._tables.full_xid(self._execute, message.xid)
            self._composer.begin(message, xid)
            if not self._skips:
                self._xids.append(xid)
        elif isinstance(message, Commit):
            self._take(self._composer.end())
            if not self._skips:
                self.done = message.end_lsn
        else:
            self._take(self._composer.add(message))

    def _take(self, entries: Iterator[LogEntry]) -> None:
        for entry in entries:
            if self._skips:
                continue
            self._entries.append(entry)
            self._relations.add(entry.relation)
            self._size += len(entry.header) + len(entry.rows)
            if self._size > CHUNK_BYTES:
                self._write()

    def _write(self) -> None:
        if self._entries:
            _ = self._execute
            self._writer.append(self._connection, self._entries)
            self._entries, self._size = [], 0

    def commit(self, slot: Slot, at: Progress) -> None:
        """Append what is left, and commit, once readers who see the rows can see what they are about."""
        self._write()
        execute = self._execute
        while True:
            ((text,),) = execute("SELECT pg_catalog.pg_current_snapshot()::text")
            snapshot = Snapshot.parse(text)
            if all(map(snapshot.has_ended, self._xids)):
                break
            # It has committed: this is a matter of a moment, unless it waits for a standby.
            time.sleep(NOT_VISIBLE)
        self._writer.store(execute, slot, at)
        if self._relations:
            self._writer.ring(execute, sorted(self._relations))
        self._transaction.commit()
        self._transaction = None

    def abandon(self) -> None:
        """Roll back."""
        if self._transaction is not None:
            with suppress(Exception):
                self._transaction.rollback()
            self._transaction = None
