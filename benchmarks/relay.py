"""A relay's speed into one JetStream server: ``python benchmarks/relay.py``.

Throughput: a log of changes is relayed from its beginning, and then a bare client of nats-py publishes
the same subjects, headers and bodies in atomic batches of the same size into another stream. Latency:
transactions of one row are committed at a fixed rate, and a reader of the stream compares the moment
at which a message arrives with that at which COMMIT returned. PostgreSQL, NATS, relay, writer and
reader share the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import statistics
import sys
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import nats
import psycopg2
import server
from sqlalchemy import create_engine, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from sa_pgnotify import NotifyOnChange, NotifySpec
from sa_pgnotify.relay import JetStream, Relay

sys.path.append(str(Path(__file__).parent.parent / "tests" / "support"))
from brokers import Nats, nats_server

BATCH = 1000


class Base(DeclarativeBase):
    pass


class Order(NotifyOnChange, Base):
    """Six columns."""

    __tablename__ = "orders"
    __notify__ = NotifySpec(durable=True, values="all")
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str]
    region: Mapped[str]
    cents: Mapped[int]
    note: Mapped[str]
    open: Mapped[bool]


VALUES = "'name ' || i, 'eu', i * 7, 'a note', true"


def relay(database: str, broker: str, stream: str) -> None:
    Relay(
        create_engine(database),
        stream.lower(),
        Order,
        to=JetStream(broker, stream),
        start="beginning",
    ).run()


def process(database: str, broker: str, stream: str) -> multiprocessing.Process:
    started = multiprocessing.Process(target=relay, args=(database, broker, stream), daemon=True)
    started.start()
    return started


def by_relay(database: str, broker: Nats, stream: str, count: int) -> float:
    """Changes per second, from the first message on."""
    running = process(database, broker.url, stream)
    first: tuple[float, int] | None = None
    while (stored := broker.count(stream)) < count:
        if stored and first is None:
            first = time.perf_counter(), stored
        time.sleep(0.02)
    ended = time.perf_counter()
    running.terminate()
    running.join()
    assert first is not None
    return (count - first[1]) / (ended - first[0])


async def _bare(broker: Nats, stream: str, messages: list[Any]) -> float:
    connection = await nats.connect(broker.url)
    started, last = time.perf_counter(), 0
    for at in range(0, len(messages), BATCH):
        batch, part = uuid4().hex, messages[at : at + BATCH]
        for number, (subject, body, headers) in enumerate(part, 1):
            sent = {**headers, "Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(number)}
            if number == 1:
                sent["Nats-Expected-Last-Sequence"] = str(last)
            if number < len(part):
                await connection.publish(subject, body, headers=sent)
            else:
                sent["Nats-Batch-Commit"] = "1"
                await connection.request(subject, body, headers=sent, timeout=10)
                last += len(part)
    rate = len(messages) / (time.perf_counter() - started)
    await connection.close()
    return rate


def by_bare_client(broker: Nats, stream: str, bare: str) -> float:
    """Messages per second of a client that publishes the same bytes."""
    broker.create(bare, subjects=[f"{bare.lower()}.>"])
    messages = asyncio.run(_raw(broker, stream, bare))
    return asyncio.run(_bare(broker, bare, messages))


async def _raw(broker: Nats, stream: str, bare: str) -> list[Any]:
    connection = await nats.connect(broker.url)
    js = connection.jetstream()
    count = (await js.stream_info(stream)).state.messages
    limits = {"pending_msgs_limit": 10**7, "pending_bytes_limit": 10**10}
    taken = await js.subscribe(">", stream=stream, ordered_consumer=True, **limits)
    found = []
    for _ in range(count):
        message = await taken.next_msg(timeout=10)
        headers = {k: v for k, v in (message.headers or {}).items() if not k.startswith("Nats-")}
        found.append((message.subject.replace(stream.lower(), bare.lower()), message.data, headers))
    await connection.close()
    return found


def write(database: str, rate: int, count: int, committed: Any) -> None:
    """Commit one row after the other, and note when."""
    connection = psycopg2.connect(database.replace("+psycopg2", ""))
    cursor = connection.cursor()
    started = time.perf_counter()
    for number in range(count):
        time.sleep(max(0.0, started + number / rate - time.perf_counter()))
        cursor.execute(f"INSERT INTO orders SELECT i, {VALUES} FROM (SELECT {number}) AS n (i)")
        connection.commit()
        committed[number] = time.time()


async def _arrivals(broker: Nats, stream: str, count: int, ready: Any) -> dict[int, float]:
    connection = await nats.connect(broker.url)
    taken = await connection.jetstream().subscribe(">", stream=stream, ordered_consumer=True)
    ready.set()
    arrived = {}
    while len(arrived) < count:
        message = await taken.next_msg(timeout=30)
        arrived[int(message.subject.rpartition(".")[2])] = time.time()
    await connection.close()
    return arrived


def latency(database: str, broker: Nats, stream: str, rate: int, count: int) -> list[float]:
    """Milliseconds from COMMIT to the message, sorted, without those of the first second."""
    broker.create(stream, subjects=[f"{stream.lower()}.>"])
    running = process(database, broker.url, stream)
    committed, ready = multiprocessing.Array("d", count, lock=False), multiprocessing.Event()
    writer = multiprocessing.Process(target=write, args=(database, rate, count, committed))
    time.sleep(2)  # the relay works
    writer.start()
    arrived = asyncio.run(_arrivals(broker, stream, count, ready))
    writer.join()
    running.terminate()
    running.join()
    return sorted((arrived[i] - committed[i]) * 1000 for i in range(rate, count))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", help="a server's maintenance database, as a superuser")
    parser.add_argument("--changes", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rate", type=int, default=1000)
    parser.add_argument("--seconds", type=int, default=6)
    given = parser.parse_args()
    with server.running(given.url) as admin, nats_server() as broker:
        rates = []
        for number in range(given.rounds):
            with server.database(admin) as url:
                database = url.render_as_string(hide_password=False)
                engine = create_engine(url)
                Base.metadata.create_all(engine)
                with engine.begin() as connection:
                    connection.execute(text("SET LOCAL synchronous_commit = off"))
                for at in range(0, given.changes, 500):
                    rows = f"generate_series({at}, {min(at + 500, given.changes) - 1}) AS i"
                    with engine.begin() as connection:
                        connection.exec_driver_sql(
                            f"INSERT INTO orders SELECT i, {VALUES} FROM {rows}"
                        )
                relayed = by_relay(database, broker, f"R{number}", given.changes)
                bare = by_bare_client(broker, f"R{number}", f"B{number}")
                rates.append((relayed, bare, relayed / bare))
                print(
                    f"relay {relayed:,.0f}/s, bare client {bare:,.0f}/s, ratio {relayed / bare:.2f}",
                    flush=True,
                )
                engine.dispose()
        relayed, bare, ratio = map(statistics.median, zip(*rates))
        print(f"median: relay {relayed:,.0f}/s, bare client {bare:,.0f}/s, ratio {ratio:.2f}")
        with server.database(admin) as url:
            engine = create_engine(url)
            Base.metadata.create_all(engine)
            database = url.render_as_string(hide_password=False)
            took = latency(database, broker, "L", given.rate, given.rate * given.seconds)
            p50, p99 = took[len(took) // 2], took[len(took) * 99 // 100]
            print(
                f"COMMIT to message at {given.rate}/s: p50 {p50:.1f} ms, p99 {p99:.1f} ms, max {took[-1]:.1f} ms"
            )
            engine.dispose()


if __name__ == "__main__":
    main()
