"""A cache for a model's rows that the database itself invalidates, whatever program changes a row.

It needs ``dogpile.cache``, and creates its table. Run it, type an order's number again and again,
and change the order in psql meanwhile::

    python examples/cache_invalidation.py postgresql+psycopg2:///shop

    INSERT INTO orders VALUES (1, 'new');                -- then UPDATE, DELETE, TRUNCATE

A read in the milliseconds between a COMMIT and its notification still returns the old value. While
the connection is lost, which is noticed at once, the cache is bypassed. A half-open connection is
detected within two heartbeats.
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
        self.engine, self.seen = engine, 0
        self.region = make_region().configure("dogpile.cache.memory")
        self.listener = Listener(engine, Order)
        self.listener.on(Change, Gap)(self.forget)

    def get(self, number: int) -> str | None:
        if not self.listener.stats.connected:
            return self.load(number)
        seen = self.seen
        status = self.region.get_or_create(
            f"order {number}", self.load, creator_args=((number,), {})
        )
        # it may have been loaded before a change, but cached after the event of that change
        if seen != self.seen:
            self.region.delete(f"order {number}")
        return status

    def load(self, number: int) -> str | None:
        print(f"reading order {number}")
        # if there is no such order, None is cached until it is inserted
        with Session(self.engine) as session:
            return session.scalar(select(Order.status).where(Order.id == number))

    def forget(self, event: Change | Gap) -> None:
        # before the delete: a thread that caches an old value later sees this and deletes it
        self.seen += 1
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
            self.listener.stop()  # after an error, too: then every read bypasses the cache


def main(url: str = "postgresql+psycopg2:///shop") -> None:
    # the pool's connections may be lost together with the listener's
    engine = create_engine(url, pool_pre_ping=True)
    Base.metadata.create_all(engine)
    orders = Orders(engine)
    # first listen, then cache: a row that is cached before LISTEN may change without an event
    with orders.listener:
        threading.Thread(target=orders.watch).start()
        for line in sys.stdin:
            print(f"order {int(line)}: {orders.get(int(line))}")


if __name__ == "__main__":
    main(*sys.argv[1:])
