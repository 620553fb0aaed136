"""Faults of writes and of triggers that were reproduced in other libraries of this kind, one test
each, to show that they are not in this one."""

from __future__ import annotations

import uuid
from decimal import Decimal

import pytest
from orders import marked_class
from receiving import received, take, until_end
from sqlalchemy import BigInteger, NullPool, Text, Uuid, create_engine, inspect, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from statements import run

from sa_pgnotify import (
    Deleted,
    Inserted,
    Listener,
    NotifyOnChange,
    NotifySpec,
    check,
)


def test_insert_fails_because_the_payload_is_too_long(engine):
    """A row larger than a notification is inserted, and delivered whole."""
    Order = marked_class(engine)
    (event,) = received(engine, Order, "INSERT INTO orders VALUES (1, repeat('x', 10000))")
    assert event.new["status"] == "x" * 10_000


KEYS = {
    "a key not called id": ({"number": mapped_column(BigInteger, primary_key=True)}, 5),
    "a UUID": ({"id": mapped_column(primary_key=True, type_=Uuid())}, uuid.UUID(int=7)),
    "a key over int4": ({}, 2**40),
    "a quoted column name": (
        {"odd": mapped_column('Odd "key"; --', Text, primary_key=True)},
        "it's",
    ),
    "a keyword": ({"user": mapped_column("user", Text, primary_key=True)}, ""),
}


@pytest.mark.parametrize("case", KEYS)
def test_insert_fails_because_of_the_key(engine, case):
    """Keys of any name and type are taken, and come back as the values they were."""
    columns, key = KEYS[case]
    Order = marked_class(engine, **{name: column._copy() for name, column in columns.items()})
    attribute = next(iter(columns), "id")
    with Listener(engine, Order) as listener, Session(engine) as session:
        session.add(Order(**{attribute: key}, status="a"))
        session.commit()
        (event,) = take(listener, 1)
    assert event.identity == (key,)
    assert type(event.identity[0]) is type(key)


def test_insert_fails_over_a_number_of_rows(engine):
    """A statement over the 1,813 rows where one peer's ids filled a notification succeeds, and
    publishes each row."""
    Order = marked_class(engine)
    assert (
        len(received(engine, Order, "INSERT INTO orders SELECT generate_series(1, 5000), 'x'"))
        == 5000
    )


@pytest.mark.parametrize(
    ("name", "schema"),
    [
        ("user", None),
        ("order", None),
        ("Odd. \"table\" 'name'", None),
        ("orders", "Other"),
        ("t" * 63, None),
        ("é" * 31, "s" * 63),
    ],
)
def test_silence_of_tables_with_special_names(engine, name, schema):
    """Tables named like keywords, with quotes, in other schemas and of the longest names are
    heard."""
    quoted = ".".join('"' + part.replace('"', '""') + '"' for part in (schema or "public", name))
    if schema:
        run(engine, f'CREATE SCHEMA "{schema}"')
    Marked = marked_class(engine, name, schema)
    (event,) = received(engine, Marked, f"INSERT INTO {quoted} VALUES (1, 'a')")
    assert (event.entity, event.new) == (Marked, {"id": 1, "status": "a"})


def test_silence_of_models_under_an_abstract_base(engine):
    """A mark on an abstract base counts for the models below it."""

    class Base(DeclarativeBase):
        pass

    class Told(NotifyOnChange, Base):
        __abstract__ = True

    class Order(Told):
        __tablename__ = "orders"
        id: Mapped[int] = mapped_column(primary_key=True)

    Base.metadata.create_all(engine)
    (event,) = received(engine, Base, "INSERT INTO orders VALUES (1)")
    assert event.entity is Order


EVIL = "x'; DROP TABLE victim; --"


def test_injection_through_names(engine):
    """Names of tables, columns and channels that hold SQL are names and nothing else, from
    create_all to drop_all."""
    run(engine, "CREATE TABLE victim ()")
    evil_quoted = EVIL.replace("'", '"')
    for name in (EVIL, evil_quoted, "$function$; DROP TABLE victim; $function$", "%s %(a)s :b \\"):
        Marked = marked_class(
            engine, name, spec=NotifySpec(values="all", channel=name), odd=mapped_column(name, Text)
        )
        with (
            Listener(engine, Marked, f"{name}_", "end_of_test") as listener,
            Session(engine) as session,
        ):
            session.add(Marked(id=1, odd=name))
            session.commit()
            (event,) = until_end(engine, listener)
            assert event.new == {"id": 1, "status": None, "odd": name}
        Marked.metadata.drop_all(engine)
    assert inspect(engine).get_table_names() == ["victim"]


