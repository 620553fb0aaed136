"""What a SELECT through the ORM gives, and how the values of events differ from it."""

from __future__ import annotations

import decimal
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from kinds import Kind
from sqlalchemy.orm import DeclarativeBase, Session, mapped_column

from sa_pgnotify import (
    NotifyOnChange,
    NotifySpec,
    UndecodableValue,
)


class Raw(sa.types.UserDefinedType[Any]):
    """A type that SQLAlchemy knows nothing of."""

    cache_ok = True

    def __init__(self, name: str) -> None:
        self.name = name

    def get_col_spec(self, **_: Any) -> str:
        return self.name


def same(got: Any, expected: Any) -> bool:
    """Whether two values are equal in type and value, NaN, negative zero and the values within
    containers included."""
    if type(got) is not type(expected):
        return False
    if type(expected).__name__ == "Record":  # asyncpg's, of a composite type
        return same(tuple(got), tuple(expected))
    if isinstance(expected, list | tuple):
        return len(got) == len(expected) and all(map(same, got, expected))
    if isinstance(expected, dict):
        return list(got) == list(expected) and all(
            same(got[key], expected[key]) for key in expected
        )
    if isinstance(expected, float | decimal.Decimal):
        return repr(got) == repr(expected)
    try:
        return bool(got == expected)
    except TypeError:  # of ranges, one of which has a moment with a time zone
        return False


class Failed:
    """Stands for a value whose SELECT failed."""

    def __repr__(self) -> str:
        return "<the SELECT failed>"


FAILED = Failed()


def selected(kind: Any, engine: Any, entity: Any) -> list[dict[str, Any]]:
    """What a session loads, row by row; :data:`FAILED` for a value whose SELECT fails."""

    def load(connection: Any) -> list[dict[str, Any]]:
        with Session(connection) as session:
            ids = session.scalars(sa.select(entity.id).order_by(entity.id)).all()
            values = columns_of(session, entity, sa.inspect(entity).column_attrs.keys(), ids)
            return [
                {name: column[number] for name, column in values.items()}
                for number in range(len(ids))
            ]

    return kind.select(engine, load)


def columns_of(
    session: Session, entity: Any, names: list[str], ids: Sequence[int]
) -> dict[str, list[Any]]:
    """Each attribute's values of some rows; all in one SELECT, or where that fails in halves, down
    to one value."""
    asked = (
        sa.select(*[getattr(entity, name) for name in names])
        .where(entity.id.in_(ids))
        .order_by(entity.id)
    )
    try:
        rows = session.execute(asked).all()
    except Exception:
        session.rollback()
    else:
        return {name: [row[place] for row in rows] for place, name in enumerate(names)}
    if len(names) > 1:
        half = len(names) // 2
        return {
            k: v
            for part in (names[:half], names[half:])
            for k, v in columns_of(session, entity, part, ids).items()
        }
    if len(ids) > 1:
        (name,) = names
        half = len(ids) // 2
        return {
            name: [
                value
                for part in (ids[:half], ids[half:])
                for value in columns_of(session, entity, names, part)[name]
            ]
        }
    return {names[0]: [FAILED]}


def differences(
    events: list[Any], side: str, rows: list[dict[str, Any]]
) -> dict[tuple[int, str], tuple[Any, Any]]:
    """(row, attribute) to what the event says and what the SELECT gave, where these differ."""
    found = {}
    for number, (event, row) in enumerate(zip(events, rows, strict=True)):
        values = getattr(event, side)
        for name, expected in row.items():
            try:
                got = values[name]
            except UndecodableValue:
                got = FAILED
            if got is not expected and not same(got, expected):
                found[number, name] = (got, expected)
    return found


ODD_SESSION = (
    "SET DateStyle = 'SQL, DMY'",
    "SET TimeZone = 'Asia/Kolkata'",
    "SET bytea_output = 'escape'",
    "SET IntervalStyle = 'sql_standard'",
    "SET extra_float_digits = -5",
    "SET search_path = pg_temp, public",
    "SET xmlbinary = 'hex'",
)


def row_differences(
    events: list[Any], side: str, selected: list[dict[str, Any]]
) -> dict[tuple[int, str], tuple[Any, Any]]:
    """(row, attribute) to what the event says and what the SELECT gave, where these differ."""
    assert len(events) == len(selected)
    return {
        (row, name): (got.get(name, "nothing"), value)
        for row, (event, values) in enumerate(zip(events, selected))
        for got in [getattr(event, side)]
        for name, value in values.items()
        if not same(got.get(name, "nothing"), value)
    }


def attributes_of(kind: Kind, engine: Any, entity: Any) -> list[dict[str, Any]]:
    """The attributes of all objects, as a session loads them, in the order of their ids."""
    names = sa.inspect(entity).column_attrs.keys()

    def load(connection: Any) -> list[dict[str, Any]]:
        with Session(connection) as session:
            return [
                {name: getattr(held, name) for name in names}
                for held in session.scalars(sa.select(entity).order_by(entity.id))
            ]

    return kind.select(engine, load)


def thing_class(columns: dict[str, Any], *, durable: bool = False) -> Any:
    class Base(DeclarativeBase):
        pass

    body = {name: mapped_column(type_, nullable=True) for name, type_ in columns.items()}
    body |= {"__tablename__": "t", "id": mapped_column(sa.Integer, primary_key=True)}
    body["__notify__"] = NotifySpec(values="all", durable=durable)
    return type("Thing", (NotifyOnChange, Base), body)
