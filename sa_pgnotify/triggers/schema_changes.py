"""What ``create_all`` and ``drop_all`` do about triggers, called by the hooks.

SQLAlchemy calls hooks for every MetaData of the program, so each function first asks whether any of
the tables is marked.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, MetaData, Table
from sqlalchemy.sql.ddl import SchemaDropper, SchemaGenerator

from ..log.tables import ChangeLog, find_log
from ..marking.spec import Marking, marking_of
from ..sql import execute_on, schema_translation
from .catalog import Installed, installed, marked_sets
from .ddl import CreateNotifyTriggers, DropNotifyTriggers
from .drift import compare
from .log_users import refuse_to_drop_a_shared_log
from .relations import refuse_relations
from .trigger_set import TriggerSet

__all__ = [
    "after_create_all",
    "after_create_table",
    "after_drop_all",
    "after_drop_table",
    "before_create_all",
    "before_drop_all",
]

logger = logging.getLogger("sa_pgnotify")


def before_create_all(
    metadata: MetaData, connection: Any, tables: Any, _ddl_runner: Any, **_: Any
) -> None:
    # A relation that cannot have triggers exists already: refuse it before anything is created.
    if isinstance(_ddl_runner, SchemaGenerator) and isinstance(connection, Connection) and tables:
        there = _marked(
            connection, set(_ddl_runner.tables or metadata.tables.values()) - set(tables)
        )
        refuse_relations(connection, marked_sets(there, schema_translation(connection)))


def after_create_all(metadata: MetaData, connection: Any, _ddl_runner: Any, **_: Any) -> None:
    # Migrations run other runners: they install triggers by operations of their own, frozen at the
    # time of writing.
    if isinstance(_ddl_runner, SchemaGenerator):
        _install(
            connection,
            _ddl_runner.tables or metadata.tables.values(),
            with_log=_ddl_runner.tables is None,
        )


def after_create_table(
    table: Table, connection: Any, _ddl_runner: Any, _is_metadata_operation: bool = False, **_: Any
) -> None:
    if isinstance(_ddl_runner, SchemaGenerator) and not _is_metadata_operation:
        _install(connection, [table], with_log=False)


def before_drop_all(metadata: MetaData, connection: Any, _ddl_runner: Any, **_: Any) -> None:
    if isinstance(_ddl_runner, SchemaDropper):
        tables = list(_ddl_runner.tables or metadata.tables.values())
        if isinstance(connection, Connection) and connection.dialect.name == "postgresql":
            refuse_to_drop_a_shared_log(
                connection, metadata, tables, schema_translation(connection)
            )
        # While their log exists, so that its listeners can be notified.
        _remove(connection, [t for t in tables if _durable(t)])


def after_drop_all(metadata: MetaData, connection: Any, _ddl_runner: Any, **_: Any) -> None:
    if isinstance(_ddl_runner, SchemaDropper):
        _remove(connection, _ddl_runner.tables or metadata.tables.values())


def after_drop_table(
    table: Table, connection: Any, _ddl_runner: Any, _is_metadata_operation: bool = False, **_: Any
) -> None:
    if isinstance(_ddl_runner, SchemaDropper) and not _is_metadata_operation:
        _remove(connection, [table])


def _install(connection: Any, tables: Iterable[Table], *, with_log: bool) -> None:
    """Install what is missing or outdated; if nothing is, this takes one query and no lock.

    :param with_log: whether the tables of the change log were created too, or existed.
    """
    marked = _marked(connection, tables)
    statements = {table: CreateNotifyTriggers(table) for table in marked}
    if isinstance(connection, Connection) and marked:
        sets = marked_sets(marked, schema_translation(connection))
        found = installed(execute_on(connection), sets.values())
        marked = [t for t, wanted in sets.items() if _can_be_fixed(t, wanted, found.get(wanted))]
        refuse_relations(connection, {t: sets[t] for t in marked})
        for table, statement in statements.items():
            if (there := found.get(sets[table])) is not None:
                statement.triggers = there.fitted(statement.triggers)
    for metadata, schema in {
        t.metadata: marking.log_schema for t in marked if (marking := _durable(t)) is not None
    }.items():
        log = find_log(metadata)
        # A table that was copied into another MetaData comes without its log.
        if log is None or not with_log:
            metadata.create_all(connection, (log or ChangeLog(metadata, schema=schema)).tables)
    for table in marked:
        connection.execute(statements[table])


def _can_be_fixed(table: Table, wanted: TriggerSet, found: Installed | None) -> bool:
    """Return whether the table's triggers are not what they should be, and the table has the
    columns that they need."""
    if found is not None and (absent := found.lacks(wanted)):
        names = ", ".join(f"column {name}" for name in absent)
        logger.warning(
            "%s lacks %s: its triggers are left as they are, because they would read it",
            table.fullname,
            names,
        )
        return False
    return any(drift.kind != "disabled" for drift in compare(wanted, found, table.fullname))


def _remove(connection: Any, tables: Iterable[Table]) -> None:
    for table in _marked(connection, tables):
        connection.execute(DropNotifyTriggers(table))


def _durable(table: Table) -> Marking | None:
    """Return the marking of a table whose changes go into a log; None for other tables."""
    marking = marking_of(table)
    return marking if marking is not None and marking.durable else None


def _marked(connection: Any, tables: Iterable[Table]) -> list[Table]:
    return (
        [t for t in tables if marking_of(t) is not None]
        if connection.dialect.name == "postgresql"
        else []
    )