def test_an_apostrophe_in_a_payload_is_a_syntax_error(engine):
    """Quotes, backslashes and percent signs in values come as they are, on plain channels too."""
    Order = marked_class(engine)
    odd = "it's \"\\ %s %(x)s $1 :name ; --"
    with Listener(engine, Order, "plain") as listener, Session(engine) as session:
        session.add(Order(id=1, status=odd))
        session.flush()
        session.execute(text("SELECT pg_notify('plain', :odd)"), {"odd": odd})
        session.commit()
        event, notification = take(listener, 2)
    assert event.new["status"] == notification.payload == odd


def test_lock_outage_from_trigger_ddl_at_start(engine):
    """create_all where all is in place, and starting to listen, wait for no lock, though a
    transaction holds the table."""
    Order = marked_class(engine)
    impatient = create_engine(
        engine.url, poolclass=NullPool, connect_args={"options": "-c lock_timeout=500"}
    )
    with engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO orders VALUES (1, 'a')")
        connection.exec_driver_sql("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
        with Listener(impatient, Order) as listener:
            assert listener.stats.connected
    with engine.begin() as connection:
        connection.exec_driver_sql("SELECT * FROM orders")  # what a long transaction holds
        Order.metadata.create_all(impatient)
        run(impatient, "INSERT INTO orders VALUES (2, 'b')")


def test_drop_all_leaves_functions_behind(engine):
    """drop_all leaves no function, trigger or comment of sa_pgnotify."""
    Order = marked_class(engine)
    ours = text("SELECT count(*) FROM pg_proc WHERE proname LIKE 'sa_pgnotify%'")
    with engine.connect() as connection:
        assert connection.execute(ours).scalar() == 1
        Order.metadata.drop_all(engine)
        assert connection.execute(ours).scalar() == 0


def test_another_teams_triggers(engine):
    """Triggers and functions of others, on our tables too, are neither reported nor dropped."""
    Order = marked_class(engine)
    run(
        engine,
        "CREATE TABLE theirs (id int)",
        "CREATE FUNCTION notify_theirs() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_notify(''theirs'', ''''); RETURN NULL; END'",
        "CREATE TRIGGER theirs AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION notify_theirs()",
        "CREATE TRIGGER theirs AFTER INSERT ON theirs FOR EACH ROW EXECUTE FUNCTION notify_theirs()",
    )
    assert check(engine, Order.metadata) == []
    Order.metadata.create_all(engine)
    with engine.connect() as connection:
        triggers = connection.execute(
            text("SELECT count(*) FROM pg_trigger WHERE tgname = 'theirs'")
        ).scalar()
    assert triggers == 2
    Order.metadata.drop_all(engine)
    run(engine, "INSERT INTO theirs VALUES (1)")


def test_drop_on_partitions_that_postgresql_refuses(engine):
    """On a partitioned table the triggers stand on the parent alone: they come, work and go without
    touching a partition's own."""

    class Base(DeclarativeBase):
        pass

    class Order(NotifyOnChange, Base):
        __tablename__ = "orders"
        __table_args__ = {"postgresql_partition_by": "RANGE (id)"}
        id: Mapped[int] = mapped_column(primary_key=True)
        price: Mapped[Decimal | None]

    Base.metadata.create_all(engine)
    run(engine, "CREATE TABLE low PARTITION OF orders FOR VALUES FROM (0) TO (100)")
    assert check(engine, Base.metadata) == []
    events = received(engine, Order, "INSERT INTO orders VALUES (1)", "DELETE FROM orders")
    assert [type(event) for event in events] == [Inserted, Deleted]
    Base.metadata.create_all(engine)
    Base.metadata.drop_all(engine)
    assert inspect(engine).get_table_names() == []
