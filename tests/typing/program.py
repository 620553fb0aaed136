"""A program as a user writes it, without an annotation that the library could give: checked by mypy
and pyright (``make lint``), never run. It keeps copies of orders in a dict and in a cache."""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, assert_never, assert_type

from sqlalchemy import Engine, ForeignKey, MetaData, Table, create_engine
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship

from sa_pgnotify import (
    AsyncConsumer,
    AsyncListener,
    Change,
    Consumer,
    Deleted,
    Event,
    Existing,
    Gap,
    Inserted,
    Listener,
    Notification,
    NotifyOnChange,
    NotifySpec,
    Position,
    Truncated,
    Updated,
    ValuesNotCarried,
)


class Base(DeclarativeBase):
    """The program's base."""


class Customer(NotifyOnChange, Base):
    """A class with the default options."""

    __tablename__ = "customers"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class Order(NotifyOnChange, Base):
    """A class whose values travel, with the operations that it publishes."""

    __tablename__ = "orders"
    __notify__ = NotifySpec(operations=("insert", "update", "delete"), values=("status", "total"))
    id: Mapped[int] = mapped_column(primary_key=True)
    status: Mapped[str]
    total: Mapped[Decimal]
    customer_id: Mapped[int] = mapped_column(ForeignKey(Customer.id))
    customer: Mapped[Customer] = relationship()


class Copies:
    """Copies of orders, by identity."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.held: dict[tuple[Any, ...], Order] = {}
        self.seen_until: Position | None = None

    def read_again(self, since: datetime) -> None:
        """Read what may have changed."""
        with Session(self.engine) as session:
            self.held = {(order.id,): order for order in session.query(Order)}

    def apply(self, event: Event[Order]) -> None:
        """Bring the copies up to date; a kind of event that is forgotten here is a type error."""
        match event:
            case Inserted(entity, identity, new=new) | Existing(entity, identity, new=new):
                assert_type(entity, type[Order])
                assert_type(new, Mapping[str, Any])
                self.held[identity] = event.instance()
            case Updated(_, identity, changed=changed, previous_identity=previous):
                if previous is not None:
                    self.held.pop(previous, None)
                if "status" in changed:
                    with Session(self.engine) as session:
                        order = event.load(session)
                        if order is not None:  # a type error without this question
                            self.held[identity] = order
                            print(order.status.upper(), order.customer.name)
            case Deleted(_, identity):
                self.held.pop(identity, None)
            case Truncated():
                assert_type(event.identity, None)
                self.held.clear()
            case Gap(reason, since):
                print(reason.upper())
                self.read_again(since)
            case Notification(channel, payload):
                print(channel + payload)
            case _:
                assert_never(event)

    def follow(self) -> None:
        """Apply what comes, for ever."""
        with Listener(self.engine, Order, heartbeat=5.0) as listener:
            assert_type(listener, Listener[Order])
            for event in listener:
                self.apply(event)
            if (last := listener.get(timeout=1.0)) is not None:
                self.apply(last)


def forgets_a_gap(event: Event[Order]) -> None:
    """Without a case for Gap the type checkers complain: mypy says so if this comment is not needed."""
    match event:
        case Change() | Notification():
            pass
        case _:
            assert_never(event)  # type: ignore[arg-type]


def total(change: Change[Order]) -> Decimal:
    """Return the order's total, or zero where it does not travel."""
    if isinstance(change, Inserted | Updated):
        try:
            return Decimal(change.new["total"])
        except ValuesNotCarried as error:
            assert_type(error.missing, tuple[str, ...])
    return Decimal(0)


def several(engine: Engine, table: Table) -> None:
    """Of several sources nothing is assumed, and neither is it of a table, a channel or a MetaData."""
    assert_type(Listener(engine, Order, Customer), Listener[Any])
    assert_type(Listener(engine, table, "channel"), Listener[Any])
    assert_type(Listener(engine, MetaData()), Listener[Any])
    for event in Listener(engine, Order, Customer).events(timeout=0.5):
        if isinstance(event, Change) and event.entity is Order:
            print(event.entity.__name__, event.identity, event.position, event.key)


async def follow_in_a_loop(engine: AsyncEngine) -> None:
    """The same in an event loop."""
    async with AsyncListener(engine, Order) as listener:
        assert_type(listener, AsyncListener[Order])
        async for event in listener:
            if isinstance(event, Updated):
                assert_type(event.entity, type[Order])
                assert_type(event.old, Mapping[str, Any])
        assert_type(await listener.get(timeout=1.0), Event[Order] | None)


if __name__ == "__main__":
    Copies(create_engine("postgresql+psycopg2:///shop")).follow()
    asyncio.run(follow_in_a_loop(create_async_engine("postgresql+asyncpg:///shop")))


def consume(engine: Engine) -> None:
    """A batch has the session's type, and changes of the one entity."""
    with Consumer(engine, "billing", Order, start="beginning") as consumer:
        assert_type(consumer, Consumer[Order])
        for batch in consumer:
            with batch as session:
                assert_type(session, Session)
                for change in batch:
                    match change:
                        case Inserted() | Updated() | Existing():
                            assert_type(change.load(session), Order | None)
                        case Deleted() | Truncated() | Gap():
                            pass
                        case _:
                            assert_never(change)
    assert_type(Consumer(engine, "all", Order, Customer), Consumer[Any])


async def consume_in_a_loop(engine: AsyncEngine) -> None:
    """The same in an event loop."""
    async with AsyncConsumer(engine, "billing", Order, batch_size=10) as consumer:
        assert_type(consumer, AsyncConsumer[Order])
        async for batch in consumer:
            async with batch as session:
                assert_type(session, AsyncSession)
