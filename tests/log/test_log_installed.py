"""When the tables of the change log are made, dropped and found missing."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from durable_tables import durable_tables, logged_changes, objects
from logs import TABLES, received_from_log, sleepers
from receiving import take
from sqlalchemy.exc import DBAPIError
from statements import run

from sa_pgnotify import (
    CreateNotifyTriggers,
    Gap,
    Inserted,
    Listener,
    NotifySpec,
    check,
)

DURABLE = NotifySpec(values="all", durable=True)

# the log keeps what a transaction in any database may still write
pytestmark = pytest.mark.undisturbed


INSERT = "INSERT INTO orders (status) VALUES ('new')"


def test_second_create_all_changes_and_locks_nothing(engine):
    """When everything is installed, create_all waits for no session, not even for one that holds
    the strongest locks on table and log."""
    metadata = durable_tables()
    metadata.create_all(engine)
    before = objects(engine)
    impatient = sa.create_engine(
        engine.url, poolclass=sa.NullPool, connect_args={"options": "-c lock_timeout=200"}
    )
    with engine.begin() as other:
        other.exec_driver_sql(f"LOCK TABLE orders, {', '.join(TABLES)} IN ACCESS EXCLUSIVE MODE")
        metadata.create_all(impatient)
    assert objects(engine) == before


def by_tables(engine: sa.Engine, metadata: sa.MetaData) -> None:
    metadata.create_all(engine, tables=[metadata.tables["orders"]])


def by_table(engine: sa.Engine, metadata: sa.MetaData) -> None:
    metadata.tables["orders"].create(engine)


@pytest.mark.parametrize("create", [by_tables, by_table])
@pytest.mark.parametrize("existing", [False, True], ids=["new", "existing"])
def test_a_table_made_alone_brings_the_log(engine, create, existing):
    """create_all(tables=...) and Table.create() of a durable table make the log as well, which its
    triggers need."""
    metadata = durable_tables()
    if existing:
        metadata.tables["sa_pgnotify_log_2"].create(engine)
    create(engine, metadata)
    assert check(engine, metadata) == []
    assert [type(event) for event in received_from_log(engine, metadata, INSERT)] == [Inserted]


def test_triggers_without_a_log_are_refused(engine):
    """By hand, triggers without their log are refused, and the error says what to create."""
    metadata = durable_tables()
    run(engine, "CREATE TABLE orders (id serial PRIMARY KEY, status text)")
    with (
        engine.begin() as connection,
        pytest.raises(DBAPIError, match="the change log sa_pgnotify_log does not exist"),
    ):
        connection.execute(CreateNotifyTriggers(metadata.tables["orders"]))


def test_dropping_one_table_keeps_the_log(engine):
    """Table.drop() takes the table's own function and leaves the log, which others need."""
    metadata = durable_tables(metadata=durable_tables(), name="others")
    metadata.create_all(engine)
    metadata.tables["orders"].drop(engine)
    assert TABLES <= objects(engine)
    assert "sa_pgnotify_orders()" not in objects(engine)
    assert [
        type(event)
        for event in received_from_log(
            engine, metadata.tables["others"], INSERT.replace("orders", "others")
        )
    ] == [Inserted]


@pytest.mark.parametrize("alone", [False, True], ids=["all", "one table"])
def test_a_schema_translate_map(engine, alone):
    """Under a schema_translate_map, table and log are in the schemas that it names, and the
    triggers write there."""
    run(engine, "CREATE SCHEMA tenant")
    metadata = durable_tables()
    translated = engine.execution_options(schema_translate_map={None: "tenant"})
    metadata.create_all(translated, tables=[metadata.tables["orders"]] if alone else None)
    assert check(translated, metadata) == []
    (event,) = received_from_log(translated, metadata, INSERT.replace("orders", "tenant.orders"))
    assert (type(event), logged_changes(engine, "tenant")) == (Inserted, [(1,)])
    metadata.drop_all(translated)
    assert objects(engine) == set()


def test_other_databases():
    """On SQLite a durable marking does no harm."""
    metadata = durable_tables()
    engine = sa.create_engine("sqlite://")
    metadata.create_all(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql(INSERT)
    metadata.drop_all(engine)


@pytest.mark.parametrize("alone", [False, True], ids=["all", "one table"])
def test_a_script_by_create_mock_engine(engine, alone):
    """What create_mock_engine prints makes, in psql, what create_all makes: the log before the
    triggers."""
    metadata, printed = durable_tables(), []
    mock: Any = sa.create_mock_engine(
        "postgresql://",
        lambda sql, *_, **__: printed.append(str(sql.compile(dialect=engine.dialect))),
    )
    metadata.create_all(
        mock, tables=[metadata.tables["orders"]] if alone else None, checkfirst=False
    )
    run(engine, *(statement.replace("%%", "%") for statement in printed))
    assert check(engine, metadata) == []


def test_switching_durable_off_and_on(engine):
    """create_all follows the switch both ways; a running listener gets a Gap, and goes on with
    later changes."""
    durable, plain = durable_tables(), durable_tables(NotifySpec(values="all"))
    durable.create_all(engine)
    with Listener(engine, durable) as listener:
        run(engine, INSERT)
        assert take(listener, 1)[0].position is not None
        for wanted, is_durable in ((plain, False), (durable, True), (plain, False)):
            wanted.create_all(engine)
            assert check(engine, wanted) == []
            (gap,) = take(listener, 1)
            assert isinstance(gap, Gap)
            run(engine, INSERT)
            (event,) = take(listener, 1)
            assert (type(event), event.position is not None) == (Inserted, is_durable)


def test_dropping_and_creating_again_is_a_gap(engine):
    """If the table and its log are dropped and created again, a listener gets a Gap, and goes on
    with the new ones."""
    metadata = durable_tables()
    metadata.create_all(engine)
    with Listener(engine, metadata, heartbeat=60) as listener:
        run(engine, INSERT)
        take(listener, 1)
        sleepers(engine)
        metadata.drop_all(engine)
        metadata.create_all(engine)
        (gap,) = take(listener, 1)
        assert isinstance(gap, Gap)
        run(engine, INSERT)
        events = take(listener, 1)
        while isinstance(events[-1], Gap):
            events += take(listener, 1)
        assert type(events[-1]) is Inserted


def test_check_names_the_missing_tables(engine):
    """check() names each table of the log that is not there, and what brings it."""
    metadata = durable_tables()
    metadata.create_all(engine)
    run(engine, "DROP TABLE sa_pgnotify_log_3, sa_pgnotify_parked")
    drifts = check(engine, metadata)
    assert [(drift.kind, drift.table, drift.object) for drift in drifts] == [
        ("missing", "sa_pgnotify_log_3", "the table"), ("missing", "sa_pgnotify_parked", "the table"),
    ]  # fmt: skip
    metadata.create_all(engine)
    assert check(engine, metadata) == []
