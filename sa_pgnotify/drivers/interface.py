"""What a listener needs of a driver's connection, whichever driver it is."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

__all__ = ["Arrived", "ListenConnection", "Read", "Refused", "TextReader"]

Arrived = list[tuple[str, str, int]]
"""Notifications: channel, payload, process id of the sender."""


class TextReader(NamedTuple):
    """What a driver makes of the texts of a type: of one, and of many at once, which costs less.

    :ivar asks: the type's OID, if only the server can say it: then texts go through
        :meth:`ListenConnection.read` before.
    """

    one: Callable[[str], Any]
    all: Callable[[Sequence[str]], list[Any]]
    server_read_oid: int | None = None


class Read(str):  # noqa: SLOT000 (a str cannot have slots with values)
    """A text, and the value that a SELECT of it gave."""

    value: Any

    @classmethod
    def of(cls, text: str, value: Any) -> Read:
        read = cls(text)
        read.value = value
        return read


class Refused(str):  # noqa: SLOT000 (as above)
    """A text that neither the server nor the driver could read.

    :ivar error: what a SELECT of it raised.
    """

    error: Exception

    @classmethod
    def of(cls, text: str, error: Exception) -> Refused:
        refused = cls(text)
        refused.error = error.with_traceback(None)
        return refused

    @property
    def value(self) -> Any:
        raise self.error.with_traceback(None)


class ListenConnection(ABC):
    """A connection in autocommit, for nobody else. It belongs to one thread, or task; only
    :meth:`interrupt` may come from elsewhere.

    Those of asyncio drivers wait by greenlets (``sqlalchemy.util.await_only``), so that one core
    serves both.
    """

    lendable = False
    """Whether the driver puts what arrives in :attr:`inbox` in one step, between whose parts no
    signal comes, and any thread may :meth:`peek`."""
    usual_json = True
    """Whether the engine reads JSON as SQLAlchemy does by default; a driver that can see itself
    what is in use need not ask."""
    inbox: deque[Any]

    @abstractmethod
    def execute(self, sql: str) -> list[tuple[Any, ...]]:
        """Run one SQL statement without parameters; waits until the answer is here, or
        :meth:`interrupt` is called."""

    @abstractmethod
    def listen(self, channels: Iterable[str]) -> None:
        """LISTEN to channels; waits as :meth:`execute` does."""

    @abstractmethod
    def unlisten(self, channels: Iterable[str]) -> None:
        """The reverse."""

    @abstractmethod
    def receive(self) -> Arrived:
        """The notifications that have arrived. Does not wait.

        :raises Exception: the driver's own, if the connection is lost; what came before was given
            by the call before.
        """

    def peek(self) -> tuple[str, str, int] | None:
        """The first notification that has arrived, which stays in the inbox; None if there is none,
        or the connection is lost. For any thread, but not while another one does something else
        with the connection."""
        return None

    @abstractmethod
    def pending(self) -> bool:
        """Whether notifications are here that nothing will announce any more."""

    @abstractmethod
    def fileno(self) -> int:
        """The descriptor to watch, for those that have one."""

    @abstractmethod
    def watch(self, loop: asyncio.AbstractEventLoop, arrived: Callable[[], object]) -> None:
        """Have ``arrived`` called when :meth:`receive` may give something, until :meth:`unwatch`;
        nothing else may be done meanwhile."""

    @abstractmethod
    def unwatch(self, loop: asyncio.AbstractEventLoop) -> None: ...

    @abstractmethod
    def readers(self, oids: Iterable[int]) -> Mapping[int, TextReader | None]:
        """What the driver makes of the texts of types, by OID; None if they stay as they are. May
        ask the server."""

    def read(self, texts: Mapping[int, list[str]]) -> Mapping[int, list[str]]:
        """``texts`` by OID, of types whose reader asks, as :class:`Read` and in the same order;
        :class:`Refused` where none can read them. Waits as :meth:`execute` does."""
        return texts

    @abstractmethod
    def interrupt(self) -> None:
        """Break the connection, so that whatever waits for it fails now. Safe wherever
        ``Waiting.call`` calls it."""

    @property
    @abstractmethod
    def closed(self) -> bool: ...

    @abstractmethod
    def close(self) -> None: ...
