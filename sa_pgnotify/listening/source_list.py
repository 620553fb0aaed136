"""The sources of a listener: listening to them, and noticing when their triggers are altered."""

from __future__ import annotations

import time
from math import inf
from typing import Any

from ..drivers import ListenConnection
from ..events.stream import EventStream
from ..marking.sources import expand
from ..protocol.presence import Presence
from ..states import State, States
from ..subscription.link import Link
from ..subscription.subscription import Subscription
from ..subscription.trigger_watch import VERIFY_SECONDS
from .continuity import Continuity
from .intake import Intake
from .log_follower import LogFollower

__all__ = ["SourceList"]

SILENT_WRITERS_SECONDS = 1.0
"""The most seconds that a start waits for the end of transactions that wrote while nobody
listened."""


class SourceList:
    """Listens to the sources of one listener.

    :param sources: the listener's own list, which :class:`~sa_pgnotify.listening.commands.Commands`
        change.
    """

    def __init__(
        self,
        sources: list[Any],
        link: Link,
        stream: EventStream,
        continuity: Continuity,
        intake: Intake,
        logs: LogFollower,
        states: States,
    ) -> None:
        self.sources = sources
        self.subscription = Subscription(link.engine, states)
        self._link = link
        self._stream = stream
        self._continuity = continuity
        self._intake = intake
        self._logs = logs
        self._states = states
        self._verified_at = 0.0
        self._altered = ""  # how triggers were, and not reported yet

    @property
    def presence(self) -> Presence:
        """Shows the listener to writers, and follows the transactions that did not see it."""
        return self.subscription.presence

    def poll_presence(self, connection: ListenConnection) -> None:
        """Find out which transactions that wrote while nobody listened have ended."""
        with self._link.deadline(connection):
            self.presence.look(connection.execute, time.monotonic())

    def begin(self, connection: ListenConnection, *, strict: bool) -> str:
        """Listen on a new connection.

        :returns: a description of what is missing; empty if nothing is.
        """
        self._note_altered(connection)
        self.subscription.renew()
        return self.listen(connection, self.sources, strict=strict, anew=True)

    def _note_altered(self, connection: ListenConnection) -> None:
        with self._link.deadline(connection):
            now = self.subscription.altered(connection)
        self._altered = "; ".join(dict.fromkeys(filter(None, (self._altered, now))))

    def take_altered(self) -> str:
        """Return how triggers were altered, once it can be reported: a connection that is lost
        before must not take it along."""
        altered, self._altered = self._altered, ""
        return altered

    def listen(
        self, connection: ListenConnection, sources: list[Any], *, strict: bool, anew: bool = False
    ) -> str:
        """LISTEN to all of ``sources``.

        :param strict: whether to refuse tables without enabled triggers.
        :param anew: whether ``connection`` is a new one.
        :returns: a description of what is missing; empty if nothing is.
        """
        with self._link.deadline(connection):
            missing = self.subscription.change(connection, expand(sources), strict=strict)
            self._stream.routes = self.subscription.routes
            self._logs.subscribed(connection, anew=anew)
        self._wait_for_silent_writers(connection)
        if missing is not None:
            self._states.report(State.TRIGGERS_MISSING, missing)
        return "" if missing is None else str(missing)

    def _wait_for_silent_writers(self, connection: ListenConnection) -> None:
        until = time.monotonic() + SILENT_WRITERS_SECONDS
        presence = self.presence
        while not self._link.stopping and presence.has_new and presence.due < until:
            self.poll_presence(connection)
            if presence.has_new:
                self._link.waiting.wait(None, min(presence.due, until) - time.monotonic())
        presence.wait_no_longer()

    def verify(self, connection: ListenConnection) -> bool:
        """Listen again, with a Gap, if the triggers were altered. Return whether they were not."""
        self._stream.moved = False
        self._note_altered(connection)
        self._verified_at = time.monotonic()
        if not self._altered:
            return True
        self._states.report(State.TRIGGERS_MOVED, f"{self._altered}: listening anew")
        self._continuity.lost()
        asked = time.time()
        missing = self.listen(connection, self.sources, strict=False)
        altered = self.take_altered()
        gaps = self._continuity.connected(asked, missing or altered, silent=bool(missing))
        self._intake.deliver(connection, gaps)
        return False

    @property
    def due_in(self) -> float:
        """Seconds until :meth:`run` has something to do."""
        if not self.subscription.comparison.is_done:
            return 0.0
        if not self._stream.moved:
            return inf
        return max(0.0, self._verified_at + VERIFY_SECONDS - time.monotonic())

    def run(self, connection: ListenConnection) -> None:
        """Verify the triggers if a notification has reported that some were dropped or moved."""
        if not self.subscription.comparison.is_done:
            self.subscription.comparison.run()
        elif self.due_in <= 0:
            self.verify(connection)
