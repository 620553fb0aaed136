"""Readers of the change log that lose their connection, or their server."""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import run, take, terminate_listener
from servers import Server, data_folder
from sqlalchemy import BigInteger, Column, MetaData, NullPool, Table, create_engine

import sa_pgnotify.consuming
from sa_pgnotify import Consumer, Listener, ListenUnavailable, NotifySpec, notify_on_change
from sa_pgnotify.subscribing import greet


@pytest.fixture
def crashing() -> Iterator[Server]:
    """A server of its own, which writes its log to the disk only when a transaction commits."""
    with data_folder() as data, Server(data) as server:
        with server.engine.connect() as connection:
            connection.exec_driver_sql("ALTER SYSTEM SET wal_writer_delay = '10s'")
            connection.exec_driver_sql("SELECT pg_reload_conf()")
        yield server


@pytest.fixture
def orders() -> Table:
    table = Table("orders", MetaData(), Column("id", BigInteger, primary_key=True))
    return notify_on_change(table, NotifySpec(durable=True))


def test_a_connection_that_works_begins_the_waiting_anew(monkeypatch, engine, orders):
    """A consumer that lost its connection now and then, over weeks, comes back as soon as after the first time."""
    orders.metadata.create_all(engine)
    bounds = []
    monkeypatch.setattr("sa_pgnotify.protocol.random", SimpleNamespace(uniform=lambda low, high: bounds.append(high) or low))
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
    """start() raises what it says, also where the connection is lost in the midst of it: a program must not know each driver's errors."""
    orders.metadata.create_all(engine)

    def greet_and_end(connection: Any) -> None:
        greet(connection)
        connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    monkeypatch.setattr(sa_pgnotify.consuming, "greet", greet_and_end)
    with pytest.raises(ListenUnavailable, match="terminat"):
        Consumer(engine, "billing", orders).start()


def test_ids_that_a_crash_gives_again_are_no_place_that_was_passed(crashing, orders):
    """A transaction that was rolled back before a crash, and seen to have ended, leaves its id to one after it, which is told too."""
    engine = create_engine(crashing.url, poolclass=NullPool)
    orders.metadata.create_all(engine)
    with Listener(engine, orders, heartbeat=0.1) as listener:
        run(engine, "INSERT INTO orders VALUES (0)")
        take(listener, 1)
        with engine.connect() as connection:
            for i in range(20):
                connection.exec_driver_sql(f"INSERT INTO orders VALUES ({100 + i})")
                last = connection.exec_driver_sql("SELECT pg_current_xact_id()::text::bigint").scalar_one()
                connection.rollback()
        (tail,) = listener._receiver._tails.values()
        deadline = time.monotonic() + 10
        while tail.reader.snapshot.xmax <= last:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        crashing.down("immediate")
        crashing.up()
        for i in range(1, 11):
            run(engine, f"INSERT INTO orders VALUES ({i})")
        assert [event.identity for event in take(listener, 10)] == [(i,) for i in range(1, 11)]
    engine.dispose()
