"""change_context over transactions and savepoints, with every driver: the context is kept, or the
block is refused."""

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from kinds import driver_url
from receiving import take, until_end
from sampling import size
from sqlalchemy.ext.asyncio import (
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import DeclarativeBase, Session
from statements import run

from sa_pgnotify import Listener, NotifyConfigError, change_context

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
        for seed in range(size(40, 12)):
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
