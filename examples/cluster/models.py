"""The models of the two shops, whose orders are published, and of the billing that reads them."""

from typing import ClassVar

from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from sa_pgnotify import NotifyOnChange, NotifySpec

SHOPS = ("paris", "lima")


class Shop(DeclarativeBase): ...


class Order(NotifyOnChange, Shop):
    __tablename__ = "orders"
    __notify__: ClassVar = NotifySpec(durable=True, values="all")
    id: Mapped[int] = mapped_column(primary_key=True)
    total: Mapped[int]


class Billing(DeclarativeBase): ...


class Invoice(Billing):
    """There is no unique key of shop and order: two invoices for one order would be seen."""

    __tablename__ = "invoices"
    id: Mapped[int] = mapped_column(primary_key=True)
    shop: Mapped[str]
    order_id: Mapped[int]
    amount: Mapped[int]
    member: Mapped[str]
