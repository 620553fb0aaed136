"""Checks of the notification queue: how full it is, which sessions hold it up, and which listen."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection

from ..listening.heartbeat import QUEUE_WARNING
from ..sql import execute_on
from .findings import Finding, Severity
from .sessions import Session, sessions

__all__ = ["listeners", "queue"]

QUEUE_PROBLEM = 0.5
"""Share of the notification queue in use from which COMMIT is going to fail before long."""


def queue(connection: Connection) -> Iterator[Finding]:
    """Report how full the queue is, and the sessions that keep it from being emptied."""
    usage = float(
        connection.exec_driver_sql("SELECT pg_catalog.pg_notification_queue_usage()").scalar_one()
    )
    suspects = [session for session in sessions(execute_on(connection)) if session.holds_queue]
    text = f"The notification queue is {usage:.1%} full."
    if usage < QUEUE_WARNING and not suspects:
        yield Finding("good", "queue", text)
        return
    severity: Severity = (
        "problem" if usage >= QUEUE_PROBLEM else "warning" if usage >= QUEUE_WARNING else "note"
    )
    why = "When it is full, COMMIT fails for every session that notifies."
    fix = "Some session listens and does not read, or has been in a transaction for long: find it in pg_stat_activity."
    yield Finding(severity, "queue", f"{text} {why}", "" if suspects else fix)
    for session in suspects:
        yield _suspect(session, "warning" if severity == "note" else severity)


def _suspect(session: Session, severity: Severity) -> Finding:
    end = f"SELECT pg_terminate_backend({session.pid})"
    effect = (
        " and listens: it holds up the queue."
        if session.listens
        else "; if it listens, it holds up the queue."
    )
    fix = (
        f"Have its program read, or end it: {end}."
        if session.is_stuck
        else f"End it: {end}; and have its program commit before it waits."
    )
    return Finding(severity, "queue", f"{session} {session.why}{effect}", fix)


def listeners(connection: Connection) -> Iterator[Finding]:
    """Report the sessions that listen."""
    found = [session for session in sessions(execute_on(connection)) if session.listens]
    if not found:
        text = (
            "No session of this database seems to listen. (PostgreSQL does not show which sessions"
            " listen, so this is inferred from the last statement of each.)"
        )
        yield Finding("note", "listeners", text)
    for session in found:
        yield Finding("good", "listeners", f"{session} listens.")
