"""The class Order with items, marked with any NotifySpec."""

import sqlalchemy as sa
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    configure_mappers,
    mapped_column,
    relationship,
)

from sa_pgnotify import (
    NotifyOnChange,
    NotifySpec,
    check,
)


def order(spec: object, *above: type) -> type:
    """A new class Order with ``spec``, on a base of its own."""

    class Base(DeclarativeBase):
        pass

    class Order(*above, NotifyOnChange, Base):
        __tablename__ = "orders"
        __notify__ = spec
        id: Mapped[int] = mapped_column(primary_key=True)
        status: Mapped[str | None]
        qty: Mapped[int | None]
        items: Mapped[list["Item"]] = relationship()

    class Item(Base):
        __tablename__ = "items"
        id: Mapped[int] = mapped_column(primary_key=True)
        order_id: Mapped[int] = mapped_column(sa.ForeignKey("orders.id"))

    configure_mappers()
    return Order


def installed(engine: sa.Engine, spec: NotifySpec) -> type:
    Order = order(spec)
    Order.metadata.create_all(engine)
    assert check(engine, Order.metadata) == []
    return Order


FOUR = (
    "INSERT INTO orders (status, qty) VALUES ('new', 1)", "UPDATE orders SET status = 'paid'", "DELETE FROM orders", "TRUNCATE orders CASCADE",
)  # fmt: skip
