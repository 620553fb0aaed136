"""What waits between the receiver, which must always read, and the program, which takes events when
it likes.

It is hard because an exception may fall between any two steps of the program's thread (Ctrl-C, a
time limit of a test), and what was taken from one place and not yet put in the next would be lost.
So each such move is one call of C.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import compress, repeat
from typing import Any

from ..events.changes import Event, Gap, Reason
from ..events.stream import EventStream, Item, size_of

__all__ = ["Buffer"]


class _End:
    """The last thing in the buffer: the listener's thread or task ended by an error."""

    def __init__(self, error: BaseException) -> None:
        self.error = error
        self._trace = error.__traceback__

    def raise_error(self) -> None:
        """Each time as if for the first time: by itself, what is raised again keeps the frames that
        it was raised through before."""
        raise self.error.with_traceback(self._trace)


class Buffer:
    """Items in, events out, in order. One puts, any number take.

    :param stream: makes events of items; it is asked as late as possible, by whoever takes them.
    :ivar on_put: each is called after an item was put, and at an end.
    :ivar stopped: whether nothing more is to be taken.
    """

    def __init__(self, stream: EventStream) -> None:
        self._stream = stream
        self._queue: deque[Item | _End] = deque()
        # Of the item at hand the events not yet taken (threads share them, so it is a deque, of
        # which each may pop, GIL or not); and how many have come to hand by way of the queue until
        # now, these included, and how many past it.
        self._at_hand: deque[tuple[deque[Event], int, int]] = deque([(deque(), 0, 0)], maxlen=1)
        self._turn: list[None] = []
        self.on_put: list[Callable[[], object]] = []
        self.stopped = False
        self._put = 0

    def put(self, item: Item) -> None:
        self._put += size_of(item)
        self._queue.append(item)
        self.wake_takers()

    def ends_with_gap(self, reason: Reason) -> bool:
        """Whether the last item that waits is such a gap."""
        try:
            last = self._queue[-1]
        except IndexError:
            return False
        return isinstance(last, Gap) and last.reason == reason

    def stop(self) -> None:
        """End every iteration now. From any thread, and from a signal handler."""
        self.stopped = True

    def fail(self, error: BaseException) -> None:
        """End every iteration by ``error``, after what came before it."""
        self._queue.append(_End(error))
        self.wake_takers()

    def wake_takers(self) -> None:
        """Have whoever waits look up."""
        for told in self.on_put:
            told()

    @property
    def current(self) -> deque[Event]:
        """The events of the item at hand."""
        return self._at_hand[0][0]

    @property
    def direct(self) -> int:
        """How many events came to hand without having been put."""
        return self._at_hand[0][2]

    @property
    def taken(self) -> int:
        """How many events were taken; those of the item at hand are counted as it goes."""
        events, queued, direct = self._at_hand[0]
        return queued + direct - len(events)

    @property
    def waiting(self) -> int:
        """How many events wait to be taken."""
        events, queued, _ = self._at_hand[0]
        return self._put - queued + len(events)

    @property
    def empty(self) -> bool:
        """Whether nothing was put that is not yet at hand."""
        return not self._queue

    def advance(self) -> bool:
        """Take the next item to hand; False if there is none. One at a time."""
        if not self._queue:
            return False
        turn, item = self.turn(), self._queue[0]
        if isinstance(item, _End):
            item.raise_error()
        else:
            self.take(turn, self._queue, item, size_of(item))
        return True

    def take(self, turn: list[None], source: deque[Any], item: Item, queued: int = 0) -> None:
        """Take the first of ``source``, which makes ``item``, to hand, if the turn is not over.

        :param queued: how many events it comes to, if it was put.
        """
        now, before = deque(self._stream.events(item)), self._at_hand[0]
        at_hand = now, before[1] + queued, before[2] + (0 if queued else len(now))
        # Between the parts of this one call there comes neither a signal nor, where there is a GIL,
        # another thread: if there is something in turn still, the first of source goes, and at_hand
        # is there for it. (Not iter(source.popleft, None), which compares what it took with None,
        # by a method of Python's.)
        self._at_hand.extend(compress((at_hand,), zip(turn, map(deque.popleft, repeat(source)))))

    def turn(self) -> list[None]:
        """What :meth:`take` wants; the turn before, of somebody who was interrupted in it, is
        over."""
        self._turn.clear()
        self._turn = turn = [None]
        return turn

    def end_turn(self) -> None:
        """Who is in the midst of taking shall not take; he may try again. From any thread."""
        self._turn.clear()
