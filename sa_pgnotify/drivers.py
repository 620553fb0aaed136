"""A dedicated connection for listening, made the way the engine makes its own.

The engine's pool knows all that a connection needs (URL, ``creator``, ``connect_args``, ``connect`` events), so a pool of the same
make gives us one connection, which is then taken out of it: an exhausted or static pool does not stand in the way.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Engine

from .errors import ListenUnavailable

__all__ = ["ListenConnection", "connect"]


def connect(engine: Engine) -> ListenConnection:
    """A new connection in autocommit, for nobody else.

    :raises ListenUnavailable: if the engine's driver is not one that we know how to listen with.
    :raises sqlalchemy.exc.DBAPIError, OSError: if the connection cannot be made.
    """
    dialect = engine.dialect
    if dialect.name != "postgresql" or dialect.driver != "psycopg2":
        raise ListenUnavailable(
            "driver",
            f"cannot listen through {dialect.name}+{dialect.driver}: make the engine from a postgresql+psycopg2:// URL",
        )
    fairy = engine.pool.recreate().connect()
    raw = fairy.dbapi_connection
    fairy.detach()
    return ListenConnection(getattr(raw, "driver_connection", raw))


class ListenConnection:
    """psycopg2's connection, as far as a listener needs it. It belongs to one thread, but for :meth:`interrupt`."""

    def __init__(self, raw: Any) -> None:
        from psycopg2 import _psycopg, extensions

        self._raw = raw
        self._extensions = extensions
        self._psycopg: Any = _psycopg
        decode_json = json.JSONDecoder().decode
        self._quicker = [
            (extensions.INTEGER, int),
            (extensions.LONGINTEGER, int),
            (extensions.DECIMAL, Decimal),
            (extensions.JSON, decode_json),
            (extensions.JSONB, decode_json),
        ]
        self._closing = threading.Lock()
        raw.autocommit = True
        raw.set_client_encoding("UTF8")
        self._cursor = raw.cursor()

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

    def decoder(self, oid: int) -> Callable[[str], Any] | None:
        """What psycopg2 makes of the text of a value of a type; None if the text stays as it is."""
        cursor = self._cursor
        for casters in (cursor.string_types, self._raw.string_types, self._extensions.string_types):
            if casters and oid in casters:
                caster = casters[oid]
                break
        else:
            return None
        if caster is self._psycopg.STRING:
            return None
        # What psycopg2 itself does for its own casters, without its detour; compared by "is", since casters of one OID are equal.
        for own, quicker in self._quicker:
            if caster is own:
                return quicker
        if caster is self._psycopg.DATETIMETZ or caster is self._psycopg.DATETIME:

            def read(text: str) -> Any:
                try:
                    return datetime.fromisoformat(text)
                except ValueError:  # infinity, BC, five-digit years: as psycopg2 will have it
                    return caster(text, cursor)

            return read
        return lambda text: caster(text, cursor)

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
