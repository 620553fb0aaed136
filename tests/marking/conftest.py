"""Fixtures of this folder."""

import pytest
from marking_forms import new_base
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from sa_pgnotify import NotifyOnChange


@pytest.fixture(name="Order")
def _order(engine):
    class Base(DeclarativeBase):
        pass

    class Order(NotifyOnChange, Base):
        __tablename__ = "orders"
        id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)

    Base.metadata.create_all(engine)
    return Order


@pytest.fixture
def Base() -> type[DeclarativeBase]:
    return new_base()
