"""The order in which events come: what README, how-it-works and limits say of it, sentence by
sentence."""

from __future__ import annotations

import random
from typing import Any

import pytest
import sqlalchemy as sa
from logs import end_of_log, received_from_log, sleepers, until_end_of_log
from receiving import received, take
from statements import run

from sa_pgnotify import (
    Consumer,
    Deleted,
    Gap,
    Inserted,
    Listener,
    NotifySpec,
    Updated,
    notify_on_change,
)
from sa_pgnotify.diagnosis.doctor import diagnose

KINDS = pytest.mark.parametrize("durable", [False, True])


def table_of(
    engine,
    name: str = "node",
    *,
    durable: bool,
    partitioned: bool = False,
    for_each: str = "statement",
) -> sa.Table:
    """A table with an ``id``, a ``region`` and a value ``v``, all of which travel."""
    options = {"postgresql_partition_by": "LIST (region)"} if partitioned else {}
    table = sa.Table(
        name,
        sa.MetaData(),
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("region", sa.Text, primary_key=partitioned, server_default="eu"),
        sa.Column("v", sa.Integer, server_default="0"),
        **options,
    )
    notify_on_change(table, NotifySpec(values="all", durable=durable, for_each=for_each))
    table.metadata.create_all(engine)
    return table


def delivered(engine, table: sa.Table, durable: bool, *statements: str) -> list[Any]:
    return (received_from_log if durable else received)(engine, table, *statements)


def seen(events: list[Any]) -> list[tuple[type, int]]:
    return [(type(e), (e.old if isinstance(e, Deleted) else e.new)["v"]) for e in events]


UPDATE = "UPDATE node SET v = v + 1 WHERE v = 0"
TRIGGERS = {
    "of each row": ("CREATE TRIGGER t AFTER INSERT ON node FOR EACH ROW EXECUTE FUNCTION sets()", False),
    "of the statement, before ours": ("CREATE TRIGGER a AFTER INSERT ON node FOR EACH STATEMENT EXECUTE FUNCTION sets()", False),
    "of the statement, after ours": ("CREATE TRIGGER t AFTER INSERT ON node FOR EACH STATEMENT EXECUTE FUNCTION sets()", True),
    "deferred": (
        "CREATE CONSTRAINT TRIGGER t AFTER INSERT ON node DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION sets()", True,
    ),
}  # fmt: skip


@KINDS
@pytest.mark.parametrize("kind", TRIGGERS)
def test_what_a_trigger_of_the_application_writes(engine, durable, kind):
    """Events of what an AFTER trigger writes to the same table come before those of the statement
    that fired it, if it runs before ours; deferred, or under a name that sorts behind ours, it runs
    after, and the order is that of the changes. doctor names the first two."""
    sql, is_in_order = TRIGGERS[kind]
    table = table_of(engine, durable=durable)
    run(
        engine,
        f"CREATE FUNCTION sets() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN {UPDATE}; RETURN NULL; END$$",
        sql,
    )
    events = seen(delivered(engine, table, durable, "INSERT INTO node VALUES (1)"))
    in_order = [(Inserted, 0), (Updated, 1)]
    assert events == (in_order if is_in_order else in_order[::-1])
    notes = [f"{f.severity} {f.text}" for f in diagnose(engine) if f.subject == "order"]
    if is_in_order:
        assert notes == []
    else:
        (note,) = notes
        name = sql.split()[2]
        assert note.startswith(
            f"note The FOR EACH {'ROW' if kind == 'of each row' else 'STATEMENT'} trigger {name} of node runs before those of sa_pgnotify."
        )
        run(engine, f"ALTER TABLE node DISABLE TRIGGER {name}")
        assert not [f for f in diagnose(engine) if f.subject == "order"]


@KINDS
@pytest.mark.parametrize("kind", TRIGGERS)
def test_triggers_for_each_row_run_first(engine, durable, kind):
    """Whatever trigger of the application writes to the same table, the events are in the order of
    the changes, and doctor has nothing to say; unless the trigger's name sorts even before ours."""
    table = table_of(engine, durable=durable, for_each="row")
    run(
        engine,
        f"CREATE FUNCTION sets() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN {UPDATE}; RETURN NULL; END$$",
        TRIGGERS[kind][0],
    )
    events = seen(delivered(engine, table, durable, "INSERT INTO node VALUES (1)"))
    assert events == [(Inserted, 0), (Updated, 1)]
    assert not [f for f in diagnose(engine) if f.subject == "order"]
    if kind == "of each row":
        run(engine, 'ALTER TRIGGER t ON node RENAME TO " first"')
        events = seen(delivered(engine, table, durable, "INSERT INTO node VALUES (2)"))
        assert events == [(Updated, 1), (Inserted, 0)]
        (note,) = [f for f in diagnose(engine) if f.subject == "order"]
        assert "The FOR EACH ROW trigger  first of node runs before" in note.text


