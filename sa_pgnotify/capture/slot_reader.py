"""Reading the slot by PostgreSQL's functions, on an ordinary connection of any driver.

Each reading begins where the slot was confirmed, so what was read and not confirmed comes again.
For each reading, the server decodes again from the oldest transaction that was open at that place.
This takes time, so the slot is read only if the write-ahead log has grown.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from ..log.captures import Slot
from ..protocol.settings import FIX_OUTPUT
from ..sql import execute_on, literal, sqlstate_of
from .whole_transactions import Plain, WholeTransactions

__all__ = ["BATCH", "SlotReader", "SlotUnreadable"]

PAGE = 2000
"""How many messages are fetched at a time."""
BATCH = 50_000
"""After how many changes a reading ends, at the end of a transaction."""
OBJECT_IN_USE = "55006"
STANDBY_SECONDS = 1.0
"""The least time between two requests to log which transactions are open, so that the server need
not decode from further back."""


class SlotUnreadable(Exception):
    """The slot cannot be read, or the connection is gone.

    :ivar error: what the driver raised.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class SlotReader:
    """Reads the slot of a log.

    :ivar reached: bytes of the write-ahead log up to which the last reading has returned all.
    """

    def __init__(self, engine: Engine, slot: Slot) -> None:
        self._connection: Connection = engine.connect().execution_options(
            isolation_level="READ COMMITTED"
        )
        self._slot = literal(slot.name)
        self._peek = text(
            "SELECT data FROM pg_catalog.pg_logical_slot_peek_binary_changes("
            f"{self._slot}, NULL, {BATCH}, 'proto_version', '1', 'messages', 'true', 'publication_names', :publication)"
        ).bindparams(publication=f'"{slot.publication}"')
        self._looked = -1
        self._noted = 0.0
        self.reached = 0
        with self._connection.begin():
            ((version,),) = execute_on(self._connection)(
                "SELECT pg_catalog.current_setting('server_version_num')::int"
            )
        self._can_note = version >= 160000

    def read(self) -> Iterator[Plain]:
        """Yield the transactions that have committed since the confirmed place, whole and in the order
        of their commits; nothing if there is nothing new.

        :raises SlotUnreadable: if the slot or the connection is gone.
        """
        try:
            yield from self._read()
        except DBAPIError as error:
            raise SlotUnreadable(error) from error

    def _read(self) -> Iterator[Plain]:
        connection = self._connection
        with connection.begin():
            execute = execute_on(connection)
            ((now,),) = execute(
                "SELECT (pg_catalog.pg_current_wal_flush_lsn() - '0/0'::pg_lsn)::bigint"
            )
            if now == self._looked:
                return
            execute(f"SELECT {FIX_OUTPUT}, pg_catalog.set_config('client_encoding', 'UTF8', true)")
            transactions, count = WholeTransactions(), 0
            options = {"stream_results": True, "yield_per": PAGE}
            for (data,) in connection.execute(self._peek, execution_options=options):
                count += 1
                yield from transactions.add(bytes(data))
            if count < BATCH:
                self._looked = self.reached = now

    def confirm(self, lsn: int) -> None:
        """Confirm what was read up to ``lsn``, which the server then need not keep."""
        with self._connection.begin():
            execute = execute_on(self._connection)
            execute(
                f"SELECT pg_catalog.pg_replication_slot_advance({self._slot}, '0/0'::pg_lsn + {lsn}::numeric)"
            )
            if self._can_note and time.monotonic() >= self._noted + STANDBY_SECONDS:
                self._noted = time.monotonic()
                self._note_open_transactions()

    def _note_open_transactions(self) -> None:
        try:
            execute_on(self._connection)("SELECT pg_catalog.pg_log_standby_snapshot()")
        except DBAPIError as error:
            if sqlstate_of(error.orig) != "42501":  # not allowed to this role
                raise
            self._can_note = False

    def wait(self, seconds: float) -> None:
        """Wait before the next reading."""
        time.sleep(seconds)

    def close(self) -> None:
        """End the session."""
        self._connection.invalidate()
        self._connection.close()
