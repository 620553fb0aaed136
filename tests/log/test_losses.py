"""Changes that a trigger could not write into the log: each reader gets a Gap when it happens, and
one when it is committed."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from consumers import Running
from logs import SLOTS, TABLES, sleepers
from receiving import take
from sessions import terminate_listener
from sqlalchemy import NullPool, create_engine
from statements import run
from waiting import wait_until

from sa_pgnotify import Consumer, Gap, Inserted, Listener
from sa_pgnotify.protocol.doorbell import bell_channel, lost_key

OID = "'sa_pgnotify_log'::regclass::oid"


class Loss:
    """A transaction whose trigger finds no slot to write to, and does what it does then."""

    def __init__(self, engine: sa.Engine, *, locks: bool = True) -> None:
        self.connection = engine.connect()
        self.connection.exec_driver_sql("SELECT pg_current_xact_id()")
        if locks:
            self.connection.exec_driver_sql(
                f"SELECT pg_try_advisory_xact_lock_shared({lost_key(OID)})"
            )
        self.connection.exec_driver_sql("SELECT nextval('sa_pgnotify_log_lost_seq')")
        self.connection.exec_driver_sql(f"SELECT pg_notify({bell_channel(OID)}, 'sa1 lost')")

    def end(self) -> None:
        self.connection.commit()
        self.connection.close()


class Heard:
    """What a running consumer gets, in order: keys, and the details of gaps."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    def __call__(self, session: Any, change: Any) -> None:
        assert not isinstance(change, Gap) or change.reason == "lost_position"
        self.events.append(change.detail if isinstance(change, Gap) else change.identity[0])

    @property
    def gaps(self) -> list[str]:
        return [event for event in self.events if isinstance(event, str)]


