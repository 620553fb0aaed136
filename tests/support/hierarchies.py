"""Marked classes that inherit from each other, with their tables installed."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ForeignKey
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from sa_pgnotify import (
    NotifyOnChange,
    NotifySpec,
)


def order_and_rush(engine: Any, *, durable: bool = False, **options: Any) -> tuple[Any, Any]:
    """Two marked classes, one of which inherits from the other."""

    class Base(DeclarativeBase):
        pass

    class Order(NotifyOnChange, Base):
        __tablename__ = "orders"
        __notify__ = NotifySpec(values="all", durable=durable, **options)
        id: Mapped[int] = mapped_column(primary_key=True)
        status: Mapped[str]
        kind: Mapped[str]
        __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "order"}

    class Rush(Order):
        __tablename__ = "rushes"
        id: Mapped[int] = mapped_column(ForeignKey("orders.id"), primary_key=True)
        days: Mapped[int]
        __mapper_args__ = {"polymorphic_identity": "rush"}

    Base.metadata.create_all(engine)
    return Order, Rush
