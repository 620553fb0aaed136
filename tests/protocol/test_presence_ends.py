"""Transactions that wrote while nobody listened: the end of each is a Gap, before the events of
later transactions, whatever other sessions hold the locks by which they are found, and also if they
were prepared and the server has crashed."""

from __future__ import annotations

import threading
import time
import uuid
from typing import Any

import pytest
import sqlalchemy as sa
from durables import model_of
from receiving import take
from servers import Server, data_folder
from statements import run
from waiting import wait_until

import sa_pgnotify.listening.source_list
import sa_pgnotify.protocol.presence
from sa_pgnotify import Gap, Inserted, ListenUnavailable, Updated
from sa_pgnotify.protocol.doorbell import LONGEST_DOZE, doorbell_key
from sa_pgnotify.protocol.presence import PRESENT, UNTOLD

pytestmark = pytest.mark.kinds(2)
HERE = "(SELECT oid FROM pg_database WHERE datname = current_database())"


@pytest.fixture(name="Item")
def _item(engine):
    return model_of(engine, durable=False)


@pytest.fixture
def stranger(engine, url):
    """A connection of a role without any right but to connect, in autocommit."""
    name = f"stranger_{url.database}"
    run(engine, f"CREATE ROLE {name} LOGIN")
    strangers = sa.create_engine(
        url.set(username=name), poolclass=sa.NullPool, isolation_level="AUTOCOMMIT"
    )
    with strangers.connect() as connection:
        yield connection
    run(engine, f"DROP ROLE {name}")


def reasons(*events: Any) -> list[Any]:
    return [event.reason if isinstance(event, Gap) else event.identity for event in events]


def test_each_end_is_a_gap_of_its_own(engine, Item, Listener):
    """Of two transactions that wrote while nobody listened, the end of the first is a Gap while the
    other is still open."""
    with engine.connect() as first, engine.connect() as second:
        for number, connection in enumerate((first, second)):
            connection.execute(sa.text(f"INSERT INTO items (id, n) VALUES ({number}, 0)"))
        with Listener(engine, Item) as listener:
            first.commit()
            assert reasons(*take(listener, 1)) == ["started"]
            run(engine, "INSERT INTO items (id, n) VALUES (3, 0)")
            assert reasons(*take(listener, 1)) == [(3,)]
            second.execute(sa.text("SAVEPOINT a"))
            second.execute(sa.text("INSERT INTO items (id, n) VALUES (4, 0)"))
            second.commit()
            assert reasons(*take(listener, 2)) == ["started", (4,)]
            assert listener.stats.gaps == 2


@pytest.mark.kinds(1)
@pytest.mark.parametrize("how", ["session", "transaction", "transaction with an id"])
def test_a_stranger_that_holds_the_locks_hides_no_end(engine, Item, Listener, stranger, how):
    """Any role may share *untold*, for ever: the ends of others are Gaps all the same, start()
    takes its second at most, and that role's own comings and goings are one Gap at most."""
    if how != "session":
        stranger.exec_driver_sql("BEGIN")
    if how == "transaction with an id":
        stranger.exec_driver_sql("SELECT pg_current_xact_id()")
    stranger.exec_driver_sql(
        f"SELECT pg_advisory_lock_shared({UNTOLD}, i) FROM generate_series(0, 63) AS i"
    )
    with engine.connect() as early:
        early.execute(sa.text("INSERT INTO items (id, n) VALUES (1, 0)"))
        begun = time.monotonic()
        with Listener(engine, Item) as listener:
            assert (
                time.monotonic() - begun
                < sa_pgnotify.listening.source_list.SILENT_WRITERS_SECONDS + 3
            )
            early.commit()
            assert reasons(*take(listener, 1)) == ["started"]
            for _ in range(3):
                stranger.exec_driver_sql("COMMIT" if how != "session" else "SELECT 1")
                stranger.exec_driver_sql("BEGIN" if how != "session" else "SELECT 1")
            assert listener.get(2.5) is None or how == "transaction with an id"
            assert listener.get(0) is None
            run(engine, "INSERT INTO items (id, n) VALUES (2, 0)")
            assert reasons(*take(listener, 1)) == [(2,)]


