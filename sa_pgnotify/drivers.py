"""A dedicated connection for listening, made the way the engine makes its own.

The engine's pool knows all that a connection needs (URL, ``creator``, ``connect_args``, ``connect`` events), so a pool of the same
make gives us one connection, which is then taken out of it: an exhausted or static pool does not stand in the way.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from sqlalchemy import Engine

from .errors import ListenUnavailable

__all__ = ["ListenConnection", "TextReader", "connect"]


class TextReader(NamedTuple):
    """What a driver makes of the texts of a type: of one, and of many at once, which costs less."""

    one: Callable[[str], Any]
    all: Callable[[Sequence[str]], list[Any]]


def _json_values(texts: Sequence[str]) -> list[Any]:
    values: list[Any] = json.loads(f"[{','.join(texts)}]")
    if len(values) != len(texts):  # a forged text such as "1,2"
        return [json.loads(text) for text in texts]
    return values


_INTEGERS = TextReader(int, lambda texts: list(map(int, texts)))
_DECIMALS = TextReader(Decimal, lambda texts: list(map(Decimal, texts)))
_JSON = TextReader(json.loads, _json_values)
"""What psycopg2's own casters of these types do, without their detour."""


def connect(engine: Engine) -> ListenConnection:
    """A new connection in autocommit, for nobody else.

    :raises ListenUnavailable: if it cannot be made, for whatever reason: the engine's ``creator`` and hooks are the program's own.
    """
    dialect = engine.dialect
    if dialect.name != "postgresql" or dialect.driver != "psycopg2":
        raise ListenUnavailable(
            "driver",
            f"cannot listen through {dialect.name}+{dialect.driver}: make the engine from a postgresql+psycopg2:// URL",
        )
    try:
        fairy = engine.pool.recreate().connect()
        raw: Any = fairy.dbapi_connection
        fairy.detach()
    except Exception as error:
        raise ListenUnavailable("connection", f"cannot connect to listen: {str(error).strip()}") from error
    try:
        return ListenConnection(raw)
    except BaseException:
        raw.close()
        raise


class ListenConnection:
    """psycopg2's connection, as far as a listener needs it. It belongs to one thread, but for :meth:`interrupt`."""

    def __init__(self, raw: Any) -> None:
        from psycopg2 import _psycopg, extensions

        self._raw = raw
        self._extensions = extensions
        self._psycopg: Any = _psycopg
        self._quicker: list[tuple[Any, TextReader]] = [
            (extensions.INTEGER, _INTEGERS),
            (extensions.LONGINTEGER, _INTEGERS),
            (extensions.DECIMAL, _DECIMALS),
            (extensions.JSON, _JSON),
            (extensions.JSONB, _JSON),
        ]
        self._closing = threading.Lock()
        raw.commit()  # a hook of the program's may have begun a transaction, with settings that are to stay
        raw.autocommit = True
        raw.set_client_encoding("UTF8")
        self._cursor = raw.cursor()
        self._quicker += [(caster, self._moments(caster)) for caster in (_psycopg.DATETIME, _psycopg.DATETIMETZ)]

    def fileno(self) -> int:
        number: int = self._raw.fileno()
        return number

    def execute(self, sql: str) -> list[tuple[Any, ...]]:
        """Run SQL text without parameters; blocks until the answer is here, or :meth:`interrupt` is called."""
        self._cursor.execute(sql)
        return [] if self._cursor.description is None else list(self._cursor.fetchall())

    def receive(self) -> list[tuple[str, str, int]]:
        """The notifications that have arrived: channel, payload, process id of the sender. Does not wait.

        :raises psycopg2.Error: if the connection is lost; what came before was given by the call before.
        """
        # execute() collects notifications as well, so there may be some although the socket is quiet.
        arrived = self._raw.notifies
        if not arrived:
            try:
                self._raw.poll()
            except self._raw.Error:
                if not arrived:  # what came before the loss is given first; the next call raises
                    raise
        taken = [(note.channel, note.payload, note.pid) for note in arrived]
        arrived.clear()
        return taken

    def pending(self) -> bool:
        """Whether notifications are here that the socket will not announce."""
        return bool(self._raw.notifies)

    def reader(self, oid: int) -> TextReader | None:
        """What psycopg2 makes of the texts of a type; None if they stay as they are."""
        for casters in (self._cursor.string_types, self._raw.string_types, self._extensions.string_types):
            if casters and oid in casters:
                caster = casters[oid]
                # By "is": casters of the same OID are equal, and the program may have put one of its own in the place.
                return (
                    None
                    if caster is self._psycopg.STRING
                    else next((quicker for own, quicker in self._quicker if own is caster), self._casting(caster))
                )
        return None

    def _casting(self, caster: Callable[[str, Any], Any]) -> TextReader:
        cursor = self._cursor
        return TextReader(lambda text: caster(text, cursor), lambda texts: [caster(text, cursor) for text in texts])

    def _moments(self, caster: Callable[[str, Any], Any]) -> TextReader:
        """The same as psycopg2's own caster, by a quicker way where it is possible (infinity, BC and five-digit years are not)."""
        slow, quick = self._casting(caster), datetime.fromisoformat

        def every(texts: Sequence[str]) -> list[Any]:
            try:
                return list(map(quick, texts))
            except ValueError:
                return slow.all(texts)

        return TextReader(slow.one, every)

    def interrupt(self) -> None:
        """Break the connection, so that whatever waits for it fails now. Safe from any thread and from a signal handler."""
        if self._closing.acquire(blocking=False):  # else it is being closed
            try:
                if not self._raw.closed:
                    with socket.socket(fileno=os.dup(self._raw.fileno())) as same:
                        same.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # the other side was faster
            finally:
                self._closing.release()

    @property
    def closed(self) -> bool:
        return bool(self._raw.closed)

    def close(self) -> None:
        with self._closing:
            self._raw.close()

    @contextmanager
    def deadline(self, seconds: float) -> Iterator[None]:
        """Within this block the connection is broken after ``seconds``: a blocking driver would wait for a silent peer for ever."""
        timer = threading.Timer(seconds, self.interrupt)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()
