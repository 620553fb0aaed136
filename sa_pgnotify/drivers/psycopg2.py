"""psycopg2's connection.

``poll()`` decodes each notification by a codec of Python's and swallows whatever is raised
meanwhile, the notification included. Python's own UTF-8 codec is a Python function, in which a
signal's handler may raise; so the connection is given one that is written in C.
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
"""PostgreSQL's other name of UTF8, which psycopg2 knows as well, and the codec that psycopg2 uses
for it from now on."""
MUCH, ENOUGH = 4096, 1 << 18
"""Characters: of which more is probably on its way, since libpq reads 16 kB at a time; and which
are to be delivered before more is read.
"""


def _find_codec(name: str) -> codecs.CodecInfo | None:
    return (
        codecs.CodecInfo(codecs.utf_8_encode, codecs.utf_8_decode, name=CODEC)
        if name == CODEC
        else None
    )


codecs.register(_find_codec)
extensions.encodings[ENCODING] = CODEC


class Connection(LibpqConnection):
    lendable = True

    def __init__(self, raw: Any) -> None:
        super().__init__(raw)
        self._psycopg: Any = _psycopg
        self._quicker: list[tuple[Any, TextReader]] = [
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
        self._quicker += [
            (caster, self._moments(caster))
            for caster in (self._psycopg.DATETIME, self._psycopg.DATETIMETZ)
        ]

    def execute(self, sql: str) -> list[tuple[Any, ...]]:
        self._cursor.execute(sql)
        return [] if self._cursor.description is None else list(self._cursor.fetchall())

    def receive(self) -> Arrived:
        # execute() collects notifications as well, so there may be some although the socket is
        # quiet.
        inbox = self.inbox
        if not inbox:
            try:
                self._raw.poll()
            except self._raw.Error:
                if not inbox:  # what came before the loss is given first; the next call raises
                    raise
        taken: Arrived = []
        size = 0
        while inbox:  # one by one: another thread's peek() may still be at work
            note = inbox.popleft()
            taken.append((note.channel, note.payload, note.pid))
            size += len(note.payload)
            if not inbox and MUCH < size < ENOUGH:
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
                # By "is": casters of the same OID are equal, and the program may have put one of
                # its own in the place.
                return (
                    None
                    if caster is self._psycopg.STRING
                    else next(
                        (quicker for own, quicker in self._quicker if own is caster),
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

    def _moments(self, caster: Callable[[str, Any], Any]) -> TextReader:
        """The same as psycopg2's own caster, by a quicker way where it is possible (infinity, BC
        and five-digit years are not)."""
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
    raw.close()
