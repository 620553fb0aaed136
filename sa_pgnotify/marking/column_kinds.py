"""Columns whose stored value a trigger cannot see, or a SELECT does not return.

PostgreSQL's system columns are not in a statement's transition tables; a type with
``column_expression()`` wraps its column in SQL whenever the column is selected, so that the stored
value is not the one that a program reads.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column
from sqlalchemy.types import TypeEngine

from ..sql import RENDERING

__all__ = ["SYSTEM_COLUMNS", "hidden", "is_read_by_expression", "is_system"]

SYSTEM_COLUMNS = ("tableoid", "xmin", "cmin", "xmax", "cmax", "ctid")
"""The names that PostgreSQL reserves for them."""


def is_system(column: Column[Any]) -> bool:
    """Return whether ``column`` is one of PostgreSQL's system columns, whether or not its model
    says so."""
    return column.system or column.name in SYSTEM_COLUMNS


def is_read_by_expression(type_: TypeEngine[Any]) -> bool:
    """Return whether a SELECT wraps a column of this type in an SQL expression
    (``column_expression()``)."""
    known = type_.dialect_impl(RENDERING)
    if not known._has_column_expression:
        return False
    probe: Column[Any] = Column("probe", type_)
    try:
        wrapped = known.column_expression(probe)
    except Exception:  # it is the user's own code, and may need a column of a table
        return True
    return wrapped is not None and wrapped is not probe


def hidden(column: Column[Any]) -> str | None:
    """Return why no event can carry the value of a column, to be put behind its name; None if one
    can."""
    if is_system(column):
        return "is a system column of PostgreSQL: no trigger can compare or read it"
    if is_read_by_expression(column.type):
        return "is read through an SQL expression (column_expression() of its type): a trigger sees only what is stored"
    return None
