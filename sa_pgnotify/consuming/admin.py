"""What can be asked and said of consumers from outside, on any connection: lag, overview, seek,
parked changes, forget, prune."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, MetaData, Table

from ..errors import PgNotifyError
from ..log.origin import origin_of, resolve
from ..log.retention import LogState
from ..log.retention import prune as prune_log
from ..log.snapshots import Position
from ..log.tables import LogNames, find_log
from ..marking.sources import expand
from ..protocol.channels import RELATION
from ..protocol.wire import logged_rows
from ..sql import Execute, execute_on, literal, quote, schema_translation
from .places import without
from .positions import ConsumerKey, ConsumerTable, Lag, StoredPosition

__all__ = [
    "ConsumerStatus",
    "Parked",
    "consumers",
    "forget",
    "lag_of",
    "parked_of",
    "prune",
    "seek",
]


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
    :ivar left_behind: tables, by schema and name, that have a place under this name and that the
        version which works does not read; and how far behind each of them is. The log keeps their
        changes, until some version reads them, or :func:`forget` is given them.
    """

    name: str
    partition: tuple[int, int]
    lag: Lag
    moved_at: datetime
    failures: int
    parked: int
    log: str
    left_behind: Mapping[str, Lag] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Parked:
    """A change that was parked.

    :ivar id: its number in the table ``sa_pgnotify_parked``; delete the row when it has been seen
        to.
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
        with (
            bind.connect().execution_options(isolation_level="READ COMMITTED") as connection,
            connection.begin(),
        ):
            yield connection


def _names_of(bind: Engine | Connection, entities: tuple[Any, ...]) -> LogNames:
    table: Table = next(iter(expand(entities).tables))
    return _names(bind, table.metadata)


def _names(bind: Engine | Connection, metadata: MetaData) -> LogNames:
    log = find_log(metadata)
    if log is None:
        raise PgNotifyError(
            "this MetaData has no change log: none of its tables is marked durable=True"
        )
    return LogNames(schema_translation(bind)(log.names.schema))


def _known(stored: StoredPosition | None, key: ConsumerKey) -> StoredPosition:
    if stored is None:
        raise PgNotifyError(f"the consumer {key} is not known in this database: start() it first")
    return stored


def _relations(
    execute: Execute, bind: Engine | Connection, known: Iterable[str], entities: Iterable[Any]
) -> dict[str, str]:
    """The names that ``entities`` have in messages, each with what it is called here.

    :param known: names in messages, among which those are that are not in the database any more.
    """
    translated = schema_translation(bind)
    named = {entity: entity for entity in entities if isinstance(entity, str)}
    for table in (
        expand([entity for entity in entities if not isinstance(entity, str)]).tables
        if len(named) < len(list(entities))
        else ()
    ):
        schema = translated(table.schema)
        text = quote(table.name) if schema is None else f"{quote(schema)}.{quote(table.name)}"
        name = RELATION.format(schema="n.nspname", table="c.relname")
        there = f"c.oid = pg_catalog.to_regclass({literal(text)})::oid"
        found = [
            str(name)
            for (name,) in execute(
                f"SELECT {name} FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE {there}"
            )
        ]
        ending = text if schema is not None else f".{text}"
        found = found or [name for name in known if name.endswith(ending)]
        named.update(dict.fromkeys(found or [text], table.fullname))
    return named


def lag_of(bind: Engine, key: ConsumerKey, entities: tuple[Any, ...]) -> Lag:
    """How far a consumer is behind."""
    with _connected(bind) as connection:
        execute, table = execute_on(connection), ConsumerTable(_names_of(bind, entities), key)
        stored = _known(table.load(execute), key)
        wanted = _relations(execute, bind, stored.known, entities) if stored.apart else {}
        return _sum(
            table.lag(execute, at)
            for at in (
                stored.position,
                *(at for name, at in stored.apart.items() if name in wanted),
            )
        )


def _sum(lags: Iterable[Lag]) -> Lag:
    each = list(lags)
    return Lag(sum(one.events for one in each), max(one.seconds for one in each))


def seek(bind: Engine, key: ConsumerKey, entities: tuple[Any, ...], place: str | Position) -> None:
    """Move a consumer, with all tables that have a place under its name."""
    with _connected(bind) as connection:
        execute, names = execute_on(connection), _names_of(bind, entities)
        table = ConsumerTable(names, key)
        _known(table.lock(execute), key)
        stored = replace(_known(table.load(execute), key), origin=origin_of(execute, names))
        at = resolve(execute, names, place)
        if not at.tables:
            at = replace(at, tables=tuple((name, None) for name in stored.known))
        # Tables that were not read with the change begin where its window did: nothing of theirs is
        # passed by.
        keep = {
            name: Position(at.last, tables=((name, None),))
            for name in stored.known
            if name not in at.names
        }
        table.arrange(execute, stored, at, keep=keep)
        table.move(execute, at, origin=stored.origin)


def parked_of(bind: Engine, key: ConsumerKey, entities: tuple[Any, ...]) -> list[Parked]:
    """What a consumer has parked."""
    with _connected(bind) as connection:
        names = _names_of(bind, entities)
        sql = f"SELECT id, pid, header, rows, error, failures, parked_at FROM {names.parked} WHERE {key.every} ORDER BY id"
        found = []
        for number, pid, header, row, error, failures, parked_at in execute_on(connection)(sql):
            # a failed one has none
            read: Any = getattr(logged_rows(header, row, pid), "header", None)
            relation, operation, xid = (
                (read.relation, read.operation, read.transaction_id) if read else ("", "", 0)
            )
            found.append(Parked(number, relation, operation, row, xid, error, failures, parked_at))
        return found


def consumers(bind: Engine | Connection) -> list[ConsumerStatus]:
    """All consumers that the database knows, in all its change logs, by name."""
    with _connected(bind) as connection:
        execute = execute_on(connection)
        schemas = "SELECT n.nspname FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace"
        found = [
            LogNames(schema)
            for (schema,) in execute(
                f"{schemas} WHERE c.relname = 'sa_pgnotify_consumers' AND c.relkind = 'r'"
            )
        ]
        return sorted(
            (c for names in found for c in _of_log(execute, names)),
            key=lambda c: (c.log, c.name, c.partition),
        )


def _of_log(execute: Execute, names: LogNames) -> Iterator[ConsumerStatus]:
    parked = f"(SELECT count(*) FROM {names.parked} AS p WHERE p.name = c.name)"
    for name, part, parts, moved_at, failures, count in list(
        execute(
            f"SELECT name, part, parts, moved_at, failures, {parked} FROM {names.consumers} AS c WHERE relation = ''"
        )
    ):
        table = ConsumerTable(names, ConsumerKey(name, part, parts))
        stored = _known(table.load(execute), table.key)
        left = {relation: table.lag(execute, at) for relation, at in stored.apart.items()}
        yield ConsumerStatus(
            name,
            (part, parts),
            table.lag(execute, stored.position),
            moved_at,
            failures,
            count,
            names.head,
            left,
        )


def forget(bind: Engine | Connection, metadata: MetaData, name: str, *entities: Any) -> int:
    """Forget the position of a consumer that will not come back, so that the log need not be kept
    for it.

    ::

        forget(engine, Base.metadata, "billing")                    # the consumer
        forget(engine, Base.metadata, "billing", "public.orders")   # one table, which no version of it will read again

    :param entities: mapped classes or Tables, or names as :attr:`ConsumerStatus.left_behind` has
        them, if only the places of these should go. A consumer that reads one of them all the same
        gives it a new place.
    :returns: how many positions that were: one for each part, or of each table and part.
    :raises PgNotifyError: if one of ``entities`` has no place under the name.
    """
    with _connected(bind) as connection:
        execute, names = execute_on(connection), _names(bind, metadata)
        if not entities:
            rows = execute(
                f"DELETE FROM {names.consumers} WHERE name = {literal(name)} RETURNING relation"
            )
            return sum(not relation for (relation,) in rows)
        parts_of = [
            ConsumerTable(names, ConsumerKey(name, part, parts))
            for part, parts in list(
                execute(
                    f"SELECT part, parts FROM {names.consumers} WHERE name = {literal(name)} AND relation = '' FOR UPDATE"
                )
            )
        ]
        stored = {table: _known(table.load(execute), table.key) for table in parts_of}
        known = {table for one in stored.values() for table in one.known}
        wanted = _relations(execute, connection, known, entities)
        for relation, called in wanted.items():
            if relation not in known:
                listed = ", ".join(sorted(known)) or "no table"
                raise PgNotifyError(
                    f"{called} has no place under the name {name!r}, which knows {listed}"
                )
        count = 0
        for table, one in stored.items():
            count += sum(relation in wanted for relation in one.known)
            at = without(one.position, wanted)
            if at != one.position:
                table.arrange(execute, one, at)
            listed = ", ".join(map(literal, wanted))
            execute(
                f"DELETE FROM {names.consumers} WHERE {table.key.every} AND relation IN ({listed})"
            )
        return count


def prune(bind: Engine | Connection, metadata: MetaData) -> LogState:
    """Empty what every consumer has passed, and what exceeds the limits of the
    :class:`~sa_pgnotify.ChangeLog`, as consumers do.

    It waits for nobody: what somebody uses at this moment is left for the next time.
    """
    log = find_log(metadata)
    names = _names(bind, metadata)
    assert log is not None
    with _connected(bind) as connection:
        return prune_log(execute_on(connection), names, log.settings)
