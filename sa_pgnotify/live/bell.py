"""What a blocked thread waits for until a step comes."""

from __future__ import annotations

import threading
from contextlib import suppress

__all__ = ["Bell"]


class Bell:
    """An event that a signal handler may set: ``threading.Event.set()`` waits for ever if the thread
    that it has interrupted is inside a method of the same event."""

    def __init__(self) -> None:
        self._silence = threading.Lock()
        self._silence.acquire()

    def ring(self) -> None:
        """Wake one thread that waits, or else the next that will."""
        with suppress(RuntimeError):  # it has been rung already
            self._silence.release()

    def wait(self, timeout: float | None) -> bool:
        """Return whether it was rung within ``timeout`` seconds."""
        return self._silence.acquire(timeout=-1 if timeout is None else timeout)
