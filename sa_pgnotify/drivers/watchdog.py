"""Ends blocks that take too long, from another thread.

Each reading of a change log is such a block, and a ``threading.Timer`` for each would cost more than
the reading: it switches twice between threads, and a busy program delays each switch. So one thread
sleeps until the earliest deadline, and usually finds that the block has already ended.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic

__all__ = ["Watchdog"]


@dataclass(eq=False, slots=True)
class _Alarm:
    """A block that runs: when it should have ended, and what ends it."""

    due: float
    interrupt: Callable[[], object]


class Watchdog:
    """Watches blocks of any thread. Its own thread ends when it wakes and none is left."""

    def __init__(self) -> None:
        self._changed = threading.Condition()  # with an RLock, so that signal handlers may use it
        self._alarms: list[_Alarm] = []
        self._thread: threading.Thread | None = None
        self._sleeps_until = 0.0
        self._pid = os.getpid()

    @contextmanager
    def watch(self, seconds: float, interrupt: Callable[[], object]) -> Iterator[None]:
        """Call ``interrupt`` if the block takes longer than ``seconds``, and never after it."""
        alarm = _Alarm(monotonic() + seconds, interrupt)
        with self._changed:
            self._alarms.append(alarm)
            if self._thread is None:
                self._start()
            elif alarm.due < self._sleeps_until:
                self._changed.notify()
        try:
            yield
        finally:
            with self._changed:  # which waits for an interrupt that is under way
                if alarm in self._alarms:
                    self._alarms.remove(alarm)

    def close(self) -> None:
        """End the thread. Nothing is watched any more."""
        if self._pid != os.getpid():  # the thread is the parent's, and may have held the lock
            return
        with self._changed:
            self._alarms.clear()
            self._changed.notify()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _start(self) -> None:
        self._sleeps_until = 0.0
        self._thread = threading.Thread(target=self._run, name="sa_pgnotify watchdog", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with self._changed:
            while self._alarms:
                now = monotonic()
                for alarm in [alarm for alarm in self._alarms if alarm.due <= now]:
                    self._alarms.remove(alarm)
                    alarm.interrupt()
                if self._alarms:
                    self._sleeps_until = min(alarm.due for alarm in self._alarms)
                    self._changed.wait(self._sleeps_until - now)
            self._thread = None
