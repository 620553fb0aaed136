"""Between a feed, which makes steps, and a program, which takes them when it can."""

from __future__ import annotations

import threading
from collections.abc import Callable

from .steps import Step, merged

__all__ = ["Outlet"]


class Outlet:
    """Holds the step that was not taken yet. Later ones are merged into it, so a slow program is
    given fewer steps and the same result, and nothing piles up.

    :param ready: called after each step, and after an error, in the feed's thread or loop.
    :ivar is_dropped: whether nobody takes any more.
    """

    def __init__(self, ready: Callable[[], object]) -> None:
        self.is_dropped = False
        self._ready = ready
        self._lock = threading.Lock()
        self._step: Step | None = None
        self._error: BaseException | None = None

    def put(self, step: Step) -> None:
        with self._lock:
            self._step = step if self._step is None else merged(self._step, step)
        self._ready()

    def drop(self) -> None:
        """Note that nobody takes any more. It only sets a flag, so a finalizer may call it."""
        self.is_dropped = True

    def fail(self, error: BaseException) -> None:
        """Give out ``error`` after what was put."""
        self._error = error
        self._ready()

    def take(self) -> Step | None:
        """Return the step that waits, None if there is none.

        :raises BaseException: the one that :meth:`fail` was given, if nothing waits before it.
        """
        with self._lock:
            step, self._step = self._step, None
        if step is None and self._error is not None:
            raise self._error
        return step
