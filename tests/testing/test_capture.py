"""sa_pgnotify.testing for those who test: what is captured, of commits and of transactions that are
rolled back; and what its errors say."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from kinds import driver_url
from sessions import sessions_end
from sqlalchemy import ForeignKey, NullPool, create_engine, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from statements import run

from sa_pgnotify import (
    Change,
    Deleted,
    Inserted,
    Listener,
    Notification,
    NotifyConfigError,
    NotifyOnChange,
    NotifySpec,
    PgNotifyError,
    TriggersMissing,
    Truncated,
    Updated,
    change_context,
    check,
)
from sa_pgnotify.testing import AsyncCapturedChanges, CapturedChanges
from sa_pgnotify.testing.plugin import capture_changes

__all__ = ["capture_changes"]

DRIVERS = pytest.mark.parametrize("driver", ["psycopg2", "psycopg"])
DURABLE = pytest.mark.parametrize("durable", [False, True], ids=["sent", "durable"])


def models(engine: Any, *, durable: bool = False, **options: Any) -> tuple[Any, Any]:
    """Two marked classes, one of which inherits from the other."""

    class Base(DeclarativeBase):
        pass

    class Order(NotifyOnChange, Base):
        __tablename__ = "orders"
        __notify__ = NotifySpec(values="all", durable=durable, **options)
        id: Mapped[int] = mapped_column(primary_key=True)
        status: Mapped[str]
        kind: Mapped[str]
        __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "order"}

    class Rush(Order):
        __tablename__ = "rushes"
        id: Mapped[int] = mapped_column(ForeignKey("orders.id"), primary_key=True)
        days: Mapped[int]
        __mapper_args__ = {"polymorphic_identity": "rush"}

    Base.metadata.create_all(engine)
    return Order, Rush


@pytest.fixture
def outer(engine: Any) -> Any:
    """The usual recipe: a connection in a transaction that is rolled back, whatever the test's
    sessions commit."""
    with engine.connect() as connection:
        transaction = connection.begin()
        yield connection
        if transaction.is_active:
            transaction.rollback()


def joined(connection: Any) -> Session:
    return Session(connection, join_transaction_mode="create_savepoint")


def catalog(engine: Any) -> list[Any]:
    with engine.connect() as connection:
        return list(
            connection.execute(
                text(
                    "SELECT tgname, tgrelid::regclass::text FROM pg_trigger WHERE NOT tgisinternal UNION ALL SELECT proname, prosrc FROM pg_proc"
                    " WHERE proname LIKE 'sa_pgnotify%' UNION ALL SELECT relname, relnamespace::text FROM pg_class"
                    " WHERE relname LIKE 'sa_pgnotify%' ORDER BY 1, 2"
                )
            )
        )


# -- transactions that are rolled back -------------------------------------------------------------


@DRIVERS
@DURABLE
def test_of_a_transaction_that_is_rolled_back_the_same_is_captured_as_of_one_that_is_committed(
    engine, url, driver, durable
):
    """What a rolled back test captures is what a listener is told of the same work when it commits:
    kinds, values, what changed, context."""
    Order, Rush = models(engine, durable=durable)
    mine = create_engine(driver_url(url, driver), poolclass=NullPool)

    def work(session: Session) -> None:
        with change_context(session, {"user": "ann"}):
            session.add_all([Order(id=1, status="new\x1e"), Rush(id=2, status="🎉", days=3)])
            session.commit()
        session.get(Order, 1).status = "paid"
        session.delete(session.get(Order, 2))
        session.commit()
        session.execute(text("UPDATE orders SET id = 7 WHERE id = 1"))
        session.execute(text("TRUNCATE orders CASCADE"))
        session.commit()

    def said(events: list[Any]) -> list[Any]:
        return [
            (
                type(e),
                e.entity,
                e.identity,
                dict(e.context),
                *(getattr(e, n, None) for n in ("old", "new", "changed", "previous_identity")),
            )
            for e in events
        ]

    with mine.connect() as connection, connection.begin() as transaction:
        with CapturedChanges(connection, Order) as captured, joined(connection) as session:
            work(session)
            rolled_back = said(captured.so_far())
        transaction.rollback()
    with CapturedChanges(mine, Order) as captured, Session(mine) as session:
        work(session)
        assert said(captured.so_far()) == rolled_back
    assert [kind for kind, *_ in rolled_back if kind is not Truncated] == [
        Inserted,
        Inserted,
        Updated,
        Deleted,
        Updated,
    ]
    assert rolled_back[0][3] == {"user": "ann"}
    mine.dispose()


@DURABLE
def test_nothing_is_sent_and_nothing_stays(engine, outer, durable):
    """A listener hears nothing of a test that is rolled back; and triggers, functions and tables
    are afterwards as they were."""
    Order, _ = models(engine, durable=durable)
    before = catalog(engine)
    with Listener(engine, Order, "fence") as listener:
        with CapturedChanges(outer, Order) as captured, joined(outer) as session:
            session.add(Order(status="new"))
            session.commit()
            captured.expect(Inserted, Order)
        outer.get_transaction().rollback()
        run(engine, "NOTIFY fence")
        assert isinstance(listener.get(10), Notification)
    assert catalog(engine) == before
    assert check(engine, Order.metadata) == []


def test_a_savepoint_that_is_rolled_back_was_never_captured(engine, outer):
    """What the test's own code takes back is not told, as it is not in life; what was expected
    before stays expected."""
    Order, _ = models(engine)
    with joined(outer) as session:
        captured = CapturedChanges(session, Order).__enter__()
        session.add(Order(id=1, status="new"))
        session.flush()
        captured.expect(Inserted, identity=(1,))
        session.rollback()
        session.add(Order(id=2, status="new"))
        session.commit()
        captured.expect(Inserted, identity=(2,))
        captured.none()
        session.rollback()
        captured.none()
        captured.__exit__(None, None, None)


def test_two_captures_in_one_transaction(engine, outer):
    """Each gets its own entities' events, from its beginning on, and no event twice."""
    Order, Rush = models(engine)
    with CapturedChanges(outer, Order) as first, joined(outer) as session:
        session.add(Order(id=1, status="new"))
        session.commit()
        with CapturedChanges(session, Rush) as second:
            session.add_all([Rush(id=2, status="new", days=1), Order(id=3, status="new")])
            session.commit()
            assert [event.identity for event in second.so_far()] == [(2,)]
        assert sorted(event.identity for event in first.so_far()) == [(1,), (2,), (3,)]


