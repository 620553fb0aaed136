"""Listeners on durable entities: what the log gives is what a channel gives, and no loss of a
connection takes any of it away."""

from __future__ import annotations

import logging
import random
import threading
import time
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from logs import end_of_log, sleepers, until_end_of_log
from receiving import take
from servers import Server, data_folder
from sessions import sessions_end, terminate_listener
from sqlalchemy import NullPool, create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from statements import rows, run

from sa_pgnotify import (
    ChangeLog,
    Deleted,
    Gap,
    Inserted,
    ListenUnavailable,
    Notification,
    NotifyOnChange,
    NotifySpec,
    Truncated,
    Updated,
    change_context,
    prune,
)
from sa_pgnotify.log import retention
from sa_pgnotify.triggers.templates import v1_log

# A reader of the log looks again while transactions are open, in any database.
pytestmark = pytest.mark.undisturbed


@pytest.fixture(autouse=True)
def _quiet(caplog):
    caplog.set_level(logging.CRITICAL, "sa_pgnotify")


def model(engine: sa.Engine, *, others: bool = False, **limits: Any) -> Any:
    """A durable class, installed; with ``others`` a second one, and one that is not durable."""

    class Base(DeclarativeBase):
        pass

    if limits:
        ChangeLog(Base.metadata, **limits)

    class Order(NotifyOnChange, Base):
        __tablename__ = "orders"
        __notify__ = NotifySpec(values="all", durable=True)
        id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
        status: Mapped[str | None]

    if not others:
        Base.metadata.create_all(engine)
        return Order

    class Item(NotifyOnChange, Base):
        __tablename__ = "items"
        __notify__ = NotifySpec(durable=True)
        id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)

    class User(NotifyOnChange, Base):
        __tablename__ = "users"
        id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)

    Base.metadata.create_all(engine)
    return Order, Item, User


def insert(engine: sa.Engine, *numbers: int, table: str = "orders") -> None:
    """Insert rows, each in a transaction of its own."""
    for number in numbers:
        run(engine, f"INSERT INTO {table} (id) VALUES ({number})")


def identities(events: list[Any]) -> list[Any]:
    return [
        event.reason if isinstance(event, Gap) else event.identity and event.identity[0]
        for event in events
    ]


WRITES = (
    "INSERT INTO orders VALUES (1, 'a'), (2, NULL)", "UPDATE orders SET status = 'b' WHERE id = 1", "UPDATE orders SET id = 3 WHERE id = 2",
    "UPDATE orders SET status = 'b'", "DELETE FROM orders WHERE id = 1", "TRUNCATE orders",
)  # fmt: skip


def test_events_equal_those_of_a_channel(engine, kind):
    """The same writes give the same events, whether they come through the log or through a channel,
    but for position."""
    found = []
    for durable in (True, False):

        class Base(DeclarativeBase):
            pass

        class Order(NotifyOnChange, Base):
            __tablename__ = "orders"
            __notify__ = NotifySpec(values="all", durable=durable)
            id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
            status: Mapped[str | None]

        Base.metadata.create_all(engine)
        with kind.listener(engine, Order) as listener:
            with engine.begin() as connection, change_context(connection, {"user": "ann"}):
                for statement in WRITES:
                    connection.exec_driver_sql(statement)
            found.append(take(listener, 7))
        run(engine, "DELETE FROM orders")
    logged, sent = found
    assert [type(event) for event in logged] == [
        Inserted,
        Inserted,
        Updated,
        Updated,
        Updated,
        Deleted,
        Truncated,
    ]
    for name in ("identity", "context", "old", "new", "changed", "previous_identity"):
        assert [getattr(event, name, None) for event in logged] == [
            getattr(event, name, None) for event in sent
        ]
    assert [type(event) for event in logged] == [type(event) for event in sent]
    assert (
        len({event.transaction_id for event in logged})
        == len({event.backend_pid for event in logged})
        == 1
    )
    assert logged[0].entity.__name__ == "Order"
    assert all(event.occurred_at.utcoffset() == timedelta(0) for event in logged)
    assert len({event.position for event in logged}) == 7
    assert all(event.position is None for event in sent)


