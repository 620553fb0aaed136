"""What goes from the change log, when, and who is told: nothing that is still to be read, unless a
limit says so; and nobody waits."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from logs import SLOTS, TABLES, end_of_log, logged, sleepers, until_end_of_log
from sqlalchemy import NullPool, create_engine
from statements import rows, run

from sa_pgnotify import (
    ChangeLog,
    Consumer,
    Gap,
    Inserted,
    Listener,
    NotifySpec,
    consumers,
    notify_on_change,
    prune,
)
from sa_pgnotify.consuming import follower as following
from sa_pgnotify.consuming.admin import forget
from sa_pgnotify.log import retention
from sa_pgnotify.triggers.templates import v1_log as template_v1_log

pytestmark = pytest.mark.undisturbed


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """Slots of four rows, so that sixteen changes fill them all."""
    monkeypatch.setattr(template_v1_log, "SLOT_BITS", 2)
    monkeypatch.setattr(retention, "SLOT_BITS", 2)


def orders(engine: sa.Engine, **limits: Any) -> sa.Table:
    metadata = sa.MetaData()
    if limits:
        ChangeLog(metadata, **limits)
    table = sa.Table(
        "orders",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("note", sa.Text),
    )
    notify_on_change(table, NotifySpec(durable=True))
    metadata.create_all(engine)
    return table


def write(engine: sa.Engine, count: int, note: str = "") -> None:
    """Insert rows, each in a transaction of its own and so a row of the log."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for _ in range(count):
            connection.execute(
                sa.text("INSERT INTO orders SELECT coalesce(max(id), 0) + 1, :note FROM orders"),
                {"note": note},
            )


def register(engine: sa.Engine, name: str, *entities: Any, **options: Any) -> None:
    """Have a consumer take its place, and not consume."""
    with Consumer(engine, name, *entities, **options):
        pass


def consume(
    engine: sa.Engine, name: str, table: sa.Table, count: int, *, settle: bool = True
) -> list[Any]:
    """The next ``count`` events of a consumer, batch by batch; to ``settle`` is to wait for what
    runs in the server's other databases."""
    events: list[Any] = []
    with Consumer(engine, name, table, heartbeat=60) as consumer:
        for batch in consumer:
            with batch:
                events += batch
            if len(events) >= count:
                break

    def settled() -> bool:
        snapshot = rows(engine, "SELECT pg_current_snapshot()::text")[0][0]
        if snapshot.endswith(":"):  # nothing was running
            run(
                engine,
                f"UPDATE sa_pgnotify_consumers SET last = '{snapshot}' WHERE name = '{name}' AND target IS NULL",
            )
        return snapshot.endswith(":")

    if settle:
        until(settled)
    return events


def held(engine: sa.Engine) -> list[int]:
    """How many rows each slot has."""
    return [rows(engine, f"SELECT count(*) FROM {slot}")[0][0] for slot in SLOTS]


