"""A snapshot's speed: ``python benchmarks/snapshot.py``.

It compares a consumer that begins with a snapshot, its values read in the loop, with a psycopg2
server-side cursor over the same rows, which gives the same types. The same cursor with an object for
each row, and one for its values, is the floor: it is what an event is at least.

It also compares the throughput of writers alone with that beside a process that reads the rows again
and again, by the cursor and by snapshots. The measurements of a round follow one after the other. The
medians of the rounds, and of their ratios to the first measurement, are printed.
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
from typing import Any

import server
from sqlalchemy import DateTime, Engine, create_engine, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from sa_pgnotify import Consumer, NotifyOnChange, NotifySpec, forget

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


def by_cursor(engine: Engine, size: int, *, events: bool = False) -> float:
    """Rows per second of a plain cursor.

    :param events: whether to make the two objects of an event for each row.
    """
    names: dict[str, int] = {}
    started, count = time.perf_counter(), 0
    raw = engine.raw_connection()
    cursor = raw.cursor("orders")
    cursor.itersize = size
    cursor.execute("SELECT id, name, region, price, at, open FROM orders ORDER BY id")
    for row in cursor:
        if events:
            Event(row, names, count, (row[0],)).new
        count += 1
    raw.rollback()
    raw.close()
    return count / (time.perf_counter() - started)


class Event:
    """The least that an event of a row is."""

    __slots__ = ("_identity", "_names", "_number", "_row")

    def __init__(self, row: Any, names: Any, number: int, identity: Any) -> None:
        self._row, self._names, self._number, self._identity = row, names, number, identity

    @property
    def new(self) -> Values:
        return Values(self._names, self._row)


class Values:
    __slots__ = ("_names", "_row")

    def __init__(self, names: Any, row: Any) -> None:
        self._names, self._row = names, row


def by_snapshot(engine: Engine, size: int) -> float:
    """Rows per second of a snapshot."""
    forget(engine, Base.metadata, "bench")
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT count(*) FROM orders")).scalar_one()
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


def read_again_and_again(url: str, size: int, reading: Any) -> None:
    """Read all rows one time after the other, until this process is ended."""
    engine = create_engine(url)
    while True:
        reading(engine, size)


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
        size = given.batch_size
        rounds = [
            (
                by_cursor(engine, size),
                by_cursor(engine, size, events=True),
                by_snapshot(engine, size),
            )
            for _ in range(given.rounds)
        ]
        report("rows/s: cursor, cursor with events, snapshot", rounds)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(f"peak memory of this process: {peak} MB")
        report(
            "writers' transactions/s: alone, beside a cursor, beside a snapshot",
            [
                (
                    writing(engine, 3.0),
                    beside(engine, size, by_cursor),
                    beside(engine, size, by_snapshot),
                )
                for _ in range(given.rounds)
            ],
        )
        engine.dispose()


def beside(engine: Engine, size: int, reading: Any) -> float:
    """Transactions per second of the writers while another process reads."""
    url = engine.url.render_as_string(hide_password=False)
    reader = multiprocessing.get_context("spawn").Process(
        target=read_again_and_again, args=(url, size, reading)
    )
    reader.start()
    try:
        time.sleep(1.5)  # it starts
        return writing(engine, 3.0)
    finally:
        reader.kill()
        reader.join()


def report(what: str, rounds: list[tuple[float, ...]]) -> None:
    medians = ", ".join(f"{statistics.median(figures):,.0f}" for figures in zip(*rounds))
    print(f"{what}: {medians}")
    for place in range(1, len(rounds[0])):
        ratios = sorted(each[place] / each[0] for each in rounds)
        print(f"    {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")


if __name__ == "__main__":
    main()
