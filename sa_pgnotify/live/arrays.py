"""Sending many values as one array parameter, so that the text of a statement does not depend on
their number."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    ColumnElement,
    Date,
    DateTime,
    Enum,
    Float,
    Integer,
    Numeric,
    SmallInteger,
    String,
    Time,
    Uuid,
    any_,
    bindparam,
    cast,
    func,
    select,
    tuple_,
)
from sqlalchemy.dialects.postgresql import CITEXT
from sqlalchemy.types import REAL, TypeEngine

__all__ = ["array_of", "array_type", "is_exact", "is_one_of"]

_AS_THEY_ARE = (BigInteger, SmallInteger, Integer, Boolean, Date, DateTime, Time, Uuid, Enum)


def array_type(of: TypeEngine[Any]) -> ARRAY[Any] | None:
    """Return the type of an array of such values; None if they cannot be sent as an array.

    A length or a precision is left out, because a cast to it would truncate a string or round a
    number.
    """
    if isinstance(of, Enum):
        return ARRAY(of) if of.native_enum else None
    if isinstance(of, CITEXT | Float):  # 0.1 as real is not 0.1 as double precision
        return ARRAY(of)
    if isinstance(of, String) and type(of).__module__.startswith("sqlalchemy."):
        return ARRAY(String())
    if isinstance(of, Numeric) and type(of).__module__.startswith("sqlalchemy."):
        return ARRAY(Numeric())
    return ARRAY(of) if isinstance(of, _AS_THEY_ARE) else None


def is_exact(value: Any, of: TypeEngine[Any]) -> bool:
    """Return whether a cast of a parameter to its SQL type keeps its value.

    A cast would round 1.5 to an integer, and a datetime to a date.
    """
    if isinstance(of, Integer):
        return value is None or isinstance(value, int)
    if isinstance(of, Date):
        return not isinstance(value, datetime)
    return not isinstance(of, REAL) and not (isinstance(of, Float) and (of.precision or 53) < 25)


def array_of(values: Sequence[Any], of: ARRAY[Any]) -> ColumnElement[Any]:
    """Return an array parameter."""
    return cast(bindparam(None, list(values), type_=of, unique=True), of)


def is_one_of(columns: Sequence[ColumnElement[Any]], tuples: Sequence[Any]) -> ColumnElement[bool]:
    """Return the condition that the values of ``columns`` are one of ``tuples``."""
    types = [array_type(column.type) for column in columns]
    if any(of is None for of in types):
        return tuple_(*columns).in_(tuples)
    arrays = [array_of(each, of) for each, of in zip(zip(*tuples), types) if of is not None]
    if len(columns) == 1:
        return columns[0] == any_(arrays[0])
    names = [f"k{i}" for i in range(len(columns))]
    wanted = func.unnest(*arrays).table_valued(*names).render_derived(name="wanted")
    return tuple_(*columns).in_(select(*(wanted.c[name] for name in names)))
