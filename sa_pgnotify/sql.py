"""Names and values as SQL text.

SQLAlchemy's dialect quotes them, so that none of them can become anything else than a name or a
value.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Iterable
from typing import Any

from sqlalchemy import Connection, String, Table
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.orm import scoped_session

__all__ = [
    "RENDERING",
    "Execute",
    "catalog_name",
    "dollar_quoted",
    "execute_on",
    "literal",
    "quote",
    "quote_always",
    "schema_translation",
    "sqlstate_of",
    "table_name",
    "unscoped",
]

# "named": a dialect that neither doubles percent signs nor writes placeholders, so that PostgreSQL
# can read its text as it is. Backslashes stay single, as under standard_conforming_strings, which
# the functions set.
RENDERING = PGDialect(paramstyle="named")  # type: ignore[no-untyped-call]
RENDERING._backslash_escapes = False
# PL/pgSQL's own: it reads row.begin as a row and a statement. SQLAlchemy quotes the words of SQL.
RENDERING.identifier_preparer.reserved_words = {
    *RENDERING.identifier_preparer.reserved_words,
    *("begin", "by", "declare", "execute", "foreach", "if", "loop", "strict", "while"),
}
_FOLDED = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def catalog_name(name: str) -> str:
    """Return the name under which PostgreSQL keeps what SQLAlchemy creates as ``name``.

    A name with ``quote=False`` is written without quotes, and PostgreSQL folds its ASCII letters to
    lower case.
    """
    if getattr(name, "quote", None) is not False:
        return str.__str__(name)
    if len(name) > 1 and name[0] == name[-1] == '"':  # the program quoted it itself
        return name[1:-1].replace('""', '"')
    return str.translate(name, _FOLDED)


def quote(name: str) -> str:
    """Return ``name`` as an SQL identifier."""
    return str(RENDERING.identifier_preparer.quote(name))


def quote_always(name: str) -> str:
    """Return ``name`` as an SQL identifier in quotes, so that it keeps its case."""
    return str(RENDERING.identifier_preparer.quote_identifier(name))


def literal(value: str) -> str:
    """Return ``value`` as an SQL string literal, the same under any
    ``standard_conforming_strings``."""
    processor = String().literal_processor(RENDERING)  # type: ignore[no-untyped-call]
    assert processor is not None
    return (
        f"E{processor(value.replace(chr(92), chr(92) * 2))}" if "\\" in value else processor(value)
    )


def dollar_quoted(text: str, tag: str) -> str:
    """Return ``text`` between dollar quotes that do not occur in it."""
    while f"${tag}$" in text:
        tag += "_"
    return f"${tag}${text}${tag}$"


Execute = Callable[[str], Iterable[Any]]
"""Runs SQL text that has no parameters and returns its rows, on an SQLAlchemy connection or on a
listener's own."""


def execute_on(connection: Connection) -> Execute:
    """Return the function that runs SQL text, unchanged, on an SQLAlchemy connection."""
    doubles = connection.dialect.paramstyle in ("format", "pyformat")
    return lambda sql: connection.exec_driver_sql(sql.replace("%", "%%") if doubles else sql)


def schema_translation(bind: Any) -> Callable[[str | None], str | None]:
    """Return the function that maps a declared schema to the one in force on an engine or
    connection (``schema_translate_map``)."""
    translations = bind.get_execution_options().get("schema_translate_map") or {}
    return lambda schema: translations.get(schema, schema)


def table_name(bind: Any, table: Table) -> str:
    """Return the name of a table as SQL, in the schema that is in force on an engine or
    connection."""
    schema = schema_translation(bind)(table.schema)
    return quote(table.name) if schema is None else f"{quote(schema)}.{quote(table.name)}"


def unscoped(bind: Any) -> Any:
    """Return the session behind a ``scoped_session``; anything else as it is."""
    return bind() if isinstance(bind, scoped_session) else bind


def sqlstate_of(error: BaseException | None) -> str | None:
    """Return PostgreSQL's code of an error that a driver raised; None if it has none."""
    return getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
