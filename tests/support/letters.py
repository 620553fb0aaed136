"""Durable tables a, b and c, and consumers that read some of them under one name."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from statements import run

from sa_pgnotify import (
    Consumer,
    Gap,
    NotifySpec,
    notify_on_change,
)

NAMES = ("a", "b", "c")


def tables(engine: sa.Engine) -> dict[str, sa.Table]:
    """Durable tables; and ``done``, where consumers record what they have processed, once."""
    metadata = sa.MetaData()
    made = {
        name: sa.Table(name, metadata, sa.Column("id", sa.Integer, primary_key=True))
        for name in NAMES
    }
    for table in made.values():
        notify_on_change(table, NotifySpec(durable=True))
    sa.Table("done", metadata, sa.Column("what", sa.Text, primary_key=True))
    metadata.create_all(engine)
    return made


def work(session: Any, change: Any) -> None:
    session.execute(
        sa.text(f"INSERT INTO done VALUES ('{change.table.name} {change.identity[0]}')")
    )


def read(
    engine: sa.Engine, name: str, *entities: sa.Table, count: int, **options: Any
) -> list[Any]:
    """Process the next changes of a consumer, at least ``count``, and return table and key of each,
    or the reason of a gap."""
    found: list[Any] = []
    with Consumer(engine, name, *entities, heartbeat=60, **options) as consumer:
        for batch in consumer:
            with batch:
                found += [
                    event.reason
                    if isinstance(event, Gap)
                    else (event.table.name, event.identity[0])
                    for event in batch
                ]
            if len(found) >= count:
                return found
    return found


def started(engine: sa.Engine, name: str, *entities: sa.Table, **options: Any) -> None:
    """A consumer takes its place, and does not consume."""
    with Consumer(engine, name, *entities, **options):
        pass


def insert(engine: sa.Engine, *rows: tuple[str, int]) -> None:
    """A transaction for each row."""
    for table, number in rows:
        run(engine, f"INSERT INTO {table} VALUES ({number})")


def rows(engine: sa.Engine, sql: str) -> list[Any]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(sql)]
