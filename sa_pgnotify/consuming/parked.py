"""Changes that ``on_error`` has parked: stored in a table of the change log, to be looked at later."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Engine

from ..log.reader import LogRow
from ..protocol.wire import EXISTING, RS, US, logged_rows
from ..scanning.row_page import RowPage
from ..sql import Execute, execute_on, literal
from .log_access import connected, log_names_of
from .positions import ConsumerKey, ConsumerTable

__all__ = ["Parked", "park", "parked_in", "parked_of"]


@dataclass(frozen=True, slots=True)
class Parked:
    """A change that was parked.

    :ivar id: its number in the table ``sa_pgnotify_parked``. Delete the row once the change has
        been dealt with.
    :ivar relation: the table's schema and name.
    :ivar operation: one of I, U, D and T; E for a row that a snapshot or a backfill has read.
    :ivar row: the change's fields, as the log has them; of a row that was read, those of its
        identity.
    :ivar transaction_id: PostgreSQL's 64-bit transaction id.
    :ivar error: the exception that the program raised last for this change, as text.
    :ivar failures: how often the change has failed.
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


def park(
    execute: Execute,
    table: ConsumerTable,
    row: LogRow | RowPage,
    index: int,
    error: str,
    failures: int,
) -> None:
    """Store the change number ``index`` of ``row.text``, counted from 0."""
    key = table.key
    change = f"{literal(row.relation)}, {row.pid}, {literal(row.header)}, {literal(row.text.split(RS)[index])}"
    execute(
        f"INSERT INTO {table.names.parked} (name, part, parts, relation, pid, header, rows, error, failures) VALUES "
        f"({literal(key.name)}, {key.part}, {key.parts}, {change}, {literal(error)}, {failures})"
    )


def parked_of(bind: Engine, key: ConsumerKey, entities: tuple[Any, ...]) -> list[Parked]:
    """Return what a consumer has parked, the oldest first."""
    with connected(bind) as connection:
        table = ConsumerTable(log_names_of(bind, entities), key)
        return parked_in(execute_on(connection), table)


def parked_in(execute: Execute, table: ConsumerTable) -> list[Parked]:
    """Return what a consumer has parked, the oldest first."""
    sql = f"SELECT id, pid, header, rows, error, failures, parked_at FROM {table.names.parked} WHERE {table.key.every} ORDER BY id"
    found = []
    for number, pid, header, row, error, failures, parked_at in execute(sql):
        relation, operation, xid = _origin(header, row, pid)
        found.append(Parked(number, relation, operation, row, xid, error, failures, parked_at))
    return found


def _origin(header: str, row: str, pid: int) -> tuple[str, str, int]:
    """Return the table, the operation and the transaction id of what was parked."""
    if header.startswith(EXISTING + US):
        return header.split(US)[1], EXISTING, 0
    read: Any = getattr(logged_rows(header, row, pid), "header", None)
    if read is None:
        return "", "", 0  # a message that cannot be read has no header
    return read.relation, read.operation, read.transaction_id
