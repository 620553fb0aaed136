"""The order of a table's rows by their identity, as PostgreSQL has it.

Only the server can compare two values of any type under any collation. So a place in the order is
kept as texts, and each comparison is made by the server, with the types and collations of the
columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, literal_column, tuple_

from ..sql import Execute, literal
from .operators import operator_schemas, qualified

__all__ = ["KeyOrder"]

_PLAIN = {f"pg_catalog.{name}" for name in ("int2", "int4", "int8", "text", "varchar")}
"""Types of whose values Python's ``str()`` is PostgreSQL's text."""
Key = tuple[str, ...]
"""PostgreSQL's texts of the identity of a row."""


class KeyOrder:
    """The order of the rows of a table.

    :param relation: the table as SQL.
    :param names: the columns of the identity, by their names in the database, in order.
    """

    def __init__(self, execute: Execute, relation: str, names: Sequence[str]) -> None:
        listed = ", ".join(map(literal, names))
        rows = execute(
            "SELECT a.attname, pg_catalog.concat(pg_catalog.quote_ident(tn.nspname), '.', pg_catalog.quote_ident(t.typname)), "
            "CASE WHEN c.oid IS NOT NULL THEN "
            "pg_catalog.concat(' COLLATE ', pg_catalog.quote_ident(cn.nspname), '.', pg_catalog.quote_ident(c.collname)) ELSE '' END "
            "FROM pg_catalog.pg_attribute AS a JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid "
            "JOIN pg_catalog.pg_namespace AS tn ON tn.oid = t.typnamespace "
            "LEFT JOIN pg_catalog.pg_collation AS c ON c.oid = a.attcollation "
            "LEFT JOIN pg_catalog.pg_namespace AS cn ON cn.oid = c.collnamespace "
            f"WHERE a.attrelid = {literal(relation)}::pg_catalog.regclass::oid AND a.attname IN ({listed})"
        )
        types = {name: (type_, collation) for name, type_, collation in rows}
        self._types = [types[name] for name in names]
        schemas = operator_schemas(execute, relation)
        self._schemas = {schemas[name] for name in names}

    @property
    def is_plain(self) -> bool:
        """Whether ``str()`` makes PostgreSQL's texts of all values, as the driver gives them."""
        return all(type_ in _PLAIN for type_, _ in self._types)

    def _operator(self, name: str) -> str:
        """Return a comparison of whole identities, as SQL.

        If it takes operators of several schemas, none can be named. Then PostgreSQL refuses each
        operator that is in no operator class of a B-tree, and calls none of another role.
        """
        if len(self._schemas) > 1:
            return name
        (schema,) = self._schemas
        return qualified(name, schema)

    def _values(self, texts: Sequence[str]) -> list[str]:
        """Return the SQL of each value; ``texts`` is SQL of the texts."""
        return [
            f"({text})::{type_}{collation}" for text, (type_, collation) in zip(texts, self._types)
        ]

    def behind(self, columns: Sequence[ColumnElement[Any]], place: Key) -> ColumnElement[bool]:
        """Return a condition that a row lies behind ``place``.

        :param columns: those of the identity, in order.
        """
        values: list[ColumnElement[Any]] = [
            literal_column(value) for value in self._values(list(map(literal, place)))
        ]
        greater = self._operator(">")
        if len(values) == 1:
            return columns[0].bool_op(greater)(values[0])
        return tuple_(*columns).bool_op(greater)(tuple_(*values))

    def reached(self, execute: Execute, place: Key, keys: Iterable[Key]) -> list[bool]:
        """Return for each of ``keys`` whether it lies at ``place`` or before it."""
        wanted = list(keys)
        if not wanted:
            return []
        names = [f"k{i}" for i in range(len(place))]
        arrays = ", ".join(
            f"pg_catalog.unnest(ARRAY[{', '.join(map(literal, column))}]::text[])"
            for column in zip(*wanted)
        )
        left, right = (
            ", ".join(self._values(texts)) for texts in (names, list(map(literal, place)))
        )
        rows = execute(
            f"SELECT (ROW({left}) {self._operator('<=')} ROW({right}))::int FROM ROWS FROM ({arrays}) "
            f"WITH ORDINALITY AS k ({', '.join(names)}, n) ORDER BY n"
        )
        return [bool(reached) for (reached,) in rows]
