"""The replication slot of a capture: whether it still has everything that was not captured, and how
it is created.

A slot belongs to a server and not to its data. It may be dropped or moved on by hand, PostgreSQL
may remove the write-ahead log that it needs, and a promoted standby may lack it or have one that is
behind. The log's own record of its progress travels with the data, so comparing the two finds each
of these cases. Changes are missing then, and every reader gets a ``Gap``.
"""

from __future__ import annotations

import logging

from sqlalchemy import Connection

from ..errors import ListenUnavailable
from ..log.captures import Slot, find_slot
from ..log.origin import origin_of
from ..log.tables import LogNames
from ..sql import Execute, execute_on, literal
from .log_writer import LogWriter, Progress
from .tables import CapturedTables

__all__ = ["known_slot", "slot_of"]

logger = logging.getLogger("sa_pgnotify")


def slot_of(
    connection: Connection, tables: CapturedTables, writer: LogWriter, *, anew: bool
) -> tuple[Slot, Progress]:
    """Return the slot, and how far it was captured. Create it if necessary; if it was lost, or
    created by something else, report that to the readers of the log.

    :param connection: of the working capture.
    :param anew: whether the slot must be created again, because it cannot be read any more.
    :raises PgNotifyError: if the tables cannot be captured as they are.
    """
    with connection.begin():
        execute = execute_on(connection)
        tables.read(execute)
        slot = known_slot(execute, tables.names)
        progress = writer.load(execute, slot)
        # What was written while there was no publication is missing, which the slot does not show.
        origin = f"{origin_of(execute, tables.names)}:{slot.publication_oid}"
    if progress is not None and not anew and _has_all(slot, progress, origin):
        return slot, progress
    made = Progress(origin, _made(connection, slot))
    with connection.begin():
        execute = execute_on(connection)
        writer.store(execute, slot, made)
        if progress is not None:
            lost = "the replication slot %s was lost, and changes with it: readers get a Gap"
            logger.error(lost, slot.name)
            writer.note_loss(execute)
    return slot, made


def _has_all(slot: Slot, progress: Progress, origin: str) -> bool:
    """Return whether the slot has everything after ``progress``."""
    return (
        slot.exists
        and not slot.is_lost
        and progress.origin == origin
        and slot.confirmed is not None
        and slot.confirmed <= progress.flushed
    )


def _made(connection: Connection, slot: Slot) -> int:
    """Create the slot, in place of any old one, and return from where on it has the changes. From
    PostgreSQL 17 on it follows a failover, if the standbys are set up for it."""
    if slot.exists:
        with connection.begin():
            execute_on(connection)(
                f"SELECT pg_catalog.pg_drop_replication_slot({literal(slot.name)})"
            )
    with connection.begin():
        execute = execute_on(connection)
        ((version,),) = execute("SELECT pg_catalog.current_setting('server_version_num')::int")
        failover = ", failover => true" if version >= 170000 else ""
        ((lsn,),) = execute(
            "SELECT (lsn - '0/0'::pg_lsn)::bigint FROM pg_catalog.pg_create_logical_replication_slot("
            f"{literal(slot.name)}, 'pgoutput'{failover})"
        )
    return int(lsn)


def known_slot(execute: Execute, names: LogNames) -> Slot:
    """Return what is known of the slot, which need not exist.

    :raises ListenUnavailable: if wal_level is not logical, or the publication is missing.
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
