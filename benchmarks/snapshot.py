"""A snapshot's speed: ``python benchmarks/snapshot.py``.

It compares a consumer that begins with a snapshot, its values read in the loop, with a psycopg2
server-side cursor over the same rows, which gives the same types; and the throughput of writers
while a snapshot is read with that without one. Each round measures both, one after the other; the
medians of the rounds and their ratios are printed.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import threading
import time
from datetime import datetime
from decimal import Decimal

import server
from sqlalchemy import DateTime, Engine, create_engine, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from sa_pgnotify import Consumer, NotifyOnChange, NotifySpec, consumers, forget

WRITERS = 2


class Base(DeclarativeBase):
    pass


class Order(NotifyOnChange, Base):
    """Six columns."""

    __tablename__ = "orders"
    __notify__ = NotifySpec(durable=True, values="all")
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str]
    region: Mapped[str]
    price: Mapped[Decimal]
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    open: Mapped[bool]


def fill(engine: Engine, count: int) -> None:
    numbers = f"generate_series(1, {count})"
    rows = f"SELECT i, 'name ' || i, 'eu', i / 7.0, now(), true FROM {numbers} AS i"
    server.fill(engine, Base.metadata, "orders", rows)


def by_cursor(engine: Engine, size: int) -> float:
    """Rows per second of a plain cursor."""
    started, count = time.perf_counter(), 0
    raw = engine.raw_connection()
    cursor = raw.cursor("orders")
    cursor.itersize = size
    cursor.execute("SELECT id, name, region, price, at, open FROM orders ORDER BY id")
    for _ in cursor:
        count += 1
    raw.rollback()
    raw.close()
    return count / (time.perf_counter() - started)


def by_snapshot(engine: Engine, rows: int, size: int) -> float:
    """Rows per second of a snapshot."""
    forget(engine, Base.metadata, "bench")
    started, count = time.perf_counter(), 0
    with Consumer(engine, "bench", Order, start="snapshot", batch_size=size) as consumer:
        for batch in consumer:
            with batch:
                for change in batch:
                    change.new
                    count += 1
            if count >= rows:
                break
    return count / (time.perf_counter() - started)


def read_snapshots(url: str, rows: int, size: int) -> None:
    """Read one snapshot after the other, until this process is ended."""
    engine = create_engine(url)
    while True:
        by_snapshot(engine, rows, size)


def writing(engine: Engine, seconds: float) -> float:
    """Transactions per second of some writers, of one row each."""
    done, until = [], time.perf_counter() + seconds

    def write(number: int) -> None:
        count = 0
        with engine.connect() as connection:
            while time.perf_counter() < until:
                count += 1
                connection.execute(
                    text(
                        f"UPDATE orders SET open = NOT open WHERE id = {1 + count * WRITERS + number}"
                    )
                )
                connection.commit()
        done.append(count)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done) / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=1000)
    parser.add_argument("--url", help="of a server's maintenance database")
    given = parser.parse_args()
    with server.running(given.url) as url, server.database(url) as database:
        engine = create_engine(database, pool_size=WRITERS + 1)
        fill(engine, given.rows)
        rounds = [
            (by_cursor(engine, given.batch_size), by_snapshot(engine, given.rows, given.batch_size))
            for _ in range(given.rounds)
        ]
        report("rows/s, cursor and snapshot", rounds)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(f"peak memory of this process: {peak} MB")
        report(
            "writers' transactions/s, alone and beside a snapshot",
            [beside(engine, given.rows, given.batch_size) for _ in range(given.rounds)],
        )
        engine.dispose()


def beside(engine: Engine, rows: int, size: int) -> tuple[float, float]:
    """Transactions per second without a snapshot, and while snapshots are read."""
    alone = writing(engine, 3.0)
    url = engine.url.render_as_string(hide_password=False)
    reader = multiprocessing.get_context("spawn").Process(
        target=read_snapshots, args=(url, rows, size)
    )
    reader.start()
    try:
        while not any(one.lag.rows_done for one in consumers(engine)):
            time.sleep(0.05)
        return alone, writing(engine, 3.0)
    finally:
        reader.kill()
        reader.join()


def report(what: str, rounds: list[tuple[float, float]]) -> None:
    first, second = zip(*rounds)
    ratios = sorted(b / a for a, b in rounds)
    print(
        f"{what}: {statistics.median(first):,.0f} and {statistics.median(second):,.0f}, "
        f"ratio {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
    )


if __name__ == "__main__":
    main()
