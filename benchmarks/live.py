"""Measure live queries under load: ``python benchmarks/live.py``.

It follows many queries of one shape, each for the rows of a different owner, while another process
changes rows at a given rate, and measures the time from a change to its step. For comparison, the
queries are also kept up to date in the two usual ways: by running every query once a second, and by
running the query that an event concerns. Finally it follows one query on a large table, and
compares the duration of a step with that of selecting the changed row by its key.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg2
import server
from sqlalchemy import URL, BigInteger, Float, Index, create_engine, make_url, select, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from sa_pgnotify import (
    AsyncListener,
    AsyncLiveQuery,
    Enter,
    LiveQuery,
    NotifyOnChange,
    NotifySpec,
    Update,
)

ROWS_OF_EACH = 20


class Base(DeclarativeBase):
    pass


class Order(NotifyOnChange, Base):
    __tablename__ = "orders"
    __notify__ = NotifySpec(durable=True)
    __table_args__ = (Index("orders_of_owner", "owner"),)
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    owner: Mapped[int]
    status: Mapped[str]
    written: Mapped[float] = mapped_column(Float(53))


def fill(url: URL, rows: int, owners: int) -> None:
    engine = create_engine(url)
    numbers = f"generate_series(0, {rows - 1})"
    select_rows = f"SELECT i, mod(i, {owners}), 'open', 0 FROM {numbers} AS i"
    server.fill(engine, Base.metadata, "orders", select_rows)
    engine.dispose()


def write(dsn: str, rate: int, seconds: float, rows: int, size: int, done: Any) -> None:
    """Update ``rate`` rows a second, ``size`` in each transaction.

    It puts the number of updated rows and the elapsed seconds into the queue ``done``.
    """
    connection = psycopg2.connect(dsn)
    cursor, began, count = connection.cursor(), time.perf_counter(), 0
    while (now := time.perf_counter() - began) < seconds:
        if count > now * rate:
            time.sleep(0.001)
            continue
        ids = [(count * 7 + i * 13) % rows for i in range(size)]
        cursor.execute("UPDATE orders SET written = %s WHERE id = ANY (%s)", (time.time(), ids))
        connection.commit()
        count += size
    done.put((count, time.perf_counter() - began))


class Latencies:
    """The seconds from each change until the program has it."""

    def __init__(self) -> None:
        self.each: list[float] = []
        self.last = time.monotonic()

    def saw(self, written: float) -> None:
        if written:
            self.each.append(time.time() - written)
            self.last = time.monotonic()

    def __str__(self) -> str:
        if len(self.each) < 2:
            return "no changes"
        cuts = statistics.quantiles(self.each, n=100)
        return f"{len(self.each):,} seen, median {cuts[49] * 1e3:,.0f} ms, p99 {cuts[98] * 1e3:,.0f} ms"


async def by_live_queries(
    engine: AsyncEngine, owners: int, seen: Latencies, ready: Callable[[], None]
) -> None:
    async def follow(owner: int) -> None:
        async with AsyncLiveQuery(engine, select(Order).where(Order.owner == owner)) as live:
            async for step in live:
                if step.is_whole:
                    started.release()
                    continue
                for event in step:
                    if isinstance(event, Enter | Update):
                        seen.saw(event.row.Order.written)

    started = asyncio.Semaphore(0)
    async with asyncio.TaskGroup() as group:
        for owner in range(owners):
            group.create_task(follow(owner))
        for _ in range(owners):
            await started.acquire()
        ready()


async def by_polling(
    engine: AsyncEngine, owners: int, seen: Latencies, ready: Callable[[], None]
) -> None:
    """Run each query once a second, one after the other."""
    held: dict[int, dict[int, float]] = {owner: {} for owner in range(owners)}
    ready()
    while True:
        began = time.monotonic()
        for owner, rows in held.items():
            await run_again(engine, owner, rows, seen)
        await asyncio.sleep(max(0.0, began + 1 - time.monotonic()))


async def by_events(
    engine: AsyncEngine, owners: int, seen: Latencies, ready: Callable[[], None]
) -> None:
    """Run the query of the changed row's owner at each event."""
    held: dict[int, dict[int, float]] = {owner: {} for owner in range(owners)}
    async with AsyncListener(engine, Order) as listener:
        ready()
        async for event in listener:
            if (identity := getattr(event, "identity", None)) is not None:
                owner = identity[0] % owners
                await run_again(engine, owner, held[owner], seen)


