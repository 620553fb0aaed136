"""Live queries when connections are cut, servers restart, and triggers and logs are dropped and
made again. Afterwards each copy equals a SELECT, and no query has ended."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import ExitStack, contextmanager

import pytest
from live_check import Followed
from live_shop import Status, models, step
from programs import Program, ended
from servers import Server, data_folder
from sessions import terminate_listener
from sqlalchemy import Column, Integer, MetaData, Table, create_engine, event, func, select, text
from sqlalchemy.exc import DBAPIError
from statements import run
from waiting import wait_until

from sa_pgnotify import LiveQuery, NotifySpec, PgNotifyError, notify_on_change
from sa_pgnotify.live import feed

DRIVERS = ["psycopg2", "psycopg"]


@pytest.fixture(params=[True, False], ids=["durable", "ephemeral"])
def shop(engine, request):
    """The marked classes, with three orders."""
    return made(engine, durable=request.param)


@pytest.fixture
def durable_shop(engine):
    """The same with durable tables."""
    return made(engine, durable=True)


def made(engine, *, durable):
    base = models(durable=durable)
    base.metadata.create_all(engine)
    run(
        engine,
        "INSERT INTO customers VALUES (1, 'ann'), (2, 'bob')",
        "INSERT INTO orders VALUES (1, 1, 'OPEN', 5), (2, 1, 'PAID', 6), (3, 2, 'OPEN', 7)",
    )
    return base


def statements(shop):
    """Statements whose changed rows are looked up, alone or together, and one that is run whole."""
    joined = select(shop.Order, shop.Customer.name).join(shop.Order.customer)
    return [
        *(joined.where(shop.Order.status == status) for status in Status),
        select(func.count(), func.sum(shop.Order.total)).select_from(shop.Order),
    ]


@contextmanager
def followed(live_engine, shop):
    """Follow the statements, until all have ended."""
    with ExitStack() as stack:
        yield [
            Followed(stack.enter_context(LiveQuery(live_engine, statement)), statement)
            for statement in statements(shop)
        ]


def settle(engine, every):
    for one in every:
        one.settle(engine)


WRITES = (
    "UPDATE customers SET name = 'anna' WHERE id = 1",
    "UPDATE orders SET status = 'OPEN' WHERE id = 2",
    "DELETE FROM orders WHERE id = 3",
    "INSERT INTO orders VALUES (4, 2, 'PAID', 9)",
)


# -- connections -----------------------------------------------------------------------------------


def note_failures(monkeypatch, failures: list) -> None:
    """Note each evaluation that a feed is going to try again."""
    original = feed.delay_after
    monkeypatch.setattr(feed, "delay_after", lambda *a: failures.append(a) or original(*a))


def test_the_listening_connection_is_killed(engine, shop):
    """Changes that are made while nobody listens are in the next steps."""
    with followed(engine, shop) as every:
        settle(engine, every)
        for write in WRITES:
            terminate_listener(engine)
            run(engine, write)
            settle(engine, every)


@pytest.mark.sample(2)
@pytest.mark.parametrize("driver", DRIVERS)
def test_all_connections_are_cut(engine, proxy, shop, driver):
    """An evaluation may be given a dead connection, and may notice it at any of its statements."""
    live_engine = create_engine(proxy.url.set(drivername=f"postgresql+{driver}"), pool_size=2)
    with followed(live_engine, shop) as every:
        settle(engine, every)
        for write in WRITES:
            proxy.cut()
            run(engine, write)
            settle(engine, every)
    live_engine.dispose()


def test_only_the_evaluating_connection_is_cut(engine, shop):
    """An event that came just before the loss is not forgotten: the evaluation is tried again even
    if no other event comes."""
    live_engine = create_engine(engine.url, pool_size=1, max_overflow=0)
    kill = text(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
        " AND pid <> pg_backend_pid() AND application_name NOT LIKE 'sa_pgnotify%'"
        " AND backend_type = 'client backend'"
    )
    with followed(live_engine, shop) as every:
        settle(engine, every)
        for write in WRITES:
            with engine.begin() as connection:
                connection.execute(kill)
                connection.execute(text(write))
            settle(engine, every)
    live_engine.dispose()


def test_a_connection_is_lost_within_an_evaluation(engine, shop, monkeypatch):
    """An evaluation is tried again after the connection is lost at any of its statements."""
    monkeypatch.setattr("sa_pgnotify.subscription.backoff.FIRST_DELAY", 0.001)
    live_engine = create_engine(engine.url)
    lost = set()

    def lose(connection, cursor, sql, *_):
        if sql not in lost and threading.current_thread().name == "sa_pgnotify live queries":
            lost.add(sql)
            pid = connection.connection.dbapi_connection.info.backend_pid
            run(engine, f"SELECT pg_terminate_backend({pid})")

    with followed(live_engine, shop) as every:
        settle(engine, every)
        event.listen(live_engine, "before_cursor_execute", lose)
        for write in WRITES:
            run(engine, write)
            settle(engine, every)
    assert len(lost) > 3
    live_engine.dispose()


def test_a_server_that_restarts(admin):
    """Queries survive a restart of the server, after a shutdown and after a crash."""
    with data_folder() as data, Server(data) as server:
        shop = made(server.engine, durable=True)
        live_engine = create_engine(server.url, pool_size=2)
        with followed(live_engine, shop) as every:
            settle(server.engine, every)
            for mode, write in zip(("fast", "immediate"), WRITES):
                server.down(mode)
                server.up()
                run(server.engine, write)
                settle(server.engine, every)
        live_engine.dispose()


def test_a_pool_that_is_exhausted(monkeypatch, engine, shop):
    """While the program holds the only connection of the pool, no evaluation succeeds. Afterwards
    one does, without another event."""
    live_engine = create_engine(engine.url, pool_size=1, max_overflow=0, pool_timeout=0.05)
    with followed(live_engine, shop) as every:
        settle(engine, every)
        with live_engine.connect():
            failures = []
            note_failures(monkeypatch, failures)
            run(engine, WRITES[0])
            wait_until(lambda: failures)
        settle(engine, every)
    live_engine.dispose()


def test_stop_while_the_program_holds_the_last_connection(engine, durable_shop, monkeypatch):
    """stop() does not wait for an evaluation that waits for a connection that the program holds."""
    monkeypatch.setattr("sa_pgnotify.live.feed.LONGEST_STOP", 0.05)
    live_engine = create_engine(engine.url, pool_size=1, max_overflow=0, pool_timeout=60)
    live = LiveQuery(live_engine, select(durable_shop.Order.id)).start()
    step(live)
    feed = live._feed
    with live_engine.connect():
        run(engine, WRITES[2])
        wait_until(lambda: feed._lock.acquire(blocking=False) is False or feed._lock.release())
        live.stop()
        assert list(live) == []
    wait_until(lambda: not feed._thread.is_alive())
    assert feed._evaluator.is_empty
    live_engine.dispose()


# -- tables, triggers and logs ---------------------------------------------------------------------


def test_truncate(engine, shop):
    """TRUNCATE is one step, in which all rows leave."""
    with followed(engine, shop) as every:
        settle(engine, every)
        run(engine, "TRUNCATE orders, taggings")
        settle(engine, every)
        assert every[0].copy.rows == {}
        run(engine, "INSERT INTO orders VALUES (1, 1, 'OPEN', 5)")
        settle(engine, every)


def test_events_come_faster_than_they_are_taken(engine, shop, monkeypatch):
    """A listener whose buffer overflows reports a gap, and the queries are run again."""

    small = lambda *arguments: listener(*arguments, buffer_size=1)  # noqa: E731
    listener = feed.Listener
    monkeypatch.setattr(feed, "Listener", small)
    with followed(engine, shop) as every:
        settle(engine, every)
        with every[0].live._feed._lock:
            for number in range(100, 130):
                run(engine, f"INSERT INTO orders VALUES ({number}, 1, 'OPEN', 1)")
        settle(engine, every)


def test_triggers_that_are_made_again(engine, shop):
    """A migration that drops the tables with their triggers, and creates them again, ends no query
    that reads only what it has created again."""
    with followed(engine, shop) as every:
        settle(engine, every)
        with engine.begin() as connection:
            shop.metadata.drop_all(connection)
            shop.metadata.create_all(connection)
        terminate_listener(engine)
        run(
            engine,
            "INSERT INTO customers VALUES (7, 'new')",
            "INSERT INTO orders VALUES (7, 7, 'OPEN', 1)",
        )
        settle(engine, every)
        run(engine, "INSERT INTO orders VALUES (8, 7, 'OPEN', 1)")
        settle(engine, every)


@pytest.mark.thorough
def test_a_log_that_is_missing_for_a_time(monkeypatch, engine, durable_shop):
    """While the change log cannot be read, evaluations fail and are tried again; steps come when
    the log exists again."""
    ticking = LiveQuery(engine, select(durable_shop.Tag.code), refresh=0.05)
    with followed(engine, durable_shop) as every, ticking:
        settle(engine, every)
        failures = []
        note_failures(monkeypatch, failures)
        run(engine, WRITES[0], "ALTER TABLE sa_pgnotify_log RENAME TO away")
        wait_until(lambda: failures)
        run(engine, "ALTER TABLE away RENAME TO sa_pgnotify_log")
        settle(engine, every)


def test_a_statement_that_takes_too_long(engine, durable_shop):
    """statement_timeout ends the query whose statement it cancels, with PostgreSQL's error, and the
    others continue."""
    run(
        engine,
        "CREATE FUNCTION slow(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS "
        "$$ BEGIN IF $1 > 8 THEN PERFORM pg_sleep(60); END IF; RETURN $1; END $$",
    )
    options = {"options": "-c statement_timeout=300"}
    live_engine = create_engine(engine.url, connect_args=options)
    Order = durable_shop.Order
    with (
        LiveQuery(live_engine, select(func.slow(Order.id))) as slow,
        LiveQuery(live_engine, select(Order.id)) as other,
    ):
        step(slow), step(other)
        run(engine, "INSERT INTO orders VALUES (9, 1, 'OPEN', 1)")
        assert [found.row.id for found in step(other)] == [9]
        with pytest.raises(DBAPIError, match="statement timeout"):
            step(slow)
        run(engine, "DELETE FROM orders WHERE id = 9")
        assert len(step(other)) == 1
    live_engine.dispose()


# -- ends ------------------------------------------------------------------------------------------


def test_a_fork(engine, durable_shop):
    """In the child of a fork, a query of the parent raises an error, and a new query works. The
    query of the parent continues."""
    statement = select(durable_shop.Order.id)
    with LiveQuery(engine, statement) as live:
        step(live)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                with pytest.raises(PgNotifyError, match="before a fork"):
                    step(live)
                engine.dispose(close=False)
                with LiveQuery(engine, statement) as own:
                    assert len(step(own)) == 3
                live.stop()
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        run(engine, "DELETE FROM orders WHERE id = 3")
        assert len(step(live)) == 1


def test_stop_from_other_threads(engine, durable_shop):
    """If threads stop queries while others start and iterate, all of them end and leave nothing
    behind."""
    statement = select(durable_shop.Order.id)
    lives = [LiveQuery(engine, statement.where(durable_shop.Order.id > n)) for n in range(6)]
    takers = [threading.Thread(target=lambda live=live: [*live.start()]) for live in lives]
    takers += [threading.Thread(target=lambda: [wait_until(lambda: lives[0]._feed), [*lives[0]]])]
    for taker in takers:
        taker.start()
    wait_until(lambda: all(live._query.held is not None for live in lives))
    stoppers = [threading.Thread(target=live.stop) for live in lives for _ in range(2)]
    for thread in stoppers:
        thread.start()
    for thread in (*stoppers, *takers):
        thread.join(20)
        assert not thread.is_alive()
    assert lives[0]._feed._evaluator.is_empty


def test_stop_from_the_loop_and_from_signal_handlers(engine, durable_shop):
    """stop() ends the loop in which it is called, and a signal handler may call it while it
    interrupts a wait, a start or a stop."""
    statement = select(durable_shop.Order.id)
    live = LiveQuery(engine, statement).start()
    for _ in live:
        live.stop()
    every = []
    before = signal.signal(signal.SIGALRM, lambda *_: [live.stop() for live in every])
    try:
        for microseconds in (1, 1000, 3000, 9000, 27000, 50000):
            every[:] = [LiveQuery(engine, statement) for _ in range(2)]
            signal.setitimer(signal.ITIMER_REAL, microseconds / 1e6)
            every[0].start()
            every[1].start()
            for _ in every[1]:
                pass
            signal.setitimer(signal.ITIMER_REAL, 0.0005)
            for live in every:
                live.stop()
            assert every[0]._feed._evaluator.is_empty
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


PROGRAM = """
import sys
from sqlalchemy import Column, Integer, MetaData, Table, create_engine, select
from sa_pgnotify import LiveQuery, NotifySpec, notify_on_change

table = Table("items", MetaData(), Column("id", Integer, primary_key=True))
notify_on_change(table, NotifySpec(durable=True))
engine = create_engine(sys.argv[1])
live = LiveQuery(engine, select(table)).start()
for step in live:
    print(len(step), flush=True)
    if len(step) == 3:
        {end}
"""


@pytest.mark.parametrize("end", ["break", "sys.exit()", "del live; break"])
def test_a_program_that_ends_while_a_query_runs(engine, tmp_path, end):
    """The interpreter exits at once, and prints no error."""
    items = Table("items", MetaData(), Column("id", Integer, primary_key=True))
    notify_on_change(items, NotifySpec(durable=True))
    items.metadata.create_all(engine)
    path = tmp_path / "program.py"
    path.write_text(PROGRAM.format(end=end))
    with Program(path, engine.url.render_as_string(hide_password=False)) as program:
        assert program.line() == "0"
        run(engine, "INSERT INTO items VALUES (1), (2), (3)")
        assert program.line() == "3"
        assert ended(program) == (0, "")
