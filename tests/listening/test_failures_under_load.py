"""The listener in bad times, under load: every committed change is delivered once, or a Gap stands in
its place."""

import logging
import threading

import pytest
from orders import ALL, order_class
from receiving import take
from servers import Server, data_folder
from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.exc import DBAPIError
from statements import run

from sa_pgnotify import (
    Gap,
    Inserted,
    Notification,
)

pytestmark = pytest.mark.kinds(2)


@pytest.fixture(autouse=True)
def _quiet(caplog):
    caplog.set_level(logging.CRITICAL, "sa_pgnotify")


def writer(engine, stop: threading.Event, committed: list[int], first: int) -> None:
    """Insert rows, some of them in transactions that roll back, and note what was committed."""
    number = first
    with engine.connect() as connection:
        while not stop.is_set():
            number += 1
            try:
                connection.execute(
                    text("INSERT INTO orders VALUES (:id, repeat('x', :size))"),
                    {"id": number, "size": number % 9000},
                )
                if number % 7:
                    connection.commit()
                    committed.append(number)
                else:
                    connection.rollback()
            except DBAPIError:
                return  # its own connection went: nothing of this number is promised


def reconcile(events: list, committed: list[int]) -> None:
    """Every committed number is delivered once, in its writer's order; what is missing lies just
    before a Gap, in one run for each writer."""
    delivered = [e.identity[0] for e in events if isinstance(e, Inserted)]
    assert len(delivered) == len(set(delivered)), "a change was delivered twice"
    assert set(delivered) <= set(committed), "a change was made up"
    for first in {number // 1_000_000 for number in committed}:
        mine = [n for n in committed if n // 1_000_000 == first]
        since_gap: list[int] = []
        gapped = False
        position = 0
        for received in events:
            if isinstance(received, Gap):
                gapped = True
            elif received.identity[0] // 1_000_000 == first:
                since_gap.append(received.identity[0])
                index = mine.index(received.identity[0], position)
                assert index == position or gapped, (
                    f"{mine[position:index]} are missing and no Gap tells it"
                )
                position, gapped = index + 1, False
        assert position == len(mine) or gapped, f"{mine[position:]} are missing at the end"


def test_many_cuts_under_load(engine, proxied, proxy, Listener):
    """While the connection is cut again and again under load, every committed change is delivered
    once or covered by a Gap."""
    Order = order_class(engine, ALL)
    committed: list[list[int]] = [[], []]
    stop = threading.Event()
    events: list = []
    with Listener(proxied, Order, "end_of_test") as listener:
        writers = [
            threading.Thread(target=writer, args=(engine, stop, mine, i * 1_000_000))
            for i, mine in enumerate(committed)
        ]
        for thread in writers:
            thread.start()
        for cuts in range(1, 11):
            while sum(isinstance(e, Gap) for e in events) < cuts - 1:
                events += take(listener, 1, timeout=20)
            events += take(listener, 20, timeout=20)
            proxy.cut()
        while sum(isinstance(e, Gap) for e in events) < 10:
            events += take(listener, 1, timeout=20)
        stop.set()
        for thread in writers:
            thread.join()
        run(engine, "NOTIFY end_of_test")
        while not isinstance(received := take(listener, 1, timeout=20)[0], Notification):
            events.append(received)
    assert sum(isinstance(e, Gap) for e in events) >= 10
    reconcile(events, sorted(committed[0] + committed[1]))


@pytest.fixture(scope="module")
def own_server():
    """A server of this module's own, which may be stopped."""
    with data_folder() as data, Server(data) as server:
        yield server


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_server_restart_under_load(own_server, mode, Listener):
    """A restart and a crash of the server are a Gap as well, and the triggers work on after
    them."""
    engine = create_engine(own_server.url, poolclass=NullPool)
    Order = order_class(engine, ALL)
    committed: list[int] = []
    with Listener(engine, Order) as listener:
        thread = threading.Thread(target=writer, args=(engine, threading.Event(), committed, 0))
        thread.start()
        events = take(listener, 50)
        own_server.down(mode)
        thread.join()
        own_server.up()
        while not isinstance(events[-1], Gap):
            events += take(listener, 1, timeout=30)
        run(engine, "INSERT INTO orders VALUES (900000, 'after')")
        while isinstance(events[-1], Gap) or events[-1].identity != (900000,):
            events += take(listener, 1, timeout=20)
    with engine.connect() as connection:  # a commit whose answer was lost may still have been made
        rows = connection.scalars(text("SELECT id FROM orders ORDER BY id")).all()
    assert set(committed) <= set(rows)
    reconcile(events, list(rows))
    run(engine, "DROP TABLE orders")
