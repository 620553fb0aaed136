"""psycopg 3's connection, blocking or asyncio's: the same calls, waited for in two ways."""

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
    """The class that psycopg puts in the place of ``loader``, if it runs in C."""
    map_ = AdaptersMap()
    map_.register_loader(1, loader)
    return map_.get_loader(1, Format.TEXT)


_QUICKER = {
    _in_use(IntLoader): INTEGERS,
    _in_use(NumericLoader): DECIMALS,
    _in_use(TextLoader): None,
}
"""What psycopg's own loaders of these types do, without the detour by bytes. By class, since the
program may register others."""


class Connection(LibpqConnection):
    def __init__(self, raw: Any) -> None:
        super().__init__(raw)
        blocking = isinstance(raw, psycopg.Connection)
        self._wait: Callable[[Any], Any] = (lambda done: done) if blocking else await_only
        self._wait(raw.set_autocommit(True))
        # Of psycopg's own classes, since the program's row_factory may make rows anything.
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
        # Under psycopg's own notifies(), which holds the connection's lock between two
        # notifications.
        link, lost = self._raw.pgconn, None
        try:
            link.consume_input()
        except psycopg.Error as error:
            lost = error
        taken, self._arrived = self._arrived, []
        while (note := link.notifies()) is not None:
            taken.append((note.relname.decode(), note.extra.decode(), note.be_pid))
        # what came before the loss is given first; the next call raises
        if lost is not None and not taken:
            raise lost
        return taken

    def pending(self) -> bool:
        return bool(self._arrived)

    def _reader(self, oid: int) -> TextReader | None:
        loader = self._adapting.get_loader(oid, Format.TEXT)
        load = loader.load
        if type(loader) in _QUICKER:
            return _QUICKER[type(loader)]
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
    raw.pgconn.finish()
