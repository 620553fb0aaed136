"""A durable table for the tests of the change log, and what they ask of it."""

from __future__ import annotations

from typing import Any, ClassVar

from sqlalchemy import Engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from sa_pgnotify import NotifyOnChange, NotifySpec


def model_of(engine: Engine, **options: Any) -> Any:
    """A mapped class of the durable table ``items``, which is made in the database."""

    class Base(DeclarativeBase):
        pass

    class Item(NotifyOnChange, Base):
        __tablename__ = "items"
        __notify__: ClassVar = NotifySpec(**{"durable": True, "values": "all", **options})
        id: Mapped[int] = mapped_column(primary_key=True)
        n: Mapped[int]

    Base.metadata.create_all(engine)
    return Item
