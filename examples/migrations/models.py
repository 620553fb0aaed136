# models.py
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from sa_pgnotify import NotifyOnChange, NotifySpec


class Base(DeclarativeBase):
    pass


class Order(NotifyOnChange, Base):
    __tablename__ = "orders"
    __notify__ = NotifySpec(values=("status", "total"), update_of=("status",))

    id: Mapped[int] = mapped_column(primary_key=True)
    status: Mapped[str]
    total: Mapped[int | None]
