"""The life of one listening connection: connect, prove that it works, lose it, back off, stop.

Each listener and consumer holds one link, in a thread or in a greenlet of an event loop.
:meth:`Link.stop` may be called from any thread or from a signal handler, at any moment: while the
connection is being opened, during a query, or during the wait before the next attempt. So every
connection that was opened is remembered, and can be interrupted.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from sqlalchemy import Engine

from ..drivers import ListenConnection, connect, errors_of
from ..drivers.waiting import Waiting
from ..errors import ListenUnavailable
from ..sql import sqlstate_of
from ..states import State, States
from .backoff import Backoff
from .probe import PROBE_SECONDS, greet, probe

__all__ = ["Link"]


class Link:
    """A dedicated connection of ``engine``, which its owner opens again when it is lost.

    :param engine: of an AsyncEngine, its ``sync_engine``.
    :param waiting: how the owner waits.
    :param heartbeat: seconds between two queries that check the connection. The server has at least
        as long to answer.
    :ivar backoff: how long to wait between attempts; the owner calls ``settled()`` once the
        connection works.
    :ivar connection: the connection in use; None while there is none.
    :ivar connecting: whether an attempt to connect is under way.
    :ivar errors: the exceptions that the engine's driver raises for a lost connection.
    :ivar stopping: whether :meth:`stop` was called.
    """

    def __init__(self, engine: Engine, waiting: Waiting, heartbeat: float, states: States) -> None:
        self.engine = engine
        self.waiting = waiting
        self.patience = max(PROBE_SECONDS, heartbeat)
        self.connection: ListenConnection | None = None
        self.connecting = self.stopping = False
        self.errors: tuple[type[Exception], ...] = (ListenUnavailable,)
        self._states = states
        self._opened: list[ListenConnection] = []
        self.backoff = Backoff()
        self._has_begun = False
        self._pid = os.getpid()

    @property
    def is_ours(self) -> bool:
        """Whether the link was made in this process, and not before a fork."""
        return self._pid == os.getpid()

    def deadline(
        self, connection: ListenConnection, seconds: float | None = None
    ) -> AbstractContextManager[None]:
        """Break ``connection`` if the block takes longer than ``seconds``, by default the link's
        patience."""
        return self.waiting.deadline(connection, self.patience if seconds is None else seconds)

    # -- connecting --------------------------------------------------------------------------------

    def begin(self, connect: Callable[[], None]) -> None:
        """Connect for the first time, by ``connect``.

        :raises ListenUnavailable: if no connection can be made, or if it does not deliver
            notifications.
        """
        self.errors = errors_of(self.engine)
        try:
            connect()
        except self.errors as error:
            if isinstance(error, ListenUnavailable):
                raise
            lacks_right = sqlstate_of(error) == "42501"
            fix = "sa-pgnotify grants ROLE MODELS prints what a role needs" if lacks_right else ""
            raise ListenUnavailable("connection", str(error).strip(), fix) from error

    def connect(self, prepare: Callable[[ListenConnection], None]) -> ListenConnection:
        """Open a connection, prove that notifications arrive on it, prepare it, and use it.

        :param prepare: subscribes on the connection; it is closed if this raises.
        """
        connection = self._open()
        try:
            with self.deadline(connection):
                greet(connection)
            probe(connection, self._open, self.waiting, lambda: self.stopping)
            prepare(connection)
        except BaseException:
            self._close(connection)
            raise
        self.connection, self._has_begun = connection, True
        return connection

    def _open(self) -> ListenConnection:
        """Open a connection that :meth:`stop` can interrupt as soon as it is open."""
        self.connecting = True
        try:
            connection = connect(self.engine)
        finally:
            self.connecting = False
        self._opened = [*(known for known in self._opened if not known.closed), connection]
        if self.stopping:
            connection.interrupt()
        return connection

    # -- losing ------------------------------------------------------------------------------------

    def lost(self, error: BaseException) -> None:
        """Close the connection that broke with ``error``, and wait before the next attempt."""
        said, was_connected = str(error).strip().partition("\n")[0], self.connection is not None
        self.disconnect()
        if self.stopping:
            return
        if was_connected:
            self._states.report(State.LOST, said)
        delay = self.backoff.delay()
        self._states.report(State.RECONNECTING, "" if was_connected else said, seconds=delay)
        self.pause(delay)

    def pause(self, seconds: float) -> None:
        """Wait for ``seconds``, or until :meth:`stop`."""
        until = time.monotonic() + seconds
        while not self.stopping and (left := until - time.monotonic()) > 0:
            self.waiting.wait(None, left)

    def disconnect(self) -> None:
        """Close the connection in use, if there is one."""
        connection, self.connection = self.connection, None
        if connection is not None:
            self._close(connection)

    def _close(self, connection: ListenConnection) -> None:
        # asyncio.run() cancels the task in the child of a fork, too. To close the connection there
        # would end the parent's session.
        if self.is_ours:
            connection.close()

    # -- stopping ----------------------------------------------------------------------------------

    def stop(self, wake_others: Callable[[], object] = lambda: None) -> None:
        """Interrupt every connection and every wait. Safe from any thread, and from a signal handler.

        :param wake_others: called after the connections were interrupted; in an event loop, within
            the loop.
        """
        self.stopping = True
        if self.is_ours:
            self.waiting.call(lambda: self._interrupt(wake_others))

    def _interrupt(self, wake_others: Callable[[], object]) -> None:
        for connection in list(self._opened):
            connection.interrupt()  # first, because in a closed loop the rest may fail
        wake_others()
        self.waiting.wake()
        if self.connecting:
            self.waiting.cancel()

    def end(self) -> None:
        """Close everything. The link is not used afterwards."""
        if self._has_begun and self.stopping and self.is_ours:
            self._has_begun = False
            self._states.report(State.STOPPED)
        self.disconnect()
        self.waiting.close()
