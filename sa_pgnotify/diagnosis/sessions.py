"""The sessions of a server, as far as they concern the notification queue.

PostgreSQL does not show which sessions listen, only what each did last and what it waits for. A
session that listens and is in a transaction, or whose program does not read its socket, keeps the
queue from being emptied for all databases of the server. The listeners of this library hold a lock
that writers check, so every role can see them.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..protocol.presence import PRESENT
from ..sql import Execute

__all__ = ["Session", "sessions"]

LONG_SECONDS = 30.0
"""A transaction of a listener that has been open for longer than this was probably forgotten."""


@dataclass(frozen=True, slots=True)
class Session:
    """A client session of the server.

    :ivar pid: of its server process.
    :ivar user: ``user``, ``application`` and ``database`` are empty if they are not known.
    :ivar state: as pg_stat_activity has it, e.g. ``"idle in transaction"``; empty if this role may
        not see it.
    :ivar listens: whether its last statement, its name or its lock shows that it listens.
    :ivar seconds: since its transaction began; None if it is not in one.
    :ivar is_stuck: whether the server is waiting for its program to read.
    """

    pid: int
    user: str
    application: str
    database: str
    state: str
    listens: bool
    seconds: float | None
    is_stuck: bool

    @property
    def holds_queue(self) -> bool:
        """Whether it keeps the queue from being emptied, or would if it listens."""
        if self.is_stuck:
            return True
        return (
            self.seconds is not None
            and self.seconds > LONG_SECONDS
            and (self.listens or self.state.startswith("idle in transaction"))
        )

    @property
    def why(self) -> str:
        """What it does that holds up the queue."""
        return (
            "does not read what is sent to it"
            if self.is_stuck
            else f"has been {self.state} for {self.seconds or 0.0:.0f} s"
        )

    def __str__(self) -> str:
        named = f", {self.application}" if self.application else ""
        return f"Process {self.pid} ({self.user}@{self.database}{named})"


# Listeners of this library query the usage of the queue at each heartbeat. Columns that this role
# may not see are null.
_SESSIONS = f"""
SELECT pid, coalesce(usename::text, ''), coalesce(application_name, ''), coalesce(datname::text, ''), coalesce(state, ''),
  (query ~* '^\\s*(un)?listen\\M' OR query LIKE '%pg_notification_queue_usage()%' OR application_name = 'sa_pgnotify listener'
    OR pid IN (SELECT pid FROM pg_catalog.pg_locks WHERE locktype = 'advisory' AND classid = {PRESENT} AND mode = 'ShareLock'))::int,
  pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() - xact_start)::float8, (wait_event = 'ClientWrite')::int
FROM pg_catalog.pg_stat_activity
WHERE coalesce(backend_type, 'client backend') = 'client backend' AND datid IS NOT NULL AND pid <> pg_catalog.pg_backend_pid()
ORDER BY xact_start NULLS LAST, pid
"""


def sessions(execute: Execute) -> list[Session]:
    """Return all sessions of the server, which share its queue, except this one; the longest
    transactions first."""
    return [
        Session(pid, user, application, database, state, bool(listens), seconds, bool(stuck))
        for pid, user, application, database, state, listens, seconds, stuck in execute(_SESSIONS)
    ]
