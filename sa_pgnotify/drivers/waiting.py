"""The two ways to wait: a thread that sleeps in a selector, and a task of an event loop.

Everything else that listening does is the same for both, and written once in
:mod:`sa_pgnotify.listening.receiver`.
"""

from __future__ import annotations

import asyncio
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from time import monotonic

from sqlalchemy.util import await_only

from ..drivers import ListenConnection
from .wakeup import Wakeup, readable
from .watchdog import Watchdog

__all__ = ["LoopWaiting", "ThreadWaiting", "Waiting"]


def _not_done() -> bool:
    return False


class Waiting(ABC):
    """How a receiver waits for its connection, and how other threads reach it meanwhile."""

    @abstractmethod
    def wait(
        self,
        connection: ListenConnection | None,
        seconds: float,
        arrived: Callable[[], bool] = _not_done,
    ) -> None:
        """Return when ``connection`` may have notifications, when :meth:`wake` was called, or after
        ``seconds``.

        :param arrived: may be called when there may be notifications. If it returns true, it has
            handled them, and the wait goes on.
        """

    @abstractmethod
    def wake(self) -> None:
        """End the present wait; the next one if there is none."""

    @abstractmethod
    def deadline(
        self, connection: ListenConnection, seconds: float
    ) -> AbstractContextManager[None]:
        """Break the connection if this block takes longer than ``seconds``, because a driver waits
        for a silent peer forever."""

    @abstractmethod
    def call(self, function: Callable[[], object]) -> None:
        """Call ``function`` where connections may be interrupted. Any thread and any signal handler
        may call this."""

    @abstractmethod
    def cancel(self) -> None:
        """Break off an attempt to connect, if the driver can do that."""

    @abstractmethod
    def close(self) -> None:
        """Free the resources. Nothing waits any more."""


class ThreadWaiting(Waiting):
    """A thread waits, in a selector."""

    def __init__(self) -> None:
        self._wakeup = Wakeup()
        self._watchdog = Watchdog()

    def wait(
        self,
        connection: ListenConnection | None,
        seconds: float,
        arrived: Callable[[], bool] = _not_done,
    ) -> None:
        if connection is not None and connection.pending():
            return
        woken = self._wakeup.fileno()
        descriptors = (woken,) if connection is None else (woken, connection.fileno())
        until = monotonic() + seconds
        while found := readable(descriptors, max(0.0, until - monotonic())):
            if woken in found:
                self._wakeup.clear()
                return
            if not arrived():
                return

    def wake(self) -> None:
        self._wakeup.set()

    def deadline(
        self, connection: ListenConnection, seconds: float
    ) -> AbstractContextManager[None]:
        return self._watchdog.watch(seconds, connection.interrupt)

    def call(self, function: Callable[[], object]) -> None:
        function()

    def cancel(self) -> None:
        """Do nothing: a driver that blocks while it connects cannot be reached."""

    def close(self) -> None:
        self._watchdog.close()
        self._wakeup.close()


class _Watched:
    """A connection that an event loop watches. If it breaks, its descriptor is closed at once, and
    the next connection of the program may have the same number: so it is unwatched at once, too."""

    def __init__(self, connection: ListenConnection, loop: asyncio.AbstractEventLoop) -> None:
        self._connection = connection
        self._loop = loop
        self._is_watched = False

    def begin(self, arrived: Callable[[], object]) -> None:
        self._is_watched = True
        self._connection.watch(self._loop, partial(self._arrived, arrived))

    def end(self) -> None:
        if self._is_watched:
            self._is_watched = False
            self._connection.unwatch(self._loop)

    def _arrived(self, arrived: Callable[[], object]) -> None:
        try:
            arrived()
        finally:
            if self._connection.closed:
                self.end()


class LoopWaiting(Waiting):
    """A task of an event loop waits.

    :ivar task: the task that waits. It hosts the greenlet in which the receiver runs
        (``sqlalchemy.util.greenlet_spawn``).
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.task: asyncio.Task[None] | None = None
        self._woken = asyncio.Event()
        self._pid = os.getpid()

    def wait(
        self,
        connection: ListenConnection | None,
        seconds: float,
        arrived: Callable[[], bool] = _not_done,
    ) -> None:
        if connection is not None:
            if connection.pending():
                await_only(asyncio.sleep(0))  # so that the task that takes events has its turn
                return
            watched = _Watched(connection, self.loop)
            # Called in the loop's callback, because waking a task takes another turn of the loop.
            watched.begin(lambda: None if arrived() else self._woken.set())
        else:
            watched = None
        try:
            await_only(self._sleep(seconds))
        finally:
            # A forked child shares what the loop watches, and must not change it.
            if watched is not None and self._pid == os.getpid():
                watched.end()
        self._woken.clear()

    async def _sleep(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()

    def wake(self) -> None:
        self._woken.set()

    @contextmanager
    def deadline(self, connection: ListenConnection, seconds: float) -> Iterator[None]:
        timer = self.loop.call_later(seconds, connection.interrupt)
        try:
            yield
        finally:
            timer.cancel()

    def call(self, function: Callable[[], object]) -> None:
        try:
            self.loop.call_soon_threadsafe(function)
        except RuntimeError:  # the loop is closed, so nothing in it can interfere
            # asyncpg closes its socket, and then raises because the loop is closed
            with suppress(RuntimeError):
                function()

    def cancel(self) -> None:
        if self.task is not None:
            self.task.cancel()

    def close(self) -> None:
        pass