@pytest.mark.sample(2)
@pytest.mark.parametrize("how", ["terminate", "cut", "refuse"])
def test_a_lost_connection_loses_nothing(engine, proxied, proxy, how, Listener):
    """Across lost connections all comes, once and in order, and no Gap: what was written while
    there was none as well."""
    Order = model(engine)
    with end_of_log(engine) as end, Listener(proxied, Order, end) as listener:
        for number in range(4):
            insert(engine, 10 * number)
            if how == "terminate":
                terminate_listener(engine)
            elif how == "refuse":
                proxy.refuse()
            if how != "terminate":
                proxy.cut()
            insert(engine, *range(10 * number + 1, 10 * number + 4))
            proxy.accept()
            run(
                engine,
                f"INSERT INTO orders SELECT generate_series({10 * number + 4}, {10 * number + 9})",
            )
        assert identities(until_end_of_log(engine, listener, end)) == list(range(40))
        assert listener.stats.gaps == 0
        assert listener.stats.reconnects >= 1


@pytest.mark.sample(2)
@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_server_that_restarts_loses_nothing(kind, mode):
    """A server that was stopped, or that crashed, loses nothing of what was committed."""
    with data_folder() as data, Server(data) as server:
        engine = create_engine(server.url, poolclass=NullPool)
        Order = model(engine)
        with kind.listener(engine, Order) as listener:
            insert(engine, 1)
            assert identities(take(listener, 1)) == [1]
            server.down(mode)
            server.up()
            insert(engine, 2, 3)
            assert identities(take(listener, 2, timeout=30)) == [2, 3]


