"""What waits between the receiver, which reads at all times, and the program, which takes events when
it is ready for them.

An exception may be raised between any two steps of the program's thread (Ctrl-C, a test's time limit),
and an event that was taken from one place and not yet put in the next would be lost. So each such move
is one call of C.
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
    """The last thing in the buffer, when the listener's thread or task ended by an error."""

    def __init__(self, error: BaseException) -> None:
        self.error = error
        self._trace = error.__traceback__

    def raise_error(self) -> None:
        """Raise the error with its first traceback: an error that is raised again keeps the frames
        that it was raised through before."""
        raise self.error.with_traceback(self._trace)


class Buffer:
    """Items in, events out, in order. One thread or task puts, any number take.

    :param stream: makes events of items, as late as possible: when they are taken.
    :ivar on_put: functions that are called after an item was put, and at the end.
    :ivar stopped: whether nothing more should be taken.
    """

    def __init__(self, stream: EventStream) -> None:
        self._stream = stream
        self._queue: deque[Item | _End] = deque()
        # Of the item at hand, the events that are not taken (a deque, because several threads pop
        # from it, with or without a GIL); how many events have come to hand by way of the queue
        # until now, these included; and how many have come past it.
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
        """Return whether the last item that waits is a gap of this reason."""
        try:
            last = self._queue[-1]
        except IndexError:
            return False
        return isinstance(last, Gap) and last.reason == reason

    def stop(self) -> None:
        """End every iteration now. Safe from any thread, and from a signal handler."""
        self.stopped = True

    def fail(self, error: BaseException) -> None:
        """End every iteration by ``error``, after what came before it."""
        self._queue.append(_End(error))
        self.wake_takers()

    def wake_takers(self) -> None:
        """Wake the threads or tasks that wait for events."""
        for wake in self.on_put:
            wake()

    @property
    def current(self) -> deque[Event]:
        """The events of the item at hand."""
        return self._at_hand[0][0]

    @property
    def direct(self) -> int:
        """How many events came to hand past the queue."""
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
        """Whether no item waits behind the one at hand."""
        return not self._queue

    def advance(self) -> bool:
        """Take the next item to hand; return False if there is none. One thread at a time."""
        if not self._queue:
            return False
        turn, item = self.turn(), self._queue[0]
        if isinstance(item, _End):
            item.raise_error()
        else:
            self.take(turn, self._queue, item, size_of(item))
        return True

    def take(self, turn: list[None], source: deque[Any], item: Item, queued: int = 0) -> None:
        """Take ``item`` to hand, and remove the first entry of ``source``, of which it was made; do
        nothing if the turn is over.

        :param queued: how many events the item becomes, if it was put.
        """
        now, before = deque(self._stream.events(item)), self._at_hand[0]
        at_hand = now, before[1] + queued, before[2] + (0 if queued else len(now))
        # Neither a signal nor, where there is a GIL, another thread comes between the parts of this
        # one call: if turn is not empty, the first entry of source is removed, and at_hand is there
        # in its place. (Not iter(source.popleft, None), which compares what it popped with None, by
        # a method written in Python.)
        self._at_hand.extend(compress((at_hand,), zip(turn, map(deque.popleft, repeat(source)))))

    def turn(self) -> list[None]:
        """Begin a turn, which :meth:`take` needs; the one before, which was interrupted, is over."""
        self._turn.clear()
        self._turn = turn = [None]
        return turn

    def end_turn(self) -> None:
        """End the present turn: a thread in the middle of it takes nothing, and may try again. Safe
        from any thread."""
        self._turn.clear()
