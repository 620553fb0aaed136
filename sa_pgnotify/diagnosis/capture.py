"""Checks of what captures read: the slots, the write-ahead log that they keep, and the server's
settings."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection

from ..log.captures import Slot, find_slot
from ..log.tables import CAPTURES, LogNames
from ..sql import Execute, execute_on, literal
from .findings import Finding

__all__ = ["capture"]

MUCH = 1 << 30
"""Bytes of the write-ahead log that a slot keeps before this is reported."""


def capture(connection: Connection) -> Iterator[Finding]:
    """Report on the slots of all change logs that are filled by captures."""
    execute = execute_on(connection)
    sql = (
        "SELECT n.nspname FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace"
        f" WHERE c.relname = {literal(CAPTURES)} AND c.relkind = 'r'"
    )
    for (schema,) in list(execute(sql)):
        slot = find_slot(execute, LogNames(schema))
        if slot is not None:
            yield from _slot(execute, slot)


def _slot(execute: Execute, slot: Slot) -> Iterator[Finding]:
    run = "Run sa-pgnotify capture, or a Capture in a program."
    if slot.wal_level != "logical":
        text = f"wal_level is {slot.wal_level}: the write-ahead log cannot be decoded."
        fix = "ALTER SYSTEM SET wal_level = logical, and restart the server."
        yield Finding("problem", "capture", text, fix)
    if slot.publication_oid is None:
        text = f"The publication {slot.publication} does not exist."
        fix = 'If tables are marked with capture="wal", run metadata.create_all(engine), or the migration.'
        yield Finding("note", "capture", text, fix)
    elif not slot.exists:
        text = f"The replication slot {slot.name} does not exist: changes are not kept."
        yield Finding("problem", "capture", text, run)
    if slot.exists:
        yield _kept(execute, slot, run)


def _kept(execute: Execute, slot: Slot, run: str) -> Finding:
    name, kept = f"The replication slot {slot.name}", f"{slot.retained / 1e6:.0f} MB"
    if slot.is_lost:
        text = f"{name} is lost: the server has removed WAL that was not captured."
        fix = f"{run} It makes the slot anew and reports the loss. Raise max_slot_wal_keep_size."
        return Finding("problem", "capture", text, fix)
    ((limit,),) = execute("SELECT pg_catalog.current_setting('max_slot_wal_keep_size')")
    limited = "without a limit" if limit == "-1" else f"of at most {limit}"
    if slot.wal_status == "unreserved":
        text = f"{name} is about to be lost: it keeps {kept} of WAL, {limited}."
        return Finding("problem", "capture", text, f"{run} Raise max_slot_wal_keep_size.")
    if slot.retained > MUCH:
        text = f"{name} keeps {kept} of WAL, {limited}: the capture is behind, or does not run."
        drop = f"SELECT pg_drop_replication_slot('{slot.name}')"
        fix = f"{run} If it will not come back: {drop}. Set max_slot_wal_keep_size, so that it cannot fill the disk."
        return Finding("warning", "capture", text, fix)
    return Finding("good", "capture", f"{name} keeps {kept} of WAL, {limited}.")
