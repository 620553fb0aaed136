"""The models of the tests of live queries, and what a live query has yielded."""

from __future__ import annotations

import enum
from decimal import Decimal
from typing import Any

from sqlalchemy import ForeignKey, Numeric, String, Text, TypeDecorator
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from sa_pgnotify import Enter, Leave, NotifyOnChange, NotifySpec, Update


class Status(enum.Enum):
    OPEN = "open"
    PAID = "paid"


class Code(TypeDecorator[str]):
    """Text that the program sees in upper case."""

    impl = String(20)
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return value.lower()

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        return value.upper()


def models(*, durable: bool = True) -> Any:
    """Return a base with marked classes: customers, their orders with tags, and documents in two
    joined classes."""
    spec = NotifySpec(durable=durable)

    class Base(DeclarativeBase):
        pass

    class Customer(NotifyOnChange, Base):
        __tablename__ = "customers"
        __notify__ = spec
        id: Mapped[int] = mapped_column(primary_key=True)
        name: Mapped[str] = mapped_column(Text)

    class Tagging(NotifyOnChange, Base):
        __tablename__ = "taggings"
        __notify__ = spec
        order_id: Mapped[int] = mapped_column(ForeignKey("orders.id"), primary_key=True)
        tag: Mapped[str] = mapped_column(ForeignKey("tags.code"), primary_key=True)

    class Tag(NotifyOnChange, Base):
        __tablename__ = "tags"
        __notify__ = spec
        code: Mapped[str] = mapped_column(Code, primary_key=True)
        color: Mapped[str] = mapped_column(String(5))

    class Order(NotifyOnChange, Base):
        __tablename__ = "orders"
        __notify__ = spec
        id: Mapped[int] = mapped_column(primary_key=True)
        customer_id: Mapped[int] = mapped_column(ForeignKey("customers.id"))
        status: Mapped[Status] = mapped_column(default=Status.OPEN)
        total: Mapped[Decimal] = mapped_column(Numeric(8, 2), default=Decimal(1))
        customer: Mapped[Customer] = relationship()
        tags: Mapped[list[Tag]] = relationship(secondary="taggings")

    class Document(NotifyOnChange, Base):
        __tablename__ = "documents"
        __notify__ = spec
        id: Mapped[int] = mapped_column(primary_key=True)
        kind: Mapped[str] = mapped_column(Text)
        __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "document"}

    class Invoice(Document):
        __tablename__ = "invoices"
        id: Mapped[int] = mapped_column(ForeignKey("documents.id"), primary_key=True)
        amount: Mapped[int]
        __mapper_args__ = {"polymorphic_identity": "invoice"}

    Base.Customer, Base.Tag, Base.Order, Base.Tagging = Customer, Tag, Order, Tagging
    Base.Document, Base.Invoice = Document, Invoice
    return Base


def step(live: Any, timeout: float = 10.0) -> Any:
    """Return the next step of a live query; fail if none comes."""
    for one in live.steps(timeout=timeout):
        return one
    raise AssertionError("no step came")


def kinds_and_keys(one: Any) -> list[tuple[str, Any]]:
    """Return the kinds and keys of a step's events."""
    names = {Enter: "enter", Update: "update", Leave: "leave"}
    return [(names[type(event)], event.key) for event in one]
