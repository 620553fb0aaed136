"""``Capture``: the process that fills the change log from the write-ahead log.

A capture may be killed, or replaced by another one, at any moment, and PostgreSQL sends again what
was not confirmed. So a single transaction appends the changes and stores how far the write-ahead
log was captured, and the slot is confirmed only after its commit. A transaction that comes again is
recognized by the place of its commit record.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Self

from sqlalchemy import Connection, Engine, MetaData
from sqlalchemy.exc import DBAPIError

from ..errors import NotifyConfigError
from ..log.capture_state import IDLE_BYTES, capture_lock
from ..log.captures import Slot
from ..log.origin import origin_of
from ..log.tables import LogNames
from ..sql import execute_on, sqlstate_of
from .composing import Composer
from .log_batch import LogBatch
from .log_writer import LogWriter, Progress, head_oid
from .slot_care import known_slot, slot_of
from .slot_reader import SlotReader, SlotUnreadable
from .slot_stream import SlotStream, can_stream
from .tables import CapturedTables
from .whole_transactions import Plain

__all__ = ["Capture"]

logger = logging.getLogger("sa_pgnotify")

POLL, LONGEST_POLL = 0.005, 0.1
"""The shortest and the longest pause between two looks for new changes, in seconds."""
STANDBY = 1.0
"""Seconds between two attempts of a capture that stands by."""
RETRY, LONGEST_RETRY = 0.1, 5.0
"""Seconds before a capture connects again; doubled by each failure."""
UNDEFINED_OBJECT = "42704"


class Capture:
    """Captures the changes of all tables of a MetaData that are marked with ``capture="wal"``.

    ::

        Capture(engine, Base.metadata).run()          # until stop(); one process works, others stand by

        with Capture(engine, Base.metadata):          # the same in a thread of this process
            ...

    The first capture of a log creates its replication slot. What was committed before that is not
    captured. Its role needs the REPLICATION attribute, and the right to write the log.

    :param engine: of psycopg2 or psycopg. The capture takes two connections of its own.
    :param metadata: of the models; all of them, if several share a change log.
    :raises NotifyConfigError: if no table has ``capture="wal"``, or if the tables belong to several
        logs.
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
        self._thread: threading.Thread | None = None
        self._failure: Exception | None = None

    # -- the program's side ------------------------------------------------------------------------

    def run(self) -> None:
        """Capture until :meth:`stop`, or stand by while another capture of the log works. After a
        lost connection, connect again.

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
        """Create the replication slot now, if there is none, so that changes are kept from here on
        before a capture runs.

        :raises PgNotifyError: see :meth:`run`.
        """
        with self._log_connection() as connection:
            while not self._stopping.is_set():
                if self._lead(connection, wait=False):
                    self._prepare(connection)
                    with connection.begin():  # the session may take a moment to end
                        execute_on(connection)("SELECT pg_catalog.pg_advisory_unlock_all()")
                    return
                with connection.begin():
                    execute = execute_on(connection)
                    self._tables.read(execute)
                    if known_slot(execute, self._tables.names).exists:
                        return
                self._stopping.wait(LONGEST_POLL)

    def __enter__(self) -> Self:
        """Capture in a thread until the block ends. What can be refused at once is raised here.

        :raises PgNotifyError: see :meth:`run`.
        """
        if self._thread is not None:
            raise NotifyConfigError(
                "Capture", "it runs already", "Make another one, which stands by"
            )
        self._stopping.clear()
        self.create_slot()
        self._failure = None
        self._thread = threading.Thread(
            target=self._run_in_thread, name="sa_pgnotify capture", daemon=True
        )
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the thread, and raise the error that ended it, unless the block itself has failed."""
        assert self._thread is not None
        self.stop()
        self._thread.join()
        self._thread = None
        if self._failure is not None and error is None:
            raise self._failure

    def _run_in_thread(self) -> None:
        try:
            self.run()
        except Exception as error:
            logger.exception("the capture has ended; changes wait in the write-ahead log")
            self._failure = error

    # -- one at a time -----------------------------------------------------------------------------

    @contextmanager
    def _log_connection(self) -> Iterator[Connection]:
        """Yield the connection that writes the log and holds the lock of the working capture. It is
        invalidated at the end, so that the session and its lock end with it."""
        with self._engine.connect().execution_options(
            isolation_level="READ COMMITTED"
        ) as connection:
            try:
                yield connection
            finally:
                with suppress(Exception):
                    connection.invalidate()

    def _lead(self, connection: Connection, *, wait: bool = True) -> bool:
        """Return whether this capture works; with ``wait``, wait for that until :meth:`stop`."""
        while not self._stopping.is_set():
            with connection.begin():
                self._oid = head_oid_of(connection, self._tables.names)
                key = capture_lock(str(self._oid))
                ((got,),) = execute_on(connection)(
                    f"SELECT pg_catalog.pg_try_advisory_lock({key})::int"
                )
            if got or not wait:
                return bool(got)
            self._stopping.wait(STANDBY)
        return False

    def _prepare(self, connection: Connection) -> tuple[Slot, Progress, LogWriter]:
        writer = LogWriter(self._tables.names, self._oid)
        slot, progress = slot_of(connection, self._tables, writer, anew=self._is_stuck)
        self._is_stuck = False
        return slot, progress, writer

    # -- capturing ---------------------------------------------------------------------------------

    def _work(self, connection: Connection) -> None:
        slot, progress, writer = self._prepare(connection)
        with connection.begin():
            execute = execute_on(connection)
            streams = can_stream(self._engine, execute)
            # what is confirmed to the slot must survive a crash
            execute(
                "SELECT pg_catalog.set_config('synchronous_commit', 'on', false)"
                " WHERE pg_catalog.current_setting('synchronous_commit') = 'off'"
            )
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
        """Capture what has come, and return how far the log has been captured then."""
        batch = LogBatch(connection, writer, self._tables, composer, at.flushed)
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
            # The publication did not exist at some point of the WAL, which the slot cannot pass.
            self._is_stuck = _state_of(error) == UNDEFINED_OBJECT
            raise


def head_oid_of(connection: Connection, names: LogNames) -> int:
    """Return the OID of the log's head.

    :raises ListenUnavailable: if the log is missing.
    """
    origin_of(execute_on(connection), names)
    return head_oid(connection, names)


def _state_of(error: DBAPIError | SlotUnreadable) -> str:
    """Return PostgreSQL's code of an error; empty if the connection was lost."""
    cause = error.error if isinstance(error, SlotUnreadable) else error
    return sqlstate_of(cause.orig if isinstance(cause, DBAPIError) else cause) or ""


def _may_pass(error: DBAPIError | SlotUnreadable) -> bool:
    """Return whether the next attempt may succeed: the slot was in use or was dropped, the server
    was shut down, or something was locked."""
    state = _state_of(error)
    return not state or state == UNDEFINED_OBJECT or state[:2] in ("08", "57", "40", "53", "55")
