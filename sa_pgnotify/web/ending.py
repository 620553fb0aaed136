"""Ending a process that still has open streams."""

from __future__ import annotations

import asyncio
import signal
import threading
from typing import Any

from .browser import Browser

__all__ = ["Ending"]


class Ending:
    """Ends all streams when the process receives a signal to end.

    A server waits for open responses before it runs the shutdown part of the application's
    lifespan, and a stream never ends by itself. The signals are therefore watched. The server's own
    handlers still run.

    :ivar has_come: whether all streams should end.
    """

    def __init__(self) -> None:
        self.has_come = False
        self._browsers: set[Browser] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._handlers: dict[int, Any] = {}

    def add(self, browser: Browser) -> None:
        self._browsers.add(browser)

    def discard(self, browser: Browser) -> None:
        self._browsers.discard(browser)

    def watch(self) -> None:
        """Start to watch the signals, if this is the main thread. It is called for each stream."""
        self._loop = asyncio.get_running_loop()
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            before = signal.getsignal(number)
            if not callable(before):  # the signal kills the process, or is ignored
                continue
            if before is self._handlers.get(number):
                continue  # a server that begins again has not set its own

            def handler(number: int, frame: Any, before: Any = before) -> None:
                assert self._loop is not None
                if not self._loop.is_closed():
                    self._loop.call_soon_threadsafe(self.end)
                before(number, frame)

            signal.signal(number, handler)
            self._handlers[number] = handler

    def end(self) -> None:
        """Let all streams end."""
        self.has_come = True
        for browser in list(self._browsers):
            browser.wake()
