"""A durable table whose log has few slots, and consumers that pass them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from logs import SLOTS
from statements import rows, run

from sa_pgnotify import (
    ChangeLog,
    Consumer,
    Gap,
    NotifySpec,
    notify_on_change,
)


def orders_table(engine: sa.Engine, **limits: Any) -> sa.Table:
    metadata = sa.MetaData()
    if limits:
        ChangeLog(metadata, **limits)
    table = sa.Table(
        "orders",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("note", sa.Text),
    )
    notify_on_change(table, NotifySpec(durable=True))
    metadata.create_all(engine)
    return table


def write(engine: sa.Engine, count: int, note: str = "") -> None:
    """Insert rows, each in a transaction of its own and so a row of the log."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for _ in range(count):
            connection.execute(
                sa.text("INSERT INTO orders SELECT coalesce(max(id), 0) + 1, :note FROM orders"),
                {"note": note},
            )


def register(engine: sa.Engine, name: str, *entities: Any, **options: Any) -> None:
    """Have a consumer take its place, and not consume."""
    with Consumer(engine, name, *entities, **options):
        pass


def consume(
    engine: sa.Engine, name: str, table: sa.Table, count: int, *, settle: bool = True
) -> list[Any]:
    """Return the next ``count`` events of a consumer, which are processed batch by batch; to
    ``settle`` is to wait for what runs in the server's other databases."""
    events: list[Any] = []
    with Consumer(engine, name, table, heartbeat=60) as consumer:
        for batch in consumer:
            with batch:
                events += batch
            if len(events) >= count:
                break

    def settled() -> bool:
        snapshot = rows(engine, "SELECT pg_current_snapshot()::text")[0][0]
        if snapshot.endswith(":"):  # nothing was running
            run(
                engine,
                f"UPDATE sa_pgnotify_consumers SET last = '{snapshot}' WHERE name = '{name}' AND target IS NULL",
            )
        return snapshot.endswith(":")

    if settle:
        until(settled)
    return events


def held(engine: sa.Engine) -> list[int]:
    """How many rows each slot has."""
    return [rows(engine, f"SELECT count(*) FROM {slot}")[0][0] for slot in SLOTS]


def until(found: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def identities(events: list[Any]) -> list[Any]:
    return [event.reason if isinstance(event, Gap) else event.identity[0] for event in events]


@contextmanager
def running(engine: sa.Engine, name: str, table: sa.Table, **options: Any) -> Iterator[list[Any]]:
    """A consumer in a thread, and what it has consumed."""
    events: list[Any] = []
    with Consumer(engine, name, table, heartbeat=0.05, **options) as consumer:
        thread = threading.Thread(
            target=lambda: consumer.run(lambda session, change: events.append(change))
        )
        thread.start()
        try:
            yield events
        finally:
            consumer.stop()
            thread.join()
