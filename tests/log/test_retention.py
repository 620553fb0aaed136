"""What is removed from the change log, when, and how it is reported: no unread change, unless a
limit says so; and no session waits."""

from __future__ import annotations

import logging
import uuid
from datetime import timedelta
from typing import Any

import pytest
from logs import TABLES, end_of_log, sleepers, until_end_of_log
from pruning import (
    consume,
    held,
    identities,
    orders_table,
    register,
    running,
    until,
    write,
)
from sqlalchemy import NullPool, create_engine
from statements import rows, run

from sa_pgnotify import (
    Listener,
    prune,
)
from sa_pgnotify.consuming import pruning
from sa_pgnotify.consuming.admin import forget
from sa_pgnotify.log import retention

pytestmark = [pytest.mark.undisturbed, pytest.mark.usefixtures("small_slots")]


def test_what_all_have_passed_goes(engine):
    """Slots that every consumer has passed are emptied; the one that is being written to stays, and
    nothing is lost by it."""
    table = orders_table(engine)
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
    table = orders_table(engine)
    write(engine, 9)
    prune(engine, table.metadata)
    assert held(engine) == [3, 4, 2, 0]
    register(engine, "a", table, start="beginning")
    assert identities(consume(engine, "a", table, 9)) == list(range(1, 10))


def test_forgetting_a_consumer_lets_go(engine):
    """What a consumer held up goes once it is forgotten."""
    table = orders_table(engine)
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
    """A slot that another session reads or writes at the moment is left for the next time, without
    waiting; the others are emptied."""
    table = orders_table(engine)
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
    table = orders_table(engine, max_size=1)
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
    table = orders_table(engine, max_size=1)
    register(engine, "a", table)
    with engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO orders VALUES (1)")
        prune(connection, table.metadata)
    assert identities(consume(engine, "a", table, 1)) == [1]


LIMITS: dict[str, dict[str, Any]] = {
    "size": {"max_size": 1, "max_age": None},
    "age": {"max_age": timedelta(0), "max_size": None},
}


@pytest.mark.parametrize("limit", LIMITS)
def test_a_consumer_that_is_late(engine, limit):
    """Beyond a limit, what was not read goes too; the consumer gets a Gap in its place, once, and
    then all that is left."""
    table = orders_table(engine, **LIMITS[limit])
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
    table = orders_table(engine, max_size=1 << 30, max_age=timedelta(hours=1))
    register(engine, "late", table)
    write(engine, 9)
    prune(engine, table.metadata)
    assert identities(consume(engine, "late", table, 9)) == list(range(1, 10))


def test_a_listener_that_is_late_gets_a_gap_without_any_consumer(engine):
    """If only listeners read the log, changes that a limit takes from them are reported as well."""
    table = orders_table(engine, max_size=1)
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


def test_consumers_do_it_themselves(engine):
    """A consumer empties what all have passed, at its heartbeat, while others write, and misses
    nothing."""
    table = orders_table(engine)
    with running(engine, "a", table) as events:
        for _ in range(6):
            before = len(events)
            write(engine, 9)
            until(lambda: len(events) == before + 9)
            until(lambda: sum(count > 0 for count in held(engine)) == 1)
    assert identities(events) == list(range(1, 55))


def test_a_role_that_may_not_is_warned_once(engine, admin, caplog, monkeypatch):
    """A consumer whose role may not empty the slots consumes, and says once that it cannot."""
    table = orders_table(engine)
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

    monkeypatch.setattr(pruning, "prune", count)
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
