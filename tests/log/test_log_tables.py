"""The tables of the change log in the program's MetaData: when they are added, and with which
settings."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from durable_tables import durable_tables, logged_changes, objects
from logs import TABLES, received_from_log
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from statements import run

from sa_pgnotify import (
    ChangeLog,
    Inserted,
    NotifyConfigError,
    NotifyOnChange,
    NotifySpec,
    check,
)

DURABLE = NotifySpec(values="all", durable=True)


INSERT = "INSERT INTO orders (status) VALUES ('new')"


def core() -> sa.MetaData:
    return durable_tables()


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

    Base.metadata.info["classes"] = (Order, Rush)  # which nothing else keeps
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
    """Without a durable marking, the MetaData gets no log."""
    metadata = durable_tables(NotifySpec())
    assert metadata.tables.keys() == {"orders"}


def test_a_class_of_two_durable_tables_has_one_event_per_change(engine):
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


def test_schema_and_settings_are_given_before_the_first_table(engine):
    """ChangeLog() before the models says where the log is and what it keeps; the triggers write
    there."""
    metadata = sa.MetaData()
    log = ChangeLog(metadata, schema="Audit", max_age=timedelta(days=1), max_size=None)
    durable_tables(metadata=metadata)
    assert {table.schema for table in log.tables} == {"Audit"}
    run(engine, 'CREATE SCHEMA "Audit"')
    metadata.create_all(engine)
    assert check(engine, metadata) == []
    (event,) = received_from_log(engine, metadata, INSERT, schema="Audit")
    assert (type(event), logged_changes(engine, "Audit")) == (Inserted, [(1,)])
    ChangeLog(metadata, schema="Audit", max_age=timedelta(days=1), max_size=None)  # says the same


@pytest.mark.parametrize("options", [{"schema": "audit"}, {"max_age": None}, {"max_size": 1 << 20}])
def test_other_settings_after_the_first_table_are_refused(options: dict[str, Any]):
    """A log that a table has made already cannot be given other settings: the error says where to
    put the call."""
    metadata = durable_tables()
    with pytest.raises(NotifyConfigError, match="before any model"):
        ChangeLog(metadata, **options)
    ChangeLog(metadata)


def test_a_metadata_with_a_schema(engine):
    """The log is in the schema of its MetaData, unless ChangeLog names another one."""
    run(engine, "CREATE SCHEMA shop")
    metadata = durable_tables(metadata=sa.MetaData(schema="shop"))
    metadata.create_all(engine)
    assert metadata.tables.keys() == {f"shop.{name}" for name in ("orders", *TABLES)}
    (event,) = received_from_log(
        engine, metadata, INSERT.replace("orders", "shop.orders"), schema="shop"
    )
    assert (event.new["status"], logged_changes(engine, "shop")) == ("new", [(1,)])
    metadata.drop_all(engine)
    assert objects(engine) == set()


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
    copy = COPIES[name](durable_tables())
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
    assert (type(event), logged_changes(engine, schema)) == (Inserted, [(1,)])
    copy.drop_all(engine)
    assert objects(engine) == set()
