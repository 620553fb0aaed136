"""The loop behind every listener: keep a listening connection, and fill the buffer from it.

A connection that delivers nothing may be quiet or dead. And reading must go on while the program
takes no events, because a connection that is not read holds up PostgreSQL's notification queue for
all sessions. So the receiver reads at all times, queries the server at each heartbeat, and reports
what it could not keep.

The code is written as if it blocked. In a thread it does. In an event loop it runs in a greenlet,
as SQLAlchemy's own asyncio support does, and each wait is an await. The two differ only in
:class:`~sa_pgnotify.drivers.waiting.Waiting`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol

from sqlalchemy import Engine

from ..drivers import ListenConnection
from ..drivers.waiting import Waiting
from ..errors import ConnectionLost, PgNotifyError
from ..events.stream import EventStream
from ..states import State, States
from ..subscription.link import Link
from .buffer import Buffer
from .commands import Commands
from .continuity import Continuity
from .direct_read import DirectRead
from .heartbeat import Heartbeat
from .intake import Intake
from .log_follower import LogFollower
from .notifications import Notifications
from .source_list import SourceList

__all__ = ["Receiver"]


class Duty(Protocol):
    """One of the things that a receiver does in each turn of its loop."""

    @property
    def due_in(self) -> float:
        """Seconds until :meth:`run` may have something to do if nothing arrives before."""
        ...

    def run(self, connection: ListenConnection) -> None:
        """Do what is due now."""


class Receiver:
    """Fills a listener's buffer, from one start of the listener to its end.

    :param engine: of an AsyncEngine, its ``sync_engine``.
    :param sources: the listener's own list, which commands change.
    :param buffer_size: how many events may wait for the program.
    :param heartbeat: seconds between two queries that check the connection.
    :param passes_on_logs: see :class:`~sa_pgnotify.listening.log_follower.LogFollower`.
    :ivar buffer: gets every event, and the error with which the receiver ends.
    :ivar direct_read: lets the thread that waits for events read the connection; None in an event
        loop.
    :ivar ended: whether the receiver has ended.
    """

    def __init__(
        self,
        engine: Engine,
        sources: list[Any],
        waiting: Waiting,
        buffer_size: int,
        heartbeat: float,
        states: States,
        *,
        passes_on_logs: bool = True,
    ) -> None:
        self.link = link = Link(engine, waiting, heartbeat, states)
        self.stream = stream = EventStream(states)
        self.continuity = continuity = Continuity(stream, buffer_size, states)
        self.buffer = Buffer(stream)
        self.direct_read: DirectRead | None = None
        self.ended = False
        self._states = states
        self._intake = intake = Intake(link, stream, continuity, self.buffer, buffer_size)
        self.logs = logs = LogFollower(link, stream, intake, states, passes_on=passes_on_logs)
        self.sources = SourceList(sources, link, stream, continuity, intake, logs, states)
        self.commands = Commands(link, self.sources)
        self.notifications = Notifications(link, self.sources, continuity, intake)
        self.heartbeat = Heartbeat(heartbeat, link, self.sources, logs, continuity, states)

    @property
    def duties(self) -> tuple[Duty, ...]:
        """The duties, in the order in which they run."""
        return (self.commands, self.notifications, self.sources, self.logs, self.heartbeat)

    # -- from outside ------------------------------------------------------------------------------

    def stop(self) -> None:
        """End every iteration now, and everything else as soon as possible. Safe from any thread,
        from a signal handler, and twice."""
        self.link.stopping = True
        self.buffer.stop()
        self.link.stop(self.buffer.wake_takers)

    def ask(self, change: Callable[[list[Any]], list[Any]]) -> Future[None]:
        """Request a change of the sources, see :meth:`Commands.ask`."""
        return self.commands.ask(change)

    # -- the loop ----------------------------------------------------------------------------------

    def begin(self) -> None:
        """Connect for the first time.

        :raises TriggersMissing: if a table has no enabled triggers.
        :raises ListenUnavailable: if no connection can be made, or if it does not deliver
            notifications.
        """
        try:
            self.link.begin(lambda: self._connect(strict=True))
        except BaseException as error:
            self._end()
            if self.link.stopping and isinstance(error, self.link.errors):
                return  # stop() has interrupted it
            # A program that takes events nevertheless must not wait for ever.
            interrupted = PgNotifyError(
                "this listener does not listen: its start() was interrupted"
            )
            self.buffer.fail(error if isinstance(error, Exception) else interrupted)
            raise

    def run(self) -> None:
        """Receive until :meth:`stop`."""
        try:
            while not self.link.stopping:
                try:
                    if self.link.connection is None:
                        self._connect(strict=False)
                    self._read()
                except self.link.errors as error:
                    self.continuity.lost()
                    self.link.lost(error)
        except Exception as error:  # a bug must not look like a quiet connection
            self._states.report(State.FAILED, f"it ends: {error!r}", error=error)
            self.buffer.fail(error)
        except BaseException:
            # The task was cancelled, and a program that takes events must not wait for ever.
            text = "the listener's task was cancelled, and not by stop()"
            self.buffer.fail(ConnectionLost(text))
            raise
        finally:
            self._end()

    def _end(self) -> None:
        self.ended = True
        self.link.end()
        self.commands.cancel()

    def _connect(self, *, strict: bool) -> None:
        """Open a connection, and listen to all sources on it.

        :param strict: whether to refuse tables without enabled triggers.
        """
        asked = time.time()
        missing = ""

        def prepare(connection: ListenConnection) -> None:
            nonlocal missing
            missing = self.sources.begin(connection, strict=strict)
            self.notifications.connected()

        connection = self.link.connect(prepare)
        if strict:
            text = f"listening on {len(self.stream.routes)} channels"
            self._states.report(State.CONNECTED, text)
        self.link.backoff.settled()
        altered = self.sources.take_altered()
        gaps = self.continuity.connected(asked, missing or altered, silent=bool(missing))
        self._intake.deliver(connection, gaps)

    def _read(self) -> None:
        """Run all duties in turn, until the connection is lost or the listener is stopped."""
        connection = self.link.connection
        assert connection is not None
        duties, deliver = self.duties, self.notifications.deliver_singles
        self.heartbeat.connected()
        while not self.link.stopping:
            for duty in duties:
                duty.run(connection)
            seconds = min([duty.due_in for duty in duties])
            if not self._lend(connection, seconds):
                self.link.waiting.wait(connection, seconds, lambda: deliver(connection))

    def _lend(self, connection: ListenConnection, seconds: float) -> bool:
        """Let the thread that waits for events read the connection, if there is one, and if nothing
        else has to be done first. Return whether it was lent."""
        direct = self.direct_read
        if direct is None:
            return False
        direct.worthwhile = (
            seconds > 0
            and self.notifications.few
            and connection.lendable
            and not self.logs.follows
            and not self.sources.presence.is_in_doubt
        )
        return direct.lend(connection, seconds, lambda: self.link.stopping or self.commands.waiting)
