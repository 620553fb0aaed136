"""Whether a capture works, and how far it is behind, as any session can see it.

The slot says how much of the write-ahead log is kept, but not whether anything reads it: a capture
that reads by SQL functions holds the slot only while a function runs. What the working capture
always holds is an advisory lock, for which the others wait.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..sql import Execute, literal
from .captures import Slot, find_slot
from .tables import CAPTURES, LogNames

__all__ = ["IDLE_BYTES", "CaptureState", "capture_lock", "captured_logs", "captures"]

IDLE_BYTES = 1 << 20
"""By how much the write-ahead log grows, without anything to capture, before the slot follows."""


@dataclass(frozen=True, slots=True)
class CaptureState:
    """The capture of one log.

    :ivar log: the schema and name of the log.
    :ivar works: whether a capture works now. For a second after one has ended, none may work.
    :ivar seconds: since something was captured last, if there may be newer changes; else 0.
    :ivar fails_over: whether the slot follows a failover; None if the server knows no such slots.
    """

    log: str
    slot: Slot
    works: bool
    seconds: float
    fails_over: bool | None


def capture_lock(head_oid: str) -> str:
    """Return SQL for the key of the lock that the working capture holds.

    :param head_oid: SQL for the OID of the log's head.
    """
    return f"pg_catalog.hashtextextended('sa_pgnotify capture', ({head_oid})::bigint)"


def captured_logs(execute: Execute) -> list[LogNames]:
    """Return all logs of the database that captures may fill, by schema."""
    sql = (
        "SELECT n.nspname FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace"
        f" WHERE c.relname = {literal(CAPTURES)} AND c.relkind = 'r' ORDER BY 1"
    )
    return [LogNames(schema) for (schema,) in list(execute(sql))]


def captures(execute: Execute, logs: Iterable[LogNames]) -> list[CaptureState]:
    """Return the state of the capture of each log that has a publication or a slot.

    :param execute: of a session on a primary.
    """
    found = []
    for names in logs:
        slot = find_slot(execute, names)
        if slot is not None and (slot.exists or slot.publication_oid is not None):
            found.append(_state(execute, names, slot))
    return found


def _state(execute: Execute, names: LogNames, slot: Slot) -> CaptureState:
    key = capture_lock(f"pg_catalog.to_regclass({literal(names.head)})::oid")
    of_slot = f"FROM pg_catalog.pg_replication_slots AS s WHERE s.slot_name = {literal(slot.name)}"
    ((works, fails_over, knows),) = execute(
        "SELECT (SELECT pg_catalog.count(*) FROM pg_catalog.pg_locks AS l JOIN pg_catalog.pg_database AS d ON d.oid = l.database"
        " WHERE d.datname = pg_catalog.current_database() AND l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted"
        f" AND (l.classid::bigint << 32 | l.objid::bigint) = {key}),"
        f" (SELECT pg_catalog.to_jsonb(s) ->> 'failover' {of_slot}),"
        " (pg_catalog.current_setting('server_version_num')::int >= 170000)::int"
    )
    seconds = 0.0
    for since, behind in execute(
        "SELECT EXTRACT(epoch FROM pg_catalog.clock_timestamp() - moved_at)::float8,"
        " ((pg_catalog.pg_current_wal_lsn() - '0/0'::pg_lsn) - flushed)::bigint"
        f" FROM {names.captures} WHERE slot = {literal(slot.name)}"
    ):
        seconds = 0.0 if works and behind < 2 * IDLE_BYTES else max(0.0, since)
    return CaptureState(
        str(names.head), slot, bool(works), seconds, fails_over == "true" if knows else None
    )
