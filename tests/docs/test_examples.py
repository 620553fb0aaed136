"""The short examples run as their docstrings say, as processes of their own, and do what they
promise, through cut connections too."""

from __future__ import annotations

import re
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from kinds import address
from programs import EXAMPLES, Output, Program, imported
from sqlalchemy import text
from statements import run

CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


def count(engine: Any, query: str) -> Any:
    with engine.connect() as connection:
        return connection.scalar(text(query))


# -- cache_invalidation.py -------------------------------------------------------------------------


def ask(program: Program, number: int) -> tuple[str, bool]:
    """What the program says of an order, and whether it had to read it from the database."""
    known = len(program.output.lines)
    program.say(str(number))
    answer = program.output.wait_for(f"order {number}: ")
    return answer.partition(": ")[2], f"reading order {number}" in program.output.lines[known:]


@pytest.fixture
def cache(url, engine) -> Iterator[Program]:
    """The program, which has cached that order 1 is new and that there is no order 2."""
    with Program(EXAMPLES / "cache_invalidation.py", address(url)) as program:
        assert ask(program, 1) == ("None", True)  # the table is there, and LISTEN is committed
        run(engine, "INSERT INTO orders VALUES (1, 'new')")
        program.output.wait_for(r"Inserted\(Order, \(1,\)")
        for read in (True, False):
            assert ask(program, 1) == ("new", read)
            assert ask(program, 2) == ("None", read)
        yield program


def test_cached_until_another_program_changes_it(cache, engine):
    """A change by another program is in the next read, and only the changed row is read again; so
    is a new row, and one that is gone."""
    run(engine, "UPDATE orders SET status = 'paid'")
    cache.wait_for(r"Updated\(Order, \(1,\)")
    assert ask(cache, 1) == ("paid", True)
    assert ask(cache, 1) == ("paid", False)
    assert ask(cache, 2) == ("None", False)
    run(engine, "INSERT INTO orders VALUES (2, 'new')")
    cache.wait_for(r"Inserted\(Order, \(2,\)")
    assert ask(cache, 2) == ("new", True)
    run(engine, "DELETE FROM orders WHERE id = 2")
    cache.wait_for(r"Deleted\(Order, \(2,\)")
    assert ask(cache, 2) == ("None", True)
    assert ask(cache, 1) == ("paid", False)
    assert cache.end()[0] == 0


def test_cache_forgets_both_keys_of_a_row_that_got_another(cache, engine):
    """A changed key is news for the row that was and for the row that is."""
    run(engine, "UPDATE orders SET id = 2")
    cache.wait_for(r"Updated\(Order, \(2,\)")
    assert ask(cache, 1) == ("None", True)
    assert ask(cache, 2) == ("new", True)


def test_cache_forgets_all_on_truncate(cache, engine):
    """TRUNCATE names no row, and all are gone."""
    run(engine, "TRUNCATE orders")
    cache.wait_for(r"Truncated\(Order")
    assert ask(cache, 1) == ("None", True)
    assert ask(cache, 2) == ("None", True)


def test_cache_forgets_all_when_events_may_be_missing(cache, engine):
    """What changed while the connection was lost is in the next read after the gap, and everything
    is read again."""
    run(engine, CUT, "UPDATE orders SET status = 'paid'")
    cache.wait_for(r"Gap\(reason='reconnected'")
    assert ask(cache, 1) == ("paid", True)
    assert ask(cache, 2) == ("None", True)
    assert ask(cache, 1) == ("paid", False)
    assert cache.end()[0] == 0


@pytest.mark.parametrize("change", ["UPDATE orders SET status = 'paid'", "TRUNCATE orders", CUT])
def test_old_row_does_not_come_into_the_cache_after_its_change(engine, change, monkeypatch):
    """A reader loads a row, then its change is delivered, and then the reader puts the row into the
    cache: the row does not stay there."""
    with imported("cache_invalidation") as example:
        example.Base.metadata.create_all(engine)
        run(engine, "INSERT INTO orders VALUES (1, 'new')")
        orders = example.Orders(engine)
        delivered = threading.Event()
        orders.listener.on()(lambda event: delivered.set())  # after the example's own handler
        load = orders.load

        def slowly(number: int) -> str | None:
            status = load(number)
            run(engine, change)
            assert delivered.wait(20)
            return status

        with orders.listener:
            watching = threading.Thread(target=orders.watch)
            watching.start()
            monkeypatch.setattr(orders, "load", slowly)
            assert orders.get(1) == "new"
            loaded: list[int] = []
            monkeypatch.setattr(
                orders, "load", lambda number: loaded.append(number) or load(number)
            )
            assert orders.get(1) == count(engine, "SELECT status FROM orders")
            assert loaded == [1]
        watching.join()


