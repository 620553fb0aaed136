"""The query that a listener sends to its server at each heartbeat. It detects a dead connection, and
shows how full PostgreSQL's notification queue is."""

from __future__ import annotations

import time

from ..drivers import ListenConnection
from ..states import State, States
from ..subscription.link import Link
from .continuity import Continuity
from .log_follower import LogFollower
from .source_list import SourceList

__all__ = ["Heartbeat"]

QUEUE_WARNING = 0.1
"""A warning is logged from this share of PostgreSQL's notification queue (8 GB) on. When the queue
is full, every COMMIT of a transaction that has notified fails."""


class Heartbeat:
    """The heartbeat of one listener.

    :param seconds: seconds between two queries, and the most seconds that an answer may take.
    :ivar queue_usage: share of the notification queue in use, 0 to 1; None before the first answer.
    """

    def __init__(
        self,
        seconds: float,
        link: Link,
        sources: SourceList,
        logs: LogFollower,
        continuity: Continuity,
        states: States,
    ) -> None:
        self.queue_usage: float | None = None
        self._seconds = seconds
        self._link = link
        self._sources = sources
        self._logs = logs
        self._continuity = continuity
        self._states = states
        self._due = 0.0

    def connected(self) -> None:
        """Start a new interval, on a new connection."""
        self._due = time.monotonic() + self._seconds

    @property
    def due_in(self) -> float:
        """Seconds until :meth:`run` has something to do."""
        return self._due - time.monotonic()

    def run(self, connection: ListenConnection) -> None:
        """Send the query if it is due, and if all notifications that have arrived are delivered: the
        answer confirms that these are all."""
        if self.due_in > 0 or connection.pending():
            return
        asked = time.time()
        with self._link.deadline(connection, self._seconds):
            ((usage,),) = connection.execute("SELECT pg_catalog.pg_notification_queue_usage()")
            self._logs.verify(connection)
        if self._sources.verify(connection) and not self._sources.presence.is_in_doubt:
            self._continuity.heartbeat_confirmed(asked)
        self._logs.ring()  # for writers that do not ring
        self._report(float(usage))
        self.connected()

    def _report(self, usage: float) -> None:
        before = self.queue_usage or 0.0
        full = f"PostgreSQL's notification queue is {usage:.0%} full"
        if usage >= QUEUE_WARNING > before:
            self._states.report(
                State.QUEUE_FILLS,
                f"{full}; when it is full, COMMIT fails. Some session listens and does not read, or is "
                "idle in a transaction: see pg_stat_activity",
            )
        elif usage < QUEUE_WARNING <= before:
            self._states.report(State.QUEUE_EMPTIED, full)
        self.queue_usage = usage