@KINDS
def test_a_before_trigger_that_sets_new(engine, durable):
    """The event has the values that a BEFORE trigger sets, and there is no other event."""
    table = table_of(engine, durable=durable)
    run(
        engine,
        "CREATE FUNCTION sets() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NEW.v := 7; RETURN NEW; END$$",
        "CREATE TRIGGER t BEFORE INSERT ON node FOR EACH ROW EXECUTE FUNCTION sets()",
    )
    assert seen(delivered(engine, table, durable, "INSERT INTO node VALUES (1)")) == [(Inserted, 7)]
    assert not [f for f in diagnose(engine) if f.subject == "order"]


REGIONS = (
    "CREATE TABLE node_eu PARTITION OF node FOR VALUES IN ('eu')",
    "CREATE TABLE node_us PARTITION OF node FOR VALUES IN ('us')",
    "INSERT INTO node SELECT i, 'eu', i FROM generate_series(1, 4) AS i",
)


@KINDS
def test_a_merge_that_moves_rows(engine, durable):
    """For rows that a MERGE moves to another partition, the events depend on the actions that it
    has; with all three, the move is published as a delete and an insert, whether or not these
    actions happen. An UPDATE publishes the move. doctor says so for partitioned tables only."""
    with engine.connect() as connection:
        if connection.dialect.server_version_info < (15,):
            pytest.skip("MERGE came with PostgreSQL 15")
    table = table_of(engine, durable=durable, partitioned=True)
    run(engine, *REGIONS)
    merge = "MERGE INTO node USING (VALUES ({}, 'us')) AS s (id, region) ON node.id = s.id"
    moves = "WHEN MATCHED THEN UPDATE SET region = s.region"
    inserts = "WHEN NOT MATCHED AND false THEN INSERT VALUES (s.id, s.region, 0)"

    def kinds(*statements: str) -> list[type]:
        return [type(event) for event in delivered(engine, table, durable, *statements)]

    assert kinds("UPDATE node SET region = 'us' WHERE id = 1") == [Updated]
    assert kinds(f"{merge.format(2)} {moves}") == []
    assert kinds(f"{merge.format(3)} {moves} {inserts}") == [Inserted]
    whole = kinds(f"{merge.format(4)} WHEN MATCHED AND false THEN DELETE {moves} {inserts}")
    assert sorted(kind.__name__ for kind in whole) == ["Deleted", "Inserted"]
    (note,) = [f for f in diagnose(engine) if f.subject == "order"]
    assert note.text.startswith("Partitioned: node. ")
    assert note.fix.startswith(
        "Move such rows by UPDATE, or give each MERGE all three actions: WHEN MATCHED AND false THEN DELETE"
    )


@KINDS
def test_a_merge_that_moves_rows_for_each_row(engine, durable):
    """A trigger for each row sees both halves of the move, whatever actions the MERGE has."""
    table = table_of(engine, durable=durable, partitioned=True, for_each="row")
    run(engine, *REGIONS)
    merge = (
        "MERGE INTO node USING (VALUES (2, 'us')) AS s (id, region) ON node.id = s.id"
        " WHEN MATCHED THEN UPDATE SET region = s.region"
    )
    events = delivered(engine, table, durable, merge)
    assert [(type(event), event.identity) for event in events] == [
        (Deleted, (2, "eu")),
        (Inserted, (2, "us")),
    ]
    assert not [f for f in diagnose(engine) if f.subject == "order"]


