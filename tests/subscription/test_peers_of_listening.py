"""Faults of listening that were reproduced in other libraries of this kind, one test each, to show
that they are not in this one."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from orders import marked_class
from receiving import received, take, until_end
from sqlalchemy import text
from statements import run

from sa_pgnotify import (
    Gap,
    Inserted,
    Listener,
    NotifyConfigError,
    NotifySpec,
    Updated,
)


def test_silence_after_a_killed_backend(engine):
    """A listener whose server process was killed says so, comes back, and does not look alive
    meanwhile."""
    Order = marked_class(engine)
    with Listener(engine, Order) as listener:
        with engine.begin() as connection:
            connection.execute(text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"))  # fmt: skip
        (gap,) = take(listener, 1)
        run(engine, "INSERT INTO orders VALUES (1, 'a')")
        (event,) = take(listener, 1)
        assert (gap.reason, event.identity) == ("reconnected", (1,))


def test_silence_where_the_connection_runs_a_query_in_between(engine):
    """Notifications that arrive while the listener's connection runs a query of its own (here:
    subscribing) are delivered."""
    Order = marked_class(engine)
    with Listener(engine, Order, "end_of_test", heartbeat=0.05) as listener:
        stopped = threading.Event()

        def subscribe() -> None:
            while not stopped.is_set():
                listener.subscribe("more")
                listener.unsubscribe("more")

        thread = threading.Thread(target=subscribe)
        thread.start()
        try:
            for i in range(100):
                run(engine, f"INSERT INTO orders VALUES ({i}, 'a')")
        finally:
            stopped.set()
            thread.join()
        assert [event.identity[0] for event in until_end(engine, listener)] == list(range(100))


def test_three_updates_in_one_transaction_arrive_as_one(engine):
    """Updates of one row in one transaction are as many events, also where they look alike."""
    Order = marked_class(engine, spec=NotifySpec())
    updates = [f"UPDATE orders SET status = '{status}'" for status in "bcd"]
    events = received(engine, Order, "INSERT INTO orders VALUES (1, 'a')", *updates)
    assert [type(event) for event in events] == [Inserted, Updated, Updated, Updated]


def test_zero_row_update_calls_the_handler(engine):
    """A statement that changes no row calls no handler."""
    Order = marked_class(engine)
    listener = Listener(engine, Order, "end_of_test")
    called = []
    listener.on(Order)(called.append)
    listener.on("end_of_test")(lambda _: listener.stop())
    with listener:
        run(
            engine,
            "UPDATE orders SET status = 'x'",
            "DELETE FROM orders",
            "INSERT INTO orders SELECT 1, 'x' WHERE false",
        )
        run(engine, "NOTIFY end_of_test")
        listener.run()
    assert called == []


def test_events_lost_in_a_reconnect_without_a_word(engine, proxied, proxy):
    """What was written between the loss of a connection and the return is missing, and a Gap stands
    in its place."""
    Order = marked_class(engine)
    with Listener(proxied, Order) as listener:
        proxy.refuse()
        proxy.cut()
        run(engine, "INSERT INTO orders VALUES (1, 'missed')")
        proxy.accept()
        (gap,) = take(listener, 1)
        run(engine, "INSERT INTO orders VALUES (2, 'heard')")
        (event,) = take(listener, 1)
    assert isinstance(gap, Gap)
    with engine.connect() as connection:
        assert gap.since <= connection.execute(text("SELECT now()")).scalar()
    assert event.identity == (2,)


def test_a_handlers_exception_loses_what_follows(engine):
    """After a handler's exception the next call of run() goes on with the next event."""
    Order = marked_class(engine)
    listener = Listener(engine, Order, "end_of_test")
    handled = []

    @listener.on(Order)
    def handle(event: Any) -> None:
        handled.append(event.identity[0])
        if event.identity == (2,):
            raise ZeroDivisionError

    listener.on("end_of_test")(lambda _: listener.stop())
    with listener:
        run(engine, "INSERT INTO orders SELECT generate_series(1, 5), 'a'", "NOTIFY end_of_test")
        with pytest.raises(ZeroDivisionError):
            listener.run()
        listener.run()
    assert handled == [1, 2, 3, 4, 5]


def test_concurrent_handlers_complete_out_of_order(engine):
    """Handlers run one after the other: what takes longer is not overtaken."""
    Order = marked_class(engine)
    listener = Listener(engine, Order, "end_of_test")
    completed = []

    @listener.on(Order)
    def handle(event: Any) -> None:
        time.sleep(0.01 if event.identity[0] % 2 else 0)  # odd ones are slow
        completed.append(event.identity[0])

    listener.on("end_of_test")(lambda _: listener.stop())
    with listener:
        for i in range(1, 9):
            run(engine, f"INSERT INTO orders VALUES ({i}, 'a')")
        run(engine, "NOTIFY end_of_test")
        listener.run()
    assert completed == [1, 2, 3, 4, 5, 6, 7, 8]


def test_notifications_popped_from_the_end(engine):
    """Notifications that arrive together come in the order in which they were sent."""
    Order = marked_class(engine)
    events = received(
        engine, Order, *[f"INSERT INTO orders VALUES ({i}, 'a')" for i in range(1, 11)]
    )
    assert [event.identity[0] for event in events] == list(range(1, 11))


def test_idle_listener_is_busy(engine):
    """An idle listener asks the server nothing between heartbeats and uses no processor time to
    speak of."""
    Order = marked_class(engine)
    with Listener(engine, Order, "end_of_test") as listener:
        until_end(engine, listener)
        asked = text("SELECT query_start FROM pg_stat_activity WHERE application_name = 'sa_pgnotify listener'"
                     " AND datname = current_database()")  # fmt: skip
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            before, started = connection.execute(asked).all(), time.process_time()
            assert listener.get(timeout=1.0) is None
            used = time.process_time() - started
            assert connection.execute(asked).all() == before
            assert len(before) == 1
    assert used < 0.1


def test_something_that_is_no_engine(engine):
    """An engine that the listener cannot use is refused with the name of what it takes."""
    with pytest.raises(NotifyConfigError, match="an Engine, as create_engine"):
        Listener(object(), marked_class(engine))  # type: ignore[arg-type]
