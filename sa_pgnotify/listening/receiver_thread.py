"""The thread in which a listener's receiver runs, and its end with the interpreter."""

from __future__ import annotations

import atexit
import threading
import time
from weakref import WeakKeyDictionary

from .receiver import Receiver

__all__ = ["ReceiverThread"]

EXIT_PATIENCE = 5.0
"""The most seconds that the interpreter's exit waits for the threads, which may be connecting."""


class ReceiverThread(threading.Thread):
    """Runs a receiver that has begun."""

    def __init__(self, receiver: Receiver) -> None:
        super().__init__(target=receiver.run, name="sa_pgnotify listener", daemon=True)
        self._receiver = receiver

    def start(self) -> None:
        """Start the thread; if it cannot be started, close the receiver's connection."""
        try:
            super().start()
        except BaseException:
            self._receiver.stop()
            self._receiver.run()  # ends at once, and closes the connection
            raise
        _running[self] = self._receiver

    def wait(self) -> None:
        """Wait for the end of a receiver that was stopped. Do not wait in its own thread, or while it
        is connecting, which cannot be interrupted."""
        if self is threading.current_thread():
            return
        while self.is_alive() and not self._receiver.link.connecting:
            self.join(0.05)


_running: WeakKeyDictionary[threading.Thread, Receiver] = WeakKeyDictionary()


@atexit.register
def _stop_all() -> None:
    """Stop all receivers at the interpreter's exit. A thread that still reads while modules are torn
    down would end with a traceback, or hang."""
    for receiver in list(_running.values()):
        receiver.stop()
    deadline = time.monotonic() + EXIT_PATIENCE
    for thread in list(_running):
        thread.join(max(0.0, deadline - time.monotonic()))
