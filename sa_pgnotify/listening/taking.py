"""How a program takes events from a buffer: in threads, which may block, and in tasks.

An exception (Ctrl-C, a test's time limit) may be raised between any two steps of a thread, and a
task may be cancelled at any await. The program must then have the event, or it must still be in the
buffer.

An iteration keeps its listener alive, so it holds a reference to it. It deletes the reference when
an exception ends the iteration. Otherwise a notebook, which keeps the last traceback, would keep
the listener alive as well.
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
    """Refuse to use a receiver in the child of a fork.

    :raises PgNotifyError: if ``receiver`` runs in the process that this one was forked from.
    """
    if not receiver.link.is_ours:
        raise PgNotifyError(
            "this listener was started before a fork, and listens in the parent",
            "Start one in this process",
        )


class ThreadTaker:
    """Takes the events that a listener yields from one start to its stop, for any number of threads."""

    def __init__(self, receiver: Receiver, direct_read: DirectRead) -> None:
        self._receiver = receiver
        self._buffer = receiver.buffer
        self._direct_read = direct_read
        # An RLock, because a signal handler may raise an exception just after it was acquired. It
        # then stays acquired by this thread, which can acquire it again.
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
                    # A signal handler may run after a call, and if it raises an exception, the
                    # result of the call is lost. A step of a for loop is not a call.
                    for event in map(deque.popleft, repeat(current)):
                        if buffer.stopped:
                            return
                        yield event
                        deadline = None if timeout is None else time.monotonic() + timeout
                except IndexError:  # the item has no more events
                    pass
                refuse_forked(self._receiver)  # the process may have been forked within the loop
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
            wakeup.set()  # for events that have arrived already
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
        """Make the next item of the buffer the current one, in place of the one with the events
        ``seen``. Return False if none comes in time, or at the end."""
        limit = -1 if deadline is None else max(0.0, deadline - time.monotonic())
        if not self._taking.acquire(timeout=limit):
            return False
        buffer, wakeup = self._buffer, self._wakeup
        try:
            is_quiet = False
            while not buffer.stopped:
                if buffer.current is not seen or buffer.advance():
                    if wakeup is not None and is_quiet:
                        wakeup.set()  # more items than this one may have arrived before clear()
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
    """Takes the events that an asyncio listener yields from one start to its stop, for any number of
    tasks of its loop.

    :ivar arrived: set when an item was put into the buffer.
    """

    def __init__(self, receiver: Receiver, loop: asyncio.AbstractEventLoop) -> None:
        self.arrived = asyncio.Event()
        self._receiver = receiver
        self.buffer = receiver.buffer
        self._loop = loop
        self.buffer.on_put.append(self.arrived.set)

    def refuse_elsewhere(self) -> None:
        """Refuse to take events outside the listener's event loop.

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
        """Make the next item of the buffer the current one, in place of the one with the events
        ``seen``. Return False if none comes in time, or at the end."""
        buffer = self.buffer
        await asyncio.sleep(0)  # let the receiver run, however busy the program is
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

    :param here: returns the taker, or raises an error if events cannot be taken here. It is a
        method of the listener, so it keeps the listener alive.
    """
    try:
        taker = here()
        buffer, clock = taker.buffer, asyncio.get_running_loop().time
        deadline = None if timeout is None else clock() + timeout
        while True:
            current = buffer.current  # another task may put the next one in its place
            while current:
                event = current[0]
                # Not popleft(), because a signal handler might raise an exception after that call,
                # and the event would be lost.
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
