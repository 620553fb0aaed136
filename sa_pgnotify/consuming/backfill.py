"""Storing the request that a consumer gives out existing rows among the changes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Engine, and_, inspect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Mapper

from ..errors import NotifyConfigError, PgNotifyError
from ..log.scans import Scan
from ..marking.sources import expand
from ..marking.spec import marking_of
from ..protocol.settings import fix_output
from ..scanning.entity_rows import EntityRows, root_mapper, root_table
from ..scanning.where import where_to_json
from ..sql import execute_on
from .log_access import connected, log_names_of, relation_names
from .positions import ConsumerKey, ConsumerTable, StoredPosition

__all__ = ["backfill"]


def backfill(
    bind: Engine, key: ConsumerKey, entities: tuple[Any, ...], entity: Any, where: Any
) -> None:
    """Store for a consumer that it gives out the rows of an entity.

    :raises NotifyConfigError: if the rows cannot be read, or the condition cannot be stored.
    :raises PgNotifyError: if the consumer is not known in the database.
    """
    with connected(bind) as connection:
        execute, names = execute_on(connection), log_names_of(bind, entities)
        table = ConsumerTable(names, key)
        fix_output(execute)
        if table.lock(execute) is None:
            raise table.unknown()
        stored = table.load_known(execute)
        rows = _rows(connection, bind, entity, stored, key)
        condition = _of_class(entity, where)
        subject = getattr(entity, "__name__", rows.table.fullname)
        text = (
            "" if condition is None else where_to_json(connection, condition, rows.tables, subject)
        )
        try:
            estimate = rows.estimate(connection, rows.condition(connection, text))
        except DBAPIError as error:
            raise NotifyConfigError(
                subject, f"PostgreSQL cannot read these rows: {str(error.orig).strip()}"
            ) from error
        scan = Scan(rows.relation, starts=False, where=text, estimate=estimate)
        to = replace(stored.position, scans=(*stored.position.scans, scan))
        table.move(execute, to, origin=stored.origin)


def _rows(
    connection: Connection, bind: Engine, entity: Any, stored: StoredPosition, key: ConsumerKey
) -> EntityRows:
    wanted = expand((entity,)).tables
    roots = [t for t, interest in wanted.items() if root_table(t, interest.mapper) is t]
    if len(roots) != 1:
        raise NotifyConfigError(
            "backfill",
            f"{entity!r} is not one entity, it has the rows of {', '.join(t.fullname for t in roots)}",
            "Give one mapped class, or with concrete inheritance the Table of one",
        )
    (table,) = roots
    marking = marking_of(table)
    assert marking is not None  # expand() takes marked tables only
    names = relation_names(execute_on(connection), bind, table, stored.known)
    relation = next((name for name in names if name in stored.known), None)
    if relation is None:
        raise PgNotifyError(
            f"the consumer {key} does not read {table.fullname}",
            "Give an entity that it reads",
        )
    return EntityRows(connection, relation, table, wanted[table], marking.key)


def _of_class(entity: Any, where: Any) -> Any:
    """Return the condition, with one for the classes below a base class."""
    mapper: Mapper[Any] | None = (
        inspect(entity, raiseerr=False) if isinstance(entity, type) else None
    )
    if mapper is None or mapper is root_mapper(mapper) or mapper.polymorphic_on is None:
        return where
    classes = mapper.polymorphic_on.in_(
        [m.polymorphic_identity for m in mapper.self_and_descendants]
    )
    return classes if where is None else and_(classes, where)
