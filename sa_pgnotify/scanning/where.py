"""The condition of a backfill, as JSON and back.

It is stored in the table of consumers, for whichever process reads the rows. SQL text would let
each role that may write to that table run SQL as the role of a consumer. So a tree of comparisons
between columns and values is stored, and an expression is built of it anew.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from sqlalchemy import (
    BindParameter,
    BooleanClauseList,
    Column,
    ColumnElement,
    Connection,
    False_,
    Null,
    Table,
    True_,
    and_,
    false,
    func,
    literal_column,
    not_,
    null,
    or_,
    select,
    true,
)
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import AsBoolean, BinaryExpression, Grouping, UnaryExpression

from ..errors import NotifyConfigError
from ..sql import literal

__all__ = ["where_from_json", "where_to_json"]

_COMPARISONS: dict[str, Callable[..., Any]] = {
    "eq": operators.eq,
    "ne": operators.ne,
    "lt": operators.lt,
    "le": operators.le,
    "gt": operators.gt,
    "ge": operators.ge,
    "is": operators.is_,
    "is not": operators.is_not,
    "is distinct from": operators.is_distinct_from,
    "is not distinct from": operators.is_not_distinct_from,
    "in": operators.in_op,
    "not in": operators.not_in_op,
    "like": operators.like_op,
    "not like": operators.not_like_op,
    "ilike": operators.ilike_op,
    "not ilike": operators.not_ilike_op,
    "between": operators.between_op,
    "not between": operators.not_between_op,
}
_NAMES = {comparison: name for name, comparison in _COMPARISONS.items()}
_CONSTANTS: dict[str, Callable[[], Any]] = {"null": null, "true": true, "false": false}
_CONSTANT_NAMES: dict[type, str] = {Null: "null", True_: "true", False_: "false"}
Tree = list[Any]


def where_to_json(connection: Connection, where: Any, tables: Iterable[Table], subject: str) -> str:
    """Return a condition as JSON.

    :param connection: writes each value as PostgreSQL does.
    :param tables: those whose columns the condition may compare.
    :raises NotifyConfigError: if it is not a tree of comparisons between these columns and values.
    """
    return json.dumps(_Writer(connection, tables, subject).condition(where))


class _Writer:
    def __init__(self, connection: Connection, tables: Iterable[Table], subject: str) -> None:
        self._connection = connection
        self._keys = {table.key for table in tables}
        self._subject = subject

    def _refuse(self, part: Any) -> NoReturn:
        raise NotifyConfigError(
            self._subject,
            f"where has {str(part)!r}, which is not a comparison of its columns with values",
            "Use ==, !=, <, <=, >, >=, in_(), between(), like() and is_() on its columns, joined by and_(), or_() and not_()",
        )

    def condition(self, part: Any) -> Tree:
        part = _bare(part)
        if isinstance(part, BooleanClauseList):
            name = "and" if part.operator is operators.and_ else "or"
            return [name, *map(self.condition, part.clauses)]
        if isinstance(part, AsBoolean):
            inner = self.condition(part.element)
            return ["not", inner] if part.operator is operators.is_false else inner
        if isinstance(part, UnaryExpression) and part.operator is operators.inv:
            return ["not", self.condition(part.element)]
        if isinstance(part, BinaryExpression):
            return self._comparison(part)
        return self._column(part)

    def _comparison(self, part: BinaryExpression[Any]) -> Tree:
        name = _NAMES.get(part.operator)
        if name is None or any(part.modifiers.values()):
            self._refuse(part)
        right = _bare(part.right)
        many = right.clauses if hasattr(right, "clauses") else [right]
        return [name, self._column(_bare(part.left)), *map(self._operand, many)]

    def _column(self, part: Any) -> Tree:
        table = getattr(part, "table", None)
        if (
            not isinstance(part, Column)
            or not isinstance(table, Table)
            or table.key not in self._keys
        ):
            self._refuse(part)
        return ["column", table.key, part.key]

    def _operand(self, part: Any) -> Tree:
        part = _bare(part)
        if constant := _CONSTANT_NAMES.get(type(part)):
            return [constant]
        if not isinstance(part, BindParameter):
            return self._column(part)
        value: Any = part.effective_value
        if part.expanding:
            return ["values", *(self._text(part, one) for one in value)]
        return ["value", self._text(part, value)]

    def _text(self, part: BindParameter[Any], value: Any) -> str | None:
        """Return a value as PostgreSQL writes it."""
        if value is None:
            return None
        parameter = BindParameter(None, value, type_=part.type)
        return str(self._connection.execute(select(func.pg_catalog.concat(parameter))).scalar_one())


def where_from_json(text: str, tables: Iterable[Table]) -> ColumnElement[bool] | None:
    """Return the condition that was stored; None if there is none.

    :raises ValueError: if it is not what :func:`where_to_json` has written for these tables.
    """
    if not text:
        return None
    by_key = {table.key: table for table in tables}
    try:
        found: ColumnElement[bool] = _condition(json.loads(text), by_key)
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(f"{text!r} is not a condition on {', '.join(by_key)}") from error
    return found


def _condition(tree: Tree, tables: dict[str, Table]) -> Any:
    name, *parts = tree
    if name in ("and", "or"):
        join = and_ if name == "and" else or_
        return join(*(_condition(part, tables) for part in parts))
    if name == "not":
        return not_(_condition(parts[0], tables))
    if name == "column":
        return tables[parts[0]].columns[parts[1]]
    left, *operands = (_operand(part, tables) for part in parts)
    return _COMPARISONS[name](left, *operands)


def _operand(tree: Tree, tables: dict[str, Table]) -> Any:
    name, *parts = tree
    if name == "column":
        return tables[parts[0]].columns[parts[1]]
    if name in _CONSTANTS:
        return _CONSTANTS[name]()
    values = [null() if part is None else literal_column(literal(part)) for part in parts]
    return values if name == "values" else values[0]


def _bare(part: Any) -> Any:
    """Return an expression without the parentheses around it; a mapped attribute as its column."""
    if hasattr(part, "__clause_element__"):
        part = part.__clause_element__()
    while isinstance(part, Grouping):
        part = part.element
    return part
