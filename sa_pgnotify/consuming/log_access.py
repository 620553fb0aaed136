"""The change log behind an engine or connection of the program."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, MetaData, Table

from ..errors import PgNotifyError
from ..log.tables import ChangeLog, LogNames, find_log
from ..marking.sources import expand
from ..protocol.channels import RELATION
from ..sql import Execute, literal, schema_translation, table_name

__all__ = ["connected", "log_names_of", "log_of", "names_for", "relation_names"]


@contextmanager
def connected(bind: Engine | Connection) -> Iterator[Connection]:
    """Yield the connection that was given, or a new one of the engine, in a transaction that is
    committed at the end."""
    if isinstance(bind, Connection):
        yield bind
    else:
        with (
            bind.connect().execution_options(isolation_level="READ COMMITTED") as connection,
            connection.begin(),
        ):
            yield connection


def log_of(metadata: MetaData) -> ChangeLog:
    """Return the change log of a MetaData.

    :raises PgNotifyError: if it has none.
    """
    log = find_log(metadata)
    if log is None:
        raise PgNotifyError(
            "this MetaData has no change log: none of its tables is marked durable=True"
        )
    return log


def names_for(bind: Engine | Connection, log: ChangeLog) -> LogNames:
    """Return the names of a log's tables in the database of ``bind``."""
    return LogNames(schema_translation(bind)(log.names.schema))


def log_names_of(bind: Engine | Connection, entities: tuple[Any, ...]) -> LogNames:
    """Return the names of the tables of the change log of ``entities``."""
    table: Table = next(iter(expand(entities).tables))
    return names_for(bind, log_of(table.metadata))


def relation_names(
    execute: Execute, bind: Engine | Connection, table: Table, known: Iterable[str]
) -> list[str]:
    """Return the names in messages of a table; as it is written in SQL if there is none.

    :param known: names in messages, for tables that no longer exist in the database.
    """
    text = table_name(bind, table)
    name = RELATION.format(schema="n.nspname", table="c.relname")
    there = f"c.oid = pg_catalog.to_regclass({literal(text)})::oid"
    rows = execute(
        f"SELECT {name} FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE {there}"
    )
    if found := [str(name) for (name,) in rows]:
        return found
    is_bare = schema_translation(bind)(table.schema) is None
    ending = f".{text}" if is_bare else text
    return [name for name in known if name.endswith(ending)] or [text]
