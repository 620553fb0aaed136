"""What waits between the receiver, which must always read, and the program, which takes events when it likes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from queue import SimpleQueue

from .batch import Batch
from .events import Event
from .protocol import Item, Protocol, size_of

__all__ = ["Buffer"]


class _End:
    """The last thing in the buffer: the listener was stopped, or its thread or task ended by an error."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error
        self._trace = None if error is None else error.__traceback__

    def raise_error(self) -> None:
        """Each time as if for the first time: by itself, what is raised again keeps the frames that it was raised through before."""
        if self.error is not None:
            raise self.error.with_traceback(self._trace)


class Buffer:
    """Items in, events out, in order. One puts, any number take.

    :param protocol: makes events of items; it is asked as late as possible, by whoever takes them.
    :ivar on_put: called after each item was put, and at an end by an error.
    :ivar stopped: whether nothing more is to be taken.
    """

    def __init__(self, protocol: Protocol) -> None:
        self._protocol = protocol
        self._queue: SimpleQueue[Item | _End] = SimpleQueue()
        self._item: Item | None = None
        self._at_hand: tuple[deque[Event], int] = deque(), 0
        self.on_put: Callable[[], object] = _nothing
        self.stopped = False
        self._put = 0

    def put(self, item: Item) -> None:
        self._put += size_of(item)
        self._queue.put(item)
        self.on_put()

    def stop(self) -> None:
        """End every iteration now. From any thread, and from a signal handler."""
        self.stopped = True
        self._queue.put(_End())

    def fail(self, error: BaseException) -> None:
        """End every iteration by ``error``, after what came before it."""
        self._queue.put(_End(error))
        self.on_put()

    @property
    def current(self) -> deque[Event]:
        """The events of the item at hand. Threads share it, so it is a deque, of which each may pop, GIL or not."""
        return self._at_hand[0]

    @property
    def taken(self) -> int:
        """How many events were taken; those of the item at hand are counted as it goes."""
        current, until = self._at_hand
        return until - len(current)

    @property
    def waiting(self) -> int:
        """How many events wait to be taken."""
        return self._put - self.taken

    def advance(self, timeout: float | None) -> bool:
        """Take the next item to hand; False if there is no more. One at a time.

        :param timeout: seconds to wait for it; None for as long as it takes.
        :raises queue.Empty: if it does not come in time.
        """
        if self._item is None:
            item = self._queue.get(timeout=timeout) if timeout is None or timeout > 0 else self._queue.get_nowait()
            if isinstance(item, _End):
                self._queue.put(item)  # for whoever else waits
                if not self.stopped:
                    item.raise_error()
                return False
            self._item = item  # who is interrupted in what follows finds it there the next time
        item = self._item
        events = deque(self._protocol.events(item) if isinstance(item, Batch) else (item,))
        self._at_hand = events, self._at_hand[1] + size_of(item)
        self._item = None
        return not self.stopped


def _nothing() -> None: ...
