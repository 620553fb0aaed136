"""What the drivers that are made of libpq have in common: a descriptor to watch, and a socket to shut down."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from abc import abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

from ..quoting import quote_always
from .interface import ListenConnection, TextReader

__all__ = ["LibpqConnection"]


class LibpqConnection(ListenConnection):
    """
    :param raw: the driver's own connection.
    """

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self._closing = threading.Lock()
        self._watched = -1

    def listen(self, channels: Iterable[str]) -> None:
        self._each("LISTEN", channels)

    def unlisten(self, channels: Iterable[str]) -> None:
        self._each("UNLISTEN", channels)

    def _each(self, command: str, channels: Iterable[str]) -> None:
        if statements := "; ".join(f"{command} {quote_always(channel)}" for channel in channels):
            self.execute(statements)

    def readers(self, oids: Iterable[int]) -> dict[int, TextReader | None]:
        return {oid: self._reader(oid) for oid in set(oids)}

    @abstractmethod
    def _reader(self, oid: int) -> TextReader | None: ...

    def fileno(self) -> int:
        number: int = self._raw.fileno()
        return number

    def watch(self, loop: asyncio.AbstractEventLoop, arrived: Callable[[], object]) -> None:
        self._watched = self.fileno()
        loop.add_reader(self._watched, arrived)

    def unwatch(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.remove_reader(self._watched)

    def interrupt(self) -> None:
        if self._closing.acquire(blocking=False):  # else it is being closed
            try:
                if not self._raw.closed:
                    with socket.socket(fileno=os.dup(self._raw.fileno())) as same:
                        same.shutdown(socket.SHUT_RDWR)
            except (OSError, self._raw.Error):
                pass  # the other side was faster, or another thread
            finally:
                self._closing.release()

    @property
    def closed(self) -> bool:
        return bool(self._raw.closed)

    def close(self) -> None:
        with self._closing:
            self._finish()

    @abstractmethod
    def _finish(self) -> None:
        """Close without a word to the server, which may be silent."""
