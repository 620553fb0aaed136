"""Changes that ``on_error`` has parked: stored in a table of the change log until they are retried, or
until their rows are deleted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Engine

from ..errors import PgNotifyError
from ..events.changes import Change
from ..events.kinds import Gap
from ..log.reader import LogRow
from ..log.snapshots import Position
from ..protocol.wire import EXISTING, RS, US, logged_rows
from ..scanning.row_page import RowPage
from ..sql import Execute, execute_on, literal
from .held_rows import HeldRows, Rows, rows_from_json, rows_of, rows_to_json
from .log_access import connected, log_names_of
from .positions import ConsumerKey, ConsumerTable

__all__ = ["Parked", "ParkedChange", "ParkedTable", "Reason", "parked_of", "retry_parked"]


@dataclass(frozen=True, slots=True)
class Parked:
    """A change that was parked.

    :ivar id: its number in the table ``sa_pgnotify_parked``. Delete the row if the change should
        not be retried.
    :ivar relation: the table's schema and name.
    :ivar operation: one of I, U, D and T; E for a row that a snapshot or a backfill has read.
    :ivar row: the change's fields, as the log has them; of a row that was read, those of its
        identity.
    :ivar transaction_id: PostgreSQL's 64-bit transaction id.
    :ivar error: the exception that the program raised last for this change, as text.
    :ivar failures: how often the change has failed; 0 if it only waits behind a change of the same
        row.
    :ivar parked_at: when it was parked, by the server's clock.
    """

    id: int
    relation: str
    operation: str
    row: str
    transaction_id: int
    error: str
    failures: int
    parked_at: datetime


class Reason(NamedTuple):
    """Why a change is parked.

    :ivar error: the last exception, as text; ``failures`` how often the change has failed.
    """

    error: str
    failures: int
    change: Change | Gap


class ParkedChange(NamedTuple):
    """A parked change that is to be given out again.

    :ivar row_id: with ``row_part``, the key of the change.
    """

    id: int
    relation: str
    pid: int
    header: str
    text: str
    row_id: int
    row_part: int
    rows: Rows

    @property
    def was_read(self) -> bool:
        """Whether it is not a change, but a row that a snapshot or a backfill has read."""
        return self.header.startswith(EXISTING + US)

    def as_logged(self, at: Position) -> LogRow:
        """Return the change as a row of the log.

        :param at: the position of the consumer, which it does not move.
        """
        xid = _origin(self.header, self.text, self.pid)[2]
        return LogRow(
            self.row_id, self.row_id, xid, self.pid, self.relation, self.header, self.text,
            self.row_part, at, at,
        )  # fmt: skip


class ParkedTable:
    """What one consumer has parked.

    Each method takes a function that runs SQL, as those of :class:`ConsumerTable`. All but
    :meth:`all` are for a transaction that has locked the consumer's position.
    """

    def __init__(self, table: ConsumerTable) -> None:
        self._key = table.key
        self._name = table.names.parked
        self._consumers = table.names.consumers

    def all(self, execute: Execute) -> list[Parked]:
        """Return what is parked, the oldest first."""
        sql = f"SELECT id, pid, header, rows, error, failures, parked_at FROM {self._name} WHERE {self._key.every} ORDER BY id"
        found = []
        for number, pid, header, row, error, failures, parked_at in execute(sql):
            relation, operation, xid = _origin(header, row, pid)
            found.append(Parked(number, relation, operation, row, xid, error, failures, parked_at))
        return found

    def add(self, execute: Execute, row: LogRow | RowPage, index: int, why: Reason) -> None:
        """Park the change number ``index`` of ``row.text``, counted from 0."""
        key = self._key
        row_id, row_part = row.change_key(index)
        # A row that was read is read again, so its later changes need not wait.
        about = () if isinstance(row, RowPage) else rows_of(why.change)
        change = f"{literal(row.relation)}, {row.pid}, {literal(row.header)}, {literal(row.text.split(RS)[index])}"
        execute(
            f"INSERT INTO {self._name} (name, part, parts, relation, pid, header, rows, error, failures, row_id, row_part, about) "
            f"VALUES ({literal(key.name)}, {key.part}, {key.parts}, {change}, {literal(why.error)}, {why.failures}, "
            f"{row_id}, {row_part}, {literal(rows_to_json(about))})"
        )

    def has(self, execute: Execute, row: LogRow | RowPage, index: int) -> bool:
        """Return whether a change is parked, see :meth:`add`."""
        row_id, row_part = row.change_key(index)
        change = f"row_id = {row_id} AND row_part = {row_part}"
        sql = f"SELECT 1 FROM {self._name} WHERE {self._key.every} AND {change} LIMIT 1"
        return bool(list(execute(sql)))

    # -- retrying ----------------------------------------------------------------------------------

    def mark(self, execute: Execute) -> int:
        """Let all that is parked be given out again, and return how many changes these are.

        :raises PgNotifyError: if a relay has parked it, whose messages are in the order of the log.
        """
        relay = f"SELECT 1 FROM {self._consumers} WHERE {self._key.condition} AND sink IS NOT NULL"
        if list(execute(relay)):
            raise PgNotifyError(
                f"{self._key} is a relay, which cannot publish a parked change later",
                "Delete its row from sa_pgnotify_parked when it has been dealt with",
            )
        marked = f"UPDATE {self._name} SET retry = true WHERE {self._key.every} RETURNING 1"
        ((count,),) = execute(
            f"WITH marked AS ({marked}) SELECT pg_catalog.count(*)::int FROM marked"
        )
        if count:
            self._note_retrying(execute, "true")
        return int(count)

    def end_retrying(self, execute: Execute) -> None:
        """Note that nothing is to be given out again."""
        self._note_retrying(execute, "false")

    def _note_retrying(self, execute: Execute, value: str) -> None:
        execute(f"UPDATE {self._consumers} SET retrying = {value} WHERE {self._key.condition}")

    def to_retry(self, execute: Execute, size: int) -> list[ParkedChange]:
        """Return the first changes to give out again, at most ``size``."""
        columns = "id, relation, pid, header, rows, row_id, row_part, about"
        rows = execute(
            f"SELECT {columns} FROM {self._name} WHERE {self._key.every} AND retry ORDER BY id LIMIT {size} FOR UPDATE"
        )
        return [ParkedChange(*row)._replace(rows=rows_from_json(row[-1])) for row in rows]

    def held(self, execute: Execute, *, marked: bool = True) -> HeldRows:
        """Return the rows of all parked changes.

        :param marked: whether to count those that are to be given out again.
        """
        every = self._key.every if marked else f"{self._key.every} AND NOT retry"
        rows = execute(f"SELECT DISTINCT about FROM {self._name} WHERE {every}")
        return HeldRows(rows_from_json(about) for (about,) in rows)

    def leave(self, execute: Execute, ids: Iterable[int]) -> None:
        """Let changes stay parked that were to be given out again."""
        execute(f"UPDATE {self._name} SET retry = false WHERE id IN ({_listed(ids)})")

    def fail(self, execute: Execute, number: int, why: Reason) -> None:
        """Park a change again that was given out and has failed."""
        execute(
            f"UPDATE {self._name} SET retry = false, error = {literal(why.error)}, failures = failures + {why.failures}, "
            f"parked_at = pg_catalog.clock_timestamp() WHERE id = {number}"
        )

    def remove(self, execute: Execute, ids: Iterable[int]) -> None:
        """Remove changes that were given out again."""
        execute(f"DELETE FROM {self._name} WHERE id IN ({_listed(ids)})")


def _listed(ids: Iterable[int]) -> str:
    return ", ".join(map(str, ids))


def parked_of(bind: Engine, key: ConsumerKey, entities: tuple[Any, ...]) -> list[Parked]:
    """Return what a consumer has parked, the oldest first."""
    with connected(bind) as connection:
        table = ConsumerTable(log_names_of(bind, entities), key)
        return ParkedTable(table).all(execute_on(connection))


def retry_parked(bind: Engine, key: ConsumerKey, entities: tuple[Any, ...]) -> int:
    """Have a consumer give out what it has parked, and return how many changes these are.

    :raises PgNotifyError: if the consumer is not known in the database.
    """
    with connected(bind) as connection:
        table = ConsumerTable(log_names_of(bind, entities), key)
        return retry(execute_on(connection), table)


def retry(execute: Execute, table: ConsumerTable) -> int:
    """Have a consumer give out what it has parked, see :func:`retry_parked`."""
    if table.lock(execute) is None:
        raise table.unknown()
    return ParkedTable(table).mark(execute)


def _origin(header: str, row: str, pid: int) -> tuple[str, str, int]:
    """Return the table, the operation and the transaction id of what was parked."""
    if header.startswith(EXISTING + US):
        return header.split(US)[1], EXISTING, 0
    read: Any = getattr(logged_rows(header, row, pid), "header", None)
    if read is None:
        return "", "", 0  # a message that cannot be read has no header
    return read.relation, read.operation, read.transaction_id
