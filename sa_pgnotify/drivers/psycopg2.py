"""Listen through a connection of psycopg2.

``poll()`` decodes each notification with a codec of Python, and swallows whatever is raised
meanwhile together with the notification. Python's UTF-8 codec is a Python function, in which a
signal handler may raise. So the connection gets a codec that is written in C.
"""

from __future__ import annotations

import codecs
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

import psycopg2
from psycopg2 import _psycopg, extensions

from .interface import Arrived, TextReader
from .libpq import LibpqConnection
from .text_readers import DECIMALS, INTEGERS, JSON

__all__ = ["ERRORS", "Connection", "abandon"]

ERRORS: tuple[type[Exception], ...] = (psycopg2.Error, OSError)
"""What a lost connection raises."""
ENCODING, CODEC = "UNICODE", "sa_pgnotify_utf_8"
"""PostgreSQL's other name of UTF8, which psycopg2 knows too, and the codec that psycopg2 uses for it
from now on."""
MORE_EXPECTED, ENOUGH = 4096, 1 << 18
"""Characters that were received. From the first number on more are probably on their way, because
libpq reads 16 kB at a time; the second number is delivered before more is read."""


def _find_codec(name: str) -> codecs.CodecInfo | None:
    return (
        codecs.CodecInfo(codecs.utf_8_encode, codecs.utf_8_decode, name=CODEC)
        if name == CODEC
        else None
    )


codecs.register(_find_codec)
extensions.encodings[ENCODING] = CODEC


class Connection(LibpqConnection):
    """A connection of psycopg2.

    :param raw: the driver's own connection.
    """

    lendable = True

    def __init__(self, raw: Any) -> None:
        super().__init__(raw)
        self._psycopg: Any = _psycopg
        self._fast_readers: list[tuple[Any, TextReader]] = [
            (extensions.INTEGER, INTEGERS),
            (extensions.LONGINTEGER, INTEGERS),
            (extensions.DECIMAL, DECIMALS),
            (extensions.JSON, JSON),
            (extensions.JSONB, JSON),
        ]
        raw.autocommit = True
        raw.set_client_encoding(ENCODING)
        self.inbox = raw.notifies = deque()
        self._cursor = raw.cursor(cursor_factory=extensions.cursor)
        self._fast_readers += [
            (caster, self._datetimes(caster))
            for caster in (self._psycopg.DATETIME, self._psycopg.DATETIMETZ)
        ]

    def execute(self, sql: str) -> list[tuple[Any, ...]]:
        self._cursor.execute(sql)
        return [] if self._cursor.description is None else list(self._cursor.fetchall())

    def receive(self) -> Arrived:
        # execute() collects notifications as well, so there may be some although the socket is not
        # readable.
        inbox = self.inbox
        if not inbox:
            try:
                self._raw.poll()
            except self._raw.Error:
                if not inbox:  # what came before the loss is returned first; the next call raises
                    raise
        taken: Arrived = []
        size = 0
        while inbox:  # one by one, because another thread may still be in peek()
            note = inbox.popleft()
            taken.append((note.channel, note.payload, note.pid))
            size += len(note.payload)
            if not inbox and MORE_EXPECTED < size < ENOUGH:
                with suppress(self._raw.Error):  # the next call raises
                    self._raw.poll()
        return taken

    def peek(self) -> tuple[str, str, int] | None:
        try:
            if not self.inbox:
                self._raw.poll()
            note = self.inbox[0]
        except (self._raw.Error, IndexError):
            return None
        return note.channel, note.payload, note.pid

    def pending(self) -> bool:
        return bool(self.inbox)

    def _reader(self, oid: int) -> TextReader | None:
        for casters in (self._cursor.string_types, self._raw.string_types, extensions.string_types):
            if casters and oid in casters:
                caster = casters[oid]
                # Compared by "is": casters of the same OID are equal, and the program may have
                # registered one of its own.
                return (
                    None
                    if caster is self._psycopg.STRING
                    else next(
                        (reader for own, reader in self._fast_readers if own is caster),
                        self._casting(caster),
                    )
                )
        return None

    def _casting(self, caster: Callable[[str, Any], Any]) -> TextReader:
        cursor = self._cursor
        return TextReader(
            lambda text: caster(text, cursor),
            lambda texts: [caster(text, cursor) for text in texts],
        )

    def _datetimes(self, caster: Callable[[str, Any], Any]) -> TextReader:
        """Return a reader that reads as psycopg2's caster does, and faster where that is possible.

        It is not possible for infinity, years BC and years of five digits.
        """
        slow, quick = self._casting(caster), datetime.fromisoformat

        def every(texts: Sequence[str]) -> list[Any]:
            try:
                return list(map(quick, texts))
            except ValueError:
                return slow.all(texts)

        return TextReader(slow.one, every)

    def _finish(self) -> None:
        abandon(self._raw)


def abandon(raw: Any) -> None:
    """Close the driver's own connection without a word to the server."""
    raw.close()
