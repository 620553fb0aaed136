"""Reading the slot by the replication protocol, which psycopg2 speaks: the server sends each
transaction as it commits, and decodes nothing twice.

The connection is made with the parameters of one of the engine's own, so that it uses whatever the
program gave to ``create_engine()``. Its session is a *walsender*, which PostgreSQL takes for a
synchronous standby if ``synchronous_standby_names`` matches it. A commit would then wait for its
own capture, so :func:`can_stream` returns false in that case.
"""

from __future__ import annotations

import select
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Engine

from ..log.captures import Slot
from ..protocol.settings import FIXED_SETTINGS
from ..sql import Execute
from .pgoutput import Begin, Commit
from .slot_reader import BATCH, SlotUnreadable
from .whole_transactions import Plain, WholeTransactions

__all__ = ["SlotStream", "can_stream"]

APPLICATION = "sa_pgnotify capture"
STATUS_SECONDS = 10
"""Seconds between two reports to the server that the connection is alive."""
STALLED_SECONDS = 60.0
"""Seconds without the rest of a transaction after which the connection counts as lost."""


def can_stream(engine: Engine, execute: Execute) -> bool:
    """Return whether the driver speaks the protocol, and no commit would wait for the capture."""
    ((standbys,),) = execute("SELECT pg_catalog.current_setting('synchronous_standby_names')")
    return engine.dialect.driver == "psycopg2" and not ("*" in standbys or APPLICATION in standbys)


class SlotStream:
    """Streams the slot of a log.

    :param at: bytes of the write-ahead log from which to read.
    :ivar reached: bytes of the write-ahead log up to which all was returned.
    """

    def __init__(self, engine: Engine, slot: Slot, at: int) -> None:
        import psycopg2
        from psycopg2.extras import LogicalReplicationConnection

        self._error = psycopg2.Error
        self._transactions = WholeTransactions()
        self.reached = 0
        fairy = engine.pool.recreate().connect()
        try:
            info = fairy.dbapi_connection.info  # type: ignore[union-attr]
            given = {**info.dsn_parameters, "application_name": APPLICATION}
            if info.password:
                given["password"] = info.password
        finally:
            fairy.invalidate()
            fairy.close()
        try:
            self._connection: Any = psycopg2.connect(
                **given, connection_factory=LogicalReplicationConnection
            )
            self._connection.set_client_encoding("UTF8")
            self._cursor: Any = self._connection.cursor()
            for name, value in FIXED_SETTINGS.items():
                if value is not None:
                    self._cursor.execute(f"SET {name} TO '{value}'")
            self._cursor.start_replication(
                slot_name=slot.name,
                decode=False,
                start_lsn=at,
                status_interval=STATUS_SECONDS,
                options={
                    "proto_version": "1",
                    "messages": "true",
                    "publication_names": f'"{slot.publication}"',
                },
            )
        except psycopg2.Error as error:
            raise SlotUnreadable(error) from error

    def read(self) -> Iterator[Plain]:
        """Yield the transactions that have arrived, whole and in the order of their commits;
        nothing if there is nothing new.

        :raises SlotUnreadable: if the slot or the connection is gone.
        """
        count, is_open = 0, False
        read, add = self._cursor.read_message, self._transactions.add
        try:
            while True:
                message = read()
                if message is None:
                    if not is_open:
                        self.reached = max(self.reached, self._cursor.wal_end)
                        return
                    if not self._wait(STALLED_SECONDS):
                        raise SlotUnreadable(ConnectionError("the server sends no more"))
                    continue
                count += 1
                for found in add(message.payload):
                    kind = type(found)
                    if kind is Begin:
                        is_open = True
                    elif kind is Commit:
                        is_open = False
                        self.reached = max(self.reached, found.end_lsn)  # type: ignore[union-attr]
                    yield found
                if count >= BATCH and not is_open:
                    return
        except self._error as error:
            raise SlotUnreadable(error) from error

    def wait(self, seconds: float) -> None:
        """Wait until something comes."""
        self._wait(seconds)

    def _wait(self, seconds: float) -> bool:
        return bool(select.select([self._connection], [], [], seconds)[0])

    def confirm(self, lsn: int) -> None:
        """Confirm what was read up to ``lsn``, which the server then need not keep."""
        try:
            self._cursor.send_feedback(flush_lsn=lsn, apply_lsn=lsn, force=True)
        except self._error as error:
            raise SlotUnreadable(error) from error

    def close(self) -> None:
        """End the session."""
        self._transactions.close()
        self._connection.close()
