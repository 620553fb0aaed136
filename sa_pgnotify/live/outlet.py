"""Handing steps from a feed to a program, which takes them at its own pace."""

from __future__ import annotations

import threading
from collections.abc import Callable

from .steps import Step, merged

__all__ = ["Outlet"]


class Outlet:
    """Holds the step that the program has not taken yet.

    Later steps are merged into it, so that a slow program gets fewer steps with the same result,
    and no queue grows.

    :param ready: called after each step, and after an error, in the feed's thread or event loop.
    :ivar is_dropped: whether the program will not take any more steps.
    """

    def __init__(self, ready: Callable[[], object]) -> None:
        self.is_dropped = False
        self._ready = ready
        self._lock = threading.Lock()
        self._step: Step | None = None
        self._error: BaseException | None = None

    def put(self, step: Step) -> None:
        with self._lock:
            both = step if self._step is None else merged(self._step, step)
            says_something = both.events or both.is_whole or both._rows is not None
            self._step = both if says_something else None
        self._ready()

    def drop(self) -> None:
        """Note that no more steps will be taken. A finalizer may call it: it only sets a flag."""
        self.is_dropped = True

    def fail(self, error: BaseException) -> None:
        """Let :meth:`take` raise ``error`` after the steps that were put."""
        self._error = error
        self._ready()

    def take(self) -> Step | None:
        """Return the step that was not taken yet; None if there is none.

        :raises BaseException: the error that :meth:`fail` was given, if no step comes before it.
        """
        with self._lock:
            step, self._step = self._step, None
        if step is None and self._error is not None:
            raise self._error
        return step
