"""One face for the drivers' connections, and the two ways to wait for them.

Each driver's module makes a :class:`ListenConnection` of the driver's own connection: it executes,
listens, receives, and says how the texts of each type are read. A thread waits in a selector, a
task in its event loop. It may import only the modules at the package's root.
"""

from __future__ import annotations

from .connecting import connect, errors_of
from .interface import Arrived, ListenConnection, Read, TextReader

__all__ = [
    "Arrived",
    "ListenConnection",
    "Read",
    "TextReader",
    "connect",
    "errors_of",
]