def test_random_losses_under_load(engine, proxied, proxy, Listener):
    """With writers at work, savepoints, rollbacks and long transactions among them, and losses at
    random, each commit comes once."""
    Order = model(engine)
    seed = random.randrange(1 << 30)
    committed: list[int] = []

    def work(writer: int) -> None:
        chance = random.Random(seed + writer)
        with engine.connect() as connection:
            for number in range(60):
                number += writer * 1000
                connection.exec_driver_sql(f"INSERT INTO orders VALUES ({number})")
                if chance.random() < 0.2:
                    connection.exec_driver_sql("SAVEPOINT a")
                    connection.exec_driver_sql(f"INSERT INTO orders VALUES ({number + 500})")
                    connection.exec_driver_sql("ROLLBACK TO a")
                if chance.random() < 0.2:
                    connection.rollback()
                    continue
                connection.commit()
                committed.append(number)

    with end_of_log(engine) as end, Listener(proxied, Order, end) as listener:
        writers = [threading.Thread(target=work, args=(writer,)) for writer in range(3)]
        for thread in writers:
            thread.start()
        while any(thread.is_alive() for thread in writers):
            random.choice([proxy.cut, lambda: terminate_listener(engine)])()
            time.sleep(0.05)  # that some of them fall while it reads
        for thread in writers:
            thread.join()
        delivered = identities(until_end_of_log(engine, listener, end))
    assert sorted(delivered) == sorted(committed), f"seed {seed}"
    for writer in range(3):
        mine = [number for number in delivered if number // 1000 == writer]
        assert mine == sorted(mine)


def test_durable_and_other_sources_in_one_listener(engine, Listener):
    """One listener takes durable entities, others and plain channels; a loss is a Gap for the
    others, and no loss of what is logged."""
    Order, Item, User = model(engine, others=True)
    with Listener(engine, Order, Item, User, "plain") as listener:
        insert(engine, 1)
        insert(engine, 1, table="items")
        insert(engine, 1, table="users")
        run(engine, "NOTIFY plain, 'a'")
        events = take(listener, 4)
        found = {getattr(event, "entity", None): event for event in events}
        assert found.keys() == {Order, Item, User, None}
        assert [
            getattr(found[entity], "position", None) is not None for entity in (Order, Item, User)
        ] == [True, True, False]
        terminate_listener(engine)
        insert(engine, 2)
        events = take(listener, 2)
        assert {type(event) for event in events} == {Gap, Inserted}
        run(engine, "NOTIFY plain, 'b'")
        (event,) = take(listener, 1)
        assert (type(event), event.payload) == (Notification, "b")


def test_subscribing_at_run_time(engine, Listener):
    """Durable entities come and go at run time; what is left is followed on without a loss, and
    nobody is rung for what is not."""
    Order, Item, User = model(engine, others=True)
    with Listener(engine, User) as listener:
        listener.subscribe(Order)
        insert(engine, 1)
        assert identities(take(listener, 1)) == [1]
        listener.subscribe(Item)
        run(engine, "INSERT INTO orders VALUES (2)", "INSERT INTO items VALUES (3)")
        assert identities(take(listener, 2)) == [2, 3]
        listener.unsubscribe(Order)
        run(engine, "INSERT INTO orders VALUES (4)", "INSERT INTO items VALUES (5)")
        assert identities(take(listener, 1)) == [5]
        sleepers(engine)
        listener.unsubscribe(Item)
        sleepers(engine, 0)
        insert(engine, 6)
        insert(engine, 7, table="users")
        assert identities(take(listener, 1)) == [7]
        listener.subscribe(Order)
        insert(engine, 8)
        assert identities(take(listener, 1)) == [8]


def test_a_slow_program_loses_nothing(engine, Listener):
    """However small the buffer, a program that takes events late gets them all: what does not fit
    waits in the log."""
    Order = model(engine)
    with end_of_log(engine) as end, Listener(engine, Order, end, buffer_size=10) as listener:
        insert(engine, *range(30))
        run(engine, "INSERT INTO orders SELECT generate_series(30, 5000)")
        insert(engine, 5001)
        assert identities(until_end_of_log(engine, listener, end)) == [*range(5001), 5001]
        assert listener.stats.gaps == 0


def test_what_retention_took_is_a_gap(engine, monkeypatch, Listener):
    """What a limit removed before a slow listener read it becomes a Gap in its place, and later
    events come."""
    for module in (v1_log, retention):
        monkeypatch.setattr(module, "SLOT_BITS", 2)
    Order = model(engine, max_size=1)
    with end_of_log(engine) as end, Listener(engine, Order, end, buffer_size=1) as listener:
        insert(engine, 1, 2)  # the first fills the buffer
        deadline = time.monotonic() + 10
        while listener.stats.buffered < 1:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        terminate_listener(engine)
        insert(engine, *range(3, 20))
        prune(engine, Order.metadata)
        found = identities(until_end_of_log(engine, listener, end))
    numbers = [number for number in found if number != "lost_position"]
    assert numbers == sorted(set(numbers))
    missing = set(range(1, 20)) - set(numbers)
    assert not missing or found.count("lost_position") == 1
    assert {18, 19} <= set(numbers)


LAST_QUESTIONS = "SELECT query_start FROM pg_stat_activity WHERE application_name = 'sa_pgnotify listener' AND datname = current_database()"


def test_idle(engine, Listener):
    """An idle listener sleeps until somebody rings, says so to the writers, and is rung at once,
    however long its heartbeat."""
    Order = model(engine)
    with Listener(engine, Order, heartbeat=600) as listener:
        for number in range(3):
            sleepers(engine)
            insert(engine, number)
            assert identities(take(listener, 1)) == [number]
        sleepers(engine)
        asked = rows(engine, LAST_QUESTIONS)
        time.sleep(0.3)
        assert rows(engine, LAST_QUESTIONS) == asked != []
    sessions_end(engine)
    sleepers(engine, 0)


def test_several_listeners_sleep_at_once(engine, Listener):
    """Any number of listeners sleep on one log; all are rung, and when one leaves the others are
    still."""
    Order = model(engine)
    with Listener(engine, Order, heartbeat=600) as first:
        with Listener(engine, Order, heartbeat=600) as second:
            sleepers(engine, 2)
            insert(engine, 1)
            assert [identities(take(listener, 1)) for listener in (first, second)] == [[1], [1]]
            sleepers(engine, 2)
        sleepers(engine, 1)
        insert(engine, 2)
        assert identities(take(first, 1)) == [2]
    sleepers(engine, 0)


def test_writers_in_a_transaction_that_began_before_the_sleep(engine, Listener):
    """A writer that looked before the listener slept, and commits afterwards, is found without a
    ring, at once."""
    Order = model(engine)
    with Listener(engine, Order, heartbeat=600) as listener:
        insert(engine, 1)
        take(listener, 1)
        with engine.begin() as slow:
            slow.exec_driver_sql("INSERT INTO orders VALUES (2)")
            sleepers(engine)
        assert identities(take(listener, 1)) == [2]


def test_a_log_that_does_not_exist_is_refused(engine, Listener):
    """A listener on a durable entity whose log is gone is refused, with a message that says what to
    run."""
    Order = model(engine)
    run(engine, "DROP TABLE sa_pgnotify_log_2")
    with pytest.raises(ListenUnavailable, match="create_all"), Listener(engine, Order):
        pass
