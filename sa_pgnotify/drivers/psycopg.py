"""Listen through a connection of psycopg 3, blocking or asyncio: the calls are the same, and are
waited for in two ways."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import psycopg
from psycopg.adapt import AdaptersMap, Loader, Transformer
from psycopg.pq import Format
from psycopg.rows import tuple_row
from psycopg.types.json import JsonbLoader, JsonLoader
from psycopg.types.numeric import IntLoader, NumericLoader
from psycopg.types.string import TextLoader
from sqlalchemy.util import await_only

from .interface import Arrived, TextReader
from .libpq import LibpqConnection
from .text_readers import DECIMALS, INTEGERS, JSON

__all__ = ["ERRORS", "Connection", "abandon"]

ERRORS: tuple[type[Exception], ...] = (psycopg.Error, OSError)
"""What a lost connection raises."""


def _in_use(loader: type[Loader]) -> type[Any] | None:
    """Return the class that psycopg uses instead of ``loader``; it differs if psycopg runs in C."""
    map_ = AdaptersMap()
    map_.register_loader(1, loader)
    return map_.get_loader(1, Format.TEXT)


_FAST_READERS = {
    _in_use(IntLoader): INTEGERS,
    _in_use(NumericLoader): DECIMALS,
    _in_use(TextLoader): None,
}
"""What psycopg's own loaders of these types do, without converting to bytes. They are found by class,
because the program may have registered other loaders."""


class Connection(LibpqConnection):
    """A connection of psycopg 3.

    :param raw: the driver's own ``Connection`` or ``AsyncConnection``.
    """

    def __init__(self, raw: Any) -> None:
        super().__init__(raw)
        blocking = isinstance(raw, psycopg.Connection)
        self._wait: Callable[[Any], Any] = (lambda done: done) if blocking else await_only
        self._wait(raw.set_autocommit(True))
        # A cursor of psycopg's own class, because the program's factories may make rows anything.
        self._cursor: Any = (psycopg.Cursor if blocking else psycopg.AsyncCursor)(
            raw, row_factory=tuple_row
        )
        self._arrived: Arrived = []
        self.execute("SET client_encoding TO 'UTF8'")
        raw.add_notify_handler(
            lambda note: self._arrived.append((note.channel, note.payload, note.pid))
        )
        self._adapting = Transformer(raw)

    def execute(self, sql: str) -> list[tuple[Any, ...]]:
        self._wait(self._cursor.execute(sql, prepare=False))
        return [] if self._cursor.description is None else list(self._wait(self._cursor.fetchall()))

    def receive(self) -> Arrived:
        # Not by psycopg's own notifies(), which holds the connection's lock between two
        # notifications.
        pgconn, lost = self._raw.pgconn, None
        try:
            pgconn.consume_input()
        except psycopg.Error as error:
            lost = error
        taken, self._arrived = self._arrived, []
        while (note := pgconn.notifies()) is not None:
            taken.append((note.relname.decode(), note.extra.decode(), note.be_pid))
        # What came before the loss is returned first; the next call raises.
        if lost is not None and not taken:
            raise lost
        return taken

    def pending(self) -> bool:
        return bool(self._arrived)

    def _reader(self, oid: int) -> TextReader | None:
        loader = self._adapting.get_loader(oid, Format.TEXT)
        load = loader.load
        if type(loader) in _FAST_READERS:
            return _FAST_READERS[type(loader)]
        if (
            type(loader) in (JsonLoader, JsonbLoader)
            and getattr(loader, "_loads", None) is json.loads
        ):
            return JSON
        return TextReader(
            lambda text: load(text.encode()), lambda texts: [load(text.encode()) for text in texts]
        )

    def _finish(self) -> None:
        abandon(self._raw)


def abandon(raw: Any) -> None:
    """Close the driver's own connection without a word to the server."""
    raw.pgconn.finish()
