"""change_context over transactions and savepoints, with every driver: the context is kept, or the
block is refused."""

import asyncio
import gc
import random
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest
import sqlalchemy as sa
from kinds import driver_url
from receiving import take, until_end
from sqlalchemy.ext.asyncio import (
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from statements import run

from sa_pgnotify import Listener, NotifyConfigError, NotifyOnChange, change_context
from sa_pgnotify.marking.context import _all_watched


@pytest.fixture(name="Order")
def _order(engine):
    class Base(DeclarativeBase):
        pass

    class Order(NotifyOnChange, Base):
        __tablename__ = "orders"
        id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)

    Base.metadata.create_all(engine)
    return Order


Work = Callable[[Any], None]


def by_session(engine: sa.Engine, work: Work) -> None:
    with Session(engine) as session:
        work(session)
        session.commit()


def by_connection(engine: sa.Engine, work: Work) -> None:
    with engine.connect() as connection:
        work(connection)
        connection.commit()


def by_session_on_a_connection(engine: sa.Engine, work: Work) -> None:
    """As test suites do, whose session's commits are savepoints of a transaction of theirs."""
    with engine.connect() as connection, connection.begin():
        with Session(connection, join_transaction_mode="create_savepoint") as session:
            work(session)
            session.commit()


def by_session_of_classes(engine: sa.Engine, work: Work) -> None:
    """A session without an engine for everything."""
    with Session(binds={DeclarativeBase: engine}) as session:
        work(session)
        session.commit()


def asynchronously(engine: sa.Engine, work: Work, driver: str) -> None:
    async def go() -> None:
        async_engine = create_async_engine(driver_url(engine.url, driver), poolclass=sa.NullPool)
        async with AsyncSession(async_engine) as session:
            await session.run_sync(work)
            await session.commit()
        async with async_engine.connect() as connection:
            assert await connection.scalar(sa.text("SELECT 1")) == 1
        await async_engine.dispose()

    asyncio.run(go())


def with_psycopg(engine: sa.Engine, work: Work) -> None:
    other = sa.create_engine(driver_url(engine.url, "psycopg"), poolclass=sa.NullPool)
    by_connection(other, work)


WAYS: dict[str, Callable[[sa.Engine, Work], None]] = {
    "session": by_session,
    "connection": by_connection,
    "session on a connection": by_session_on_a_connection,
    "session of classes": by_session_of_classes,
    "psycopg": with_psycopg,
    "psycopg, async": lambda engine, work: asynchronously(engine, work, "psycopg"),
    "asyncpg": lambda engine, work: asynchronously(engine, work, "asyncpg"),
}


class Walk:
    """A random walk through blocks, savepoints and transactions, that knows which context each row
    should have."""

    def __init__(self, Order: type, seed: int) -> None:
        self.table = Order
        self.random = random.Random(seed)
        self.expected: dict[int, dict] = {}
        self.path: list[str] = []

    def __call__(self, bind: Any) -> None:
        self.bind = bind
        self.blocks: list[tuple[Any, dict]] = []
        self.savepoints: list[Any] = []
        moves = [
            self.write,
            self.write,
            self.enter,
            self.leave,
            self.save,
            self.release,
            self.undo,
            self.commit,
            self.roll_back,
        ]
        for _ in range(self.random.randint(5, 30)):
            move = self.random.choice(moves)
            self.path.append(move.__name__)
            move()
        while self.blocks:
            self.leave()
        self.write()
        for savepoint in reversed(self.savepoints):
            savepoint.commit()

    def write(self) -> None:
        number = self.random.getrandbits(31)
        self.expected[number] = self.blocks[-1][1] if self.blocks else {}
        self.bind.execute(sa.insert(self.table).values(id=number))

    def enter(self) -> None:
        context = {"n": self.random.random(), "q": "it's 100% \\ ü"}
        block = change_context(self.bind, context)
        block.__enter__()
        self.blocks.append((block, context))

    def leave(self) -> None:
        if self.blocks:
            self.blocks.pop()[0].__exit__(None, None, None)

    def save(self) -> None:
        self.savepoints.append(self.bind.begin_nested())

    def release(self) -> None:
        if self.savepoints:
            self.savepoints.pop().commit()

    def undo(self) -> None:
        if self.savepoints:
            self.savepoints.pop().rollback()

    def commit(self) -> None:
        self.savepoints.clear()
        self.bind.commit()

    def roll_back(self) -> None:
        self.savepoints.clear()
        self.bind.rollback()


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_each_change_has_the_context_of_its_block(engine, Order, way):
    """Whatever blocks, savepoints, commits and rollbacks come in what order: each change that is
    committed has the context of the innermost block that it was made in, and none if there was
    none."""
    with Listener(engine, Order, "end_of_test") as listener:
        for seed in range(40):
            walk = Walk(Order, seed)
            way(engine, walk)
            events = until_end(engine, listener)
            found = {event.identity[0]: dict(event.context) for event in events}
            assert found == {number: walk.expected[number] for number in found}, (seed, walk.path)
            with engine.connect() as connection:
                assert found.keys() == set(connection.scalars(sa.select(Order.id))), (
                    seed,
                    walk.path,
                )
            run(engine, "DELETE FROM orders")
            assert len(until_end(engine, listener)) == len(found)


