"""Checks of what captures depend on: the slots, the write-ahead log that these keep, and the
server's settings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sqlalchemy import Connection

from ..log.capture_state import CaptureState, captured_logs, captures
from ..log.captures import Slot
from ..log.tables import LogNames
from ..sql import Execute, execute_on
from .findings import Finding, Severity

__all__ = ["capture", "uncaptured"]

MUCH = 1 << 30
"""Bytes of the write-ahead log that a slot keeps before this is reported, without a limit."""
MUCH_OF_LIMIT = 0.25
"""The share of max_slot_wal_keep_size."""
TAKES_OVER = 1.5
"""Seconds after which a capture that stands by has taken over."""
RUN = "Run sa-pgnotify capture, or a Capture in a program."


def capture(connection: Connection) -> Iterator[Finding]:
    """Report on the slots of all change logs that are filled by captures."""
    execute = execute_on(connection)
    logs = list(captured_logs(execute))
    for state in captures(execute, logs):
        yield from _server(state.slot)
        if state.slot.exists:
            yield _kept(execute, state.slot)
            yield from _not_safe(execute, state)
    yield from uncaptured(execute, logs, severity="warning")


def uncaptured(
    execute: Execute, logs: Iterable[LogNames], severity: Severity = "problem"
) -> Iterator[Finding]:
    """Report the logs that a capture should fill while none works."""
    logs = list(logs)
    idle = [state for state in captures(execute, logs) if not state.works]
    if idle:
        execute(f"SELECT pg_catalog.pg_sleep({TAKES_OVER})")
        idle = [state for state in captures(execute, logs) if not state.works]
    for state in idle:
        if state.slot.publication_oid is not None:
            text = f"No capture of {state.log} works: changes wait in the write-ahead log."
            yield Finding(severity, "capture", text, RUN)


def _server(slot: Slot) -> Iterator[Finding]:
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
        yield Finding("problem", "capture", text, RUN)


def _kept(execute: Execute, slot: Slot) -> Finding:
    name, kept = f"The replication slot {slot.name}", f"{slot.retained / 1e6:.0f} MB"
    if slot.is_lost:
        text = f"{name} is lost: the server has removed WAL that was not captured."
        fix = f"{RUN} It makes the slot anew and reports the loss. Raise max_slot_wal_keep_size."
        return Finding("problem", "capture", text, fix)
    ((limit, megabytes),) = execute(
        "SELECT pg_catalog.current_setting('max_slot_wal_keep_size'), setting::bigint"
        " FROM pg_catalog.pg_settings WHERE name = 'max_slot_wal_keep_size'"
    )
    is_limited = megabytes >= 0
    limited = f"of at most {limit}" if is_limited else "without a limit"
    if slot.wal_status == "unreserved":
        text = f"{name} is about to be lost: it keeps {kept} of WAL, {limited}."
        return Finding("problem", "capture", text, f"{RUN} Raise max_slot_wal_keep_size.")
    if slot.retained > (MUCH_OF_LIMIT * megabytes * (1 << 20) if is_limited else MUCH):
        text = f"{name} keeps {kept} of WAL, {limited}: the capture is behind, or does not run."
        drop = f"SELECT pg_drop_replication_slot('{slot.name}')"
        then = (
            "At the limit the slot is lost, and readers get a Gap."
            if is_limited
            else "Set max_slot_wal_keep_size, so that it cannot fill the disk."
        )
        fix = f"{RUN} If it will not come back: {drop}. {then}"
        return Finding("warning", "capture", text, fix)
    return Finding("good", "capture", f"{name} keeps {kept} of WAL, {limited}.")


def _not_safe(execute: Execute, state: CaptureState) -> Iterator[Finding]:
    """Report what may take away a slot that is in order."""
    timeout = "idle_replication_slot_timeout"
    ((after,),) = execute(f"SELECT coalesce(pg_catalog.current_setting('{timeout}', true), '0')")
    if after != "0":
        text = f"A capture that is down for {after} loses its slot: {timeout}."
        fix = "Let it be longer than a capture may be down; readers get a Gap otherwise."
        yield Finding("note", "capture", text, fix)
    ((standbys,),) = execute(
        "SELECT pg_catalog.count(*) FROM pg_catalog.pg_replication_slots WHERE slot_type = 'physical'"
    )
    if standbys and state.fails_over is False:
        text = f"The replication slot {state.slot.name} does not follow a failover."
        fix = "Once all is captured, stop the captures, drop it and start them: they make it with failover."
        yield Finding("note", "capture", text, fix)
