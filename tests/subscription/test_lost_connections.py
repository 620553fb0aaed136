"""Readers of the change log that lose their connection, or their server."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from receiving import take
from servers import Server, data_folder
from sessions import terminate_listener
from sqlalchemy import BigInteger, Column, MetaData, NullPool, Table, create_engine
from statements import run

import sa_pgnotify.subscription.link
from sa_pgnotify import Consumer, Gap, Listener, ListenUnavailable, NotifySpec, notify_on_change
from sa_pgnotify.subscription.probe import greet

# a transaction in any database holds up what a reader of the log is certain of
pytestmark = pytest.mark.undisturbed


@pytest.fixture
def server() -> Iterator[Server]:
    with data_folder() as data, Server(data) as server:
        yield server


@pytest.fixture
def orders() -> Table:
    table = Table("orders", MetaData(), Column("id", BigInteger, primary_key=True))
    return notify_on_change(table, NotifySpec(durable=True))


def test_a_connection_that_works_begins_the_waiting_anew(monkeypatch, engine, orders):
    """A consumer that lost its connection now and then, over weeks, comes back as soon as after the
    first time."""
    orders.metadata.create_all(engine)
    bounds = []
    monkeypatch.setattr(
        "sa_pgnotify.subscription.backoff.random",
        SimpleNamespace(uniform=lambda low, high: bounds.append(high) or low),
    )
    with Consumer(engine, "billing", orders) as consumer:
        batches = iter(consumer)
        for i in range(4):
            run(engine, f"INSERT INTO orders VALUES ({i})")
            with next(batches) as session:
                assert session is not None
            terminate_listener(engine)
    assert len(bounds) >= 3
    assert len(set(bounds)) == 1


def test_a_connection_that_breaks_at_the_start(monkeypatch, engine, orders):
    """start() raises what it says, also where the connection is lost in the midst of it: a program
    must not know each driver's errors."""
    orders.metadata.create_all(engine)

    def greet_and_end(connection: Any) -> None:
        greet(connection)
        connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    monkeypatch.setattr(sa_pgnotify.subscription.link, "greet", greet_and_end)
    with pytest.raises(ListenUnavailable, match="terminat"):
        Consumer(engine, "billing", orders).start()


def test_ids_that_a_crash_gives_again_are_no_place_that_was_passed(server, orders):
    """The id of a transaction that was rolled back before a crash, and was seen to have ended, is
    used again by a later one, which is delivered too."""
    engine = create_engine(server.url, poolclass=NullPool)
    orders.metadata.create_all(engine)
    with Listener(engine, orders, heartbeat=0.1) as listener:
        run(engine, "INSERT INTO orders VALUES (0)")
        take(listener, 1)
        server.hold_log()
        with engine.connect() as connection:
            for i in range(20):
                connection.exec_driver_sql(f"INSERT INTO orders VALUES ({100 + i})")
                last = connection.exec_driver_sql(
                    "SELECT pg_current_xact_id()::text::bigint"
                ).scalar_one()
                connection.rollback()
        (tail,) = listener._receiver.logs._tails.values()
        deadline = time.monotonic() + 10
        while tail.reader.snapshot.xmax <= last:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        server.crash()
        for i in range(1, 11):
            run(engine, f"INSERT INTO orders VALUES ({i})")
        assert [event.identity for event in take(listener, 10)] == [(i,) for i in range(1, 11)]
    engine.dispose()


def write_unsafely(engine: Any, first: int, last: int) -> None:
    """Commit without waiting for the disk, a transaction for each row."""
    with engine.connect() as connection:
        connection.exec_driver_sql("SET synchronous_commit = off")
        connection.commit()
        for number in range(first, last + 1):
            connection.exec_driver_sql(f"INSERT INTO orders VALUES ({number})")
            connection.commit()


@contextmanager
def crash(server: Server) -> Iterator[Callable[[], None]]:
    """What the block writes without waiting for the disk is lost when the yielded function is
    called."""
    with server.engine.connect() as connection:
        connection.exec_driver_sql("CHECKPOINT")
    server.hold_log()
    yield server.crash


@contextmanager
def failover(server: Server) -> Iterator[Callable[[], None]]:
    """What the block writes is lost when the yielded function is called, as if a standby took over
    that has received nothing of it."""
    server.down("fast")
    standby = server._data.with_name("standby")
    subprocess.run(["cp", "-a", str(server._data), str(standby)], check=True)
    server.up()

    def lose() -> None:
        server.down("immediate")
        server._data.rename(server._data.with_name("primary"))
        standby.rename(server._data)
        server.up()

    yield lose


