"""sa_pgnotify, by its public API: ``identity``, ``values``, ``durable`` or ``durable_values``; the same
behind ``row_`` with triggers for each row; ``captured_values`` without triggers, beside a process that
captures."""

from __future__ import annotations

import multiprocessing
import sys
import threading
import time
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, DateTime, Integer, Numeric, Text, create_engine
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, mapped_column

from sa_pgnotify import (
    Capture,
    Change,
    ChangeLog,
    Consumer,
    Listener,
    NotifyOnChange,
    NotifySpec,
    consumers,
    forget,
    prune,
)
from sa_pgnotify.log.captures import covers
from sa_pgnotify.log.tables import LogNames
from sa_pgnotify.sql import execute_on

from .protocol import PATIENCE, Table, Tally, serve

FOR_EACH: Any = "row" if sys.argv[1].startswith("row_") else "statement"
MODE = sys.argv[1].removeprefix("row_")
VALUES, CAPTURED = MODE.endswith("values"), MODE.startswith("captured")
DURABLE = CAPTURED or MODE.startswith("durable")
SPEC = NotifySpec(values="all" if VALUES else (), durable=DURABLE, for_each=FOR_EACH)
if CAPTURED:  # but for the TRUNCATE between the measurements
    SPEC = replace(SPEC, capture="wal", operations=("insert", "update", "delete"))
BATCH = 10_000
TYPES = {"bigint": BigInteger, "integer": Integer, "text": Text, "jsonb": JSONB}
TYPES |= {"numeric(10,2)": Numeric(10, 2), "timestamptz": DateTime(timezone=True)}


class Base(DeclarativeBase):
    pass


if DURABLE:
    ChangeLog(Base.metadata)


def models(tables: list[Table]) -> list[type]:
    found = []
    for table in tables:
        body: dict[str, Any] = {"__tablename__": table.name, "__notify__": SPEC}
        body |= {
            name: mapped_column(TYPES[kind], primary_key=name == "id")
            for name, kind in table.columns.items()
        }
        found.append(type(table.name, (NotifyOnChange, Base), body))
    return found


def install(tables: list[Table]) -> None:
    models(tables)
    engine = create_engine("postgresql+psycopg2://")
    Base.metadata.create_all(engine)
    if CAPTURED:
        Capture(engine, Base.metadata).create_slot()


def capture(tables: list[Table]) -> None:
    models(tables)
    Capture(create_engine("postgresql+psycopg2://"), Base.metadata).run()


def listen(tables: list[Table], options: dict[str, Any], tally: Tally) -> None:
    engine, entities = create_engine("postgresql+psycopg2://"), models(tables)
    if CAPTURED:
        spawn = multiprocessing.get_context("spawn")
        spawn.Process(target=capture, args=(tables,), daemon=True).start()
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            covers(execute_on(connection), LogNames(), PATIENCE)  # it works
    (consume if DURABLE else hear)(engine, entities, options, tally)


def hear(engine: Any, entities: list[type], options: dict[str, Any], tally: Tally) -> None:
    buffer = {"buffer_size": options["buffer_size"]} if "buffer_size" in options else {}
    more = options.get("subscribers", 1) - 1
    if options.get("handlers"):
        listener = Listener(engine, *entities, **buffer)
        listener.on(*entities)(lambda event: tally.received(event.identity[0]))
        for _ in range(more):
            listener.on(*entities)(lambda _: None)
        with listener:
            tally.ready()
            listener.run()
        return
    others = [Listener(engine, *entities) for _ in range(more)]
    for other in others:
        other.start()
        threading.Thread(target=list, args=(_nothing(other),), daemon=True).start()
    with Listener(engine, *entities, **buffer) as listener:
        tally.ready()
        take(listener, tally)


def _nothing(listener: Listener) -> Any:
    return (None for event in listener if event is None)


def take(events: Any, tally: Tally) -> None:
    received = tally.received
    if VALUES:
        for event in events:
            if isinstance(event, Change):
                new = event.new
                for _value in new.values():
                    pass
                received(event.identity[0], new)
            else:
                tally.told(event.reason)
    else:
        for event in events:
            if isinstance(event, Change):
                received(event.identity[0])
            else:
                tally.told(event.reason)


def consume(engine: Any, entities: list[type], options: dict[str, Any], tally: Tally) -> None:
    if "start" not in options:
        # a process that was killed has left its consumer
        for name in {consumer.name for consumer in consumers(engine)}:
            forget(engine, Base.metadata, name)
        prune(engine, Base.metadata)
    name = f"{MODE} {datetime.now():%H:%M:%S.%f}"
    heartbeat = options.get("heartbeat", 10.0)
    with Consumer(
        engine,
        name,
        *entities,
        batch_size=options.get("batch_size", BATCH),
        start=options.get("start", "now"),
        heartbeat=heartbeat,
    ) as consumer:
        if options.get("start"):
            tally.expect(options["count"])
            tally.kept.append((0, time.monotonic()))
        tally.ready()
        for batch in consumer:
            with batch:
                take(batch, tally)


if __name__ == "__main__":
    serve(install, listen)