async def run_again(
    engine: AsyncEngine, owner: int, held: dict[int, float], seen: Latencies
) -> None:
    async with AsyncSession(engine) as session:
        for order in await session.scalars(select(Order).where(Order.owner == owner)):
            if held.get(order.id, 0.0) != order.written:
                seen.saw(order.written)
            held[order.id] = order.written


Way = Callable[[AsyncEngine, int, Latencies, Callable[[], None]], Awaitable[None]]


async def measured(url: URL, way: Way, given: Any, rate: int, size: int) -> str:
    """Return the measurements of one way to follow the queries while rows are changed."""
    fill(url, given.queries * ROWS_OF_EACH, given.queries)
    engine = create_async_engine(url.set(drivername="postgresql+asyncpg"))
    seen, started = Latencies(), asyncio.Event()
    following = asyncio.ensure_future(way(engine, given.queries, seen, started.set))
    await asyncio.wait(
        {following, asyncio.ensure_future(started.wait())}, return_when=asyncio.FIRST_COMPLETED
    )
    context = multiprocessing.get_context("spawn")
    done = context.Queue()
    dsn = url.set(drivername="postgresql").render_as_string(hide_password=False)
    arguments = (dsn, rate, given.seconds, given.queries * ROWS_OF_EACH, size, done)
    writer = context.Process(target=write, args=arguments)
    cpu = time.process_time()
    writer.start()
    count, took = await asyncio.to_thread(done.get)
    ended = time.monotonic()
    while time.monotonic() - max(seen.last, ended) < 2.0:  # noqa: ASYNC110 (it waits for silence)
        await asyncio.sleep(0.1)
    cpu = time.process_time() - cpu
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    await engine.dispose()
    behind = max(0.0, seen.last - ended)
    return f"{count / took:,.0f} changes/s: {seen}; {behind:.1f} s behind at the end, CPU {cpu / took:.2f}"


def of_one_row(url: URL, rows: int) -> str:
    """Return the duration of a step for a change of one row in a large result, and of selecting
    this row by its key."""
    fill(url, rows, 1000)
    engine = create_engine(url)
    statement = select(Order).where(Order.status == "open")
    steps, by_hand = [], []
    with LiveQuery(engine, statement, old=False) as live, engine.connect() as connection:
        evaluator = live._feed._evaluator  # type: ignore[union-attr]
        run, spent = evaluator.run, []

        def timed(connection: Any) -> None:
            began = time.perf_counter()
            run(connection)
            spent.append(time.perf_counter() - began)

        evaluator.run = timed  # type: ignore[method-assign]
        taken = live.steps(timeout=10.0)
        next(taken)
        for i in range(200):
            connection.execute(text(f"UPDATE orders SET written = {i + 1} WHERE id = {i}"))
            connection.commit()
            next(taken)
            began = time.perf_counter()
            connection.execute(statement.where(Order.id == i)).all()
            connection.rollback()
            by_hand.append(time.perf_counter() - began)
        steps = spent[-200:]
    engine.dispose()
    one, other = statistics.median(steps), statistics.median(by_hand)
    return f"{rows:,} rows: a step {one * 1e3:.2f} ms, by hand {other * 1e3:.2f} ms, ratio {one / other:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rows", type=int, nargs="*", default=[100_000, 1_000_000])
    parser.add_argument("--url", help="of a server's maintenance database")
    given = parser.parse_args()
    with server.running(given.url) as maintenance, server.database(maintenance) as database:
        url = make_url(database)
        for rate, size in ((1_000, 1), (10_000, 100)):
            for way in (by_live_queries, by_events, by_polling):
                line = asyncio.run(measured(url, way, given, rate, size))
                print(
                    f"{given.queries:,} queries, {way.__name__}, {size} rows a transaction, {line}",
                    flush=True,
                )
        for rows in given.rows:
            print(of_one_row(url, rows), flush=True)


if __name__ == "__main__":
    main()
