"""``Order``, the marked class of many tests, and its table ``orders``, made in the database of the
test."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Engine,
    Integer,
    Text,
)
from sqlalchemy.orm import DeclarativeBase, mapped_column

from sa_pgnotify import (
    NotifyOnChange,
    NotifySpec,
)

ALL = NotifySpec(values="all")


def order_class(
    engine: Engine,
    spec: NotifySpec = NotifySpec(),
    *,
    columns: dict[str, Any] | None = None,
    **table_args: Any,
) -> Any:
    """Return a class with ``id`` and ``status``, marked with ``spec``, whose table is installed.

    :param columns: further attributes, by name.
    """

    class Base(DeclarativeBase):
        pass

    body = {
        "__tablename__": "orders",
        "__table_args__": table_args,
        "__notify__": spec,
        "id": mapped_column(Integer, primary_key=True),
        "status": mapped_column(Text),
        **(columns or {}),
    }
    Order = type("Order", (NotifyOnChange, Base), body)
    Base.metadata.create_all(engine)
    return Order


def order_and_item(engine: Engine, **options: Any) -> Any:
    """Return a base with two marked classes on it, ``Order`` with ``options`` and ``Item``; their
    tables are installed."""
    Order = order_class(engine, NotifySpec(**options))
    _, Base = Order.__bases__
    body = {"__tablename__": "items", "id": mapped_column(Integer, primary_key=True)}
    Item = type("Item", (NotifyOnChange, Base), body)
    Base.metadata.create_all(engine)
    return Base, Order, Item


def marked_class(
    engine, name: str = "orders", schema: str | None = None, spec: NotifySpec = ALL, **columns: Any
) -> Any:
    """A marked class on a new table, with a key called ``id`` unless the columns say otherwise."""

    class Base(DeclarativeBase):
        pass

    body = {"__tablename__": name, "__table_args__": {"schema": schema}, "__notify__": spec}
    if not any(c.column.primary_key for c in columns.values()):
        body["id"] = mapped_column(BigInteger, primary_key=True)
    body["status"] = mapped_column(Text)
    Marked: Any = type("Marked", (NotifyOnChange, Base), body | columns)
    Base.metadata.create_all(engine)
    return Marked
