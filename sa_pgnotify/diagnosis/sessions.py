"""The sessions of a database, as far as they concern the notification queue.

PostgreSQL does not show who listens. It shows what a session did last, and what waits: a session
that LISTENs and is in a transaction, or whose program does not read its socket, keeps the queue
from being emptied for all databases of the server. Our own listeners show themselves to the writers
by a lock, and so to all roles.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..protocol.presence import PRESENT
from ..sql import Execute

__all__ = ["Session", "sessions"]

LONG_SECONDS = 30.0
"""A transaction of a listener that is open for so long is one that somebody forgot."""


@dataclass(frozen=True, slots=True)
class Session:
    """A session.

    :ivar pid: of its server process; ``user``, ``application`` and ``database`` may be empty.
    :ivar state: as pg_stat_activity has it, e.g. ``"idle in transaction"``; empty if this role may
        not see it.
    :ivar listens: whether what it did last, or its name, says that it listens.
    :ivar seconds: since its transaction began; None if it is in none.
    :ivar is_stuck: whether the server waits for its program to read.
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
        """Whether it keeps the queue from being emptied, or does so if it listens."""
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
            else f"is {self.state} for {self.seconds or 0.0:.0f} s"
        )

    def __str__(self) -> str:
        named = f", {self.application}" if self.application else ""
        return f"Process {self.pid} ({self.user}@{self.database}{named})"


# A listener of ours asks for the usage of the queue at each heartbeat. What is not shown to this
# role is null.
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
    """All sessions of the server, which share its queue, but for this one; the longest transactions
    first."""
    return [
        Session(pid, user, application, database, state, bool(listens), seconds, bool(stuck))
        for pid, user, application, database, state, listens, seconds, stuck in execute(_SESSIONS)
    ]
