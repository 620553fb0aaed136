"""What the drivers built on libpq share: a descriptor to watch, a socket to shut down, and the names
of database objects.

A trigger writes the name of a table, function or type with its schema, because its search_path has
only pg_catalog. A SELECT writes the name as the reader's search_path requires, which only the
server can do.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import threading
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..sql import literal, quote_always
from .interface import ListenConnection, Read, TextReader

__all__ = ["LibpqConnection"]

_NAMES = {
    24: "regproc",
    2202: "regprocedure",
    2203: "regoper",
    2204: "regoperator",
    2205: "regclass",
    2206: "regtype",
    3734: "regconfig",
    3769: "regdictionary",
    4191: "regcollation",
}
_ARRAYS = {
    1008: 24,
    2207: 2202,
    2208: 2203,
    2209: 2204,
    2210: 2205,
    2211: 2206,
    3735: 3734,
    3770: 3769,
    4192: 4191,
}
_NAMES |= {array: f"{_NAMES[element]}[]" for array, element in _ARRAYS.items()}
"""By OID: the types whose texts are names of objects, written as the search_path requires."""


class LibpqConnection(ListenConnection):
    """A connection of a driver that is built on libpq.

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
        return {
            oid: _after_server(oid, self._reader(oid)) if oid in _NAMES else self._reader(oid)
            for oid in set(oids)
        }

    @abstractmethod
    def _reader(self, oid: int) -> TextReader | None:
        """Return what the driver makes of the texts of a type; None if they stay as they are."""

    def read(self, texts: Mapping[int, list[str]]) -> dict[int, list[str]]:
        return {oid: self._named(_NAMES[oid], column) for oid, column in texts.items()}

    def _named(self, type_: str, texts: list[str]) -> list[str]:
        """Return names as a SELECT writes them, and those of objects that are gone as they are.

        All texts are read by one query; if the server refuses it, by one for each half, until each
        text is read alone.
        """
        rows = literal(json.dumps([{"c": text} for text in texts]))
        try:
            answers = self.execute(
                f"SELECT pg_catalog.concat(c) FROM pg_catalog.json_to_recordset({rows}::json) AS _ (c pg_catalog.{type_})"
            )
        except self._raw.Error:
            if self.closed:
                raise
            half = len(texts) // 2
            return (
                [*self._named(type_, texts[:half]), *self._named(type_, texts[half:])]
                if half
                else texts
            )
        return [Read.of(text, answer) for text, (answer,) in zip(texts, answers)]

    def fileno(self) -> int:
        number: int = self._raw.fileno()
        return number

    def watch(self, loop: asyncio.AbstractEventLoop, arrived: Callable[[], object]) -> None:
        self._watched = self.fileno()
        loop.add_reader(self._watched, arrived)

    def unwatch(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.remove_reader(self._watched)

    def interrupt(self) -> None:
        if self._closing.acquire(blocking=False):  # otherwise it is being closed
            try:
                if not self._raw.closed:
                    with socket.socket(fileno=os.dup(self._raw.fileno())) as same:
                        same.shutdown(socket.SHUT_RDWR)
            except (OSError, self._raw.Error):
                pass  # the server or another thread has closed it first
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
        """Close the driver's own connection without a word to the server, which may be silent."""


def _after_server(oid: int, reader: TextReader | None) -> TextReader:
    """Return a reader of texts that have gone through :meth:`LibpqConnection.read`; ``reader``
    makes the value."""

    def one(text: str) -> Any:
        answer = text.value if isinstance(text, Read) else text
        return answer if reader is None else reader.one(answer)

    return TextReader(one, lambda texts: list(map(one, texts)), oid)