def test_with_async_with(engine, Order):
    """An AsyncSession, async_scoped_session or AsyncConnection takes ``async with``, over a commit
    and a rolled back savepoint."""

    async def write(bind: Any, number: int) -> None:
        await bind.execute(sa.insert(Order.__table__).values(id=number))

    async def go(driver: str, start: int) -> None:
        async_engine = create_async_engine(driver_url(engine.url, driver), poolclass=sa.NullPool)
        scoped = async_scoped_session(async_sessionmaker(async_engine), asyncio.current_task)
        for bind in (AsyncSession(async_engine), scoped, async_engine.connect()):
            if not isinstance(bind, AsyncSession | async_scoped_session):
                await bind
            async with change_context(bind, {"by": driver}):
                await write(bind, start)
                await bind.commit()
                await write(bind, start + 1)
                savepoint = await bind.begin_nested()
                async with change_context(bind, {"by": "inner"}):
                    await write(bind, start + 2)
                await savepoint.rollback()
                await write(bind, start + 3)
            await write(bind, start + 4)
            await bind.commit()
            with (
                pytest.raises(NotifyConfigError, match="is asynchronous. Use async with"),
                change_context(bind, {}),
            ):
                pass
            await bind.close()
            start += 10
        await async_engine.dispose()

    with Listener(engine, Order) as listener:
        for start, driver in ((0, "psycopg"), (100, "asyncpg")):
            asyncio.run(go(driver, start))
            for event in take(listener, 12):
                assert event.context == ({} if event.identity[0] % 10 == 4 else {"by": driver})
    with (
        Session(engine) as session,
        pytest.raises(NotifyConfigError, match="is not asynchronous. Use with"),
    ):
        asyncio.run(change_context(session, {}).__aenter__())


def autocommit_by_option(url: sa.URL) -> sa.Engine:
    return sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)


