"""``Capture``: the process that fills the change log from the write-ahead log.

It may be killed at any moment, another may take over at any moment, and PostgreSQL sends again what
was not confirmed. So everything hangs on one transaction: it appends the changes, and stores how
far the write-ahead log was captured. Only after its commit is the slot confirmed; what comes again
is recognized by the place of its commit.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from sqlalchemy import Connection, Engine, MetaData
from sqlalchemy.exc import DBAPIError

from ..errors import ListenUnavailable, NotifyConfigError
from ..log.captures import Slot, find_slot
from ..log.origin import origin_of
from ..log.snapshots import Snapshot
from ..log.tables import LogNames
from ..sql import Execute, execute_on, literal, sqlstate_of
from .composing import Composer, LogEntry
from .log_writer import LogWriter, Progress, head_oid
from .pgoutput import Begin, Commit
from .slot_reader import SlotReader, SlotUnreadable
from .slot_stream import SlotStream, can_stream
from .tables import CapturedTables
from .whole_transactions import Plain

__all__ = ["Capture"]

logger = logging.getLogger("sa_pgnotify")

POLL, LONGEST_POLL = 0.005, 0.1
"""The fewest and the most seconds between two looks for new changes."""
STANDBY = 1.0
"""Seconds between two attempts of a capture that stands by."""
RETRY, LONGEST_RETRY = 0.1, 5.0
"""Seconds before a capture connects again; doubled by each failure."""
CHUNK_BYTES = 8 << 20
"""How much of a long transaction is held in memory."""
IDLE_BYTES = 1 << 20
"""By how much the write-ahead log grows, without anything to capture, before the slot follows."""
UNDEFINED_OBJECT = "42704"
NOT_VISIBLE = 0.001
"""Seconds between two looks whether a transaction that was captured can be seen."""


class Capture:
    """Captures the changes of all tables of a MetaData that are marked with ``capture="wal"``.

    ::

        Capture(engine, Base.metadata).run()          # until stop(); one process works, others stand by

    The first capture of a log makes its replication slot: what was committed before is not
    captured. Its role needs the REPLICATION attribute, and the right to write the log.

    :param engine: of psycopg2 or psycopg. The capture takes two connections of its own.
    :param metadata: of the models; all of them, if several share a change log.
    :raises NotifyConfigError: if no table is captured, or the log of one is another than that of the
        others.
    """

    def __init__(self, engine: Engine, metadata: MetaData | Sequence[MetaData]) -> None:
        every = [metadata] if isinstance(metadata, MetaData) else list(metadata)
        if not isinstance(engine, Engine) or engine.dialect.is_async:
            raise NotifyConfigError(
                "Capture",
                f"it reads the slot by a blocking driver, not by {type(engine).__name__}",
                'Give it create_engine("postgresql+psycopg2://...") or one of psycopg',
            )
        self._engine = engine
        self._tables = CapturedTables(engine, every)
        self._stopping = threading.Event()
        self._is_stuck = False
        self._oid = 0

    # -- the program's side ------------------------------------------------------------------------

    def run(self) -> None:
        """Capture until :meth:`stop`, or stand by as long as another capture of the log works. A lost
        connection is made again.

        :raises PgNotifyError: if the database cannot be captured as it is: a publication is missing,
            or has a table that the MetaData does not know.
        """
        retry = RETRY
        while not self._stopping.is_set():
            try:
                with self._log_connection() as connection:
                    if self._lead(connection):
                        retry = RETRY
                        self._work(connection)
            except (DBAPIError, SlotUnreadable) as error:
                if not _may_pass(error):
                    raise
                logger.warning("the capture connects again in %.1f s: %s", retry, error)
                self._stopping.wait(retry)
                retry = min(retry * 2, LONGEST_RETRY)

    def stop(self) -> None:
        """Have :meth:`run` return after the transaction at hand; safe from any thread and from a signal
        handler."""
        self._stopping.set()

    def create_slot(self) -> None:
        """Make the replication slot now, if there is none, so that changes are kept from here on
        before a capture runs."""
        with self._log_connection() as connection:
            if self._lead(connection, wait=False):
                self._prepare(connection)

    # -- one at a time -----------------------------------------------------------------------------

    @contextmanager
    def _log_connection(self) -> Iterator[Connection]:
        """Yield the connection that writes the log, and holds the lock of the one that works: when it
        breaks, the next one cannot be disturbed by this one."""
        with self._engine.connect().execution_options(
            isolation_level="READ COMMITTED"
        ) as connection:
            try:
                yield connection
            finally:
                with suppress(Exception):
                    connection.invalidate()

    def _lead(self, connection: Connection, *, wait: bool = True) -> bool:
        """Return whether this capture is the one that works; wait for it, until :meth:`stop`."""
        while not self._stopping.is_set():
            with connection.begin():
                self._oid = head_oid_of(connection, self._tables.names)
                key = f"pg_catalog.hashtextextended('sa_pgnotify capture', {self._oid}::bigint)"
                ((got,),) = execute_on(connection)(
                    f"SELECT pg_catalog.pg_try_advisory_lock({key})::int"
                )
            if got or not wait:
                return bool(got)
            self._stopping.wait(STANDBY)
        return False

    def _prepare(self, connection: Connection) -> tuple[Slot, Progress, LogWriter]:
        """Return the slot, made if necessary, and how far it was captured. A slot that was lost or made
        anew is reported to the readers of the log."""
        names = self._tables.names
        writer = LogWriter(names, self._oid)
        with connection.begin():
            execute = execute_on(connection)
            self._tables.read(execute)
            slot = _slot(execute, names)
            progress = writer.load(execute, slot)
            # Of what was written while there was no publication, the slot says nothing.
            origin = f"{origin_of(execute, names)}:{slot.publication_oid}"
        kept = (
            progress is not None
            and slot.exists
            and not slot.is_lost
            and progress.origin == origin
            and slot.confirmed is not None
            and slot.confirmed <= progress.flushed
            and not self._is_stuck
        )
        self._is_stuck = False
        if kept:
            assert progress is not None
            return slot, progress, writer
        if slot.exists:
            with connection.begin():
                execute_on(connection)(
                    f"SELECT pg_catalog.pg_drop_replication_slot({literal(slot.name)})"
                )
        with connection.begin():
            ((made_at,),) = execute_on(connection)(
                "SELECT (lsn - '0/0'::pg_lsn)::bigint FROM pg_catalog.pg_create_logical_replication_slot("
                f"{literal(slot.name)}, 'pgoutput')"
            )
        made = Progress(origin, made_at)
        with connection.begin():
            execute = execute_on(connection)
            writer.store(execute, slot, made)
            if progress is not None:
                logger.error(
                    "the replication slot %s was lost, and changes with it: readers get a Gap",
                    slot.name,
                )
                writer.note_loss(execute)
        return slot, made, writer

    # -- capturing ---------------------------------------------------------------------------------

    def _work(self, connection: Connection) -> None:
        slot, progress, writer = self._prepare(connection)
        with connection.begin():
            streams = can_stream(self._engine, execute_on(connection))
        reader = (
            SlotStream(self._engine, slot, progress.flushed)
            if streams
            else SlotReader(self._engine, slot)
        )
        try:
            reader.confirm(progress.flushed)
            poll, composer = POLL, Composer(self._tables)
            while not self._stopping.is_set():
                before = progress
                progress = self._step(connection, reader, writer, composer, slot, progress)
                poll = POLL if progress != before else min(poll * 2, LONGEST_POLL)
                if progress == before:
                    reader.wait(poll)
        finally:
            with suppress(Exception):
                reader.close()

    def _step(
        self,
        connection: Connection,
        reader: SlotReader | SlotStream,
        writer: LogWriter,
        composer: Composer,
        slot: Slot,
        at: Progress,
    ) -> Progress:
        """Capture what there is, and return how far that is."""
        batch = _Batch(connection, writer, self._tables, composer, at.flushed)
        try:
            for message in self._read(reader):
                batch.add(message)
            reached = batch.done
            if not batch.has_written and reader.reached > reached + IDLE_BYTES:
                reached = reader.reached
            if reached == at.flushed:
                batch.abandon()
                return at
            now = Progress(at.origin, reached)
            batch.commit(slot, now)
        except BaseException:
            batch.abandon()
            raise
        reader.confirm(reached)
        return now

    def _read(self, reader: SlotReader | SlotStream) -> Iterator[Plain]:
        try:
            yield from reader.read()
        except SlotUnreadable as error:
            # The publication did not exist all the while, and the slot cannot get over that.
            self._is_stuck = _state_of(error) == UNDEFINED_OBJECT
            raise


class _Batch:
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


def head_oid_of(connection: Connection, names: LogNames) -> int:
    """Return the OID of the log's head.

    :raises ListenUnavailable: if there is no log.
    """
    origin_of(execute_on(connection), names)
    return head_oid(connection, names)


def _slot(execute: Execute, names: LogNames) -> Slot:
    """Return the slot, which need not exist.

    :raises ListenUnavailable: if the server or the database is not made for it.
    """
    slot = find_slot(execute, names)
    assert slot is not None  # there is a log
    if slot.wal_level != "logical":
        raise ListenUnavailable(
            "log",
            f"wal_level is {slot.wal_level}, and without logical the write-ahead log cannot be decoded",
            "Run ALTER SYSTEM SET wal_level = logical and restart the server",
        )
    if slot.publication_oid is None:
        raise ListenUnavailable(
            "log",
            f"the publication {slot.publication} does not exist",
            "Run metadata.create_all(engine), or the migration",
        )
    return slot


def _state_of(error: DBAPIError | SlotUnreadable) -> str:
    """Return PostgreSQL's code of an error; empty if the connection was lost."""
    cause = error.error if isinstance(error, SlotUnreadable) else error
    return sqlstate_of(cause.orig if isinstance(cause, DBAPIError) else cause) or ""


def _may_pass(error: DBAPIError | SlotUnreadable) -> bool:
    """Return whether an error may be over at the next attempt: a slot that is in use or was dropped, a
    shutdown, a lock."""
    state = _state_of(error)
    return not state or state == UNDEFINED_OBJECT or state[:2] in ("08", "57", "40", "53", "55")
