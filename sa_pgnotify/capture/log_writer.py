"""Appending captured changes to the change log, many transactions at a time.

The log's own transaction decides when a reader sees the rows, so readers' windows are bounded by
its id; the id of the transaction that made a change is in the header. How far the write-ahead log
was captured is stored in the same transaction, so that a capture that is killed anywhere continues
without a hole and without a duplicate.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import count
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError

from ..errors import PgNotifyError
from ..log.captures import Slot
from ..log.reader import CAPTURED
from ..log.tables import SLOT_BITS, SLOTS, LogNames
from ..protocol.doorbell import DOORBELL_OFF, bell_channel, doorbell_key, lost_key
from ..protocol.wire import ESC
from ..sql import Execute, execute_on, literal, sqlstate_of
from .composing import LogEntry

__all__ = ["LogWriter", "Progress"]

MOST_TRIES = 20
UNIQUE_VIOLATION = "23505"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a capture has come.

    :ivar origin: the server and the tables of the log, see
        :func:`~sa_pgnotify.log.origin.origin_of`.
    :ivar flushed: bytes of the write-ahead log up to which all changes are in the log.
    """

    origin: str
    flushed: int


class LogWriter:
    """Writes into one log.

    :param oid: of the log's head.
    :ivar snapshot: what was visible when rows were appended last, as PostgreSQL writes it.
    """

    def __init__(self, names: LogNames, oid: int) -> None:
        self._names = names
        self._sequence = literal(names.sequence)
        self._oid = str(oid)
        self._taken = 0  # the greatest number that had a row at the beginning
        self.snapshot = ""
        each = ", ".join(
            f"pg_catalog.unnest((pg_catalog.string_to_array(CAST(:{name} AS text), CAST(:separator AS text)))[2:])"
            for name in LogEntry._fields
        )
        self._insert = [
            text(
                f"INSERT INTO {slot} (id, xid, pid, relation, header, rows)"
                f" SELECT id, pg_catalog.pg_current_xact_id()::text::bigint, {CAPTURED}, relation, header, rows"
                f" FROM ROWS FROM (pg_catalog.unnest(CAST(:ids AS bigint[])), {each}) AS new (id, relation, header, rows)"
            )
            for slot in names.slots
        ]

    def load(self, execute: Execute, slot: Slot) -> Progress | None:
        """Return how far the slot was captured; None if it never was."""
        ids = ", ".join(f"(SELECT pg_catalog.max(id) FROM {slot})" for slot in self._names.slots)
        ((self._taken,),) = execute(f"SELECT coalesce(greatest({ids}), 0)")
        sql = (
            f"SELECT origin, flushed FROM {self._names.captures} WHERE slot = {literal(slot.name)}"
        )
        for origin, flushed in execute(sql):
            return Progress(origin, flushed)
        return None

    def store(
        self, execute: Execute, slot: Slot, at: Progress, relations: Iterable[str] = ()
    ) -> None:
        """Store how far the slot was captured. When the transaction commits, the sleeping readers
        of ``relations`` are woken; if there are any, it must already have its transaction id."""
        stored = (
            f"INSERT INTO {self._names.captures} (slot, origin, flushed) VALUES ({literal(slot.name)}, {literal(at.origin)}, {at.flushed})"
            " ON CONFLICT (slot) DO UPDATE SET origin = excluded.origin, flushed = excluded.flushed,"
            " moved_at = pg_catalog.clock_timestamp()"
        )
        if names := ", ".join(map(literal, relations)):
            key = doorbell_key("relation", self._oid)
            stored = (
                f"WITH stored AS ({stored}) SELECT pg_catalog.pg_notify({bell_channel(self._oid)}, 'sa1 ring')"
                " FROM (SELECT pg_catalog.bool_or("
                f"CASE WHEN pg_catalog.pg_try_advisory_lock({key}) THEN NOT pg_catalog.pg_advisory_unlock({key}) ELSE true END) AS asleep"
                f" FROM pg_catalog.unnest(ARRAY[{names}]::text[]) AS relation) AS bell"
                f" WHERE asleep AND pg_catalog.current_setting('{DOORBELL_OFF}', true) IS DISTINCT FROM 'off'"
            )
        execute(stored)

    def append(self, connection: Connection, entries: Sequence[LogEntry]) -> None:
        """Append rows, in their order.

        :raises PgNotifyError: if the numbers that the sequence of the log gives are always taken.
        """
        left = list(entries)
        for attempt in range(MOST_TRIES):
            if not left:
                return
            ids = self._numbers(connection, len(left), skipped=2**attempt - 1)
            left = self._insert_all(connection, list(zip(ids, left, strict=True)))
        raise PgNotifyError(
            f"no number of the change log {self._names.head} is free",
            f"Set its sequence {self._names.sequence} behind the greatest id of its rows",
        )

    def _numbers(self, connection: Connection, wanted: int, skipped: int) -> list[int]:
        """Return the next numbers of the log, without the first ``skipped``."""
        sql = (
            "SELECT pg_catalog.string_agg(number::text, ','), pg_catalog.pg_current_snapshot()::text FROM (SELECT"
            f" pg_catalog.nextval({self._sequence}) FROM pg_catalog.generate_series(1, {wanted + skipped})) AS new (number)"
        )
        ((numbers, self.snapshot),) = execute_on(connection)(sql)
        return sorted(map(int, numbers.split(",")))[skipped:]

    def _insert_all(
        self, connection: Connection, numbered: list[tuple[int, LogEntry]]
    ) -> list[LogEntry]:
        """Insert rows up to the first whose number is taken, and return those that are left."""
        start = 0
        while start < len(numbered):
            slot = _slot_of(numbered[start][0])
            end = start
            while end < len(numbered) and _slot_of(numbered[end][0]) == slot:
                end += 1
            part = numbered[start:end]
            # ON CONFLICT would make this half as expensive again for the server
            is_free = part[0][0] > self._taken
            try:
                with nullcontext() if is_free else connection.begin_nested():
                    connection.execute(self._insert[slot], _parameters(part))
            except IntegrityError as error:
                if is_free or sqlstate_of(error.orig) != UNIQUE_VIOLATION:
                    raise
                return [entry for _, entry in numbered[start:]]
            start = end
        return []

    def note_loss(self, execute: Execute) -> None:
        """Have each reader of the log report a ``Gap``, because changes are missing."""
        execute("SELECT pg_catalog.pg_current_xact_id()")
        execute(f"SELECT pg_catalog.pg_advisory_xact_lock_shared({lost_key(self._oid)})")
        execute(f"SELECT pg_catalog.nextval({literal(self._names.lost)})")
        execute(f"SELECT pg_catalog.pg_notify({bell_channel(self._oid)}, 'sa1 lost')")


def _parameters(part: Sequence[tuple[int, LogEntry]]) -> dict[str, str]:
    """Return rows as parameters, each a single text, because drivers are slower with lists."""
    columns = list(zip(*(entry for _, entry in part), strict=True))
    numbers = count()
    while True:
        # of the texts of the log, only the name of a table may have two ESC in a row
        separator = f"{ESC}{ESC}{next(numbers)};"
        texts = [separator + separator.join(column) for column in columns]
        if all(t.count(separator) == len(part) for t in texts):
            break
    ids = ",".join(str(number) for number, _ in part)
    named = dict(zip(LogEntry._fields, texts, strict=True))
    return {"ids": f"{{{ids}}}", "separator": separator, **named}


def _slot_of(number: int) -> int:
    return (number >> SLOT_BITS) & (SLOTS - 1)


def head_oid(connection: Connection, names: LogNames) -> int:
    """Return the OID of the log's head."""
    ((oid,),) = execute_on(connection)(
        f"SELECT pg_catalog.to_regclass({literal(names.head)})::oid::bigint"
    )
    found: Any = oid
    return int(found)