def autocommit_of_the_driver(url: sa.URL) -> sa.Engine:
    """Of which SQLAlchemy knows nothing."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    sa.event.listen(
        engine, "connect", lambda connection, _: setattr(connection, "autocommit", True)
    )
    return engine


@pytest.mark.parametrize("bound", [Session, sa.Engine.connect], ids=["session", "connection"])
@pytest.mark.parametrize("driver", ["psycopg2", "psycopg"])
@pytest.mark.parametrize(
    "make", [autocommit_by_option, autocommit_of_the_driver], ids=lambda make: make.__name__
)
def test_autocommit_is_refused(engine, Order, make, driver, bound):
    """Without a transaction PostgreSQL would forget the context before the first change: the block
    is refused before it begins."""
    other = make(driver_url(engine.url, driver))
    with bound(other) as bind:
        with (
            pytest.raises(
                NotifyConfigError, match=r"change_context: .*autocommit.*engine\.begin\(\)"
            ),
            change_context(bind, {"user": "ann"}),
        ):
            pytest.fail("the block was entered")
        with Listener(engine, Order) as listener:
            bind.execute(sa.insert(Order).values(id=1))  # the refused block left nothing behind
            bind.commit()
            assert take(listener, 1)[0].context == {}


def test_autocommit_of_asyncpg_is_refused(engine, Order):
    """The same for asyncpg."""

    async def go() -> None:
        async_engine = create_async_engine(
            driver_url(engine.url, "asyncpg"), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool
        )
        async with AsyncSession(async_engine) as session:
            with pytest.raises(NotifyConfigError, match="autocommit"):
                async with change_context(session, {"user": "ann"}):
                    pytest.fail("the block was entered")
        await async_engine.dispose()

    asyncio.run(go())


def test_autocommit_within_the_block_is_refused(engine, Order):
    """A session whose next transaction is in autocommit mode raises at its first statement, before
    the change."""
    with Session(engine) as session, change_context(session, {"user": "ann"}):
        session.commit()
        session.connection(execution_options={"isolation_level": "AUTOCOMMIT"})
        with pytest.raises(NotifyConfigError, match="autocommit"):
            session.execute(sa.insert(Order).values(id=1))
    with engine.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(Order)) == 0


def test_transactions_by_hand(engine, Order):
    """In autocommit mode a program may write BEGIN and COMMIT itself: the context is kept within,
    and refused between."""
    other = engine.execution_options(isolation_level="AUTOCOMMIT")

    def execute(sql: str) -> None:
        connection.exec_driver_sql(sql)

    with Listener(engine, Order) as listener, other.connect() as connection:
        execute("BEGIN")
        with change_context(connection, {"user": "ann"}):
            execute("INSERT INTO orders VALUES (1)")
            execute("savepoint s")
            with change_context(connection, {"user": "bob"}):
                execute("INSERT INTO orders VALUES (2)")
                execute("SAVEPOINT t")
            execute(" rollback to t")
            execute("INSERT INTO orders VALUES (3)")
            execute("commit")
            execute("begin")
            execute("INSERT INTO orders VALUES (4)")
            execute("COMMIT")
            with pytest.raises(NotifyConfigError, match="autocommit"):
                execute("INSERT INTO orders VALUES (5)")
        found = [(event.identity[0], event.context["user"]) for event in take(listener, 4)]
    assert found == [(1, "ann"), (2, "bob"), (3, "ann"), (4, "ann")]


def test_set_transaction_may_be_the_first_statement(engine, Order):
    """What a program sets for a transaction must come before its first query: the context, which
    comes before it, is none."""
    with (
        Listener(engine, Order) as listener,
        engine.connect() as connection,
        change_context(connection, {"user": "ann"}),
    ):
        for number in range(2):
            connection.commit()
            connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
            connection.execute(sa.insert(Order).values(id=number))
            assert (
                connection.exec_driver_sql("SHOW transaction_isolation").scalar() == "serializable"
            )
        connection.commit()
        assert [e.context for e in take(listener, 2)] == [{"user": "ann"}] * 2


def test_what_was_set_by_hand_comes_back(engine, Order):
    """A program that sets sa_pgnotify.context itself has it again behind the block."""
    with Listener(engine, Order) as listener, engine.begin() as connection:
        connection.exec_driver_sql("""SET LOCAL sa_pgnotify.context = '{"user": "by hand"}'""")
        with change_context(connection, {"user": "ann"}):
            connection.execute(sa.insert(Order).values(id=1))
        connection.execute(sa.insert(Order).values(id=2))
        connection.commit()
        assert [e.context["user"] for e in take(listener, 2)] == ["ann", "by hand"]


def test_two_engines_of_one_session(engine, url, Order):
    """A session that writes to two databases gives the context to both, whichever it used before
    the block."""

    class Other(DeclarativeBase):
        pass

    run(engine, "CREATE SCHEMA second")

    class Bill(NotifyOnChange, Other):
        __tablename__ = "bills"
        __table_args__ = {"schema": "second"}
        id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)

    second = sa.create_engine(url, poolclass=sa.NullPool)
    Other.metadata.create_all(second)
    for used_before in ((), (Bill,), (Order, Bill)):
        run(engine, "DELETE FROM orders", "DELETE FROM second.bills")
        with (
            Listener(engine, Order, Bill) as listener,
            Session(binds={Order: engine, Bill: second}) as session,
        ):
            for class_ in used_before:
                session.execute(sa.select(class_))
            with change_context(session, {"user": "ann"}):
                session.add_all([Order(id=1), Bill(id=1)])
            session.add_all([Order(id=2), Bill(id=2)])
            session.commit()
            events = take(listener, 4)
            assert {(e.entity, e.identity[0], e.context.get("user")) for e in events} == {
                (class_, number, user)
                for class_ in (Order, Bill)
                for number, user in ((1, "ann"), (2, None))
            }


def test_an_error_at_the_end_of_a_block_is_raised(engine, Order):
    """A flush that fails at the end of the block raises its own error; the session is as good as
    new after its rollback."""
    with Listener(engine, Order) as listener, Session(engine) as session:
        session.add(Order(id=1))
        session.commit()
        with pytest.raises(sa.exc.IntegrityError), change_context(session, {"user": "ann"}):
            session.add(Order(id=1))
        session.rollback()
        session.add(Order(id=2))
        session.commit()
        assert [e.context for e in take(listener, 2)] == [{}, {}]


def test_other_databases_are_left_alone():
    """With SQLite in a unit test the block does nothing, as the marker does."""
    engine = sa.create_engine("sqlite://")
    with ExitStack() as stack:
        session = stack.enter_context(Session(engine))
        connection = stack.enter_context(engine.connect())
        for bind in (session, connection):
            with change_context(bind, {"user": "ann"}):
                assert bind.execute(sa.text("SELECT 1")).scalar() == 1
                bind.commit()


def test_nothing_is_kept_of_sessions_that_are_gone(engine, Order):
    """A program that gives each of its sessions a context holds none of them, nor their
    connections."""
    for number in range(20):
        with Session(engine) as session, change_context(session, {"n": number}):
            session.add(Order(id=number))
            session.commit()
            session.add(Order(id=100 + number))
            session.commit()
    del session
    gc.collect()
    assert len(_all_watched) == 0
