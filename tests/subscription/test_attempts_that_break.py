"""A new connection that is lost before the reader has gone on by it: the attempt after it finds, and
reports, what the first one would have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from receiving import take
from sessions import terminate_listener
from sqlalchemy import BigInteger, Column, Engine, MetaData, Table
from sqlalchemy.exc import OperationalError
from statements import run

from sa_pgnotify import ChangeLog, Gap, Listener, NotifySpec, notify_on_change
from sa_pgnotify.listening.log_follower import LogFollower
from sa_pgnotify.log.tables import LogNames
from sa_pgnotify.log.tail import LOST_TO_CRASH, LOST_TO_RESTORE, Tail
from sa_pgnotify.sql import execute_on

STATEMENTS = 12
"""More than a reader runs to go on by a new connection."""


def durable(name: str, log: str | None = None) -> Table:
    metadata = MetaData()
    if log is not None:
        ChangeLog(metadata, schema=log)
    table = Table(name, metadata, Column("id", BigInteger, primary_key=True))
    return notify_on_change(table, NotifySpec(durable=True))


class Breaking:
    """Runs statements until number ``last``, and raises instead of that one."""

    def __init__(self, execute: Any, last: int) -> None:
        self.execute, self.left = execute, last

    def __call__(self, sql: str) -> Any:
        if self.left == 0:
            raise OperationalError(sql, None, Exception("the connection is lost"))
        self.left -= 1
        return self.execute(sql)


def lose_rows(engine: Engine) -> None:
    run(engine, "DELETE FROM sa_pgnotify_log_0", "DELETE FROM sa_pgnotify_log_1")


def make_anew(engine: Engine) -> None:
    orders = durable("orders")
    orders.metadata.drop_all(engine)
    orders.metadata.create_all(engine)


@pytest.mark.parametrize(
    ("accident", "reason"), [(lose_rows, LOST_TO_CRASH), (make_anew, LOST_TO_RESTORE)]
)
def test_a_lost_position_is_reported_by_the_next_attempt(engine, accident, reason):
    """Whichever statement the connection is lost at, the next attempt says that the position was
    lost, and reads neither what was read before nor less than what comes after."""
    orders = durable("orders")
    orders.metadata.create_all(engine)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        execute = execute_on(connection)
        broken = 0
        for statement in range(STATEMENTS):
            tail = Tail(LogNames(None), ("public.orders",))
            tail.connected(execute)
            run(engine, f"INSERT INTO orders VALUES ({statement})")
            assert len(tail.read(execute)) == 1
            accident(engine)
            run(engine, f"INSERT INTO orders VALUES ({100 + statement})")
            try:
                why = tail.connected(Breaking(execute, statement))
            except OperationalError:
                broken += 1
                why = tail.connected(execute)
            assert why == reason
            run(engine, f"INSERT INTO orders VALUES ({200 + statement})")
            assert [row.text for row in tail.read(execute)] == [str(200 + statement)]
            tail.leave(execute)
        assert 2 < broken < STATEMENTS


@pytest.fixture
def fails_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """After it has been given a name, the next attempt to follow logs ends after the first one."""
    armed: list[str] = []
    original, connected = LogFollower.subscribed, Tail.connected

    def subscribed(self: LogFollower, connection: Any, *, anew: bool) -> None:
        original(self, connection, anew=anew)
        if "subscribed" in armed:
            armed.clear()
            connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    def connect(self: Tail, execute: Any) -> str | None:
        if self.names.head in armed:
            armed.clear()
            execute("SELECT pg_terminate_backend(pg_backend_pid())")
        return connected(self, execute)

    monkeypatch.setattr(LogFollower, "subscribed", subscribed)
    monkeypatch.setattr(Tail, "connected", connect)
    return armed


def test_the_second_log_is_read_on(engine, fails_once):
    """A listener of two logs whose new connection is lost at the first of them goes on in both."""
    run(engine, "CREATE SCHEMA other")
    one, two = durable("one"), durable("two", "other")
    for table in (one, two):
        table.metadata.create_all(engine)
    with Listener(engine, one, two, heartbeat=60) as listener:
        run(engine, "INSERT INTO one VALUES (1)", "INSERT INTO two VALUES (1)")
        take(listener, 2)
        first, _ = listener._receiver.logs._tails
        fails_once.append(first.head)
        with engine.begin() as connection:
            connection.exec_driver_sql("LOCK TABLE one, two IN ROW EXCLUSIVE MODE")
            terminate_listener(engine)
            connection.exec_driver_sql("INSERT INTO one VALUES (2)")
            connection.exec_driver_sql("INSERT INTO two VALUES (2)")
        found = {(event.table.name, event.identity) for event in take(listener, 2)}
        assert found == {("one", (2,)), ("two", (2,))}
        assert not fails_once


def test_altered_triggers_are_reported_by_the_next_attempt(engine, fails_once):
    """What was written while triggers were disabled is reported, if the connection that has noticed
    them is lost before it could."""
    orders = durable("orders")
    orders.metadata.create_all(engine)
    with Listener(engine, orders, heartbeat=60) as listener:
        fails_once.append("subscribed")
        with engine.begin() as connection:
            for state in ("DISABLE", "ENABLE"):
                connection.exec_driver_sql(f"ALTER TABLE orders {state} TRIGGER USER")
        run(engine, "DROP TRIGGER sa_pgnotify_insert ON orders", "INSERT INTO orders VALUES (1)")
        orders.metadata.create_all(engine)
        terminate_listener(engine)
        (gap,) = take(listener, 1, timeout=20)
        assert isinstance(gap, Gap)
        assert "orders" in gap.detail
        assert not fails_once