def test_the_gap_comes_before_newer_events_of_the_same_row(engine, Item, Listener, monkeypatch):
    """A writer that waited for the row of a transaction that is followed comes after its Gap,
    however soon it commits."""
    monkeypatch.setattr(sa_pgnotify.listening.source_list, "SILENT_WRITERS_SECONDS", 0.0)
    for name in ("LOOK", "LONGEST_DOZE"):
        # so that the look from time to time does not find the end first
        monkeypatch.setattr(sa_pgnotify.protocol.presence, name, 60.0)
    run(engine, "INSERT INTO items (id, n) VALUES (1, 0)")
    heard = sa.text(
        f"SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = {PRESENT} AND database = {HERE}"
    )
    update = sa.text("UPDATE items SET n = n + 1")
    waits = sa.text(
        "SELECT count(*) FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid) WHERE NOT granted AND datname = current_database()"
    )
    # pg_stat_activity is read once in a transaction
    watching = engine.execution_options(isolation_level="AUTOCOMMIT")
    for _ in range(10):
        with engine.connect() as early, watching.connect() as observer:
            # the session of the listener before ends in its own time
            wait_until(lambda: not observer.scalar(heard))
            early.execute(update)
            with Listener(engine, Item) as listener:
                writers = [
                    threading.Thread(target=run, args=(engine, "UPDATE items SET n = n + 1"))
                    for _ in range(3)
                ]
                for writer in writers:
                    writer.start()
                wait_until(lambda: observer.scalar(waits) >= len(writers))
                early.commit()
                events = take(listener, 4)
                assert [type(event) for event in events] == [Gap, Updated, Updated, Updated]
                for writer in writers:
                    writer.join()


def test_a_lock_that_keeps_listeners_away_is_named(engine, Item, Listener, stranger, monkeypatch):
    """A session that holds *present* alone keeps a listener from starting, for some seconds: then
    an error names it. A running listener says so, and comes back when that session has gone."""
    monkeypatch.setattr(sa_pgnotify.protocol.presence, "LOCK_SECONDS", 0.2)
    pid = stranger.exec_driver_sql("SELECT pg_backend_pid()").scalar()
    take_all = f"SELECT pg_advisory_lock({PRESENT}, i) FROM generate_series(0, 63) AS i"
    stranger.exec_driver_sql(take_all)
    with pytest.raises(ListenUnavailable, match=rf"process {pid} \(user stranger_\w+\)") as raised:
        Listener(engine, Item).start()
    assert raised.value.reason == "lock"
    stranger.exec_driver_sql("SELECT pg_advisory_unlock_all()")
    states = []
    with Listener(engine, Item, "plain", on_state=states.append) as listener:
        listener.unsubscribe(Item, "plain")
        wait_until(
            lambda: stranger.exec_driver_sql(
                f"SELECT pg_try_advisory_lock({PRESENT}, i) FROM generate_series(0, 63) AS i"
            ).all()
        )
        stranger.exec_driver_sql(take_all)
        with pytest.raises(ListenUnavailable, match=f"process {pid} "):
            listener.subscribe(Item)
        stranger.exec_driver_sql("SELECT pg_advisory_unlock_all()")
        listener.subscribe(Item)
        run(engine, "INSERT INTO items (id, n) VALUES (1, 0)")
        while not isinstance(event := listener.get(20), Inserted):
            assert event.reason == "reconnected"


