"""The buffer between the receiver, which reads at all times, and the program, which takes events when
it is ready for them.

An exception (Ctrl-C, a test's time limit) may be raised between any two steps of the program's
thread. An event that was removed from one place and not yet added to the next would be lost. So
each such move is a single call of a C function.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import compress, repeat
from typing import Any

from ..events.kinds import Event, Gap, Reason
from ..events.stream import EventStream, Item, size_of

__all__ = ["Buffer"]


class _End:
    """The last entry of the buffer if the listener's thread or task has ended with an error."""

    def __init__(self, error: BaseException) -> None:
        self.error = error
        self._trace = error.__traceback__

    def raise_error(self) -> None:
        """Raise the error with its original traceback, which would otherwise grow each time that it
        is raised."""
        raise self.error.with_traceback(self._trace)


class Buffer:
    """Takes items and gives events, in order. One thread or task puts, and any number take.

    :param stream: makes events of items, as late as possible: when they are taken.
    :ivar on_put: functions that are called after an item was put, and at the end.
    :ivar stopped: whether taking has ended, although events may be left.
    """

    def __init__(self, stream: EventStream) -> None:
        self._stream = stream
        self._queue: deque[Item | _End] = deque()
        # The current item: its events that were not taken yet (a deque, because several threads may
        # pop from it, with or without a GIL); how many events have come through the queue so far,
        # including these; and how many have come by a direct read, without the queue.
        self._at_hand: deque[tuple[deque[Event], int, int]] = deque([(deque(), 0, 0)], maxlen=1)
        self._turn: list[None] = []
        self.on_put: list[Callable[[], object]] = []
        self.stopped = False
        self._put = 0

    def put(self, item: Item) -> None:
        """Append an item, and wake the threads or tasks that wait for events."""
        self._put += size_of(item)
        self._queue.append(item)
        self.wake_takers()

    def ends_with_gap(self, reason: Reason) -> bool:
        """Return whether the last item in the queue is a gap with this reason."""
        try:
            last = self._queue[-1]
        except IndexError:
            return False
        return isinstance(last, Gap) and last.reason == reason

    def stop(self) -> None:
        """End every iteration now. Safe from any thread, and from a signal handler."""
        self.stopped = True

    def fail(self, error: BaseException) -> None:
        """End every iteration with ``error``, after the items that were put before."""
        self._queue.append(_End(error))
        self.wake_takers()

    def wake_takers(self) -> None:
        """Wake the threads or tasks that wait for events."""
        for wake in self.on_put:
            wake()

    @property
    def current(self) -> deque[Event]:
        """The events of the current item that were not taken yet."""
        return self._at_hand[0][0]

    @property
    def direct(self) -> int:
        """How many events have come by a direct read, without the queue."""
        return self._at_hand[0][2]

    @property
    def taken(self) -> int:
        """How many events were taken."""
        events, queued, direct = self._at_hand[0]
        return queued + direct - len(events)

    @property
    def waiting(self) -> int:
        """How many events wait to be taken."""
        events, queued, _ = self._at_hand[0]
        return self._put - queued + len(events)

    @property
    def empty(self) -> bool:
        """Whether no item waits after the current one."""
        return not self._queue

    def advance(self) -> bool:
        """Make the next item the current one, and return whether there was one. One thread at a
        time."""
        if not self._queue:
            return False
        turn, item = self.turn(), self._queue[0]
        if isinstance(item, _End):
            item.raise_error()
        else:
            self.take(turn, self._queue, item, size_of(item))
        return True

    def take(self, turn: list[None], source: deque[Any], item: Item, queued: int = 0) -> None:
        """Make ``item`` the current one, and remove the first entry of ``source``, which it was made
        from. Do nothing if the turn is over.

        :param queued: how many events the item becomes; 0 if it did not come through the queue.
        """
        now, before = deque(self._stream.events(item)), self._at_hand[0]
        at_hand = now, before[1] + queued, before[2] + (0 if queued else len(now))
        # This single call is not interrupted by a signal or, with a GIL, by another thread. If turn
        # is not empty, it removes the first entry of source, and stores at_hand. (It does not use
        # iter(source.popleft, None), which may call an __eq__ that is written in Python.)
        self._at_hand.extend(compress((at_hand,), zip(turn, map(deque.popleft, repeat(source)))))

    def turn(self) -> list[None]:
        """Begin a turn, which :meth:`take` needs, and end the previous one, which was interrupted."""
        self._turn.clear()
        self._turn = turn = [None]
        return turn

    def end_turn(self) -> None:
        """End the current turn: a thread in the middle of it takes nothing, and may try again. Safe
        from any thread."""
        self._turn.clear()
