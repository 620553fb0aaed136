"""What the state of the log says about consumers, transactions and sizes, and what happens to a log
that was restored."""

from __future__ import annotations

import logging

import pytest
from logs import SLOTS, logged
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
from statements import rows, run

from sa_pgnotify import (
    Consumer,
    Gap,
    Inserted,
    consumers,
    prune,
)
from sa_pgnotify.log import retention
from sa_pgnotify.triggers.templates import v1_log

pytestmark = [pytest.mark.undisturbed, pytest.mark.usefixtures("small_slots")]


def test_the_state_names_a_dead_consumer(engine):
    """What prune() gives says how much the log takes, and which consumer holds it up for how
    long."""
    table = orders_table(engine)
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
    assert "sa-pgnotify forget" in str(state)


def test_the_state_says_that_nobody_consumes(engine):
    """Without a consumer, the state says so."""
    table = orders_table(engine)
    write(engine, 13)
    state = prune(engine, table.metadata)
    assert (state.filled, state.hindmost, state.seconds, state.holder) == (4, None, 0.0, None)
    assert "nobody consumes it" in str(state)


def test_the_state_names_a_long_transaction(engine):
    """Where a transaction that is open for long holds up the removal of what was read, it is
    named."""
    table = orders_table(engine)
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
    table = orders_table(engine)
    register(engine, "dead", table)
    run(engine, "UPDATE sa_pgnotify_consumers SET moved_at = now() - interval '1 hour'")
    with caplog.at_level(logging.WARNING, "sa_pgnotify"), running(engine, "a", table) as events:
        write(engine, 13)
        until(lambda: len(events) == 13)
        until(lambda: any("holds up" in record.getMessage() for record in caplog.records))
        beats = rows(engine, "SELECT count(*) FROM sa_pgnotify_consumers WHERE name = 'a'")
        assert beats == [(1,)]
    assert len([record for record in caplog.records if "holds up" in record.getMessage()]) == 1


@pytest.mark.thorough
def test_sizes_stay_bounded(engine, monkeypatch):
    """Under steady writing and consuming neither the slots nor the table of consumers grow."""
    monkeypatch.setattr(v1_log, "SLOT_BITS", 4)
    monkeypatch.setattr(retention, "SLOT_BITS", 4)
    table = orders_table(engine)
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


def test_a_restored_log(engine):
    """In a database that was restored on another server, the consumer gets a Gap because its
    position is lost, and then what is written from then on. It never gets the rows that were
    restored, also not when transaction ids reach theirs."""
    table = orders_table(engine)
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
    table = orders_table(engine)
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
    """If the slots were dropped and created again, the consumer gets a Gap because its position is
    lost, and goes on."""
    table = orders_table(engine)
    register(engine, "a", table)
    write(engine, 3)
    run(engine, f"DROP TABLE {', '.join(SLOTS)}")
    table.metadata.create_all(engine)
    assert identities(consume(engine, "a", table, 1)) == ["lost_position"]
    write(engine, 1)
    assert identities(consume(engine, "a", table, 1)) == [4]


def test_the_overview_counts_what_is_left(engine):
    """lag() of a consumer that lost changes to a limit counts those that the log still holds."""
    table = orders_table(engine, max_size=1)
    register(engine, "late", table)
    write(engine, 9)
    prune(engine, table.metadata)
    (status,) = consumers(engine)
    assert (status.name, status.lag.events) == ("late", 2)
    assert [type(event) for event in consume(engine, "late", table, 3)] == [Gap, Inserted, Inserted]
