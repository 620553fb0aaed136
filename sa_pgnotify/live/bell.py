"""The event that a blocked thread waits for until a step comes."""

from __future__ import annotations

import threading
from contextlib import suppress

__all__ = ["Bell"]


class Bell:
    """An event that a signal handler may set.

    ``threading.Event.set()`` would block forever if the handler has interrupted a thread that is
    inside a method of the same event.
    """

    def __init__(self) -> None:
        self._silence = threading.Lock()
        self._silence.acquire()

    def ring(self) -> None:
        """Wake one waiting thread; if there is none, the next wait returns at once."""
        with suppress(RuntimeError):  # it has already been rung
            self._silence.release()

    def wait(self, timeout: float | None) -> bool:
        """Return whether it was rung within ``timeout`` seconds; None waits without a limit."""
        return self._silence.acquire(timeout=-1 if timeout is None else timeout)
