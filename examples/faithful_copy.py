"""Keep a copy of a table in another database: first the rows that are there, then each change.

The copy is an SQLite file, or any other database that SQLAlchemy can write to. Start the program,
change orders in psql, and kill the program whenever you like. Start it again, and the copy catches
up. Delete the file, and a new copy is made::

    python examples/faithful_copy.py postgresql+psycopg2:///shop sqlite:///copy.db

    INSERT INTO orders SELECT i, 'new' FROM generate_series(1, 1000) AS i;  -- then UPDATE, DELETE, TRUNCATE

The copy and the consumer's position are in two databases, so they cannot be committed together. The
copy is committed first. If the program dies between the two commits, the same changes come again.
Repeating them is harmless, because a change says what the row is now, and is written by its key.
The copy shows an older state of some rows until the repeated changes have caught up.

The rows that are there come by backfill(), not by start="snapshot", which is meant for work that is
committed with the position. A snapshot leaves out the changes of rows after its position. Suppose
that a row is written to the copy, the program dies, and the row is deleted before the batch comes
again: no event would say so, and the copy would keep the row. A backfill leaves out no change.

Run one process for each copy: a process that has lost its connection without noticing it could
write an old batch after the one that took over has written a newer one.
"""

import sys
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Integer,
    MetaData,
    Table,
    bindparam,
    create_engine,
    delete,
    func,
    insert,
    select,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from sa_pgnotify import (
    Change,
    ChangeBatch,
    Consumer,
    Deleted,
    Existing,
    Gap,
    Inserted,
    NotifyOnChange,
    NotifySpec,
    Truncated,
    Updated,
)


class Base(DeclarativeBase): ...


class Order(NotifyOnChange, Base):
    __tablename__ = "orders"
    __notify__ = NotifySpec(durable=True, values="all")  # a copy needs all values
    id: Mapped[int] = mapped_column(primary_key=True)
    status: Mapped[str]


there = MetaData()
orders = Table(
    "orders",
    there,
    *(Column(c.name, c.type, primary_key=c.primary_key) for c in Order.__table__.columns),
)
filled = Table("filled", there, Column("id", Integer, primary_key=True))
"""Has a row if the rows that are there were asked for."""


class Copy:
    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        there.create_all(engine)

    def fill(self, consumer: Consumer) -> None:
        """Ask for the rows that are there, unless that was done."""
        with self.engine.begin() as copy:
            if not copy.scalar(select(func.count()).select_from(filled)):
                # committed before the mark: if the program dies in between, they come twice
                consumer.backfill(Order)
                copy.execute(insert(filled), {"id": 1})
                print("rows are asked for")

    def write(self, batch: ChangeBatch) -> None:
        """Write what the rows are after a batch, in one transaction."""
        with self.engine.begin() as copy:
            rows: dict[int, dict[str, Any] | None] = {}  # by key: the row, or None if it is gone
            for change in batch:
                match change:
                    case Truncated() | Gap():
                        rows.clear()
                        self.empty(copy, change)
                    case Updated(_, (key,), previous_identity=(before,)):
                        rows[before] = None
                        rows[key] = dict(change.new)
                    case Existing(_, (key,)) | Inserted(_, (key,)) | Updated(_, (key,)):
                        rows[key] = dict(change.new)
                    case Deleted(_, (key,)):
                        rows[key] = None
            if rows:
                keys = [{"key": key} for key in rows]
                copy.execute(delete(orders).where(orders.c.id == bindparam("key")), keys)
            if found := [row for row in rows.values() if row is not None]:
                copy.execute(insert(orders), found)
        print(f"{len(batch)} events")

    def empty(self, copy: Connection, why: Change | Gap) -> None:
        copy.execute(delete(orders))
        if isinstance(why, Gap):  # changes are missing: fill it again
            print(why)
            copy.execute(delete(filled))


def main(source: str = "postgresql+psycopg2:///shop", target: str = "sqlite:///copy.db") -> None:
    engine = create_engine(source, pool_pre_ping=True)
    Base.metadata.create_all(engine)
    copy = Copy(create_engine(target))
    with Consumer(engine, "copy of orders", Order) as consumer:
        copy.fill(consumer)
        for batch in consumer:
            with batch:
                copy.write(batch)  # the copy is committed here, and the position behind the block
            copy.fill(consumer)


if __name__ == "__main__":
    main(*sys.argv[1:])