def test_cache_is_passed_by_while_nobody_listens(engine):
    """Before the listener has started and after it has ended each read goes to the database."""
    with imported("cache_invalidation") as example:
        example.Base.metadata.create_all(engine)
        orders = example.Orders(engine)
        for status in ("new", "paid"):
            run(engine, "DELETE FROM orders", f"INSERT INTO orders VALUES (1, '{status}')")
            assert orders.get(1) == status
        with orders.listener:
            assert orders.get(1) == "paid"
        run(engine, "UPDATE orders SET status = 'sent'")
        assert orders.get(1) == "sent"


def test_cache_is_passed_by_after_a_handler_failed(engine, monkeypatch):
    """A handler that could not invalidate ends the listener, and with it the use of the cache."""
    with imported("cache_invalidation") as example:
        example.Base.metadata.create_all(engine)
        run(engine, "INSERT INTO orders VALUES (1, 'new')")
        orders = example.Orders(engine)
        failed: list[Any] = []
        monkeypatch.setattr(threading, "excepthook", failed.append)
        monkeypatch.setattr(orders.region, "delete", lambda key: 1 / 0)
        with orders.listener:
            watching = threading.Thread(target=orders.watch)
            watching.start()
            assert orders.get(1) == "new"
            run(engine, "UPDATE orders SET status = 'paid'")
            watching.join(20)
            assert orders.get(1) == "paid"
        assert [arguments.exc_type for arguments in failed] == [ZeroDivisionError]


# -- asyncio_worker.py -----------------------------------------------------------------------------


DONE = r"^job \d+ done$"


def worker(url: Any, driver: str, output: Output) -> Program:
    return Program(EXAMPLES / "asyncio_worker.py", address(url, driver), output=output)


def insert(engine: Any, jobs: int, *more: str) -> None:
    run(
        engine,
        f"INSERT INTO jobs (account_id, amount) SELECT 1, 10 FROM generate_series(1, {jobs})",
        *more,
    )


def stop(program: Program) -> None:
    program.send(signal.SIGTERM)
    code, _, errors = program.end()
    assert code == 0
    assert "Traceback" not in errors


@pytest.mark.parametrize("driver", ["asyncpg", pytest.param("psycopg", marks=pytest.mark.thorough)])
def test_workers_do_each_job_once(url, engine, driver):
    """Jobs inserted before the start, while two workers run, and while all their connections are
    cut are all done, each of them once; SIGTERM ends a worker with exit code 0."""
    output = Output()
    with worker(url, driver, output) as first:
        output.wait_for("^listening$")
        stop(first)
    run(engine, "INSERT INTO accounts VALUES (1, 0)")
    insert(engine, 20)
    with worker(url, driver, output) as first, worker(url, driver, output) as second:
        for _ in range(20):
            output.wait_for(DONE)
        for _ in range(10):
            insert(engine, 3)
        for _ in range(30):
            output.wait_for(DONE)
        insert(engine, 10, CUT)  # inserted at the moment of the cut
        for _ in range(10):
            output.wait_for(DONE)
        insert(engine, 20)
        for _ in range(20):
            output.wait_for(DONE)
        stop(first)
        insert(engine, 1)
        output.wait_for(DONE)
        stop(second)
    jobs = Counter(line for line in output.lines if re.search(DONE, line))
    assert jobs == {f"job {number} done": 1 for number in range(1, 82)}, output.lines
    assert count(engine, "SELECT balance FROM accounts") == 810


def test_worker_ends_with_the_job_at_hand(url, engine):
    """On SIGTERM the job at hand is finished, and none begun after it."""
    output = Output()
    with worker(url, "asyncpg", output) as program, engine.connect() as other:
        output.wait_for("^listening$")
        run(engine, "INSERT INTO accounts VALUES (1, 0)")
        other.execute(text("SELECT FROM accounts FOR NO KEY UPDATE"))
        insert(engine, 2)
        output.wait_for("^job 1 begun$")  # and it waits for the account
        program.send(signal.SIGTERM)
        output.wait_for("^stopping$")
        other.rollback()
        assert program.end()[0] == 0
    assert output.lines[-1] == "job 1 done"
    assert count(engine, "SELECT array_agg(done ORDER BY id) FROM jobs") == [True, False]


def test_worker_goes_on_after_a_job_failed(url, engine):
    """A job that fails stays open and stops none behind it; it is done when the next gap has
    everything read again."""
    output = Output()
    with worker(url, "psycopg", output) as program:
        output.wait_for("^listening$")
        run(engine, "INSERT INTO accounts VALUES (1, 2147483640)")
        insert(engine, 1)
        output.wait_for("^failed, .* out of range")
        run(
            engine,
            "INSERT INTO accounts VALUES (2, 0)",
            "INSERT INTO jobs (account_id, amount) VALUES (2, 5)",
        )
        output.wait_for("^job 2 done$")
        run(engine, "UPDATE accounts SET balance = 0 WHERE id = 1", CUT)
        output.wait_for("^job 1 done$")
        stop(program)
    assert count(engine, "SELECT array_agg(balance ORDER BY id) FROM accounts") == [10, 5]
