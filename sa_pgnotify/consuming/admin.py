"""Managing a consumer from outside, on any connection: read its lag, move it, forget it, and empty
its log."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Engine, MetaData

from ..errors import PgNotifyError
from ..log.origin import origin_of, resolve
from ..log.retention import LogState
from ..log.retention import prune as prune_log
from ..log.scans import Scan
from ..log.snapshots import Position, together
from ..log.tables import LogNames
from ..marking.sources import expand
from ..sql import Execute, execute_on, literal
from .log_access import connected, log_names_of, log_of, names_for, relation_names
from .places import without
from .positions import ConsumerKey, ConsumerTable, Lag, StoredPosition

__all__ = ["forget", "forget_in", "lag_of", "move_to", "prune", "seek"]


def lag_of(bind: Engine, key: ConsumerKey, entities: tuple[Any, ...]) -> Lag:
    """Return how far a consumer is behind."""
    with connected(bind) as connection:
        execute, table = execute_on(connection), ConsumerTable(log_names_of(bind, entities), key)
        stored = table.load_known(execute)
        wanted = _relations(execute, bind, stored.known, entities) if stored.apart else {}
        places = [stored.position, *(at for name, at in stored.apart.items() if name in wanted)]
        lags = [table.lag(execute, at) for at in places]
        return Lag(
            sum(lag.events for lag in lags),
            max(lag.seconds for lag in lags),
            sum(lag.rows_done for lag in lags),
            sum(lag.rows_estimate for lag in lags),
        )


def seek(bind: Engine, key: ConsumerKey, entities: tuple[Any, ...], place: str | Position) -> None:
    """Move a consumer, with all tables that have a place under its name."""
    with connected(bind) as connection:
        names = log_names_of(bind, entities)
        move_to(execute_on(connection), ConsumerTable(names, key), place)


def move_to(execute: Execute, table: ConsumerTable, place: str | Position) -> Position:
    """Move a consumer, and return the position where it was.

    :raises PgNotifyError: if the consumer is not known in the database.
    """
    if table.lock(execute) is None:
        raise table.unknown()
    found = table.load_known(execute)
    stored = replace(found, origin=origin_of(execute, table.names))
    at = resolve(execute, table.names, place)
    if not at.tables:
        at = replace(at, tables=together(stored.known))
    at = replace(at, scans=_scans_after_seek(at, stored))
    # A table that was not read together with the change begins where the window of the change
    # did, so that none of its changes is missed.
    keep = {
        name: Position(at.last, tables=((name, None),))
        for name in stored.known
        if name not in at.names
    }
    table.arrange(execute, stored, at, keep=keep)
    table.move(execute, at, origin=stored.origin)
    return found.position


def _scans_after_seek(at: Position, stored: StoredPosition) -> tuple[Scan, ...]:
    """Return the scans of ``at``, and those that the consumer has begun since, which go on."""
    places = (stored.position, *stored.apart.values())
    known = {_what(scan) for scan in at.scans}
    since = [scan for place in places for scan in place.scans if _what(scan) not in known]
    return (*at.scans, *since)


def _what(scan: Scan) -> tuple[str, bool, str]:
    return scan.relation, scan.starts, scan.where


def forget(bind: Engine | Connection, metadata: MetaData, name: str, *entities: Any) -> int:
    """Forget the position of a consumer that will not come back, so that the log need not be kept
    for it.

    ::

        forget(engine, Base.metadata, "billing")                    # the consumer
        forget(engine, Base.metadata, "billing", "public.orders")   # one table, which no version of it will read again

    :param entities: mapped classes, Tables, or names as in :attr:`ConsumerStatus.left_behind`, if
        only the places of these tables should be forgotten. A consumer that still reads one of them
        gives it a new place.
    :returns: how many positions were forgotten: one for each part, or for each table and part.
    :raises PgNotifyError: if one of ``entities`` has no place under the name.
    """
    with connected(bind) as connection:
        names = names_for(bind, log_of(metadata))
        return forget_in(connection, names, name, entities)


def forget_in(
    connection: Connection, names: LogNames, name: str, entities: Collection[Any] = ()
) -> int:
    """Forget a consumer in the log ``names``, or some of its tables, see :func:`forget`."""
    execute = execute_on(connection)
    if not entities:
        rows = execute(
            f"DELETE FROM {names.consumers} WHERE name = {literal(name)} RETURNING relation"
        )
        return sum(not relation for (relation,) in rows)
    stored = _lock_parts(execute, names, name)
    known = {relation for one in stored.values() for relation in one.known}
    wanted = _relations(execute, connection, known, entities)
    for relation, called in wanted.items():
        if relation not in known:
            listed = ", ".join(sorted(known)) or "no table"
            raise PgNotifyError(
                f"{called} has no place under the name {name!r}, which knows {listed}"
            )
    return sum(_forget_tables(execute, table, one, wanted.keys()) for table, one in stored.items())


def _lock_parts(
    execute: Execute, names: LogNames, name: str
) -> dict[ConsumerTable, StoredPosition]:
    """Lock the positions of all parts of a consumer, and return what is stored for each."""
    rows = execute(
        f"SELECT part, parts FROM {names.consumers} WHERE name = {literal(name)} AND relation = '' FOR UPDATE"
    )
    tables = [ConsumerTable(names, ConsumerKey(name, part, parts)) for part, parts in list(rows)]
    return {table: table.load_known(execute) for table in tables}


def _forget_tables(
    execute: Execute, table: ConsumerTable, stored: StoredPosition, relations: Collection[str]
) -> int:
    """Forget the places of ``relations`` in one part, and return how many there were."""
    at = without(stored.position, relations)
    if at != stored.position:
        table.arrange(execute, stored, at)
    listed = ", ".join(map(literal, relations))
    execute(
        f"DELETE FROM {table.names.consumers} WHERE {table.key.every} AND relation IN ({listed})"
    )
    return sum(relation in relations for relation in stored.known)


def prune(bind: Engine | Connection, metadata: MetaData) -> LogState:
    """Remove the changes that every consumer has passed, and those that exceed the limits of the
    :class:`~sa_pgnotify.ChangeLog`, as consumers do.

    This never waits: a slot that is in use at the moment is left for the next time.
    """
    log = log_of(metadata)
    with connected(bind) as connection:
        return prune_log(execute_on(connection), names_for(bind, log), log.settings)


def _relations(
    execute: Execute, bind: Engine | Connection, known: Iterable[str], entities: Iterable[Any]
) -> dict[str, str]:
    """Return the names that ``entities`` have in messages, each with its name in the program.

    :param known: the stored names, among which a table is found that no longer exists.
    """
    named = {entity: entity for entity in entities if isinstance(entity, str)}
    others = [entity for entity in entities if not isinstance(entity, str)]
    for table in expand(others).tables if others else ():
        found = relation_names(execute, bind, table, known)
        named.update(dict.fromkeys(found, table.fullname))
    return named