def test_concurrent_durable_transactions(engine):
    """Whole, and each at its last change: of two that were committed in the other order a reader
    that comes later gets that order."""
    table = table_of(engine, durable=True)
    with Consumer(engine, "reader", table):
        pass
    with engine.connect() as first, engine.connect() as second:
        first.exec_driver_sql("INSERT INTO node VALUES (1)")
        second.exec_driver_sql("INSERT INTO node VALUES (2)")
        first.exec_driver_sql("INSERT INTO node VALUES (3)")
        second.exec_driver_sql("INSERT INTO node VALUES (4)")
        second.commit()
        first.commit()
    got: list[int] = []
    with Consumer(engine, "reader", table) as consumer:
        for batch in consumer:
            with batch:
                got += [change.identity[0] for change in batch]
            if len(got) == 4:
                break
    assert got == [1, 3, 2, 4]


@pytest.mark.parametrize("seed", range(6))
def test_dependent_durable_transactions(engine, seed):
    """In any interleaving: transactions are whole; a row's changes are in order, each `old` being
    the `new` before it; and a transaction that changed something after another was committed comes
    after that one."""
    table = table_of(engine, durable=True)
    chance = random.Random(seed)
    owners: dict[int, int] = {}
    changed: dict[int, list[int]] = {}  # xid: the steps at which it changed something
    committed: dict[int, int] = {}  # xid: the step at which it was committed
    xids: dict[int, int] = {}
    run(engine, "INSERT INTO node SELECT i, 'eu', 0 FROM generate_series(1, 5) AS i")
    connections = [engine.connect() for _ in range(3)]
    with end_of_log(engine) as end, Listener(engine, table, end) as listener:
        for step in range(120):
            which = chance.randrange(3)
            connection = connections[which]
            free = [row for row in range(1, 6) if owners.get(row, which) == which]
            if chance.random() < 0.7 and free:
                row = chance.choice(free)
                owners[row] = which
                connection.exec_driver_sql(f"UPDATE node SET v = v + 1 WHERE id = {row}")
                xid = xids[which] = connection.exec_driver_sql(
                    "SELECT pg_current_xact_id()::text::bigint"
                ).scalar()
                changed.setdefault(xid, []).append(step)
            elif which in xids:
                xid = xids.pop(which)
                owners = {row: owner for row, owner in owners.items() if owner != which}
                if chance.random() < 0.8:
                    connection.commit()
                    committed[xid] = step
                else:
                    connection.rollback()
        for connection in connections:
            connection.close()
        events = until_end_of_log(engine, listener, end)
    assert not [e for e in events if isinstance(e, Gap)]
    order = list(dict.fromkeys(e.transaction_id for e in events))
    assert [e.transaction_id for e in events] == [xid for xid in order for _ in changed[xid]]
    assert set(order) == committed.keys()
    values = dict.fromkeys(range(1, 6), 0)
    for event in events:
        assert event.old["v"] == values[event.identity[0]]
        values[event.identity[0]] = event.new["v"]
    for place, xid in enumerate(order):
        for before in order[place:]:
            assert not any(step > committed[before] for step in changed[xid]), (xid, before)


def test_ephemeral_transactions_come_in_commit_order(engine):
    """Whole, in the order in which they were committed, whatever the order of their changes."""
    table = table_of(engine, durable=False)
    with Listener(engine, table) as listener, engine.connect() as first, engine.connect() as second:
        first.exec_driver_sql("INSERT INTO node VALUES (1)")
        second.exec_driver_sql("INSERT INTO node VALUES (2)")
        first.exec_driver_sql("INSERT INTO node VALUES (3)")
        second.commit()
        first.commit()
        assert [event.identity[0] for event in take(listener, 3)] == [2, 1, 3]


def test_durable_and_ephemeral_tables_of_one_listener(engine):
    """Each of the two kinds is in its order; between them there is none: what was committed first
    may come last."""
    durable, ephemeral = (
        table_of(engine, "durable", durable=True),
        table_of(engine, "ephemeral", durable=False),
    )
    with Listener(engine, durable, ephemeral, heartbeat=60.0) as listener:
        sleepers(engine)
        run(engine, "SET LOCAL sa_pgnotify.doorbell = 'off'", "INSERT INTO durable VALUES (1)")
        run(engine, "INSERT INTO ephemeral VALUES (2)")
        run(engine, "INSERT INTO ephemeral VALUES (3)")
        assert [event.identity[0] for event in take(listener, 2)] == [2, 3]
        run(engine, "INSERT INTO durable VALUES (4)")  # its doorbell brings the first one too
        assert [event.identity[0] for event in take(listener, 2)] == [1, 4]
