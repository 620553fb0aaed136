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
    """What a driver makes of the texts of a type.

    :ivar one: returns the value of one text.
    :ivar all: returns the values of many texts at once, which costs less.
    :ivar server_read_oid: the OID of the type, if only the server can read its texts: then they go
        through :meth:`ListenConnection.read` before. None for all other types.
    """

    one: Callable[[str], Any]
    all: Callable[[Sequence[str]], list[Any]]
    server_read_oid: int | None = None


class Read(str):  # noqa: SLOT000 (a str cannot have slots with values)
    """A text, and the value that a SELECT of it returned."""

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
    """A connection in autocommit mode, which nothing else uses.

    It belongs to one thread or task; only :meth:`interrupt` may be called from another one. The
    connections of asyncio drivers wait by greenlets (``sqlalchemy.util.await_only``), so that one
    core serves both kinds.
    """

    lendable = False
    """Whether any thread may :meth:`peek`: the driver puts what arrives into :attr:`inbox` in one
    step that no signal can interrupt."""
    has_default_json = True
    """Whether the engine reads JSON as SQLAlchemy does by default. A driver that can see for itself
    which parser is in use ignores it."""
    inbox: deque[Any]

    @abstractmethod
    def execute(self, sql: str) -> list[tuple[Any, ...]]:
        """Run one SQL statement without parameters and return its rows.

        It waits until the server has answered, or :meth:`interrupt` is called.
        """

    @abstractmethod
    def listen(self, channels: Iterable[str]) -> None:
        """LISTEN to channels. It waits as :meth:`execute` does."""

    @abstractmethod
    def unlisten(self, channels: Iterable[str]) -> None:
        """UNLISTEN channels. It waits as :meth:`execute` does."""

    @abstractmethod
    def receive(self) -> Arrived:
        """Return the notifications that have arrived, without waiting.

        :raises Exception: the driver's own, if the connection is lost; an earlier call has returned
            what came before the loss.
        """

    def peek(self) -> tuple[str, str, int] | None:
        """Return the first notification that has arrived, and leave it in the inbox.

        None if there is none, or the connection is lost. Any thread may call it, but not while
        another one uses the connection.
        """
        return None

    @abstractmethod
    def pending(self) -> bool:
        """Return whether notifications are here of which the socket gives no sign any more."""

    @abstractmethod
    def fileno(self) -> int:
        """Return the descriptor to watch.

        :raises UnsupportedOperation: if the driver does not show it.
        """

    @abstractmethod
    def watch(self, loop: asyncio.AbstractEventLoop, arrived: Callable[[], object]) -> None:
        """Call ``arrived`` when :meth:`receive` may return something, until :meth:`unwatch`.

        Nothing else may be done with the connection meanwhile.
        """

    @abstractmethod
    def unwatch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Stop calling the function that :meth:`watch` was given."""

    @abstractmethod
    def readers(self, oids: Iterable[int]) -> Mapping[int, TextReader | None]:
        """Return what the driver makes of the texts of types, by OID; None for texts that stay as
        they are. It may ask the server."""

    def read(self, texts: Mapping[int, list[str]]) -> Mapping[int, list[str]]:
        """Read texts of types that only the server can read.

        It waits as :meth:`execute` does.

        :param texts: by OID of their type.
        :returns: the texts in the same order, each as :class:`Read`, or as :class:`Refused` if
            nothing can read it.
        """
        return texts

    @abstractmethod
    def interrupt(self) -> None:
        """Break the connection, so that a call that waits for it fails now. It is safe wherever
        ``Waiting.call`` calls it."""

    @property
    @abstractmethod
    def closed(self) -> bool: ...

    @abstractmethod
    def close(self) -> None:
        """Close the connection without a word to the server, which may be silent."""