@pytest.mark.sample(2)
@pytest.mark.parametrize("accident", [crash, failover])
@pytest.mark.parametrize("seen_before", [False, True])
def test_changes_that_the_server_has_lost_are_a_gap(server, orders, accident, seen_before):
    """Where the server comes back without commits that a listener has delivered, and gives their
    transaction ids to others, it says that its place is lost; what is committed then is delivered.
    So it is where the newest commits of the log were lost before anything was delivered."""
    engine = create_engine(server.url, poolclass=NullPool)
    orders.metadata.create_all(engine)
    run(engine, "INSERT INTO orders VALUES (0)")
    with accident(server) as lose:
        if not seen_before:
            write_unsafely(engine, 1, 5)
        with Listener(engine, orders, heartbeat=0.2) as listener:
            if seen_before:
                write_unsafely(engine, 1, 5)
                assert [event.identity for event in take(listener, 5)] == [
                    (i,) for i in range(1, 6)
                ]
            lose()
            with engine.connect() as connection:
                assert connection.exec_driver_sql("SELECT count(*) FROM orders").scalar() == 1, (
                    "nothing was lost"
                )
            for number in range(101, 111):
                run(engine, f"INSERT INTO orders VALUES ({number})")
            (gap,) = take(listener, 1, timeout=20)
            assert (type(gap), gap.reason) == (Gap, "lost_position")
            assert "the server has lost changes" in gap.detail
            run(engine, "INSERT INTO orders VALUES (111)")
            found = [take(listener, 1)[0].identity[0]]  # some before are covered by the gap
            while found[-1] != 111:
                found.append(take(listener, 1)[0].identity[0])
            assert found == list(range(found[0], 112))
    engine.dispose()


@pytest.mark.parametrize("accident", [crash, failover])
def test_a_consumer_is_where_its_server_is(server, orders, accident):
    """The server has lost a consumer's work and position, together with the changes. The consumer
    goes on from the state that is left: later changes are processed once, and its work matches the
    changes that exist."""
    engine = create_engine(
        server.url, poolclass=NullPool, connect_args={"options": "-c synchronous_commit=off"}
    )
    orders.metadata.create_all(engine)
    run(engine, "CREATE TABLE done (id bigint PRIMARY KEY)")

    def work_off(consumer: Any, until: int) -> None:
        for batch in consumer:
            with batch as session:
                for change in batch:
                    session.connection().exec_driver_sql(
                        f"INSERT INTO done VALUES ({change.identity[0]})"
                    )
            with engine.connect() as connection:
                if connection.exec_driver_sql(
                    f"SELECT count(*) FROM done WHERE id = {until}"
                ).scalar():
                    return

    with Consumer(engine, "billing", orders, heartbeat=0.2) as consumer:
        run(engine, "INSERT INTO orders VALUES (0)")
        work_off(consumer, 0)
    with accident(server) as lose, Consumer(engine, "billing", orders, heartbeat=0.2) as consumer:
        write_unsafely(engine, 1, 5)
        work_off(consumer, 5)
        lose()
        for number in range(101, 111):
            run(engine, f"INSERT INTO orders VALUES ({number})")
        work_off(consumer, 110)
    with engine.connect() as connection:
        there, done = (
            list(connection.exec_driver_sql(f"SELECT id FROM {table} ORDER BY id").scalars())
            for table in ("orders", "done")
        )
    assert done == there == [0, *range(101, 111)]
    engine.dispose()


def test_a_loss_of_the_connection_alone_is_no_gap(engine, orders):
    """Where the server has lost nothing, a listener goes on without a gap, also where retention has
    removed what it has read."""
    orders.metadata.create_all(engine)
    with Listener(engine, orders, heartbeat=0.2) as listener:
        for number in range(3):
            run(engine, f"INSERT INTO orders VALUES ({number})")
        take(listener, 3)
        run(
            engine,
            "INSERT INTO sa_pgnotify_log (id, removed, lost) SELECT 0, max(xid), 0 FROM sa_pgnotify_log_0",
            "TRUNCATE sa_pgnotify_log_0",
        )
        terminate_listener(engine)
        run(engine, "INSERT INTO orders VALUES (3)")
        assert [getattr(event, "identity", event) for event in take(listener, 1)] == [(3,)]
