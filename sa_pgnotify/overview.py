"""What can be asked and said of consumers from outside, on any connection: lag, overview, seek, parked changes, forget, prune."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, MetaData, Table

from .changelog import LogNames, find_log
from .errors import PgNotifyError
from .logreader import Execute, Position
from .positions import ConsumerKey, Lag, Stored, lag, move, where
from .quoting import literal
from .reflection import execute_on, schema_translation
from .retention import LogState
from .retention import prune as prune_log
from .sources import expand
from .tail import origin_of
from .wire import logged_rows

__all__ = ["ConsumerStatus", "Parked", "consumers", "forget", "lag_of", "parked_of", "prune", "seek"]


@dataclass(frozen=True, slots=True)
class ConsumerStatus:
    """A consumer, as the database knows it.

    :ivar name: what its position is kept under.
    :ivar partition: ``(i, n)``: which of how many parts it reads.
    :ivar lag: how far it is behind; of several parts, each counts the changes of all.
    :ivar moved_at: when its position was stored last, by the server's clock.
    :ivar failures: how often the change that it has come to has failed.
    :ivar parked: how many changes of its name are parked.
    :ivar log: the schema and name of its change log.
    """

    name: str
    partition: tuple[int, int]
    lag: Lag
    moved_at: datetime
    failures: int
    parked: int
    log: str


@dataclass(frozen=True, slots=True)
class Parked:
    """A change that was parked.

    :ivar id: its number in the table ``sa_pgnotify_parked``; delete the row when it has been seen to.
    :ivar relation: the table's schema and name.
    :ivar operation: one of I, U, D and T.
    :ivar row: the fields as the log has them.
    :ivar transaction_id: PostgreSQL's.
    :ivar error: what its work raised last.
    :ivar failures: how many tries that were.
    :ivar parked_at: when, by the server's clock.
    """

    id: int
    relation: str
    operation: str
    row: str
    transaction_id: int
    error: str
    failures: int
    parked_at: datetime


@contextmanager
def _connected(bind: Engine | Connection) -> Iterator[Connection]:
    if isinstance(bind, Connection):
        yield bind
    else:
        with bind.connect().execution_options(isolation_level="READ COMMITTED") as connection, connection.begin():
            yield connection


def _names_of(bind: Engine | Connection, entities: tuple[Any, ...]) -> LogNames:
    table: Table = next(iter(expand(entities).tables))
    return _names(bind, table.metadata)


def _names(bind: Engine | Connection, metadata: MetaData) -> LogNames:
    log = find_log(metadata)
    if log is None:
        raise PgNotifyError("this MetaData has no change log: none of its tables is marked durable=True")
    return LogNames(schema_translation(bind)(log.names.schema))


def _load(execute: Execute, names: LogNames, key: ConsumerKey, lock: str = "") -> Stored:
    stored = Stored.load(execute, names, key, lock)
    if stored is None:
        raise PgNotifyError(f"the consumer {key} is not known in this database: start() it first")
    return stored


def lag_of(bind: Engine, key: ConsumerKey, entities: tuple[Any, ...]) -> Lag:
    """How far a consumer is behind."""
    with _connected(bind) as connection:
        execute, names = execute_on(connection), _names_of(bind, entities)
        return lag(execute, names, _load(execute, names, key))


def seek(bind: Engine, key: ConsumerKey, entities: tuple[Any, ...], place: str | Position) -> None:
    """Move a consumer."""
    with _connected(bind) as connection:
        execute, names = execute_on(connection), _names_of(bind, entities)
        _load(execute, names, key, "FOR UPDATE")
        execute(move(names, key, where(execute, names, place), origin=origin_of(execute, names)))


def parked_of(bind: Engine, key: ConsumerKey, entities: tuple[Any, ...]) -> list[Parked]:
    """What a consumer has parked."""
    with _connected(bind) as connection:
        names = _names_of(bind, entities)
        sql = f"SELECT id, pid, header, rows, error, failures, parked_at FROM {names.parked} WHERE {key.condition} ORDER BY id"
        found = []
        for number, pid, header, row, error, failures, parked_at in execute_on(connection)(sql):
            read: Any = getattr(logged_rows(header, row, pid), "header", None)  # a failed one has none
            relation, operation, xid = (read.relation, read.operation, read.transaction_id) if read else ("", "", 0)
            found.append(Parked(number, relation, operation, row, xid, error, failures, parked_at))
        return found


def consumers(bind: Engine | Connection) -> list[ConsumerStatus]:
    """All consumers that the database knows, in all its change logs, by name."""
    with _connected(bind) as connection:
        execute = execute_on(connection)
        schemas = "SELECT n.nspname FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace"
        found = [LogNames(schema) for (schema,) in execute(f"{schemas} WHERE c.relname = 'sa_pgnotify_consumers' AND c.relkind = 'r'")]
        return sorted((c for names in found for c in _of_log(execute, names)), key=lambda c: (c.log, c.name, c.partition))


def _of_log(execute: Execute, names: LogNames) -> Iterator[ConsumerStatus]:
    parked = f"(SELECT count(*) FROM {names.parked} AS p WHERE p.name = c.name)"
    for name, part, parts, moved_at, failures, count in list(
        execute(f"SELECT name, part, parts, moved_at, failures, {parked} FROM {names.consumers} AS c")
    ):
        key = ConsumerKey(name, part, parts)
        behind = lag(execute, names, _load(execute, names, key))
        yield ConsumerStatus(name, (part, parts), behind, moved_at, failures, count, names.head)


def forget(bind: Engine | Connection, metadata: MetaData, name: str) -> int:
    """Forget the position of a consumer that will not come back, so that the log need not be kept for it.

    :returns: how many positions that were, one for each part.
    """
    with _connected(bind) as connection:
        sql = f"DELETE FROM {_names(bind, metadata).consumers} WHERE name = {literal(name)} RETURNING 1"
        return len(list(execute_on(connection)(sql)))


def prune(bind: Engine | Connection, metadata: MetaData) -> LogState:
    """Empty what every consumer has passed, and what exceeds the limits of the :class:`~sa_pgnotify.ChangeLog`, as consumers do.

    It waits for nobody: what somebody uses at this moment is left for the next time.
    """
    log = find_log(metadata)
    names = _names(bind, metadata)
    assert log is not None
    with _connected(bind) as connection:
        return prune_log(execute_on(connection), names, log.settings)
