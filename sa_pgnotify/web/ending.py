"""The end of a process that still has streams open."""

from __future__ import annotations

import asyncio
import signal
import threading
from typing import Any

from .browser import Browser

__all__ = ["Ending"]


class Ending:
    """Ends the streams when the process is asked to end.

    Servers wait for open responses before they run the end of the application's lifespan, and a
    stream never ends by itself. So the signals are watched; the server's own handlers run as
    before.

    :ivar has_come: whether the process ends.
    """

    def __init__(self) -> None:
        self.has_come = False
        self._browsers: set[Browser] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    def add(self, browser: Browser) -> None:
        self._browsers.add(browser)

    def discard(self, browser: Browser) -> None:
        self._browsers.discard(browser)

    def watch(self) -> None:
        """Watch the signals, in the main thread, from the first stream on."""
        if self._loop is not None:
            return
        self._loop = asyncio.get_running_loop()
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            before = signal.getsignal(number)
            if not callable(before):  # the process is killed, or does not end
                continue

            def handler(number: int, frame: Any, before: Any = before) -> None:
                assert self._loop is not None
                if not self._loop.is_closed():
                    self._loop.call_soon_threadsafe(self.end)
                before(number, frame)

            signal.signal(number, handler)

    def end(self) -> None:
        """End all streams."""
        self.has_come = True
        for browser in list(self._browsers):
            browser.wake()
