"""The change log's tables in the program's MetaData: when they are added, made, dropped, and told
of when they are missing."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from logs import TABLES, received_from_log, sleepers
from receiving import take
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from statements import rows, run

from sa_pgnotify import (
    ChangeLog,
    CreateNotifyTriggers,
    Gap,
    Inserted,
    Listener,
    NotifyConfigError,
    NotifyOnChange,
    NotifySpec,
    check,
    notify_on_change,
)

DURABLE = NotifySpec(values="all", durable=True)
INSERT = "INSERT INTO orders (status) VALUES ('new')"


def orders(
    spec: NotifySpec | None = DURABLE, *, metadata: sa.MetaData | None = None, name: str = "orders"
) -> sa.MetaData:
    metadata = sa.MetaData() if metadata is None else metadata
    table = sa.Table(
        name, metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("status", sa.Text)
    )
    return metadata if spec is None else notify_on_change(table, spec).metadata


def objects(engine: sa.Engine) -> set[str]:
    """Names of all tables, indexes, sequences, functions and triggers that are not PostgreSQL's
    own."""
    ours = "NOT IN ('pg_catalog', 'information_schema', 'pg_toast')"
    sql = (
        f"SELECT relname FROM pg_class WHERE relnamespace::regnamespace::text {ours} UNION ALL SELECT tgname FROM pg_trigger "
        f"WHERE NOT tgisinternal UNION ALL SELECT proname || '()' FROM pg_proc WHERE pronamespace::regnamespace::text {ours}"
    )
    with engine.connect() as connection:
        return set(connection.scalars(sa.text(sql)))


def logged(engine: sa.Engine, schema: str = "public") -> list[tuple[int]]:
    """One row for each of those that the log has of the table."""
    return rows(
        engine, f"SELECT 1 FROM \"{schema}\".sa_pgnotify_log_0 WHERE relation LIKE '%orders'"
    )


# -- what marking adds -----------------------------------------------------------------------------


def core() -> sa.MetaData:
    return orders()


def declarative() -> sa.MetaData:
    class Base(DeclarativeBase):
        pass

    class Order(NotifyOnChange, Base):
        __tablename__ = "orders"
        __notify__ = DURABLE
        id: Mapped[int] = mapped_column(primary_key=True)

    return Base.metadata


def abstract_base() -> sa.MetaData:
    class Base(DeclarativeBase):
        pass

    class Marked(NotifyOnChange, Base):
        __abstract__ = True
        __notify__ = DURABLE

    class Order(Marked):
        __tablename__ = "orders"
        id: Mapped[int] = mapped_column(primary_key=True)

    class Other(Marked):
        __tablename__ = "others"
        id: Mapped[int] = mapped_column(primary_key=True)

    return Base.metadata


def joined() -> sa.MetaData:
    class Base(DeclarativeBase):
        pass

    class Order(NotifyOnChange, Base):
        __tablename__ = "orders"
        __notify__ = DURABLE
        __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "order"}
        id: Mapped[int] = mapped_column(primary_key=True)
        kind: Mapped[str]

    class Rush(Order):
        __tablename__ = "rushes"
        __mapper_args__ = {"polymorphic_identity": "rush"}
        id: Mapped[int] = mapped_column(sa.ForeignKey("orders.id"), primary_key=True)
        note: Mapped[str | None]

    return Base.metadata


@pytest.mark.parametrize("form", [core, declarative, abstract_base, joined])
def test_marking_adds_the_log(engine, form: Callable[[], sa.MetaData]):
    """A durable marking, in whichever form, adds one log to the MetaData; it is made, found in
    order, and dropped, with all else."""
    metadata = form()
    models = metadata.tables.keys() - TABLES
    assert TABLES <= metadata.tables.keys()
    before = objects(engine)
    metadata.create_all(engine)
    assert check(engine, metadata) == []
    assert {f"sa_pgnotify_{name}()" for name in models} <= objects(engine)
    metadata.drop_all(engine)
    assert objects(engine) == before
    metadata.drop_all(engine)


def test_what_is_not_durable_adds_none(engine):
    """Without a durable marking there is no log."""
    metadata = orders(NotifySpec())
    assert metadata.tables.keys() == {"orders"}


def test_a_class_of_two_durable_tables_is_told_once_per_change(engine):
    """Joined inheritance over a log: one entity inserted is one event, an UPDATE of the child's
    table has its class."""
    metadata = joined()
    metadata.create_all(engine)
    events = received_from_log(
        engine,
        metadata,
        "INSERT INTO orders VALUES (1, 'rush')",
        "INSERT INTO rushes VALUES (1)",
        "UPDATE rushes SET note = 'a'",
    )
    assert [(type(e).__name__, e.entity.__name__, e.identity) for e in events] == [
        ("Inserted", "Rush", (1,)),
        ("Updated", "Rush", (1,)),
    ]
    assert all(event.position is not None for event in events)


def test_durable_and_a_channel_is_refused():
    """Changes that go into the log go to no channel: asking for both is refused where it is
    declared."""
    with pytest.raises(NotifyConfigError, match="Leave out channel="):
        NotifySpec(durable=True, channel="a")


# -- settings --------------------------------------------------------------------------------------


def test_schema_and_settings_are_given_before_the_first_table(engine):
    """ChangeLog() before the models says where the log is and what it keeps; the triggers write
    there."""
    metadata = sa.MetaData()
    log = ChangeLog(metadata, schema="Audit", max_age=timedelta(days=1), max_size=None)
    orders(metadata=metadata)
    assert {table.schema for table in log.tables} == {"Audit"}
    run(engine, 'CREATE SCHEMA "Audit"')
    metadata.create_all(engine)
    assert check(engine, metadata) == []
    (event,) = received_from_log(engine, metadata, INSERT, schema="Audit")
    assert (type(event), logged(engine, "Audit")) == (Inserted, [(1,)])
    ChangeLog(metadata, schema="Audit", max_age=timedelta(days=1), max_size=None)  # says the same


@pytest.mark.parametrize("options", [{"schema": "audit"}, {"max_age": None}, {"max_size": 1 << 20}])
def test_other_settings_after_the_first_table_are_refused(options: dict[str, Any]):
    """A log that a table has made already cannot be given other settings: the error says where to
    put the call."""
    metadata = orders()
    with pytest.raises(NotifyConfigError, match="before any model"):
        ChangeLog(metadata, **options)
    ChangeLog(metadata)


def test_a_metadata_with_a_schema(engine):
    """The log is in the schema of its MetaData, unless it is told otherwise."""
    run(engine, "CREATE SCHEMA shop")
    metadata = orders(metadata=sa.MetaData(schema="shop"))
    metadata.create_all(engine)
    assert metadata.tables.keys() == {f"shop.{name}" for name in ("orders", *TABLES)}
    (event,) = received_from_log(
        engine, metadata, INSERT.replace("orders", "shop.orders"), schema="shop"
    )
    assert (event.new["status"], logged(engine, "shop")) == ("new", [(1,)])
    metadata.drop_all(engine)
    assert objects(engine) == set()


# -- copies ----------------------------------------------------------------------------------------


def copied(metadata: sa.MetaData, **options: Any) -> sa.MetaData:
    copy = sa.MetaData()
    for table in metadata.tables.values():
        table.to_metadata(copy, **options)
    return copy


COPIES: dict[str, Callable[[sa.MetaData], sa.MetaData]] = {
    "pickled": lambda metadata: pickle.loads(pickle.dumps(metadata)),
    "all": copied,
    "all, in another schema": lambda metadata: copied(metadata, schema="shop"),
    "one table": lambda metadata: metadata.tables["orders"].to_metadata(sa.MetaData()).metadata,
}


@pytest.mark.parametrize("name", COPIES)
def test_copies_of_the_metadata(engine, name):
    """A MetaData that was pickled, or into which the tables were copied, makes its log, and its
    triggers write there."""
    copy = COPIES[name](orders())
    run(engine, "CREATE SCHEMA shop")
    schema = "shop" if "schema" in name else "public"
    copy.create_all(engine)
    assert check(engine, copy) == []
    (event,) = received_from_log(
        engine,
        copy,
        INSERT.replace("orders", f"{schema}.orders"),
        schema=None if schema == "public" else schema,
    )
    assert (type(event), logged(engine, schema)) == (Inserted, [(1,)])
    copy.drop_all(engine)
    assert objects(engine) == set()


# -- create_all and drop_all -----------------------------------------------------------------------


def test_second_create_all_changes_and_locks_nothing(engine):
    """When all is in place, create_all waits for nobody, not even for who holds the strongest locks
    on table and log."""
    metadata = orders()
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
    metadata = orders()
    if existing:
        metadata.tables["sa_pgnotify_log_2"].create(engine)
    create(engine, metadata)
    assert check(engine, metadata) == []
    assert [type(event) for event in received_from_log(engine, metadata, INSERT)] == [Inserted]


def test_triggers_without_a_log_are_refused(engine):
    """By hand, triggers without their log are refused, and the error says what to create."""
    metadata = orders()
    run(engine, "CREATE TABLE orders (id serial PRIMARY KEY, status text)")
    with (
        engine.begin() as connection,
        pytest.raises(DBAPIError, match="the change log sa_pgnotify_log does not exist"),
    ):
        connection.execute(CreateNotifyTriggers(metadata.tables["orders"]))


def test_dropping_one_table_keeps_the_log(engine):
    """Table.drop() takes the table's own function and leaves the log, which others need."""
    metadata = orders(metadata=orders(), name="others")
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
    metadata = orders()
    translated = engine.execution_options(schema_translate_map={None: "tenant"})
    metadata.create_all(translated, tables=[metadata.tables["orders"]] if alone else None)
    assert check(translated, metadata) == []
    (event,) = received_from_log(translated, metadata, INSERT.replace("orders", "tenant.orders"))
    assert (type(event), logged(engine, "tenant")) == (Inserted, [(1,)])
    metadata.drop_all(translated)
    assert objects(engine) == set()


