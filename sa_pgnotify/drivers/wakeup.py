"""A descriptor that another thread can make readable, to wait for it together with a connection."""

from __future__ import annotations

import select
import socket
from collections.abc import Container
from contextlib import suppress

__all__ = ["Wakeup", "readable"]


class Wakeup:
    """A pair of sockets, of which one is readable from a :meth:`set` to the next :meth:`clear`."""

    def __init__(self) -> None:
        self._read, self._write = socket.socketpair()
        self._read.setblocking(False)
        self._write.setblocking(False)

    def fileno(self) -> int:
        """Return the descriptor; -1 once it is closed."""
        return self._read.fileno()

    def set(self) -> None:
        """Make the descriptor readable. Any thread and any signal handler may call it."""
        with suppress(OSError):  # full, so it is readable already; or closed
            self._write.send(b"!")

    def clear(self) -> None:
        """Make the descriptor unreadable again."""
        with suppress(OSError):  # it is cleared already, or closed
            while len(self._read.recv(4096)) == 4096:
                pass

    def close(self) -> None:
        self._read.close()
        self._write.close()

    __del__ = close


if hasattr(select, "poll"):

    def readable(descriptors: tuple[int, ...], seconds: float | None) -> Container[int]:
        """Return which of ``descriptors`` are readable, after waiting for one for at most
        ``seconds``."""
        poll = select.poll()  # and not select(), which cannot take descriptors from 1024 on
        for descriptor in descriptors:
            poll.register(descriptor, select.POLLIN)
        return dict(poll.poll(None if seconds is None else seconds * 1000))

else:

    def readable(descriptors: tuple[int, ...], seconds: float | None) -> Container[int]:
        return select.select(descriptors, (), (), seconds)[0]
