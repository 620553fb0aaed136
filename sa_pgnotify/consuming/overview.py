"""All consumers that a database knows, and how far each of them is behind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection, Engine

from ..errors import ListenUnavailable
from ..log.origin import origin_of
from ..log.tables import CONSUMERS, LogNames
from ..sql import Execute, execute_on, literal
from .log_access import connected
from .positions import ConsumerKey, ConsumerTable, Lag

__all__ = ["ConsumerStatus", "consumers", "logs_of"]


@dataclass(frozen=True, slots=True)
class ConsumerStatus:
    """A consumer as the database knows it.

    :ivar name: the name under which its position is stored.
    :ivar partition: ``(i, n)``: the consumer reads the i-th of n parts, counted from 0.
    :ivar lag: how far it is behind. The lag of one of several parts counts the changes of all.
    :ivar moved_at: when its position was stored last, by the server's clock.
    :ivar failures: how often the change that it has reached has failed.
    :ivar parked: how many changes are parked under its name.
    :ivar log: the schema and name of its change log.
    :ivar left_behind: the tables that have a place under this name but are not read by the version
        that works: how far each is behind, by its schema and name. The log keeps the changes of
        such a table until a version reads them, or until the table is passed to :func:`forget`.
    :ivar has_lost: whether changes that it has not read are gone, because they exceeded the log's
        limits, or because the log was restored. When it runs, it gets ``Gap("lost_position")``.
    """

    name: str
    partition: tuple[int, int]
    lag: Lag
    moved_at: datetime
    failures: int
    parked: int
    log: str
    left_behind: Mapping[str, Lag] = field(default_factory=dict)
    has_lost: bool = False


def consumers(bind: Engine | Connection) -> list[ConsumerStatus]:
    """Return all consumers that the database knows, in all its change logs, by name."""
    with connected(bind) as connection:
        execute = execute_on(connection)
        return sorted(
            (consumer for names in logs_of(execute) for consumer in _of_log(execute, names)),
            key=lambda consumer: (consumer.log, consumer.name, consumer.partition),
        )


def logs_of(execute: Execute) -> list[LogNames]:
    """Return all change logs of the database, by schema."""
    schemas = "SELECT n.nspname FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace"
    found = execute(
        f"{schemas} WHERE c.relname = {literal(CONSUMERS)} AND c.relkind = 'r' ORDER BY 1"
    )
    return [LogNames(schema) for (schema,) in found]


def _of_log(execute: Execute, names: LogNames) -> Iterator[ConsumerStatus]:
    parked = f"(SELECT pg_catalog.count(*) FROM {names.parked} AS p WHERE p.name = c.name)"
    rows = execute(
        f"SELECT name, part, parts, moved_at, failures, {parked} FROM {names.consumers} AS c WHERE relation = ''"
    )
    found = list(rows)
    if not found:
        return
    origin = None
    with suppress(ListenUnavailable):  # of a log that is only there in part
        origin = origin_of(execute, names)
    ((removed,),) = execute(f"SELECT coalesce(max(removed), 0) FROM {names.head} WHERE id = 0")
    for name, part, parts, moved_at, failures, count in found:
        table = ConsumerTable(names, ConsumerKey(name, part, parts))
        stored = table.load_known(execute)
        has_lost = origin not in (None, stored.origin) or removed >= stored.position.oldest
        left_behind = {relation: table.lag(execute, at) for relation, at in stored.apart.items()}
        yield ConsumerStatus(
            name,
            (part, parts),
            table.lag(execute, stored.position),
            moved_at,
            failures,
            count,
            names.head,
            left_behind,
            has_lost,
        )
