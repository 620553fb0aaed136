"""How a program takes events from a buffer: in threads, which may block, and in tasks.

An exception may be raised between any two steps of a thread (Ctrl-C, a test's time limit), and a task
may be cancelled at any await. An event must then either be with the program, or still in the buffer.

An iteration keeps its listener alive, but not once an exception has ended it: a notebook keeps the
traceback, and would keep the listener with it. So it is given the listener, and deletes it then.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import repeat

from ..drivers.wakeup import Wakeup
from ..errors import PgNotifyError
from ..events.kinds import Event
from .direct_read import DirectRead
from .receiver import Receiver

__all__ = ["AsyncTaker", "ThreadTaker", "async_events", "refuse_forked"]


def refuse_forked(receiver: Receiver) -> None:
    """
    :raises PgNotifyError: if ``receiver`` runs in the process that this one was forked from.
    """
    if not receiver.link.is_ours:
        raise PgNotifyError(
            "this listener was started before a fork, and listens in the parent",
            "Start one in this process",
        )


class ThreadTaker:
    """Takes the events of one start of a listener. Any number of threads may use it, one at a time."""

    def __init__(self, receiver: Receiver, direct_read: DirectRead) -> None:
        self._receiver = receiver
        self._buffer = receiver.buffer
        self._direct_read = direct_read
        # A signal that falls into its acquisition leaves it to the thread that goes on.
        self._taking = threading.RLock()
        self._wakeup: Wakeup | None = None

    def events(self, listener: object, timeout: float | None = None) -> Iterator[Event]:
        """Yield events until the end, or until ``timeout`` seconds have passed without one.

        :param listener: kept alive by the iteration.
        """
        buffer = self._buffer
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            while True:
                current = buffer.current  # another thread may put the next one in its place
                try:
                    # A signal's handler may run after a call, and what the call returned would be
                    # lost if it raised. A step of a for loop is not a call.
                    for event in map(deque.popleft, repeat(current)):
                        if buffer.stopped:
                            return
                        yield event
                        deadline = None if timeout is None else time.monotonic() + timeout
                except IndexError:  # there are no more
                    pass
                refuse_forked(self._receiver)  # a loop may have been forked in the middle
                if not self._next_item(current, deadline):
                    return
        except BaseException:
            del listener
            raise

    def fileno(self) -> int:
        """Return a descriptor that is readable while events may wait; -1 after the end."""
        if self._wakeup is None:
            if self._buffer.stopped:
                return -1
            self._wakeup = wakeup = Wakeup()
            self._buffer.on_put.append(wakeup.set)
            wakeup.set()  # for what has arrived already
        return self._wakeup.fileno()

    def stop(self) -> None:
        """End the wait of a receiver that was stopped, and close the descriptor. Safe from any thread,
        from a signal handler, and twice."""
        self._direct_read.stop()
        self.close()

    def close(self) -> None:
        """Close the descriptor."""
        wakeup, self._wakeup = self._wakeup, None
        if wakeup is not None:
            wakeup.close()

    def _next_item(self, seen: deque[Event], deadline: float | None) -> bool:
        """Put the events of the buffer's next item in the place of ``seen``; return False if there is
        none in time, or at the end."""
        limit = -1 if deadline is None else max(0.0, deadline - time.monotonic())
        if not self._taking.acquire(timeout=limit):
            return False
        buffer, wakeup = self._buffer, self._wakeup
        try:
            is_quiet = False
            while not buffer.stopped:
                if buffer.current is not seen or buffer.advance():
                    if wakeup is not None and is_quiet:
                        wakeup.set()  # what arrived before clear() may be more than this
                    return True
                if wakeup is not None and not is_quiet:
                    wakeup.clear()
                    is_quiet = True
                    continue
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return False
                self._direct_read.wait(left)
            return False
        finally:
            self._taking.release()


class AsyncTaker:
    """Takes the events of one start of an asyncio listener, for any number of tasks of its loop.

    :ivar arrived: set when something was put into the buffer.
    """

    def __init__(self, receiver: Receiver, loop: asyncio.AbstractEventLoop) -> None:
        self.arrived = asyncio.Event()
        self._receiver = receiver
        self.buffer = receiver.buffer
        self._loop = loop
        self.buffer.on_put.append(self.arrived.set)

    def refuse_elsewhere(self) -> None:
        """
        :raises PgNotifyError: if the listener was started in another event loop or process.
        """
        refuse_forked(self._receiver)
        if self._loop is not asyncio.get_running_loop():
            raise PgNotifyError(
                "this listener was started in another event loop", "Start one in this loop"
            )

    # as a thread's
    async def get(self, timeout: float | None = None) -> Event | None:  # noqa: ASYNC109
        """Return the next event; None after ``timeout`` seconds without one, or at the end."""
        self.refuse_elsewhere()
        buffer = self.buffer
        deadline = None if timeout is None else self._loop.time() + timeout
        while True:
            current = buffer.current
            if current:
                event = current[0]
                del current[0]  # as in events()
                return None if buffer.stopped else event
            if not await self.next_item(current, deadline):
                return None

    async def next_item(self, seen: deque[Event], deadline: float | None) -> bool:
        """Put the events of the buffer's next item in the place of ``seen``; return False if there is
        none in time, or at the end."""
        buffer = self.buffer
        await asyncio.sleep(0)  # the receiver has its turn, however busy the program is
        while not buffer.stopped:
            if buffer.current is not seen:
                return True  # another task has done it
            if buffer.advance():
                return True
            self.arrived.clear()
            try:
                async with asyncio.timeout_at(deadline):
                    await self.arrived.wait()
            except TimeoutError:
                return False
        return False


async def async_events(
    here: Callable[[], AsyncTaker],
    timeout: float | None = None,  # noqa: ASYNC109 (of silence, not of the whole)
) -> AsyncIterator[Event]:
    """Yield events until the end, or until ``timeout`` seconds have passed without one.

    :param here: returns the taker, or raises if events cannot be taken here; it is a method of the
        listener, and so keeps that alive.
    """
    try:
        taker = here()
        buffer, clock = taker.buffer, asyncio.get_running_loop().time
        deadline = None if timeout is None else clock() + timeout
        while True:
            current = buffer.current  # another task may put the next one in its place
            while current:
                event = current[0]
                # Not popleft(), after which a signal's handler might raise, and the event be lost.
                del current[0]
                if buffer.stopped:
                    return
                yield event
                deadline = None if timeout is None else clock() + timeout
            if not await taker.next_item(current, deadline):
                return
    except BaseException:
        del here
        raise
