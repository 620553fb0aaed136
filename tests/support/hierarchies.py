"""Marked classes that inherit from each other, with joined tables."""

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


def family(spec: NotifySpec = NotifySpec(), *, three_tables: bool = False) -> tuple[Any, ...]:
    """Return a base with three classes on it, none of whose tables is made yet: ``Parent``, marked
    with ``spec``; ``Child``, with a table that is joined to the parent's; and ``Grandchild``, which
    shares the child's table or, with ``three_tables``, has its own."""

    class Base(DeclarativeBase):
        pass

    class Parent(NotifyOnChange, Base):
        __tablename__ = "parent"
        __notify__ = spec
        __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "parent"}
        id: Mapped[int] = mapped_column(primary_key=True)
        kind: Mapped[str]

    class Child(Parent):
        __tablename__ = "child"
        __mapper_args__ = {"polymorphic_identity": "child"}
        id: Mapped[int] = mapped_column(ForeignKey("parent.id"), primary_key=True)
        name: Mapped[str | None]

    body: dict[str, Any] = {"__mapper_args__": {"polymorphic_identity": "grandchild"}}
    if three_tables:
        body["__tablename__"] = "grandchild"
        body["id"] = mapped_column(ForeignKey("child.id"), primary_key=True)
    return Base, Parent, Child, type("Grandchild", (Child,), body)
