"""The other users of a change log: tables and consumers of other programs, which would lose their
changes by the ``drop_all`` of this one.

Programs that share a database share its change log, unless each gives its log a schema of its own.
A MetaData knows nothing about other programs, so the comments on the trigger functions and the
table of consumers are read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress

from sqlalchemy import Connection, MetaData, Table

from ..errors import ChangeLogInUse
from ..log.captures import find_slot
from ..log.tables import TABLE_NAMES, LogNames, find_log
from ..sql import Execute, execute_on, literal
from .catalog import functions

__all__ = ["refuse_to_drop_a_shared_log"]

Place = tuple[str, str]
"""Schema and name of a table."""


def refuse_to_drop_a_shared_log(
    connection: Connection,
    metadata: MetaData,
    dropped: Collection[Table],
    schema_of: Callable[[str | None], str | None],
) -> None:
    """Refuse to drop a change log that others use.

    :param dropped: the tables that are about to be dropped.
    :param schema_of: a declared schema to the schema in force (``schema_translate_map``).
    :raises ChangeLogInUse: if triggers of tables that are not in ``metadata`` write to the log, or
        consumers read changes of such tables.
    """
    log = find_log(metadata)
    if log is None or not any(
        t.name in TABLE_NAMES and t.schema == log.names.schema for t in dropped
    ):
        return
    execute = execute_on(connection)
    ((default,),) = execute("SELECT pg_catalog.current_schema()::text")

    def places(tables: Iterable[Table]) -> set[Place]:
        return {(schema_of(t.schema) or default, t.name) for t in tables}

    names, own = LogNames(schema_of(log.names.schema) or default), places(metadata.tables.values())
    tables = _writers(execute, names, default) - own
    consumers = _consumers(execute, names, own)
    if tables or consumers:
        raise ChangeLogInUse(
            names.head,
            tuple(sorted(f"{schema}.{table}" for schema, table in tables)),
            tuple(consumers),
        )


def _writers(execute: Execute, names: LogNames, default: str | None) -> set[Place]:
    """Return the tables whose triggers write to the log."""
    found: set[Place] = set()
    for f in functions(execute):
        if (
            f.table_schema is not None
            and f.table is not None
            and f.comment is not None
            and f.comment.get("durable")
        ):
            schema = f.comment.get("log_schema") or default
            if schema == names.schema:
                found.add((f.table_schema, f.table))
    return found | _published(execute, names)


def _published(execute: Execute, names: LogNames) -> set[Place]:
    """Return the tables whose changes are captured for the log."""
    slot = find_slot(execute, names)
    if slot is None:
        return set()
    sql = (
        "SELECT n.nspname::text, c.relname::text FROM pg_catalog.pg_publication_rel AS r"
        " JOIN pg_catalog.pg_publication AS p ON p.oid = r.prpubid"
        " JOIN pg_catalog.pg_class AS c ON c.oid = r.prrelid"
        f" JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE p.pubname = {literal(slot.publication)}"
    )
    return {(schema, table) for schema, table in execute(sql)}


def _consumers(execute: Execute, names: LogNames, own: set[Place]) -> list[str]:
    """Return the consumers that read changes of a table which exists and is not one of ``own``."""
    ((there,),) = execute(f"SELECT pg_catalog.to_regclass({literal(names.consumers)})::oid::bigint")
    if there is None:
        return []
    read: dict[str, set[str]] = {}
    for name, relations in execute(f"SELECT name, relations FROM {names.consumers} ORDER BY 1"):
        with suppress(ValueError):  # written by a newer version
            read.setdefault(name, set()).update(map(str, json.loads(relations)))
    wanted = ", ".join(f"({literal(relation)})" for relation in set().union(*read.values()))
    if not wanted:
        return []
    sql = (
        f"SELECT w.name, n.nspname::text, c.relname::text FROM (VALUES {wanted}) AS w (name)"
        " JOIN pg_catalog.pg_class AS c ON c.oid = pg_catalog.to_regclass(w.name)::oid"
        " JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace"
    )
    others = {relation for relation, *place in execute(sql) if tuple(place) not in own}
    return [name for name, relations in read.items() if relations & others]