@pytest.fixture
def other(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction that has an id, and nothing to do with it."""
    with engine.connect() as connection:
        connection.exec_driver_sql("SELECT pg_current_xact_id()")
        yield connection


@pytest.mark.parametrize("locks", [True, False], ids=["lock", "no lock"])
def test_a_listener_gets_two_gaps(engine, Item, locks):
    """At its heartbeat while the transaction is open, and when that has ended, also where it could
    not take the lock."""
    with Listener(engine, Item, heartbeat=0.1) as listener:
        loss = Loss(engine, locks=locks)
        gaps = take(listener, 1)
        assert listener.get(0.5) is None
        loss.end()
        gaps += take(listener, 1)
        run(engine, "INSERT INTO items VALUES (1, 1)")
        assert isinstance(take(listener, 1)[0], Inserted)
    assert {(gap.reason, "could not be logged" in gap.detail) for gap in gaps} == {
        ("lost_position", True)
    }


def test_the_lock_shows_the_end_though_another_transaction_is_open(engine, Item, other):
    """The end is reported at once, and does not wait for other open transactions. When these have
    ended too, it is certain, and is reported again."""
    with Listener(engine, Item, heartbeat=0.1) as listener:
        loss = Loss(engine)
        take(listener, 1)
        wait_until(lambda: next(iter(listener._receiver.logs._tails.values())).losses._busy)
        loss.end()
        take(listener, 1)
        other.commit()
        take(listener, 1)
        assert listener.get(0.5) is None


def test_a_ring_reports_it_at_once(engine, Item):
    """A reader that sleeps does not wait for its heartbeat."""
    heard = Heard()
    with (
        Running(Consumer(engine, "c", Item, heartbeat=60), heard),
        Listener(engine, Item, heartbeat=60) as listener,
    ):
        sleepers(engine, 2)
        Loss(engine).end()
        assert take(listener, 1)[0].reason == "lost_position"
        wait_until(lambda: heard.gaps)


def test_a_consumer_that_is_down_hears_of_it_later_and_once(engine, Item):
    """A consumer that was down gets a Gap for the loss when it starts. Once that is committed with
    its position, it is not reported again."""
    with Consumer(engine, "c", Item):
        pass
    Loss(engine).end()
    for expected in (True, False):
        heard = Heard()
        with (
            Running(Consumer(engine, "c", Item, heartbeat=0.1), heard),
            engine.connect() as connection,
        ):
            run(engine, f"INSERT INTO items VALUES ({int(expected)}, 1)")
            wait_until(lambda: int(expected) in heard.events)
            stored = "SELECT lost FROM sa_pgnotify_consumers"
            reading = connection.execution_options(isolation_level="AUTOCOMMIT")
            # other databases' transactions have ended
            wait_until(lambda: reading.exec_driver_sql(stored).scalar() == 1)
        assert bool(heard.gaps) == expected


def test_one_that_ends_before_the_transaction_hears_of_it_again(engine, Item):
    """A Gap for an open transaction is not the last one: a consumer that has ended by the time of
    the commit gets another one."""
    heard = Heard()
    with Running(Consumer(engine, "c", Item, heartbeat=0.1), heard):
        loss = Loss(engine)
        wait_until(lambda: heard.gaps)
    loss.end()
    heard = Heard()
    with Running(Consumer(engine, "c", Item, heartbeat=0.1), heard):
        wait_until(lambda: heard.gaps)


def test_one_that_begins_while_the_transaction_is_open(engine, Item):
    """A reader that starts after the change and before its commit gets a Gap."""
    loss = Loss(engine)
    heard = Heard()
    with Consumer(engine, "late", Item):
        pass
    with Listener(engine, Item, heartbeat=0.1) as listener:
        loss.end()
        assert take(listener, 1)[0].reason == "lost_position"
    with Running(Consumer(engine, "late", Item, heartbeat=0.1), heard):
        wait_until(lambda: heard.gaps)


def test_a_write_while_all_slots_are_locked(engine, Item):
    """What the trigger itself does then is noticed by a running listener, by a running consumer,
    and by one that comes later."""
    heard, later = Heard(), Heard()
    with Consumer(engine, "later", Item):
        pass
    with (
        Listener(engine, Item, heartbeat=0.1) as listener,
        Running(Consumer(engine, "c", Item, heartbeat=0.1), heard),
    ):
        with engine.begin() as locking:
            for slot in SLOTS:
                locking.exec_driver_sql(f"LOCK TABLE {slot} IN SHARE MODE")
            run(engine, "INSERT INTO items VALUES (1, 1)")
            assert take(listener, 1)[0].reason == "lost_position"
            wait_until(lambda: heard.gaps)
    with Running(Consumer(engine, "later", Item, heartbeat=0.1), later):
        wait_until(lambda: later.gaps)


@pytest.mark.parametrize("lost", ["write", "retention"])
def test_a_gap_that_was_not_worked_off_comes_again(engine, Item, lost):
    """A Gap that was read, but whose batch was not committed before the connection broke, comes
    again."""
    found: list[str] = []
    with Consumer(engine, "c", Item, heartbeat=0.2) as consumer:
        if lost == "write":
            Loss(engine).end()
        else:
            run(engine, "INSERT INTO items VALUES (1, 1)")
            run(
                engine,
                "UPDATE sa_pgnotify_log SET removed = (SELECT max(xid) FROM sa_pgnotify_log_0)",
                "TRUNCATE sa_pgnotify_log_0",
            )
        for batch in consumer:
            with pytest.raises(ZeroDivisionError), batch:
                found += [event.reason for event in batch]
                1 / 0
            break
        terminate_listener(engine)
        with pytest.raises(Exception, match=r"."):  # noqa: PT012 (until it is found out)
            while True:
                consumer._worker.link.connection.execute("SELECT 1")
        for batch in consumer:
            with batch:
                found += [event.reason for event in batch]
            break
    assert found == ["lost_position"] * 2


def test_a_role_that_may_not_read_the_sequence(engine, admin, Item):
    """The consumer reads the log nevertheless, and its state says once what goes unnoticed, and
    which right it needs."""
    name = f"stranger_{uuid.uuid4().hex[:8]}"
    run(admin, f"CREATE ROLE {name}")
    run(engine, f"GRANT SELECT, INSERT, UPDATE ON {', '.join(TABLES)}, items TO {name}")
    restricted = create_engine(
        engine.url, poolclass=NullPool, connect_args={"options": f"-c role={name}"}
    )
    states: list[Any] = []
    heard = Heard()
    try:
        with Running(Consumer(restricted, "c", Item, heartbeat=0.1, on_state=states.append), heard):
            Loss(engine).end()
            run(engine, "INSERT INTO items VALUES (1, 1)")
            wait_until(lambda: heard.events)
            wait_until(lambda: any(state.state == "losses unseen" for state in states))
        with Listener(restricted, Item, heartbeat=0.1, on_state=states.append):
            wait_until(lambda: sum(state.state == "losses unseen" for state in states) == 2)
    finally:
        run(engine, f"DROP OWNED BY {name}")
        run(admin, f"DROP ROLE {name}")
    assert heard.events == [1]
    (said, _) = [state.detail for state in states if state.state == "losses unseen"]
    assert "GRANT SELECT ON SEQUENCE sa_pgnotify_log_lost_seq" in said
