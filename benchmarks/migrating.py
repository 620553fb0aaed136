"""Measure what marked tables add to ``alembic revision --autogenerate``: ``python
benchmarks/migrating.py``.

Two databases hold the same tables, one with markers and triggers and one without. Each round
compares both with their models.
"""

from __future__ import annotations

import argparse
import time
from statistics import median

import alembic
import server
from alembic.autogenerate import produce_migrations
from alembic.migration import MigrationContext
from sqlalchemy import (
    URL,
    Column,
    DateTime,
    Engine,
    Integer,
    MetaData,
    NullPool,
    Numeric,
    String,
    Table,
    create_engine,
)
from sqlalchemy.dialects.postgresql import JSONB

import alembic_ops  # noqa: F401 (finds markers)
from sa_pgnotify import NotifySpec, notify_on_change

TARGET = 0.2
"""Seconds that 200 marked tables may add."""


def models(tables: int, columns: int, *, marked: bool) -> MetaData:
    metadata = MetaData()
    kinds = (String, Numeric(10, 2), DateTime(timezone=True), JSONB, Integer)
    for number in range(tables):
        more = [Column(f"c{i}", kinds[i % len(kinds)]) for i in range(columns - 1)]
        table = Table(f"table_{number}", metadata, Column("id", Integer, primary_key=True), *more)
        if marked:
            notify_on_change(table, NotifySpec(values="all"))
    return metadata


def seconds(engine: Engine, metadata: MetaData) -> float:
    """Return the seconds of one comparison; the database matches the models, so nothing is
    proposed."""
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"target_metadata": metadata})
        start = time.perf_counter()
        script = produce_migrations(context, metadata)
        taken = time.perf_counter() - start
    assert script.upgrade_ops is not None
    assert script.upgrade_ops.is_empty()
    return taken


def measure(
    maintenance: URL, tables: int, columns: int, rounds: int
) -> tuple[list[float], list[float]]:
    """Return the seconds of each round, without markers and with."""
    with server.database(maintenance) as plain, server.database(maintenance) as marked:
        sides = []
        for url in (plain, marked):
            engine, metadata = (
                create_engine(url, poolclass=NullPool),
                models(tables, columns, marked=url is marked),
            )
            metadata.create_all(engine)
            seconds(engine, metadata)  # caches of SQLAlchemy and the server
            sides.append((engine, metadata, []))
        for number in range(rounds):
            for engine, metadata, taken in sides if number % 2 else reversed(sides):
                taken.append(seconds(engine, metadata))
        return sides[0][2], sides[1][2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--url",
        help="a superuser's URL of a server; default: one is started in a temporary directory",
    )
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    with server.running(options.url) as maintenance:
        machine = server.described(maintenance)
        print(
            f"Alembic {alembic.__version__}, SQLAlchemy {machine['SQLAlchemy']}, PostgreSQL {machine['PostgreSQL'].split()[0]}\n"
        )
        print(
            "| tables | columns | not marked | marked | added | target |\n| ---: | ---: | ---: | ---: | ---: | --- |"
        )
        for tables, columns in ((200, 6), (200, 20), (20, 6)):
            plain, marked = measure(maintenance, tables, columns, options.rounds)
            added = median(theirs - ours for ours, theirs in zip(plain, marked))
            target = (
                ""
                if tables != 200
                else f"< {TARGET} s, {'met' if added < TARGET else '**missed**'}"
            )
            print(
                f"| {tables} | {columns} | {median(plain):.3f} s | {median(marked):.3f} s | {added:.3f} s | {target} |"
            )


if __name__ == "__main__":
    main()
