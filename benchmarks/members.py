"""The members of a stream consumer beside a consumer: ``python benchmarks/members.py``.

A log of changes is worked off from its beginning by one Consumer, and then, when a relay has published
it, by four members of a StreamConsumer in processes of their own. The handler is the same: it adds an
invoice for each order to the session. The rates are from the first invoice to the last, for
the members from when all of them work, in turns. PostgreSQL, NATS and all processes share the machine.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import server
from sqlalchemy import Connection, Engine, create_engine, func, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

from sa_pgnotify import Consumer, NotifyOnChange, NotifySpec
from sa_pgnotify.relay import JetStream, Relay
from sa_pgnotify.streaming import StreamConsumer

sys.path.append(str(Path(__file__).parent.parent / "tests" / "support"))
from brokers import Nats, nats_server

STREAM = "SHOP"


class Base(DeclarativeBase):
    pass


class Order(NotifyOnChange, Base):
    __tablename__ = "orders"
    __notify__ = NotifySpec(durable=True, values="all")
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str]
    cents: Mapped[int]


class Invoice(Base):
    __tablename__ = "invoices"
    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[int]
    cents: Mapped[int]


def bill(session: Session, change: Any) -> None:
    session.add(Invoice(order_id=change.identity[0], cents=change.new["cents"]))


def relay(database: str, broker: str) -> None:
    to = JetStream(broker, STREAM)
    Relay(create_engine(database), "shop", Order, to=to, start="beginning").run()


def consume(database: str, name: str) -> None:
    Consumer(create_engine(database), name, Order, start="beginning").start().run(bill)


def work(database: str, broker: str, name: str) -> None:
    sessions = sessionmaker(create_engine(database))
    to = JetStream(broker, STREAM)
    StreamConsumer(to, name, Order, session_factory=sessions, start="beginning").run(bill)


def working(connection: Connection) -> int:
    """How many members the newest consumer has at work."""
    members = "SELECT count(DISTINCT member) FROM sa_pgnotify_stream_places GROUP BY name ORDER BY name DESC LIMIT 1"
    return connection.scalar(text(members)) or 0


def rate(engine: Engine, count: int, target: Any, *arguments: Any, times: int = 1) -> float:
    """Invoices per second of that many processes, from the first batches on."""
    with engine.begin() as connection:
        connection.execute(text("TRUNCATE invoices"))
    processes = [
        multiprocessing.Process(target=target, args=arguments, daemon=True) for _ in range(times)
    ]
    for process in processes:
        process.start()
    first: tuple[float, int] | None = None
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        while (done := connection.scalar(select(func.count()).select_from(Invoice)) or 0) < count:
            if done and first is None and (times == 1 or working(connection) == times):
                first = time.perf_counter(), done
            time.sleep(0.05)
        ended = time.perf_counter()
        assert done == count, "an order has two invoices"
    for process in processes:
        process.terminate()
        process.join()
    assert first is not None
    return (count - first[1]) / (ended - first[0])


def published(engine: Engine, broker: Nats, count: int) -> None:
    """Fill the log, and have it published."""
    Base.metadata.create_all(engine)
    rows = "SELECT i, 'name ' || i, i % 1000 FROM generate_series(10 * n + 1, 10 * n + 10) AS i"
    loop = f"FOR n IN 0..{count // 10 - 1} LOOP INSERT INTO orders {rows}; COMMIT; END LOOP"
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f"DO $$ BEGIN {loop}; END $$"))
    url = engine.url.render_as_string(hide_password=False)
    relaying = multiprocessing.Process(target=relay, args=(url, broker.url), daemon=True)
    relaying.start()
    while broker.count(STREAM) < count:
        time.sleep(0.2)
    relaying.terminate()
    relaying.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--members", type=int, default=4)
    options = parser.parse_args()
    with server.running(None) as url, server.database(url) as database, nats_server() as broker:
        engine = create_engine(database)
        published(engine, broker, options.count)
        address = database.render_as_string(hide_password=False)
        ratios = []
        for number in range(options.rounds):
            alone = rate(engine, options.count, consume, address, f"c{number}")
            arguments = (address, broker.url, f"m{number}")
            members = rate(engine, options.count, work, *arguments, times=options.members)
            ratios.append(members / alone)
            print(
                f"Consumer {alone:,.0f}/s, {options.members} members {members:,.0f}/s: {members / alone:.2f}",
                flush=True,
            )
        print(f"median ratio {statistics.median(ratios):.2f}")
        engine.dispose()


if __name__ == "__main__":
    main()
