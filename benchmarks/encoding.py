"""What ``event.to_json()`` costs, beside ``orjson.dumps`` of the same dict: ``python benchmarks/encoding.py``.

No server is needed: messages are made as they come from the wire. The values of an event are read
before it is written, as a program does that looks at it. Both are timed in turns within a round, and
the ratio is that of one round; each figure is the median of all rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any

import orjson
from sqlalchemy import DateTime, inspect
from sqlalchemy.dialects.postgresql.psycopg2 import PGDialect_psycopg2
from sqlalchemy.orm import DeclarativeBase, Mapped, configure_mappers, mapped_column

from sa_pgnotify import NotifyOnChange, NotifySpec
from sa_pgnotify.events.decoding import TableDecoder
from sa_pgnotify.events.message import Message
from sa_pgnotify.log.reader import LogRow
from sa_pgnotify.log.snapshots import Position
from sa_pgnotify.protocol.wire import RS, US, Header, Rows

COLUMNS = ("id", "status", "customer", "total", "created", "note")
OIDS = dict(zip(COLUMNS, (20, 25, 23, 1700, 1184, 25)))
TARGET = 3.0


class Base(DeclarativeBase):
    """The base of the class that is measured."""


class Order(NotifyOnChange, Base):
    """Six columns."""

    __tablename__ = "orders"
    __notify__ = NotifySpec(values="all")
    id: Mapped[int] = mapped_column(primary_key=True)
    status: Mapped[str]
    customer: Mapped[int]
    total: Mapped[Decimal]
    created: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    note: Mapped[str]


class Reader:
    """Reads the texts of one type."""

    server_read_oid = None

    def __init__(self, one: Callable[[str], Any]) -> None:
        self.one = one

    def all(self, texts: list[str]) -> list[Any]:
        return list(map(self.one, texts))


def decoder() -> TableDecoder:
    configure_mappers()
    readers: Any = {20: Reader(int), 23: Reader(int), 1700: Reader(Decimal), 25: None}
    readers[1184] = Reader(datetime.fromisoformat)
    return TableDecoder(
        Order.__table__, inspect(Order), lambda _: True, ("id",), PGDialect_psycopg2(), OIDS, readers, None
    )  # fmt: skip


def row(operation: str, number: int) -> str:
    """A row as the wire has it; an update changes two columns."""
    new = [str(number), "open", str(number % 97), "19.90", "2024-02-29 12:34:56.789+00:00", "a note of some length"]  # fmt: skip
    return US.join(new if operation == "I" else ["10", *new, "new", "9.90"])


def messages(
    source: TableDecoder, operation: str, size: int, count: int, *, durable: bool
) -> Iterator[Message]:
    """Yield messages of ``size`` rows, ``count`` rows in all."""
    shape = json.dumps({"columns": COLUMNS, "carried": len(COLUMNS), "key": 1})
    start = Position("1:2:", tables=(("public.orders", None),))
    for number in range(count // size):
        header = Header(
            "", operation, "public.orders", number + 7, 1_700_000_000_000_000, shape, "", 1
        )
        text = RS.join(row(operation, number * size + i) for i in range(size))
        logged = LogRow(number, number, number + 7, 1, "public.orders", "", text, 0, start)
        yield Message(source, Rows(header, text, size), 0.0, logged if durable else None)


def measure(source: TableDecoder, operation: str, size: int, *, durable: bool) -> tuple[Any, ...]:
    """Return the ratio, and microseconds for each event: ours, and orjson's."""
    clock, rounds = time.perf_counter, []
    for _ in range(15):
        ours = theirs = 0.0
        events: list[Any] = []
        for message in messages(source, operation, size, 6000, durable=durable):
            events += message.events()
        for event in events:
            dict(event.new)
            if operation == "U":
                dict(event.old)
        began = clock()
        for event in events:
            event.to_json()
        ours = clock() - began
        dicts = [event.to_dict() for event in events]
        began = clock()
        for envelope in dicts:
            orjson.dumps(envelope)
        theirs = clock() - began
        rounds.append((ours / theirs, ours / len(events) * 1e6, theirs / len(events) * 1e6))
    return tuple(statistics.median(figures) for figures in zip(*rounds))


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    source = decoder()
    print("| event | rows of a message | | to_json | orjson.dumps | ratio | target |")
    print("| --- | ---: | --- | ---: | ---: | ---: | --- |")
    for operation, kind in (("I", "Inserted"), ("U", "Updated")):
        for size in (300, 1):
            for durable in (False, True):
                ratio, ours, theirs = measure(source, operation, size, durable=durable)
                met = "met" if ratio <= TARGET else "missed"
                print(
                    f"| {kind} | {size} | {'durable' if durable else 'ephemeral'} | {ours:.2f} µs | {theirs:.2f} µs"
                    f" | **{ratio:.1f}** | <= {TARGET:g}, {met} |"
                )


if __name__ == "__main__":
    main()