def until(found: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def identities(events: list[Any]) -> list[Any]:
    return [event.reason if isinstance(event, Gap) else event.identity[0] for event in events]


# -- what may go -----------------------------------------------------------------------------------


def test_what_all_have_passed_goes(engine):
    """Slots that every consumer has passed are emptied; the one that is being written to stays, and
    nothing is lost by it."""
    table = orders(engine)
    for name in ("a", "b"):
        register(engine, name, table)
    write(engine, 9)
    assert held(engine) == [3, 4, 2, 0]
    assert identities(consume(engine, "a", table, 9)) == list(range(1, 10))
    prune(engine, table.metadata)
    assert held(engine) == [3, 4, 2, 0]  # b has not read them
    assert identities(consume(engine, "b", table, 9)) == list(range(1, 10))
    prune(engine, table.metadata)
    assert held(engine) == [0, 0, 2, 0]
    prune(engine, table.metadata)
    assert held(engine) == [0, 0, 2, 0]
    write(engine, 3)
    assert [identities(consume(engine, name, table, 3)) for name in "ab"] == [[10, 11, 12]] * 2


def test_without_consumers_all_stays(engine):
    """While nobody has consumed, nothing goes: the first consumer may begin at the beginning."""
    table = orders(engine)
    write(engine, 9)
    prune(engine, table.metadata)
    assert held(engine) == [3, 4, 2, 0]
    register(engine, "a", table, start="beginning")
    assert identities(consume(engine, "a", table, 9)) == list(range(1, 10))


def test_forgetting_a_consumer_lets_go(engine):
    """What a consumer held up goes once it is forgotten."""
    table = orders(engine)
    register(engine, "dead", table)
    register(engine, "a", table)
    write(engine, 9)
    consume(engine, "a", table, 9)
    prune(engine, table.metadata)
    assert held(engine) == [3, 4, 2, 0]
    assert forget(engine, table.metadata, "dead") == 1
    prune(engine, table.metadata)
    assert held(engine) == [0, 0, 2, 0]


@pytest.mark.parametrize("lock", ["ACCESS SHARE", "ROW EXCLUSIVE"], ids=["reader", "writer"])
def test_nobody_waits(engine, lock):
    """A slot that somebody reads or writes just now is left for the next time, and nobody waits;
    the others are emptied."""
    table = orders(engine)
    register(engine, "a", table)
    write(engine, 9)
    consume(engine, "a", table, 9)
    impatient = create_engine(
        engine.url, poolclass=NullPool, connect_args={"options": "-c lock_timeout=1"}
    )
    with engine.begin() as other:
        other.exec_driver_sql(f"LOCK TABLE sa_pgnotify_log_0 IN {lock} MODE")
        prune(impatient, table.metadata)
        other.exec_driver_sql("SELECT count(*) FROM sa_pgnotify_log_0")
        assert held(engine)[1:] == [0, 2, 0]
    prune(engine, table.metadata)
    assert held(engine) == [0, 0, 2, 0]


def test_a_transaction_that_is_not_over_keeps_its_slot(engine):
    """What a long transaction has written stays through limits and rounds of others, and is
    consumed once it commits."""
    table = orders(engine, max_size=1)
    register(engine, "a", table)
    with engine.begin() as slow:
        slow.exec_driver_sql("INSERT INTO orders VALUES (1000)")
        for _ in range(5):
            run(
                engine,
                "INSERT INTO orders SELECT coalesce(max(id), 0) + 1 FROM orders WHERE id < 1000",
            )
        assert identities(consume(engine, "a", table, 5, settle=False)) == [1, 2, 3, 4, 5]
        prune(engine, table.metadata)
        assert rows(engine, "SELECT count(*) FROM sa_pgnotify_log_0")[0][0] > 0
    assert identities(consume(engine, "a", table, 1)) == [1000]


def test_prune_in_a_transaction_that_writes(engine):
    """In the caller's own transaction, what it has written stays."""
    table = orders(engine, max_size=1)
    register(engine, "a", table)
    with engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO orders VALUES (1)")
        prune(connection, table.metadata)
    assert identities(consume(engine, "a", table, 1)) == [1]


# -- limits ----------------------------------------------------------------------------------------

LIMITS: dict[str, dict[str, Any]] = {
    "size": {"max_size": 1, "max_age": None},
    "age": {"max_age": timedelta(0), "max_size": None},
}


@pytest.mark.parametrize("limit", LIMITS)
def test_a_consumer_that_is_late(engine, limit):
    """Beyond a limit, what was not read goes too; the consumer gets a Gap in its place, once, and
    then all that is left."""
    table = orders(engine, **LIMITS[limit])
    register(engine, "late", table)
    register(engine, "on time", table)
    write(engine, 9)
    consume(engine, "on time", table, 9)
    prune(engine, table.metadata)
    assert held(engine) == [0, 0, 2, 0]
    events = consume(engine, "late", table, 3)
    assert identities(events) == ["lost_position", 8, 9]
    assert "max_age or max_size" in events[0].detail
    write(engine, 2)
    assert [identities(consume(engine, name, table, 2)) for name in ("late", "on time")] == [
        [10, 11]
    ] * 2


def test_within_the_limits_nothing_goes(engine):
    """Neither limit takes what is not yet beyond it."""
    table = orders(engine, max_size=1 << 30, max_age=timedelta(hours=1))
    register(engine, "late", table)
    write(engine, 9)
    prune(engine, table.metadata)
    assert identities(consume(engine, "late", table, 9)) == list(range(1, 10))


def test_a_listener_that_is_late_is_told_without_any_consumer(engine):
    """Where only listeners read the log, what a limit takes from them is told as well."""
    table = orders(engine, max_size=1)
    with end_of_log(engine) as end, Listener(engine, table, end, buffer_size=1) as listener:
        write(engine, 1)
        until(lambda: listener.stats.buffered == 1)
        sleepers(engine)
        with engine.begin() as connection:  # it reads this much, and has no room for it
            connection.exec_driver_sql("INSERT INTO orders VALUES (2)")
        sleepers(engine, 0)
        write(engine, 9)
        prune(engine, table.metadata)
        events = until_end_of_log(engine, listener, end)
    found = identities(events)
    assert found[:2] == [1, 2]
    assert "lost_position" in found[2:]
    assert len(found) == len(set(found))


# -- who does it -----------------------------------------------------------------------------------


@contextmanager
def running(engine: sa.Engine, name: str, table: sa.Table, **options: Any) -> Iterator[list[Any]]:
    """A consumer in a thread, and what it has consumed."""
    events: list[Any] = []
    with Consumer(engine, name, table, heartbeat=0.05, **options) as consumer:
        thread = threading.Thread(
            target=lambda: consumer.run(lambda session, change: events.append(change))
        )
        thread.start()
        try:
            yield events
        finally:
            consumer.stop()
            thread.join()


def test_consumers_do_it_themselves(engine):
    """A consumer empties what all have passed, at its heartbeat, while others write, and misses
    nothing."""
    table = orders(engine)
    with running(engine, "a", table) as events:
        for _ in range(6):
            before = len(events)
            write(engine, 9)
            until(lambda: len(events) == before + 9)
            until(lambda: sum(count > 0 for count in held(engine)) == 1)
    assert identities(events) == list(range(1, 55))


def test_a_role_that_may_not_is_warned_once(engine, admin, caplog, monkeypatch):
    """A consumer whose role may not empty the slots consumes, and says once that it cannot."""
    table = orders(engine)
    name = f"stranger_{uuid.uuid4().hex[:8]}"
    run(admin, f"CREATE ROLE {name}")
    log = ", ".join(TABLES)
    run(
        engine,
        f"GRANT SELECT, INSERT, UPDATE ON {log} TO {name}",
        f"GRANT SELECT ON orders TO {name}",
    )
    restricted = create_engine(
        engine.url, poolclass=NullPool, connect_args={"options": f"-c role={name}"}
    )
    tried = []

    def count(*arguments: Any) -> Any:
        tried.append(None)
        return retention.prune(*arguments)

    monkeypatch.setattr(following, "prune", count)
    try:
        with (
            caplog.at_level(logging.WARNING, "sa_pgnotify"),
            running(restricted, "a", table) as events,
        ):
            write(engine, 9)
            until(lambda: len(events) == 9)
            seen = len(tried)
            until(lambda: len(tried) > seen + 3)
        (said,) = [
            record.getMessage() for record in caplog.records if "not emptied" in record.getMessage()
        ]
        assert said.startswith(
            "consumer a: held up: the change log is not emptied: permission denied for "
        )
        assert held(engine) == [3, 4, 2, 0]
    finally:
        run(engine, f"DROP OWNED BY {name}")
        run(admin, f"DROP ROLE {name}")


# -- what is said ----------------------------------------------------------------------------------


def test_the_state_names_a_dead_consumer(engine):
    """What prune() gives says how much the log takes, and which consumer holds it up for how
    long."""
    table = orders(engine)
    register(engine, "dead", table)
    write(engine, 13)
    run(engine, "UPDATE sa_pgnotify_consumers SET moved_at = now() - interval '1 hour'")
    state = prune(engine, table.metadata)
    assert (state.filled, state.hindmost, state.holder) == (4, "dead", None)
    assert (
        state.size
        == rows(
            engine, f"SELECT {' + '.join(f'pg_total_relation_size({slot!r})' for slot in SLOTS)}"
        )[0][0]
    )
    assert state.seconds >= 3600
    assert "the consumer 'dead' has not moved for 36" in str(state)
    assert "forget() it" in str(state)


def test_the_state_says_that_nobody_consumes(engine):
    """Where nobody consumes, that is said."""
    table = orders(engine)
    write(engine, 13)
    state = prune(engine, table.metadata)
    assert (state.filled, state.hindmost, state.seconds, state.holder) == (4, None, 0.0, None)
    assert "nobody consumes it" in str(state)


def test_the_state_names_a_long_transaction(engine):
    """Where a transaction that is open for long holds up the removal of what was read, it is
    named."""
    table = orders(engine)
    register(engine, "a", table)
    with engine.begin() as slow:
        ((pid, _),) = slow.exec_driver_sql("SELECT pg_backend_pid(), pg_current_xact_id()").all()
        write(engine, 13)
        consume(engine, "a", table, 13, settle=False)
        state = prune(engine, table.metadata)
        assert held(engine) == [3, 4, 4, 2]
        assert state.holder is not None
        assert state.holder.startswith(f"process {pid} of ")
        assert "idle in transaction" in str(state)
    register(engine, "a", table)
    write(engine, 1)
    consume(engine, "a", table, 1)
    assert prune(engine, table.metadata).filled == 1


def test_the_running_consumer_warns(engine, caplog):
    """A consumer warns, once, of another one that is dead, when more than two slots are filled."""
    table = orders(engine)
    register(engine, "dead", table)
    run(engine, "UPDATE sa_pgnotify_consumers SET moved_at = now() - interval '1 hour'")
    with caplog.at_level(logging.WARNING, "sa_pgnotify"), running(engine, "a", table) as events:
        write(engine, 13)
        until(lambda: len(events) == 13)
        until(lambda: any("holds up" in record.getMessage() for record in caplog.records))
        beats = rows(engine, "SELECT count(*) FROM sa_pgnotify_consumers WHERE name = 'a'")
        assert beats == [(1,)]
    assert len([record for record in caplog.records if "holds up" in record.getMessage()]) == 1


# -- sizes -----------------------------------------------------------------------------------------


def test_sizes_stay_bounded(engine, monkeypatch):
    """Under steady writing and consuming neither the slots nor the table of consumers grow."""
    monkeypatch.setattr(template_v1_log, "SLOT_BITS", 4)
    monkeypatch.setattr(retention, "SLOT_BITS", 4)
    table = orders(engine)
    register(engine, "a", table)
    sizes = []
    total = " + ".join(f"pg_total_relation_size({name!r})" for name in (*SLOTS, "sa_pgnotify_log"))
    with Consumer(engine, "a", table, heartbeat=60, batch_size=1) as consumer:
        batches = iter(consumer)
        for _ in range(20):
            write(engine, 16)
            for _ in range(16):
                with next(batches):
                    pass
            prune(engine, table.metadata)
            sizes.append(
                rows(engine, f"SELECT {total}, pg_total_relation_size('sa_pgnotify_consumers')")[0]
            )
    logs, places = zip(*sizes, strict=True)
    assert max(logs[10:]) <= max(logs[:10])
    assert max(places[10:]) <= max(places[:10])


# -- restores --------------------------------------------------------------------------------------


def test_a_restored_log(engine):
    """In a database that was restored elsewhere, the consumer is told that its place is lost, and
    gets what is written from then on: not what the log brought along, neither now nor when
    transaction ids come to where they were."""
    table = orders(engine)
    register(engine, "a", table)
    write(engine, 3)
    ahead = rows(engine, "SELECT pg_current_xact_id()::text::bigint + 20")[0][0]
    run(
        engine,
        "UPDATE sa_pgnotify_consumers SET origin = 'x'",
        f"UPDATE sa_pgnotify_log_0 SET xid = {ahead} WHERE id = 3",
    )
    assert identities(consume(engine, "a", table, 1)) == ["lost_position"]
    prune(engine, table.metadata)
    for _ in range(3):
        write(engine, 10)
        first = rows(engine, "SELECT max(id) FROM orders")[0][0] - 9
        assert identities(consume(engine, "a", table, 10)) == list(range(first, first + 10))


def test_what_is_of_another_server_is_not_new(engine):
    """Transactions that are yet to come, by their ids, are of another server: a restored log's rows
    do not come again and again."""
    table = orders(engine)
    register(engine, "a", table)
    register(engine, "late", table)
    write(engine, 3)
    run(engine, "UPDATE sa_pgnotify_log_0 SET xid = xid + 1000000 WHERE id = 2")
    assert identities(consume(engine, "a", table, 2)) == [1, 3]
    write(engine, 1)
    assert identities(consume(engine, "a", table, 1)) == [4]
    prune(engine, table.metadata)
    assert len(logged(engine)) == 3


def test_slots_that_were_made_anew(engine):
    """Where the slots were dropped and made anew, the consumer is told that its place is lost, and
    goes on."""
    table = orders(engine)
    register(engine, "a", table)
    write(engine, 3)
    run(engine, f"DROP TABLE {', '.join(SLOTS)}")
    table.metadata.create_all(engine)
    assert identities(consume(engine, "a", table, 1)) == ["lost_position"]
    write(engine, 1)
    assert identities(consume(engine, "a", table, 1)) == [4]


def test_the_overview_counts_what_is_left(engine):
    """lag() of a consumer that lost changes to a limit counts those that the log still holds."""
    table = orders(engine, max_size=1)
    register(engine, "late", table)
    write(engine, 9)
    prune(engine, table.metadata)
    (status,) = consumers(engine)
    assert (status.name, status.lag.events) == ("late", 2)
    assert [type(event) for event in consume(engine, "late", table, 3)] == [Gap, Inserted, Inserted]
