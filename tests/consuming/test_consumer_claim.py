"""Which consumer of a name works, whatever other sessions hold: strangers, sessions whose program
is gone, and its own."""

from __future__ import annotations

import os
import socket
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from consumers import Running, done
from sqlalchemy import NullPool, create_engine
from statements import run
from waiting import wait_until

from sa_pgnotify import Consumer
from sa_pgnotify.consuming import position_lock

KEY = "SELECT lock FROM sa_pgnotify_consumers"


@pytest.fixture
def stranger(engine: sa.Engine, admin: sa.Engine) -> Iterator[sa.Connection]:
    """A session of a role that has no right on anything, and may take advisory locks."""
    name = f"stranger_{uuid.uuid4().hex[:8]}"
    run(admin, f"CREATE ROLE {name} LOGIN")
    made = create_engine(
        engine.url.set(username=name, password=None),
        poolclass=NullPool,
        isolation_level="AUTOCOMMIT",
    )
    with made.connect() as connection:
        yield connection
    run(admin, f"DROP ROLE {name}")


def key(engine: sa.Engine) -> int:
    with engine.connect() as connection:
        return int(connection.exec_driver_sql(KEY).scalar_one())


def insert(engine: sa.Engine, number: int) -> None:
    run(engine, f"INSERT INTO items VALUES ({number}, 0)")
    wait_until(lambda: f"Inserted {number}" in done(engine))


@pytest.mark.parametrize("mode", ["", "_shared"])
def test_a_stranger_holds_the_lock(engine, Item, stranger, mode):
    """A role that may not move the position keeps nobody from working by taking the lock, and of
    two consumers still one works."""
    with Consumer(engine, "c", Item):
        pass
    taken = key(engine)
    stranger.exec_driver_sql(f"SELECT pg_advisory_lock{mode}({taken})")
    states: list[Any] = []
    with (
        Running(Consumer(engine, "c", Item, on_state=states.append)),
        Running(Consumer(engine, "c", Item, on_state=states.append)),
    ):
        insert(engine, 1)
        wait_until(lambda: any(state.state == "standing by" for state in states))
        insert(engine, 2)
    assert [state.state for state in states if state.state in ("working", "standing by")][:2] in (
        ["working", "standing by"],
        ["standing by", "working"],
    )
    assert key(engine) != taken


def test_a_stranger_waits_for_the_lock(engine, Item, stranger):
    """A role that sees the key while a consumer holds it, and gets the lock when that ends, does
    not stop the next one."""
    with Running(Consumer(engine, "c", Item)):
        insert(engine, 1)
        waiting = threading.Thread(
            target=stranger.exec_driver_sql, args=[f"SELECT pg_advisory_lock({key(engine)})"]
        )
        waiting.start()
        waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            wait_until(lambda: connection.exec_driver_sql(waits).scalar())
    waiting.join()
    with Running(Consumer(engine, "c", Item)):
        insert(engine, 2)


def test_one_that_is_replaced_stands_by(engine, Item):
    """A consumer whose key was replaced, because its session was taken for one that is gone, stops
    working at its heartbeat."""
    states: list[Any] = []
    with Running(Consumer(engine, "c", Item, heartbeat=0.2, on_state=states.append)):
        insert(engine, 1)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as other:
            other.exec_driver_sql("UPDATE sa_pgnotify_consumers SET lock = 5")
            other.exec_driver_sql("SELECT pg_advisory_lock(5)")
            wait_until(lambda: states[-1].state == "standing by")
            pid = other.exec_driver_sql("SELECT pg_backend_pid()").scalar()
        assert (
            f"another process is consuming under this name: session with PID {pid} (postgres"
            in states[-1].detail
        )
        insert(engine, 2)


def test_its_own_session_that_is_stuck(engine, proxy, proxied, Item):
    """A consumer whose connection broke without the server's notice works on, and does not wait for
    the session that it has lost."""
    states: list[Any] = []
    with (
        Consumer(proxied, "c", Item, heartbeat=60, on_state=states.append) as consumer,
        RunningOn(consumer),
    ):
        insert(engine, 1)
        proxy.hold_ends()
        consumer._worker.link.connection.interrupt()
        wait_until(lambda: [state.state for state in states].count("working") == 2)
        sessions = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'sa_pgnotify listener'"
        with engine.connect() as connection:
            assert connection.exec_driver_sql(sessions).scalar() == 2
        insert(engine, 2)
        proxy.flow()


def test_its_own_batch_that_is_stuck(monkeypatch, engine, proxy, proxied, Item):
    """A batch whose session broke without the server's notice has the position locked there; that
    session is ended, and the batch comes again."""
    monkeypatch.setattr(position_lock, "LOCKED_LONG", 0.5)
    broken = threading.Event()

    def work(session: Any, change: Any) -> None:
        if not broken.is_set():
            broken.set()
            proxy.hold_ends()
            descriptor = session.connection().connection.dbapi_connection.fileno()
            with socket.socket(fileno=os.dup(descriptor)) as ours:
                ours.shutdown(socket.SHUT_RDWR)
        session.execute(
            sa.text(f"INSERT INTO done (what) VALUES ('Inserted {change.identity[0]}')")
        )

    with Running(Consumer(proxied, "c", Item, on_error=lambda *_: "raise"), work):
        insert(engine, 1)
        proxy.flow()
    assert done(engine) == ["Inserted 1"]


def test_a_position_that_another_session_has_locked_is_reported(monkeypatch, engine, Item):
    """While a transaction holds the row of the position, the consumer says which session that is,
    once; then it goes on."""
    monkeypatch.setattr(position_lock, "LOCKED_LONG", 0.3)
    states: list[Any] = []
    with Running(Consumer(engine, "c", Item, on_state=states.append)):
        insert(engine, 1)
        with engine.connect() as other:
            pid = other.exec_driver_sql("SELECT pg_backend_pid()").scalar()
            other.exec_driver_sql("SELECT FROM sa_pgnotify_consumers FOR UPDATE")
            run(engine, "INSERT INTO items VALUES (2, 0)")
            wait_until(lambda: states[-1].state == "standing by")
        wait_until(lambda: "Inserted 2" in done(engine))
    (said,) = [state.detail for state in states if state.state == "standing by"]
    assert said.startswith(
        f"the session with PID {pid} (postgres, idle in transaction) has locked the position for more than"
    )


class RunningOn(Running):
    """One that was started already."""

    def _run(self) -> None:
        try:
            self._ready.set()
            self.consumer.run(self._handler)
        except BaseException as error:
            self.error = error
