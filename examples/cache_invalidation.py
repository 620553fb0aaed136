"""A cache in front of a model's reads that the database itself keeps right, whoever changes a row.

Run it (it needs ``dogpile.cache``, and makes the table), type an order's number, again and again,
and change it in psql meanwhile::

    python examples/cache_invalidation.py postgresql+psycopg2:///shop

    INSERT INTO orders VALUES (1, 'new');                -- then UPDATE, DELETE, TRUNCATE

A read in the milliseconds between a COMMIT and its notification still gives what was before. A lost
connection is known at once, and the cache passed by until it is back; a half-open one is found out
within two heartbeats.
"""

import sys
import threading

from dogpile.cache import make_region
from sqlalchemy import Engine, create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from sa_pgnotify import Change, Deleted, Gap, Inserted, Listener, NotifyOnChange, Updated


class Base(DeclarativeBase): ...


class Order(NotifyOnChange, Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    status: Mapped[str]


class Orders:
    def __init__(self, engine: Engine) -> None:
        self.engine, self.told = engine, 0
        self.region = make_region().configure("dogpile.cache.memory")
        self.listener = Listener(engine, Order)
        self.listener.on(Change, Gap)(self.forget)

    def get(self, number: int) -> str | None:
        if not self.listener.stats.connected:
            return self.load(number)
        told = self.told
        status = self.region.get_or_create(
            f"order {number}", self.load, creator_args=((number,), {})
        )
        # it may have been loaded before a change, and have come into the cache after that was told
        if told != self.told:
            self.region.delete(f"order {number}")
        return status

    def load(self, number: int) -> str | None:
        print(f"reading order {number}")
        # None, if there is none, is cached too, until one is inserted
        with Session(self.engine) as session:
            return session.scalar(select(Order.status).where(Order.id == number))

    def forget(self, event: Change | Gap) -> None:
        # before the delete: who caches an old value either sees this, or did it before the delete
        self.told += 1
        match event:
            case (
                Inserted(_, (number,))
                | Deleted(_, (number,))
                | Updated(_, (number,), previous_identity=None)
            ):
                self.region.delete(f"order {number}")
            case _:  # Truncated, Gap, and the rare Updated of a key
                self.region.invalidate()
        print(event)

    def watch(self) -> None:
        try:
            self.listener.run()
        finally:
            self.listener.stop()  # after an error, too: then every read passes the cache by


def main(url: str = "postgresql+psycopg2:///shop") -> None:
    # when the listener's connection was lost, the pool's may be as well
    engine = create_engine(url, pool_pre_ping=True)
    Base.metadata.create_all(engine)
    orders = Orders(engine)
    # first listen, then cache: of what was cached before LISTEN, a change in between would not be
    # told
    with orders.listener:
        threading.Thread(target=orders.watch).start()
        for line in sys.stdin:
            print(f"order {int(line)}: {orders.get(int(line))}")


if __name__ == "__main__":
    main(*sys.argv[1:])
