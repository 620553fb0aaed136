"""The fixture capture_changes, and what its expectations say: events that are expected, and none."""

from __future__ import annotations

import asyncio

import pytest
from hierarchies import order_and_rush
from joined_sessions import joined
from kinds import driver_url
from sessions import sessions_end
from sqlalchemy import NullPool
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session
from statements import run

from sa_pgnotify import (
    Change,
    Deleted,
    Inserted,
    NotifyConfigError,
    Updated,
)
from sa_pgnotify.testing import AsyncCapturedChanges, CapturedChanges
from sa_pgnotify.testing.plugin import capture_changes

__all__ = ["capture_changes"]


DURABLE = pytest.mark.parametrize("durable", [False, True], ids=["sent", "durable"])


@pytest.fixture(params=["committed", "rolled back", "asyncio"])
def sa_pgnotify_bind(request, engine, outer, url):
    if request.param == "asyncio":
        return create_async_engine(driver_url(url, "asyncpg"), poolclass=NullPool)
    return engine if request.param == "committed" else joined(outer)


def test_the_fixture(engine, capture_changes, sa_pgnotify_bind):
    """It captures from the program's own engine or session, until the test ends; with asyncio, in
    an async with."""
    Order, _ = order_and_rush(engine)
    order = Order.__table__.insert().values(status="new", kind="order")
    if isinstance(captured := capture_changes(Order), CapturedChanges):
        with (
            Session(sa_pgnotify_bind) if sa_pgnotify_bind is engine else sa_pgnotify_bind as session
        ):
            session.execute(order)
            session.commit()
        assert captured.expect(Inserted, Order).new["status"] == "new"
        return

    async def main() -> None:
        async with captured:
            async with sa_pgnotify_bind.begin() as connection:
                await connection.execute(order)
            await captured.expect(Inserted, Order)

    asyncio.run(main())


@DURABLE
def test_expect_and_none(engine, durable):
    """Events are found by kind, entity and attributes, each once and in any order; and that nothing
    else came is known at once."""
    Order, Rush = order_and_rush(engine, durable=durable)
    with CapturedChanges(engine, Order) as captured:
        captured.none()
        run(
            engine,
            "INSERT INTO orders VALUES (1, 'new', 'order'), (2, 'new', 'order')",
            "UPDATE orders SET status = 'paid' WHERE id = 2",
        )
        changed = captured.expect(Updated, Order, changed={"status"})
        assert changed.new["status"] == "paid"
        captured.none(Updated)
        captured.none(Deleted, Rush)
        assert captured.expect(Change).identity == (1,)
        with pytest.raises(
            AssertionError,
            match=r"no event \(Inserted\), and there came:\n  Inserted\(Order, \(2,\)",
        ):
            captured.none(Inserted)
        captured.expect(Inserted, identity=(2,))
        captured.none()
        assert [type(event) for event in captured.events] == [Inserted, Inserted, Updated]
    sessions_end(engine)


def test_the_error_lists_what_came(engine):
    """After waiting in vain, the error says what was expected, for how long, and what came
    instead."""
    Order, _ = order_and_rush(engine)
    with CapturedChanges(engine, Order, "plain") as captured:
        with pytest.raises(
            AssertionError,
            match=r"expected event \(Deleted, Order\) within 0.01 s, and nothing came",
        ):
            captured.expect(Deleted, Order, timeout=0.01)
        run(engine, "INSERT INTO orders VALUES (1, 'new', 'order')", "NOTIFY plain, 'x'")
        captured.so_far()
        with pytest.raises(
            AssertionError, match=r"and there came:\n  Inserted\(Order, \(1,\).*\n  Notification\("
        ):
            captured.expect(Deleted, Order, timeout=0.01)
        assert captured.expect("plain").payload == "x"


def test_a_question_that_nothing_could_answer_is_refused(engine):
    """A typing error would make none() always pass, and expect() wait in vain, so it is refused at
    once."""
    Order, Rush = order_and_rush(engine)
    with CapturedChanges(engine, Rush, "plain") as captured:
        for what, fields, said in (
            ((Inserted, (1,)), {}, r"\(1,\) is not a kind of event.*by name"),
            (("plane",), {}, "plane is not captured here"),
            ((type("Customer", (), {}),), {}, "Customer is not captured here"),
            ((), {"identiti": (1,)}, "no such event has an attribute 'identiti'"),
            ((Inserted, Deleted), {"changed": set()}, "no such event has an attribute 'changed'"),
        ):
            for ask in (captured.none, captured.expect):
                with pytest.raises(NotifyConfigError, match=said):
                    ask(*what, **fields)
        run(engine, "INSERT INTO orders VALUES (1, 'new', 'rush')", "NOTIFY plain")
        with pytest.raises(AssertionError, match="there came:\n  Inserted"):
            captured.none(Deleted, Inserted)
        with pytest.raises(AssertionError, match="there came:\n  Inserted.*\n  Notification"):
            captured.none(Order, "plain")


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
@DURABLE
def test_asyncio(engine, url, driver, durable):
    """The same of an AsyncEngine and of an AsyncSession that is rolled back, values that only the
    server can read included."""
    Order, _ = order_and_rush(engine, durable=durable)

    async def main() -> None:
        mine = create_async_engine(driver_url(url, driver), poolclass=NullPool)
        async with (
            mine.connect() as connection,
            AsyncSession(connection, join_transaction_mode="create_savepoint") as session,
        ):
            await connection.begin()
            async with AsyncCapturedChanges(session, Order) as captured:
                session.add(Order(id=1, status="new"))
                await session.commit()
                assert (await captured.expect(Inserted, Order)).new == {
                    "id": 1,
                    "status": "new",
                    "kind": "order",
                }
                await captured.none()
            await connection.rollback()
        async with AsyncCapturedChanges(mine, Order) as captured:
            async with AsyncSession(mine) as session:
                session.add(Order(id=2, status="new"))
                await session.commit()
            assert (await captured.expect(Inserted)).identity == (2,)
            await captured.none()
            with pytest.raises(AssertionError, match="within 0.01 s"):
                await captured.expect(Deleted, timeout=0.01)
            assert [event.identity for event in await captured.so_far()] == [(2,)]
        with pytest.raises(NotifyConfigError, match="not Engine"):
            await AsyncCapturedChanges(engine, Order).__aenter__()
        await mine.dispose()

    asyncio.run(main())
    sessions_end(engine)
