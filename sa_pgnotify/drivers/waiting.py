"""The two ways to wait: a thread that sleeps in a selector, and a task of an event loop.

Whatever else listening does is the same for both, and written once:
:mod:`sa_pgnotify.listening.receiver`.
"""

from __future__ import annotations

import asyncio
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from time import monotonic

from sqlalchemy.util import await_only

from ..drivers import ListenConnection
from .wakeup import Wakeup, readable

__all__ = ["LoopWaiting", "ThreadWaiting", "Waiting"]


def _not_done() -> bool:
    return False


class Waiting(ABC):
    """How a receiver waits, and how others reach it meanwhile."""

    @abstractmethod
    def wait(
        self,
        connection: ListenConnection | None,
        seconds: float,
        arrived: Callable[[], bool] = _not_done,
    ) -> None:
        """Return when ``connection`` may have notifications, when :meth:`wake` was called, or after
        ``seconds``.

        :param arrived: may be asked when there may be notifications, whether it has done all that
            is to be done; then the wait goes on.
        """

    @abstractmethod
    def wake(self) -> None:
        """End the present wait, or else the next one."""

    @abstractmethod
    def deadline(
        self, connection: ListenConnection, seconds: float
    ) -> AbstractContextManager[None]:
        """Within this block the connection is broken after ``seconds``: a driver would wait for a
        silent peer for ever."""

    @abstractmethod
    def call(self, function: Callable[[], object]) -> None:
        """Call ``function`` where connections may be interrupted. From any thread, and from a
        signal handler."""

    @abstractmethod
    def cancel(self) -> None:
        """Break off an attempt to connect, if that is possible."""

    @abstractmethod
    def close(self) -> None:
        """Free what it holds; nobody waits any more."""


class ThreadWaiting(Waiting):
    def __init__(self) -> None:
        self._bell = Wakeup()

    def wait(
        self,
        connection: ListenConnection | None,
        seconds: float,
        arrived: Callable[[], bool] = _not_done,
    ) -> None:
        if connection is not None and connection.pending():
            return
        bell = self._bell.fileno()
        descriptors = (bell,) if connection is None else (bell, connection.fileno())
        until = monotonic() + seconds
        while found := readable(descriptors, max(0.0, until - monotonic())):
            if bell in found:
                self._bell.quiet()
                return
            if not arrived():
                return

    def wake(self) -> None:
        self._bell.ring()

    @contextmanager
    def deadline(self, connection: ListenConnection, seconds: float) -> Iterator[None]:
        timer = threading.Timer(seconds, connection.interrupt)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()

    def call(self, function: Callable[[], object]) -> None:
        function()

    def cancel(self) -> None:
        """A driver that blocks in its attempt to connect hears nobody."""

    def close(self) -> None:
        self._bell.close()


class LoopWaiting(Waiting):
    """
    :ivar task: the one that waits, and is a greenlet's host (``sqlalchemy.util.greenlet_spawn``).
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
                await_only(asyncio.sleep(0))  # who takes the events has its turn
                return
            # asked at once: tasks take the loop's time
            connection.watch(self.loop, lambda: None if arrived() else self._woken.set())
        try:
            await_only(self._sleep(seconds))
        finally:
            # a fork's child shares what the loop watches
            if connection is not None and self._pid == os.getpid():
                connection.unwatch(self.loop)
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
        except RuntimeError:  # the loop is closed, and nothing in it goes on that this could meet
            # asyncpg lets its socket go, and then complains of the loop
            with suppress(RuntimeError):
                function()

    def cancel(self) -> None:
        if self.task is not None:
            self.task.cancel()

    def close(self) -> None:
        pass
