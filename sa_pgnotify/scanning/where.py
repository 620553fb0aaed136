"""The condition of a backfill, as JSON and back.

It is stored in the table of consumers, for whichever process reads the rows. SQL text would let
each role that may write to that table run SQL as the role of a consumer. So a tree of comparisons
between columns and values is stored, and an expression is built of it anew. Its operators are
written with their schema, see :mod:`sa_pgnotify.scanning.operators`.
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
from sqlalchemy.exc import ArgumentError
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import AsBoolean, BinaryExpression, Grouping, UnaryExpression

from ..errors import NotifyConfigError
from ..sql import literal
from .operators import qualified

__all__ = ["where_from_json", "where_to_json"]

Operators = Callable[[Column[Any]], str]
"""Returns the schema, as SQL, of the operators of a column."""
_BY_SYMBOL: dict[str, tuple[Any, str]] = {
    "eq": (operators.eq, "="),
    "ne": (operators.ne, "<>"),
    "lt": (operators.lt, "<"),
    "le": (operators.le, "<="),
    "gt": (operators.gt, ">"),
    "ge": (operators.ge, ">="),
    "like": (operators.like_op, "~~"),
    "not like": (operators.not_like_op, "!~~"),
    "ilike": (operators.ilike_op, "~~*"),
    "not ilike": (operators.not_ilike_op, "!~~*"),
}
_BY_WORD: dict[str, Any] = {
    "is": operators.is_,
    "is not": operators.is_not,
    "is distinct from": operators.is_distinct_from,
    "is not distinct from": operators.is_not_distinct_from,
    "in": operators.in_op,
    "not in": operators.not_in_op,
    "between": operators.between_op,
    "not between": operators.not_between_op,
}
_NAMES = {operator: name for name, (operator, _) in _BY_SYMBOL.items()} | {
    operator: name for name, operator in _BY_WORD.items()
}
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


def where_from_json(
    text: str, tables: Iterable[Table], schema_of: Operators
) -> ColumnElement[bool] | None:
    """Return the condition that was stored; None if there is none.

    :param schema_of: see :data:`Operators`.
    :raises ValueError: if it is not what :func:`where_to_json` has written for these tables.
    """
    if not text:
        return None
    by_key = {table.key: table for table in tables}
    try:
        found: ColumnElement[bool] = _condition(json.loads(text), by_key, schema_of)
    except (KeyError, IndexError, TypeError, RecursionError, ArgumentError) as error:
        raise ValueError(f"{text[:200]!r} is not a condition on {', '.join(by_key)}") from error
    return found


def _condition(tree: Tree, tables: dict[str, Table], schema_of: Operators) -> Any:
    name, *parts = tree
    if name in ("and", "or"):
        join = and_ if name == "and" else or_
        return join(*(_condition(part, tables, schema_of) for part in parts))
    if name == "not":
        return not_(_condition(parts[0], tables, schema_of))
    if name == "column":
        return tables[parts[0]].columns[parts[1]]
    left, *operands = (_operand(part, tables) for part in parts)
    if not isinstance(left, Column):
        raise TypeError(f"{left!r} is not a column")
    if any(isinstance(operand, list) != (name in ("in", "not in")) for operand in operands):
        raise TypeError(f"{name!r} does not compare with {operands!r}")
    return _compared(name, left, operands, schema_of(left))


def _compared(name: str, left: Any, operands: list[Any], schema: str) -> Any:
    """Return a comparison of a column.

    SQL's own words, such as IN and BETWEEN, look for operators without a schema, so they are written
    as what they stand for.
    """

    def by(comparison: str, right: Any) -> Any:
        return left.bool_op(qualified(_BY_SYMBOL[comparison][1], schema))(right)

    right = operands[0]
    if name in _BY_SYMBOL:
        return by(name, right)
    if name in ("is", "is not"):
        return _BY_WORD[name](left, right)
    if name == "in":
        return or_(false(), *(by("eq", one) for one in right))
    if name == "not in":
        return and_(true(), *(by("ne", one) for one in right))
    if name == "between":
        return and_(by("ge", right), by("le", operands[1]))
    if name == "not between":
        return or_(by("lt", right), by("gt", operands[1]))
    is_same = or_(by("eq", right).is_(true()), and_(left.is_(null()), right.is_(null())))
    return {"is not distinct from": is_same, "is distinct from": not_(is_same)}[name]


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
