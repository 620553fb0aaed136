"""Changes of a listener's sources, which any thread asks for, and the receiver makes."""

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
"""From the sources as they are to those that are asked for."""


@dataclass(frozen=True)
class _Command:
    change: Change
    done: Future[None]


class Commands:
    """The changes that are asked for and not yet made."""

    def __init__(self, link: Link, sources: SourceList) -> None:
        self._link = link
        self._sources = sources
        self._queue: SimpleQueue[_Command] = SimpleQueue()

    def ask(self, change: Change) -> Future[None]:
        """Have the sources changed as soon as there is a connection.

        :returns: done when the database has confirmed; it fails as ``subscribe`` does, and with
            ConnectionLost if the listener ends before.
        """
        command = _Command(change, Future())
        self._queue.put(command)
        self._link.waiting.wake()
        return command.done

    @property
    def waiting(self) -> bool:
        """Whether some have not been begun."""
        return not self._queue.empty()

    @property
    def due_in(self) -> float:
        """Seconds until :meth:`run` has something to do."""
        return 0.0 if self.waiting else inf

    def run(self, connection: ListenConnection) -> None:
        """Make all changes that are asked for."""
        while not self._link.stopping and self.waiting:
            command = self._queue.get()
            if command.done.set_running_or_notify_cancel():
                self._make(connection, command)

    def _make(self, connection: ListenConnection, command: _Command) -> None:
        try:
            # Otherwise what is found now would be relied on, without a Gap for what was before.
            self._sources.verify(connection)
            sources = command.change(self._sources.sources)
            self._sources.listen(connection, sources, strict=True)
        except PgNotifyError as error:
            command.done.set_exception(error)
            if isinstance(error, ListenUnavailable):  # half of it is done: connect anew
                raise
        except BaseException as error:
            command.done.set_exception(ConnectionLost(f"the connection broke: {error}"))
            raise
        else:
            self._sources.sources[:] = sources
            command.done.set_result(None)

    def cancel(self) -> None:
        """Fail all that were not begun: the listener has ended."""
        while self.waiting:
            command = self._queue.get()
            if command.done.set_running_or_notify_cancel():
                command.done.set_exception(ConnectionLost("the listener was stopped"))
