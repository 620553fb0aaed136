"""Versions of the class Order, as an older and a newer program have it."""

from __future__ import annotations

import re
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from sa_pgnotify import (
    NotifyOnChange,
    NotifySpec,
)

ALL = NotifySpec(values="all")


def order_version(**columns: Any) -> tuple[type, sa.MetaData]:
    """A version of the class Order, on a declarative base of its own."""

    class Base(DeclarativeBase):
        pass

    body = {
        "__tablename__": "orders",
        "__notify__": ALL,
        "__annotations__": {"id": Mapped[int]},
        "id": mapped_column(primary_key=True),
    }
    return type(
        "Order",
        (NotifyOnChange, Base),
        {**body, **{name: sa.Column(type_) for name, type_ in columns.items()}},
    ), Base.metadata


def with_using(code: str) -> str:
    """What a developer adds by hand to a change of type that PostgreSQL does not make by itself."""
    return re.sub(
        r"(type_=sa\.(\w+)\(\)),", lambda m: f"{m[1]}, postgresql_using='note::{m[2]}',", code
    )