@pytest.mark.kinds(1)
def test_a_stranger_that_holds_the_doorbell_delays_nothing(engine, Listener, stranger):
    """While any role holds the lock by which readers of the log sleep, changes come at once all the
    same, and looks are few; when it is given back, the reader sleeps."""
    Item = model_of(engine)
    oid = stranger.exec_driver_sql("SELECT 'sa_pgnotify_log'::regclass::oid").scalar()
    key = doorbell_key("'public.items'", str(oid))
    with Listener(engine, Item) as listener:
        wait_until(
            lambda: (
                stranger.exec_driver_sql(f"SELECT pg_try_advisory_lock({key})").scalar()
                or run(engine, "INSERT INTO items (n) VALUES (0)")
            )
        )
        while listener.get(1) is not None:
            pass
        (tail,) = listener._receiver.logs._tails.values()
        assert not tail.asleep
        for number in range(100, 105):
            time.sleep(0.3)
            begun = time.monotonic()
            run(engine, f"INSERT INTO items (id, n) VALUES ({number}, 0)")
            assert reasons(*take(listener, 1)) == [(number,)]
            assert time.monotonic() - begun < LONGEST_DOZE
        assert listener.get(2) is None
        looks, read = [], tail.read
        tail.read = lambda execute: looks.append(1) or read(execute)
        time.sleep(1)
        assert len(looks) <= 3
        stranger.exec_driver_sql("SELECT pg_advisory_unlock_all()")
        wait_until(lambda: tail.asleep)
        assert (listener.stats.gaps, listener.stats.reconnects) == (0, 0)


@pytest.fixture(scope="module")
def two_phase_server():
    """A server that may be stopped, and that lets transactions be prepared."""
    with data_folder() as data, Server(data) as server:
        with server.engine.connect() as connection:
            connection.exec_driver_sql("ALTER SYSTEM SET max_prepared_transactions TO 10")
        server.down("fast")
        server.up()
        yield server


def prepare(engine: sa.Engine, name: str, id_: int) -> None:
    with engine.connect() as connection:
        connection.exec_driver_sql(f"INSERT INTO items (id, n) VALUES ({id_}, 0)")
        connection.exec_driver_sql(f"PREPARE TRANSACTION '{name}'")
        connection.rollback()


def finish(engine: sa.Engine, name: str, how: str = "COMMIT") -> None:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(f"{how} PREPARED '{name}'")


@pytest.mark.sample(2)
def test_prepared_transactions_are_followed_over_a_crash(two_phase_server, Listener):
    """Each transaction that was prepared while nobody listened is followed to its end, whether it
    is prepared after the listener has found it, before, or before a crash of the server; one that
    nobody ends hides no other."""
    name = f"prepared_{uuid.uuid4().hex[:8]}"
    run(two_phase_server.engine, f"CREATE DATABASE {name}")
    engine = sa.create_engine(two_phase_server.url.set(database=name), poolclass=sa.NullPool)
    Item = model_of(engine, durable=False)
    for number in range(4):
        prepare(engine, f"p{number}", number)
    running = engine.connect()
    running.exec_driver_sql("INSERT INTO items (id, n) VALUES (10, 0)")
    with Listener(engine, Item) as listener:
        running.exec_driver_sql("PREPARE TRANSACTION 'running'")
        running.close()
        assert listener.get(1.5) is None
        finish(engine, "running")
        assert reasons(*take(listener, 1)) == ["started"]
        finish(engine, "p0")
        assert reasons(*take(listener, 1)) == ["started"]
        for crash in range(2):
            two_phase_server.down("immediate")
            two_phase_server.up()
            assert reasons(*take(listener, 1, timeout=30)) == ["reconnected"]
            finish(engine, f"p{crash + 1}", ["COMMIT", "ROLLBACK"][crash])
            assert reasons(*take(listener, 1)) == ["reconnected"]
            run(engine, f"INSERT INTO items (id, n) VALUES ({20 + crash}, 0)")
            assert reasons(*take(listener, 1)) == [(20 + crash,)]
        two_phase_server.down("immediate")
        two_phase_server.up()
        finish(engine, "p3")  # before the listener is back, or after
        found = take(listener, 1, timeout=30)
        with engine.connect() as connection:
            assert connection.scalar(sa.text("SELECT count(*) FROM items WHERE id = 3")) == 1
        run(engine, "INSERT INTO items (id, n) VALUES (30, 0)")
        while not isinstance(found[-1], Inserted):
            found += take(listener, 1)
        assert {event.reason for event in found[:-1]} == {"reconnected"}
