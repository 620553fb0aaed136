"""Durable tables for the tests of the change log."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from sqlalchemy import Engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from sa_pgnotify import NotifyOnChange, NotifySpec


def model_of(engine: Engine, *, more: Iterable[str] = (), **options: Any) -> Any:
    """A mapped class of the durable table ``items``, which is made in the database; and with it one
    for each name of ``more``."""

    class Base(DeclarativeBase):
        pass

    class Columns(NotifyOnChange):
        __notify__: ClassVar = NotifySpec(**{"durable": True, "values": "all", **options})
        id: Mapped[int] = mapped_column(primary_key=True)
        n: Mapped[int]

    made = [
        type(name.title(), (Columns, Base), {"__tablename__": name}) for name in ("items", *more)
    ]
    Base.metadata.create_all(engine)
    return made[0]