def test_other_databases():
    """On SQLite a durable marking does no harm."""
    metadata = orders()
    engine = sa.create_engine("sqlite://")
    metadata.create_all(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql(INSERT)
    metadata.drop_all(engine)


@pytest.mark.parametrize("alone", [False, True], ids=["all", "one table"])
def test_a_script_by_create_mock_engine(engine, alone):
    """What create_mock_engine prints makes, in psql, what create_all makes: the log before the
    triggers."""
    metadata, printed = orders(), []
    mock: Any = sa.create_mock_engine(
        "postgresql://",
        lambda sql, *_, **__: printed.append(str(sql.compile(dialect=engine.dialect))),
    )
    metadata.create_all(
        mock, tables=[metadata.tables["orders"]] if alone else None, checkfirst=False
    )
    run(engine, *(statement.replace("%%", "%") for statement in printed))
    assert check(engine, metadata) == []


# -- from durable to not, and back -----------------------------------------------------------------


def test_switching_durable_off_and_on(engine):
    """create_all follows the switch both ways; a listener that runs is told by a Gap, and goes on
    with what comes then."""
    durable, plain = orders(), orders(NotifySpec(values="all"))
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


def test_dropping_and_making_anew_is_told(engine):
    """A listener whose table and log are dropped and made anew is told, and goes on with the new
    ones."""
    metadata = orders()
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
    metadata = orders()
    metadata.create_all(engine)
    run(engine, "DROP TABLE sa_pgnotify_log_3, sa_pgnotify_parked")
    drifts = check(engine, metadata)
    assert [(drift.kind, drift.table, drift.object) for drift in drifts] == [
        ("missing", "sa_pgnotify_log_3", "the table"), ("missing", "sa_pgnotify_parked", "the table"),
    ]  # fmt: skip
    metadata.create_all(engine)
    assert check(engine, metadata) == []
