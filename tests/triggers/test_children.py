"""Partitions and inheritance children of marked tables: those that make writes fail are refused and
found, the others do no harm."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from receiving import received
from statements import install_extension, run

from sa_pgnotify import Deleted, Inserted, NotifySpec, Updated, check, notify_on_change
from sa_pgnotify.diagnosis.doctor import diagnose
from sa_pgnotify.sql import execute_on
from sa_pgnotify.triggers.children import (
    REFUSE_FOREIGN_CHILDREN,
    collecting_kinds,
    foreign_children,
)

ALL = ("insert", "update", "delete", "truncate")


@pytest.fixture
def foreign(engine, url, admin):
    """A function that makes a foreign table which is really in the same database, as ``name``, with
    the given end of CREATE FOREIGN TABLE."""
    host = url.query.get("host", url.host)
    password = f", password '{url.password}'" if url.password else ""
    install_extension(engine, "postgres_fdw")
    run(
        engine,
        f"CREATE SERVER itself FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '{host}', port '{url.port or 5432}', dbname '{url.database}')",
        f"CREATE USER MAPPING FOR CURRENT_USER SERVER itself OPTIONS (user '{url.username}', password_required 'false'{password})",
        "CREATE TABLE elsewhere (id int, v text)",
    )

    def make(name: str, rest: str) -> None:
        run(
            engine,
            f"CREATE FOREIGN TABLE {name} {rest} SERVER itself OPTIONS (table_name 'elsewhere')",
        )

    return make


def refused(engine, table: str, operations: tuple[str, ...]) -> str:
    """The message with which the installing statement would refuse ``table``; empty if it would
    not."""
    kinds = collecting_kinds(operations)
    if not kinds:
        return ""
    block = REFUSE_FOREIGN_CHILDREN.format(table=f"'public.{table}'::regclass", kinds=kinds)
    try:
        run(
            engine,
            "SET LOCAL search_path = pg_catalog, pg_temp",
            f"DO $do$#variable_conflict use_column\nBEGIN\n{block}\nEND$do$",
        )
    except sa.exc.DBAPIError as error:
        assert "Detach it" in error.orig.diag.message_hint
        return error.orig.diag.message_primary
    return ""


def test_foreign_descendants_are_refused_where_writes_would_reach_them(engine, foreign):
    """A foreign table below a partitioned table, at any depth, or below an ordinary parent is
    refused for the operations that collect its rows, and for these only; a table without one is
    not."""
    run(
        engine,
        "CREATE TABLE event (id int, v text) PARTITION BY RANGE (id)",
        "CREATE TABLE event_hot PARTITION OF event FOR VALUES FROM (0) TO (100)",
        "CREATE TABLE event_old PARTITION OF event FOR VALUES FROM (100) TO (200) PARTITION BY RANGE (id)",
        "CREATE TABLE parent (id int, v text)",
        "CREATE TABLE child () INHERITS (parent)",
    )
    assert [refused(engine, table, ALL) for table in ("event", "parent")] == ["", ""]
    foreign('"Event cold"', "PARTITION OF event_old FOR VALUES FROM (100) TO (200)")
    foreign("far", "() INHERITS (child)")
    expected = 'sa_pgnotify: with triggers on public.event, writes that reach public."Event cold" would fail'
    for operations in (ALL, ("insert",), ("update",), ("delete", "truncate")):
        message = refused(engine, "event", operations)
        assert (
            message.replace("on event,", "on public.event,")
            == f"{expected}: PostgreSQL cannot collect the changes of foreign tables"
        )
    assert refused(engine, "event", ("truncate",)) == ""
    assert refused(engine, "event_hot", ALL) == ""
    assert "reach public.far would fail" in refused(engine, "parent", ("update",))
    assert refused(engine, "parent", ("insert", "truncate")) == ""
    with engine.connect() as connection:
        asked = [("'event'", collecting_kinds(ALL)), ("'event_hot'", collecting_kinds(ALL)), ("'parent'", collecting_kinds(("insert",))),
                 ("'parent'", collecting_kinds(("delete",))), ("'event'", ""), ("'gone'", collecting_kinds(ALL))]  # fmt: skip
        assert foreign_children(execute_on(connection), asked) == {
            0: [("public", "Event cold")],
            3: [("public", "far")],
        }
        assert foreign_children(execute_on(connection), []) == {}


def test_other_children_do_no_harm(engine):
    """Rows of temporary, unlogged and widened children, and of partitions with another order of
    columns, are published with the writes to the parent."""
    metadata = sa.MetaData()
    columns = [sa.Column("id", sa.Integer, primary_key=True), sa.Column("v", sa.Text)]
    parent = sa.Table("parent", metadata, *columns)
    parts = sa.Table(
        "parts", metadata, *(c._copy() for c in columns), postgresql_partition_by="LIST (id)"
    )
    for table in (parent, parts):
        notify_on_change(table, NotifySpec(values="all"))
    metadata.create_all(engine)
    run(
        engine,
        "CREATE UNLOGGED TABLE unlogged_child (more int) INHERITS (parent)",
        "CREATE TABLE turned (v text, gone int, id int NOT NULL)",
        "ALTER TABLE turned DROP COLUMN gone",
        "ALTER TABLE parts ATTACH PARTITION turned FOR VALUES IN (1)",
        "INSERT INTO unlogged_child VALUES (1, 'u', 0)",
    )
    events = received(
        engine,
        metadata,
        "CREATE TEMP TABLE temporary_child () INHERITS (parent)",
        "INSERT INTO temporary_child VALUES (2, 't')",
        "UPDATE parent SET v = v || '!'",
        "INSERT INTO parts VALUES (1, 'p')",
        "DELETE FROM parts",
    )
    assert {(type(e), e.identity, (e.old if isinstance(e, Deleted) else e.new)["v"]) for e in events} == {
        (Updated, (1,), "u!"), (Updated, (2,), "t!"), (Inserted, (1,), "p"), (Deleted, (1,), "p"),
    }  # fmt: skip
    assert len(events) == 4


def test_foreign_partitions_for_each_row(engine, foreign):
    """Triggers for each row work with a foreign partition, whether it is there before them or comes
    later, and publish what is written through the parent."""
    metadata = sa.MetaData()
    columns = [
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("v", sa.Text),
    ]
    event = sa.Table("event", metadata, *columns, postgresql_partition_by="RANGE (id)")
    notify_on_change(event, NotifySpec(values="all", for_each="row"))
    run(
        engine,
        "CREATE TABLE event (id int NOT NULL, v text) PARTITION BY RANGE (id)",
        "CREATE TABLE event_hot PARTITION OF event FOR VALUES FROM (20) TO (30)",
    )
    foreign("event_cold", "PARTITION OF event FOR VALUES FROM (0) TO (10)")
    metadata.create_all(engine)
    foreign("event_old", "PARTITION OF event FOR VALUES FROM (10) TO (20)")
    assert check(engine, metadata) == []
    writes = "INSERT INTO event VALUES (1, 'a'), (11, 'b'), (21, 'c')", "UPDATE event SET v = 'x'"
    events = received(engine, event, *writes)
    # both foreign tables are the same table elsewhere
    assert {(type(e), e.identity[0], e.new["v"]) for e in events} == {
        (Inserted, 1, "a"), (Inserted, 11, "b"), (Inserted, 21, "c"), (Updated, 1, "x"), (Updated, 11, "x"), (Updated, 21, "x"),
    }  # fmt: skip


def test_tables_that_inherit_are_refused_for_each_row(engine):
    """PostgreSQL does not copy the triggers to them, so what an UPDATE of the parent changes in them
    would be lost: that is refused, and found by check if it comes later. An INSERT reaches none."""
    metadata = sa.MetaData()
    parent = sa.Table("parent", metadata, sa.Column("id", sa.Integer, primary_key=True))
    notify_on_change(parent, NotifySpec(for_each="row"))
    run(
        engine, "CREATE TABLE parent (id int PRIMARY KEY)", "CREATE TABLE heir () INHERITS (parent)"
    )
    problem = "would not see what its UPDATE and DELETE change in public.heir"
    with pytest.raises(sa.exc.SQLAlchemyError, match=problem):
        metadata.create_all(engine)
    run(engine, "ALTER TABLE heir NO INHERIT parent")
    metadata.create_all(engine)
    run(engine, "ALTER TABLE heir INHERIT parent")
    (drift,) = check(engine, metadata)
    assert (drift.kind, drift.table) == ("conflicting", "parent")
    assert drift.object == "the table public.heir below the triggers"
    inserts = sa.MetaData()
    table = sa.Table("parent", inserts, sa.Column("id", sa.Integer, primary_key=True))
    notify_on_change(table, NotifySpec(operations=("insert",), for_each="row"))
    inserts.create_all(engine)
    assert check(engine, inserts) == []


def test_a_foreign_partition_attached_later_is_found(engine, foreign):
    """Nothing can refuse it: ``check`` names it with what to do, ``doctor`` calls it a problem, and
    both are content once it is detached. A write that reaches it does fail."""
    metadata = sa.MetaData()
    columns = [
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("v", sa.Text),
    ]
    event = sa.Table("event", metadata, *columns, postgresql_partition_by="RANGE (id)")
    notify_on_change(event)
    metadata.create_all(engine)
    foreign("event_cold", "(id int NOT NULL, v text)")
    run(
        engine,
        "ALTER TABLE event DROP CONSTRAINT event_pkey",
        "ALTER TABLE event ATTACH PARTITION event_cold FOR VALUES FROM (0) TO (10)",
    )
    with pytest.raises(sa.exc.DBAPIError, match="cannot collect transition tuples"):
        run(engine, "INSERT INTO event VALUES (1, 'a')")
    (drift,) = check(engine, metadata)
    assert (drift.kind, drift.table, drift.object) == (
        "conflicting",
        "event",
        "the foreign table public.event_cold below the triggers",
    )
    assert "DETACH PARTITION" in drift.fix
    (problem,) = [f for f in diagnose(engine) if f.severity == "problem"]
    assert problem.text.startswith("The foreign table public.event_cold is below event")
    run(engine, "ALTER TABLE event DETACH PARTITION event_cold")
    assert check(engine, metadata) == []
    assert not [f for f in diagnose(engine) if f.severity == "problem"]
