"""Something to wait for together with a connection: a descriptor that becomes readable when another
thread says so."""

from __future__ import annotations

import select
import socket
from collections.abc import Container
from contextlib import suppress

__all__ = ["Wakeup", "readable"]


class Wakeup:
    """A pair of sockets, of which one is readable from a :meth:`ring` to the next :meth:`quiet`."""

    def __init__(self) -> None:
        self._read, self._write = socket.socketpair()
        self._read.setblocking(False)
        self._write.setblocking(False)

    def fileno(self) -> int:
        """The descriptor; -1 once it is closed."""
        return self._read.fileno()

    def ring(self) -> None:
        with suppress(OSError):  # full: it rings already; closed: nobody hears it
            self._write.send(b"!")

    def quiet(self) -> None:
        with suppress(OSError):  # quiet already, or closed
            while len(self._read.recv(4096)) == 4096:
                pass

    def close(self) -> None:
        self._read.close()
        self._write.close()

    __del__ = close


if hasattr(select, "poll"):

    def readable(descriptors: tuple[int, ...], seconds: float | None) -> Container[int]:
        """Wait until one of ``descriptors`` is readable, at most ``seconds``; tell which are."""
        poll = select.poll()  # and not select(), for which there are no descriptors from 1024 on
        for descriptor in descriptors:
            poll.register(descriptor, select.POLLIN)
        return dict(poll.poll(None if seconds is None else seconds * 1000))

else:

    def readable(descriptors: tuple[int, ...], seconds: float | None) -> Container[int]:
        return select.select(descriptors, (), (), seconds)[0]
