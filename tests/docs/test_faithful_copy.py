"""The example that keeps a copy of a table in another database, while it is killed again and again."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from kinds import address
from programs import EXAMPLES, Program, imported
from sqlalchemy import NullPool, create_engine, text
from statements import run
from waiting import wait_until

from sa_pgnotify import Consumer

FIRST = 3000
"""How many rows are there at the beginning: several batches."""
KILLS = 4
WRITES = (
    "INSERT INTO orders SELECT max(id) + 1, 'new' FROM orders",
    "UPDATE orders SET status = status || '.' WHERE id % 50 = {n} % 50",
    "DELETE FROM orders WHERE id % 97 = {n} % 97",
    "UPDATE orders AS o SET id = -id WHERE id % 89 = {n} % 89 AND NOT EXISTS (SELECT FROM orders WHERE id = -o.id)",
    "INSERT INTO orders SELECT i, 'back' FROM generate_series(1, 3000, 40) AS i ON CONFLICT DO NOTHING",
)


def start(url: Any, copy: str) -> Program:
    return Program(EXAMPLES / "faithful_copy.py", address(url), copy)


def rows(engine: Any) -> dict[int, str]:
    with engine.connect() as connection:
        return {row.id: row.status for row in connection.execute(text("SELECT * FROM orders"))}


class Writer(threading.Thread):
    """Makes changes of all kinds until it is stopped."""

    def __init__(self, engine: Any) -> None:
        super().__init__()
        self._engine, self._stopped = engine, threading.Event()

    def run(self) -> None:
        number = 0
        while not self._stopped.wait(0.01):
            number += 1
            run(self._engine, random.choice(WRITES).format(n=number))

    def stop(self) -> None:
        self._stopped.set()
        self.join()


def fill(count: int, status: str) -> str:
    return f"INSERT INTO orders SELECT i, '{status}' FROM generate_series(1, {count}) AS i"


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.thorough)])
def target(request: Any, tmp_path: Path, url: Any, admin: Any) -> Any:
    """URL of the copy: a file, or another database on the same server."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'copy.db'}"
        return
    name = f"{url.database}_copy"
    run(admin, f"CREATE DATABASE {name}")
    yield address(url.set(database=name))
    run(admin, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.thorough
def test_copy_through_kills(url, engine, target):
    """Rows that are there, and all that changes while the program is killed, at whichever moment:
    in the end both tables are equal."""
    with start(url, target) as program:
        program.wait_for("^rows are asked for$")
    run(engine, fill(FIRST, "first"))
    copy = create_engine(target, poolclass=NullPool)
    with copy.begin() as connection:  # the program has not seen these rows yet
        connection.execute(text("DELETE FROM filled"))
    writer = Writer(engine)
    writer.start()
    for number in range(KILLS):
        with start(url, target) as program:  # the end of its block kills it
            program.wait_for(
                "events$"
            )  # the copy is committed now, and the position perhaps not yet
            time.sleep(random.choice((0, random.random() / 5)))
        assert "Traceback" not in "".join(program.errors)
        if number == KILLS // 2:
            run(engine, "TRUNCATE orders", fill(FIRST, "again"))
    writer.stop()
    with start(url, target):
        wait_until(lambda: rows(copy) == rows(engine))


def test_a_new_copy_and_one_with_a_gap(url, engine, tmp_path):
    """Where the file is gone, the rows come again; and so where the log could not be followed."""
    file = tmp_path / "copy.db"
    target = f"sqlite:///{file}"
    with start(url, target) as program:
        program.wait_for("^rows are asked for$")
    copy = create_engine(target, poolclass=NullPool)
    run(engine, fill(10, "first"))
    file.unlink()
    with start(url, target) as program:
        program.wait_for("^rows are asked for$")
        wait_until(lambda: rows(copy) == rows(engine))
    run(engine, "ALTER TABLE orders DISABLE TRIGGER USER", "DELETE FROM orders WHERE id = 3")
    run(engine, "ALTER TABLE orders ENABLE TRIGGER USER")
    assert rows(copy) != rows(engine)
    run(engine, "UPDATE sa_pgnotify_consumers SET origin = 'another'")
    with start(url, target) as program:
        program.wait_for("lost_position")
        program.wait_for("^rows are asked for$")
        wait_until(lambda: rows(copy) == rows(engine))


def test_a_row_that_is_deleted_before_its_batch_comes_again(engine, tmp_path):
    """The copy is committed and the position is not, and then the row is deleted: it is gone from
    the copy, too."""
    file = tmp_path / "copy.db"
    target = create_engine(f"sqlite:///{file}", poolclass=NullPool)
    with imported("faithful_copy") as example:
        example.Base.metadata.create_all(engine)
        copy = example.Copy(target)
        run(engine, fill(10, "first"))
        consumer = Consumer(engine, "copy of orders", example.Order)
        with pytest.raises(ZeroDivisionError), consumer:
            copy.fill(consumer)
            for batch in consumer:
                with batch:
                    copy.write(batch)
                    1 / 0
        assert rows(target) == rows(engine)
        run(engine, "DELETE FROM orders WHERE id = 3")
        with consumer:
            for batch in consumer:
                with batch:
                    copy.write(batch)
                if not consumer.lag().rows_estimate:
                    break
    assert rows(target) == rows(engine)