def test_two_captures_are_there_again_after_a_rollback_to_a_savepoint(engine, outer):
    """A session's rollback takes both captures' triggers with it; with its next savepoint both are
    there again."""
    Order, Rush = models(engine)
    with (
        joined(outer) as session,
        CapturedChanges(session, Rush) as rushes,
        CapturedChanges(session, Order) as orders,
    ):
        session.rollback()
        session.add_all([Rush(id=1, status="new", days=1), Order(id=2, status="new")])
        session.commit()
        assert [event.identity for event in rushes.so_far()] == [(1,)]
        assert sorted(event.identity for event in orders.so_far()) == [(1,), (2,)]


def test_a_commit_is_refused(engine):
    """A transaction whose triggers must not stay cannot be committed, and the error says what to
    do; nothing stays."""
    Order, _ = models(engine)
    before = catalog(engine)
    with Session(engine) as session, CapturedChanges(session, Order):
        session.add(Order(status="new"))
        with pytest.raises(
            PgNotifyError, match="create_savepoint.*give CapturedChanges the Engine"
        ):
            session.commit()
        session.rollback()
    assert catalog(engine) == before


def test_a_session_that_gave_its_connection_back_is_told_how_to_be_bound(engine):
    """Of a session with a transaction of its own, nothing can be read after that transaction."""
    Order, _ = models(engine)
    with Session(engine) as session, CapturedChanges(session, Order) as captured:
        session.add(Order(id=1, status="new"))
        session.flush()
        captured.expect(Inserted)
        session.rollback()
        with pytest.raises(
            PgNotifyError,
            match='Bind the session to a connection.*join_transaction_mode="create_savepoint"',
        ):
            captured.none()


def test_what_cannot_be_captured_is_refused(engine, outer):
    """No transaction, a plain channel in one, something else than a bind, missing triggers: each
    error names the fix."""
    Order, _ = models(engine)
    with (
        engine.connect() as connection,
        pytest.raises(
            NotifyConfigError, match=r"call connection.begin\(\)|Call connection.begin\(\)"
        ),
    ):
        CapturedChanges(connection, Order).__enter__()
    with pytest.raises(NotifyConfigError, match="before COMMIT"):
        CapturedChanges(outer, Order, "channel").__enter__()
    with pytest.raises(NotifyConfigError, match="not str"):
        CapturedChanges("engine", Order).__enter__()
    run(engine, "ALTER TABLE orders DISABLE TRIGGER sa_pgnotify_insert")
    with pytest.raises(TriggersMissing, match="ENABLE TRIGGER"):
        CapturedChanges(outer, Order).__enter__()


# -- pytest ----------------------------------------------------------------------------------------


@pytest.fixture(params=["committed", "rolled back", "asyncio"])
def sa_pgnotify_bind(request, engine, outer, url):
    if request.param == "asyncio":
        return create_async_engine(driver_url(url, "asyncpg"), poolclass=NullPool)
    return engine if request.param == "committed" else joined(outer)


def test_the_fixture(engine, capture_changes, sa_pgnotify_bind):
    """It captures from the program's own engine or session, until the test ends; with asyncio, in
    an async with."""
    Order, _ = models(engine)
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


# -- what is committed -----------------------------------------------------------------------------


@DURABLE
def test_expect_and_none(engine, durable):
    """Events are found by kind, entity and attributes, each once and in any order; and that nothing
    else came is known at once."""
    Order, Rush = models(engine, durable=durable)
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
    """Who waits in vain reads what was expected, for how long, and what came instead."""
    Order, _ = models(engine)
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
    """A slip of the pen would make none() pass for ever, and expect() wait in vain; so it is told
    at once."""
    Order, Rush = models(engine)
    with CapturedChanges(engine, Rush, "plain") as captured:
        for what, fields, said in (
            ((Inserted, (1,)), {}, r"\(1,\) is no kind of event.*by name"),
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


# -- asyncio ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
@DURABLE
def test_asyncio(engine, url, driver, durable):
    """The same of an AsyncEngine and of an AsyncSession that is rolled back, values that only the
    server can read included."""
    Order, _ = models(engine, durable=durable)

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
