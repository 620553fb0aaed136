"""The public API as a type checker sees it: checked by mypy and pyright (``make lint``), never
run."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar, assert_type

from sqlalchemy import Column, Engine, Integer, MetaData, Table
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, Mapper, Session, mapped_column

from sa_pgnotify import (
    AsyncConsumer,
    AsyncListener,
    Change,
    Consumer,
    Deleted,
    Drift,
    Event,
    Gap,
    Inserted,
    Listener,
    Notification,
    NotifyOnChange,
    NotifySpec,
    Parked,
    Stats,
    Truncated,
    Updated,
    change_context,
    check,
    notify_on_change,
)
from sa_pgnotify.consuming.failures import Verdict
from sa_pgnotify.diagnosis import Finding, LagLimits, Metrics, grants, readiness


class Base(DeclarativeBase):
    """A base."""


class Order(NotifyOnChange, Base):
    """A marked class with options."""

    __tablename__ = "orders"
    __notify__: ClassVar[NotifySpec | None] = NotifySpec(
        operations=("insert",),
        values="all",
        update_of=("id",),
        when=lambda old, new: new.id > 3,
        channel="c",
    )
    id: Mapped[int] = mapped_column(primary_key=True)


class Quiet(Order):
    """A class that opted out."""

    __notify__ = None


def listens(engine: Engine, session: Session) -> None:
    """Everything a program does with a listener."""
    table = notify_on_change(Table("t", MetaData(), Column("id", Integer, primary_key=True)))
    assert_type(table.name, str)
    assert_type(notify_on_change(Quiet, NotifySpec()), type[Quiet])
    assert_type(notify_on_change(Quiet.__mapper__, NotifySpec()), Mapper[Any])
    assert_type(
        notify_on_change(Base.metadata, NotifySpec(values="all"), skip=("t", table)), MetaData
    )
    assert_type(
        notify_on_change(Base.metadata, skip=lambda table: table.schema == "audit"), MetaData
    )
    with Listener(engine, Order, table, "channel", buffer_size=10, heartbeat=1.5) as listener:
        for event in listener:
            assert_type(event, Event)
            match event:
                case Inserted(_, identity, new=new):
                    assert_type(identity, tuple[Any, ...])
                    assert_type(new, Mapping[str, Any])
                case Updated(old=old, changed=changed, previous_identity=previous):
                    assert_type(old, Mapping[str, Any])
                    assert_type(changed, frozenset[str])
                    assert_type(previous, tuple[Any, ...] | None)
                case Deleted(occurred_at=at, transaction_id=xid):
                    assert_type(at, datetime)
                    assert_type(xid, int)
                case Truncated():
                    event.expire(session)
                case Gap(_, since):
                    assert_type(since, datetime)
                case Notification(channel, payload, pid):
                    assert_type((channel, payload, pid), tuple[str, str, int])
        assert_type(listener.get(timeout=1), Event | None)
        assert_type(listener.stats, Stats)
        listener.subscribe(Quiet)
    with change_context(session, {"user": "ann"}):
        session.flush()
    assert_type(check(engine, Base.metadata), list[Drift])


async def listens_in_a_loop(engine: AsyncEngine) -> None:
    """The same in an event loop."""
    async with AsyncListener(engine, Order, "channel", buffer_size=10, heartbeat=1.5) as listener:
        async for event in listener.events(timeout=1.0):
            assert_type(event, Event)
        assert_type(await listener.get(timeout=1), Event | None)
        await listener.subscribe(Quiet)
        await listener.unsubscribe(Quiet)

        @listener.on(Order, Updated)
        async def handler(event: Updated) -> None:
            assert_type(event.changed, frozenset[str])

        await listener.run()
        await listener.stop()
    async with AsyncSession(engine) as session, change_context(session, {"user": "ann"}):
        await session.flush()
        assert_type(listener.stats, Stats)


def park(error: Exception, change: Change[Order] | Gap, failures: int) -> Verdict:
    """What decides about a change that fails."""
    return "retry" if failures < 3 else "park"


def operates(engine: Engine) -> None:
    """What an operator reads and does, from Python."""
    consumer = Consumer(engine, "billing", Order, on_error=park, park_key=True)
    assert_type(consumer.retry_parked(), int)
    assert_type(consumer.parked(), list[Parked])
    assert_type(readiness(engine, [Base.metadata], LagLimits(seconds=60.0)), list[Finding])
    with engine.connect() as connection:
        for part in grants(connection, "billing", ("consume",)):
            assert_type(part.statements, tuple[str, ...])
    Metrics(engine, Listener(engine, Order))


async def operates_in_a_loop(engine: AsyncEngine) -> None:
    """The same in an event loop."""
    consumer = AsyncConsumer(engine, "billing", Order, on_error=park, park_key=True)
    assert_type(await consumer.retry_parked(), int)
