"""Changes of a listener's sources: any thread may request them, and the receiver makes them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from math import inf
from queue import SimpleQueue
from typing import Any

from ..drivers import ListenConnection
from ..errors import ConnectionLost, ListenUnavailable, PgNotifyError
from ..subscription.link import Link
from .source_list import SourceList

__all__ = ["Commands"]

Change = Callable[[list[Any]], list[Any]]
"""A function that is given the current sources, and returns the requested ones."""


@dataclass(frozen=True)
class _Command:
    change: Change
    done: Future[None]


class Commands:
    """The changes that were requested and not yet made."""

    def __init__(self, link: Link, sources: SourceList) -> None:
        self._link = link
        self._sources = sources
        self._queue: SimpleQueue[_Command] = SimpleQueue()

    def ask(self, change: Change) -> Future[None]:
        """Request a change of the sources, which is made as soon as there is a connection.

        :returns: a future that is done when the database has confirmed the change. It fails as
            ``subscribe`` does, and with ConnectionLost if the listener ends before.
        """
        command = _Command(change, Future())
        self._queue.put(command)
        self._link.waiting.wake()
        return command.done

    @property
    def waiting(self) -> bool:
        """Whether there are changes that were not begun."""
        return not self._queue.empty()

    @property
    def due_in(self) -> float:
        """Seconds until :meth:`run` has something to do."""
        return 0.0 if self.waiting else inf

    def run(self, connection: ListenConnection) -> None:
        """Make all changes that were requested."""
        while not self._link.stopping and self.waiting:
            command = self._queue.get()
            if command.done.set_running_or_notify_cancel():
                self._make(connection, command)

    def _make(self, connection: ListenConnection, command: _Command) -> None:
        try:
            # Otherwise the triggers that are found now would be relied on, without a Gap for
            # changes that were lost before.
            self._sources.verify(connection)
            sources = command.change(self._sources.sources)
            self._sources.listen(connection, sources, strict=True)
        except PgNotifyError as error:
            command.done.set_exception(error)
            if isinstance(error, ListenUnavailable):  # the change is half done, so connect again
                raise
        except BaseException as error:
            command.done.set_exception(ConnectionLost(f"the connection broke: {error}"))
            raise
        else:
            self._sources.sources[:] = sources
            command.done.set_result(None)

    def cancel(self) -> None:
        """Fail all changes that were not begun, because the listener has ended."""
        while self.waiting:
            command = self._queue.get()
            if command.done.set_running_or_notify_cancel():
                command.done.set_exception(ConnectionLost("the listener was stopped"))
