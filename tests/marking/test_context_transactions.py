"""change_context where transactions are not the usual ones: autocommit, transactions by hand, several
engines, other databases."""

import asyncio
import gc
from contextlib import ExitStack

import pytest
import sqlalchemy as sa
from kinds import driver_url
from receiving import take
from sqlalchemy.ext.asyncio import (
    AsyncSession,
    create_async_engine,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from statements import run

from sa_pgnotify import Listener, NotifyConfigError, NotifyOnChange, change_context
from sa_pgnotify.marking.context import _all_watched


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
