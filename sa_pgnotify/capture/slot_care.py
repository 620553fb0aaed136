"""The replication slot of a capture: whether it still has all that was not captured, and how it is
made.

A slot belongs to a server and not to its data: it may be dropped or moved on by hand, PostgreSQL
removes the write-ahead log under it, a standby that was promoted may not have it, or one that is
behind. What the log itself says of its progress travels with the data, so comparing the two finds
each of these cases; then changes are missing, and every reader gets a ``Gap``.
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
    """Return the slot, and how far it was captured. It is made if necessary, and if it was lost or
    made by something else, that is reported to the readers of the log.

    :param connection: of the capture that works.
    :param anew: whether the slot cannot be read any more.
    :raises PgNotifyError: if the tables cannot be captured as they are.
    """
    with connection.begin():
        execute = execute_on(connection)
        tables.read(execute)
        slot = known_slot(execute, tables.names)
        progress = writer.load(execute, slot)
        # Of what was written while there was no publication, the slot says nothing.
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
    """Make the slot, in place of what is there; return from where on it has the changes. From
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
