"""A snapshot against a model: whatever is written between two batches, and between the changes and the
rows of a page, each change fits what was there before it, and the copy is the table."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from capturing import capturing
from copying import Copy, copied, is_over
from sqlalchemy import (
    BigInteger,
    Column,
    Engine,
    MetaData,
    NullPool,
    Table,
    Text,
    create_engine,
    event,
    select,
)
from statements import run

from sa_pgnotify import Consumer, NotifySpec, notify_on_change
from sa_pgnotify.consuming import scanner
from sa_pgnotify.scanning import entity_rows, started

AREAS = ("a", "B", "ä")


@pytest.fixture(autouse=True)
def small_pages(monkeypatch):
    """A page has as many rows as a batch."""
    monkeypatch.setattr(entity_rows, "PAGE_ROWS", 1)


@pytest.fixture
def table(engine: Engine) -> Table:
    """A durable table with a composite key, in the order of the database's collation."""
    return made(engine)


@pytest.fixture
def captured_table(engine: Engine) -> Iterator[Table]:
    """Such a table without triggers, and a capture that runs."""
    table = made(engine, capture="wal")
    with capturing(engine, table.metadata):
        yield table


def made(engine: Engine, **options: Any) -> Table:
    metadata = MetaData()
    table = Table(
        "t",
        metadata,
        Column("area", Text, primary_key=True),
        Column("number", BigInteger, primary_key=True, autoincrement=False),
        Column("n", BigInteger),
    )
    notify_on_change(table, NotifySpec(values="all", durable=True, **options))
    metadata.create_all(engine)
    return table


def statement(chance: random.Random) -> str:
    def key() -> str:
        return f"'{chance.choice(AREAS)}', {chance.randint(1, 20)}"

    kind = chance.random()
    if kind < 0.35:
        return f"UPDATE t SET n = n + 1 WHERE (area, number) = ({key()})"
    if kind < 0.5:
        return f"INSERT INTO t VALUES ({key()}, 7) ON CONFLICT DO NOTHING"
    if kind < 0.6:
        return f"DELETE FROM t WHERE (area, number) = ({key()})"
    if kind < 0.98:
        to = key()
        free = f"NOT EXISTS (SELECT FROM t WHERE (area, number) = ({to}))"
        return f"UPDATE t SET (area, number) = ({to}) WHERE (area, number) = ({key()}) AND {free}"
    return "TRUNCATE t"


def write(engine: Engine, chance: random.Random) -> None:
    """Some transactions, of which some are rolled back."""
    with engine.connect() as connection:
        for _ in range(chance.randint(0, 6)):
            for _ in range(chance.randint(1, 3)):
                connection.exec_driver_sql(statement(chance))
            connection.rollback() if chance.random() < 0.2 else connection.commit()


def follow(engine: Engine, table: Table, seed: int) -> tuple[Copy, Any]:
    """The copy that a consumer keeps while the table is written to, and the table."""
    run(engine, "TRUNCATE t", "DELETE FROM sa_pgnotify_consumers")
    areas = ", ".join(f"('{area}')" for area in AREAS)
    run(
        engine,
        f"INSERT INTO t SELECT area, i, 0 FROM (VALUES {areas}) AS a (area), generate_series(1, 12) AS i",
    )
    chance, writer = random.Random(seed), create_engine(engine.url, poolclass=NullPool)
    ended: list[bool] = []
    reader = create_engine(engine.url, poolclass=NullPool)

    @event.listens_for(reader, "before_cursor_execute")
    def between(connection: Any, cursor: Any, sql: str, *_: Any) -> None:
        if sql.startswith("SELECT t.area") and chance.random() < 0.3 and not ended:
            write(writer, chance)

    def step(number: int) -> None:
        write(writer, chance)
        # something that must come, so that there is a next batch
        run(writer, f"INSERT INTO t VALUES ('y', {number}, 0)")

    def end() -> None:
        ended.append(True)
        thread.start()

    def watch() -> None:
        while not (is_over(consumer) or over.wait(0.01)):
            pass
        consumer.stop()

    thread, over = threading.Thread(target=watch), threading.Event()
    steps = [*(partial(step, number) for number in range(6)), end]
    with Consumer(reader, "c", table, start="snapshot", batch_size=4) as consumer:
        try:
            copy, _ = copied(consumer, between=steps, until=lambda _: False)
        finally:
            over.set()
            if ended:
                thread.join()
    with engine.connect() as connection:
        rows = connection.execute(select(table)).all()
    return copy, {(row.area, row.number): row._asdict() for row in rows}


@pytest.mark.sample(3)
@pytest.mark.parametrize("seed", range(12))
def test_the_copy_is_the_table(engine, table, seed):
    """For each of many histories."""
    copy, rows = follow(engine, table, seed)
    assert copy == rows


@pytest.mark.sample(4)
@pytest.mark.parametrize("seed", range(12))
def test_the_copy_is_a_captured_table(engine, captured_table, seed):
    """For each of many histories of a table whose changes the log has later than a snapshot of the
    table."""
    copy, rows = follow(engine, captured_table, seed)
    assert copy == rows


def every_change_after_the_page(monkeypatch):
    """A reader that takes no account of what a page has seen."""
    monkeypatch.setattr(scanner, "divided", lambda chunks, *_: ([], list(chunks)))


def every_change_before_the_page(monkeypatch):
    """A reader that takes a page for newer than all changes that were captured."""
    monkeypatch.setattr(scanner, "divided", lambda chunks, *_: (list(chunks), []))


@pytest.mark.sample(1)
@pytest.mark.parametrize("wrong", [every_change_after_the_page, every_change_before_the_page])
def test_a_wrong_reader_of_a_captured_table_is_found(engine, captured_table, monkeypatch, wrong):
    """The model fails where a page stands in the wrong place among the changes."""
    wrong(monkeypatch)
    found = []
    for seed in range(12):
        try:
            copy, rows = follow(engine, captured_table, seed)
            found.append(copy == rows)
        except (AssertionError, KeyError):
            found.append(False)
        if not found[-1]:
            break
    assert not all(found)


def read_committed(monkeypatch):
    """A reader whose rows are of another snapshot than its changes."""
    by = scanner.Seen.by

    def loosely(connection: Any) -> Any:
        seen = by(connection)
        connection.exec_driver_sql("COMMIT")
        return seen

    monkeypatch.setattr(scanner.Seen, "by", loosely)


def moved_rows_as_they_are(monkeypatch):
    """A reader that takes the update of a key for the update of a row that was read."""
    monkeypatch.setattr(started, "left", lambda change: change)
    monkeypatch.setattr(started, "entered", lambda change: change)


def every_change(monkeypatch):
    """A reader that delivers the changes of rows that it has not read."""
    monkeypatch.setattr(scanner, "only_started", lambda execute, order, place, events: list(events))


@pytest.mark.thorough
@pytest.mark.sample(3)
@pytest.mark.parametrize("wrong", [read_committed, moved_rows_as_they_are, every_change])
def test_a_wrong_reader_is_found(engine, table, monkeypatch, wrong):
    """The model fails where the rules are broken, or it would say nothing: in one history at
    least."""
    wrong(monkeypatch)
    found = []
    for seed in range(12):
        try:
            copy, rows = follow(engine, table, seed)
            found.append(copy == rows)
        except (AssertionError, KeyError):
            found.append(False)
    assert not all(found)
