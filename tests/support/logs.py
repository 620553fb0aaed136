"""The change log of a test's database: its rows, its readers, and the events that come through it,
without waiting for silence."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from receiving import take
from sessions import HERE
from statements import rows, run

from sa_pgnotify import ChangeLog, Event, Listener, NotifySpec, notify_on_change

SLOTS = [f"sa_pgnotify_log_{number}" for number in range(4)]
TABLES = {"sa_pgnotify_log", *SLOTS, "sa_pgnotify_consumers", "sa_pgnotify_parked"}


@contextmanager
def end_of_log(engine: sa.Engine, schema: str | None = None) -> Iterator[sa.Table]:
    """A durable table of the log in ``schema``, whose changes mark an end; gone after the block,
    when the log stays."""
    metadata = sa.MetaData()
    ChangeLog(metadata, schema=schema)
    end = sa.Table(
        "end_of_log", metadata, sa.Column("id", sa.Integer, primary_key=True), schema=schema
    )
    notify_on_change(end, NotifySpec(durable=True)).create(engine)
    try:
        yield end
    finally:
        end.drop(engine)


def until_end_of_log(engine: sa.Engine, listener: Any, end: sa.Table) -> list[Event]:
    """The events before now, of a listener that listens to ``end``, too."""
    with engine.begin() as connection:
        connection.execute(end.insert())
    events: list[Event] = []
    while True:
        (event,) = take(listener, 1)
        if getattr(event, "table", None) is end:
            return events
        events.append(event)


def received_from_log(
    engine: sa.Engine, source: Any, *statements: str, schema: str | None = None
) -> list[Event]:
    """The events that ``statements``, run in one transaction, cause in the log in ``schema``."""
    with end_of_log(engine, schema) as end, Listener(engine, source, end) as listener:
        run(engine, *statements)
        return until_end_of_log(engine, listener, end)


def sleepers(engine: sa.Engine, count: int = 1) -> None:
    """Wait until so many readers of logs show that they sleep; fails if that does not come
    about."""
    deadline = time.monotonic() + 20
    shown = f"SELECT count(DISTINCT pid) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1 AND mode = 'ShareLock' AND granted AND {HERE}"
    while (now := rows(engine, shown)[0][0]) != count:
        assert time.monotonic() < deadline, f"{now} readers sleep, and not {count}"
        time.sleep(0.01)


def logged(engine: sa.Engine, columns: str = "header, rows") -> list[tuple[Any, ...]]:
    """The rows of the log, in order."""
    union = " UNION ALL ".join(f"SELECT * FROM {slot}" for slot in SLOTS)
    return rows(engine, f"SELECT {columns} FROM ({union}) AS log ORDER BY id")
