"""Faults that were reproduced in other libraries of this kind, one test each, to show that they are
not in this one."""

from __future__ import annotations

import threading
import time
import uuid
from decimal import Decimal
from typing import Any

import pytest
from receiving import received, take, until_end
from sqlalchemy import BigInteger, NullPool, Text, Uuid, create_engine, inspect, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from statements import run

from sa_pgnotify import (
    Deleted,
    Gap,
    Inserted,
    Listener,
    NotifyConfigError,
    NotifyOnChange,
    NotifySpec,
    Updated,
    check,
)

ALL = NotifySpec(values="all")


def marked(
    engine, name: str = "orders", schema: str | None = None, spec: NotifySpec = ALL, **columns: Any
) -> Any:
    """A marked class on a new table, with a key called ``id`` unless the columns say otherwise."""

    class Base(DeclarativeBase):
        pass

    body = {"__tablename__": name, "__table_args__": {"schema": schema}, "__notify__": spec}
    if not any(c.column.primary_key for c in columns.values()):
        body["id"] = mapped_column(BigInteger, primary_key=True)
    body["status"] = mapped_column(Text)
    Marked: Any = type("Marked", (NotifyOnChange, Base), body | columns)
    Base.metadata.create_all(engine)
    return Marked


# -- the user's INSERT fails -----------------------------------------------------------------------


def test_insert_fails_because_the_payload_is_too_long(engine):
    """A row larger than a notification is inserted, and told whole."""
    Order = marked(engine)
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
    Order = marked(engine, **{name: column._copy() for name, column in columns.items()})
    attribute = next(iter(columns), "id")
    with Listener(engine, Order) as listener, Session(engine) as session:
        session.add(Order(**{attribute: key}, status="a"))
        session.commit()
        (event,) = take(listener, 1)
    assert event.identity == (key,)
    assert type(event.identity[0]) is type(key)


def test_insert_fails_over_a_number_of_rows(engine):
    """A statement over the 1,813 rows where one peer's ids filled a notification succeeds, and
    tells each row."""
    Order = marked(engine)
    assert (
        len(received(engine, Order, "INSERT INTO orders SELECT generate_series(1, 5000), 'x'"))
        == 5000
    )


# -- silence ---------------------------------------------------------------------------------------


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
    Marked = marked(engine, name, schema)
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


def test_silence_after_a_killed_backend(engine):
    """A listener whose server process was killed says so, comes back, and does not look alive
    meanwhile."""
    Order = marked(engine)
    with Listener(engine, Order) as listener:
        with engine.begin() as connection:
            connection.execute(text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"))  # fmt: skip
        (gap,) = take(listener, 1)
        run(engine, "INSERT INTO orders VALUES (1, 'a')")
        (event,) = take(listener, 1)
        assert (gap.reason, event.identity) == ("reconnected", (1,))


def test_silence_where_the_connection_runs_a_query_in_between(engine):
    """Notifications that arrive while the listener's connection runs a query of its own (here:
    subscribing) are delivered."""
    Order = marked(engine)
    with Listener(engine, Order, "end_of_test", heartbeat=0.05) as listener:
        stopped = threading.Event()

        def subscribe() -> None:
            while not stopped.is_set():
                listener.subscribe("more")
                listener.unsubscribe("more")

        thread = threading.Thread(target=subscribe)
        thread.start()
        try:
            for i in range(100):
                run(engine, f"INSERT INTO orders VALUES ({i}, 'a')")
        finally:
            stopped.set()
            thread.join()
        assert [event.identity[0] for event in until_end(engine, listener)] == list(range(100))


# -- too few events, too many ----------------------------------------------------------------------


def test_three_updates_in_one_transaction_arrive_as_one(engine):
    """Updates of one row in one transaction are as many events, also where they look alike."""
    Order = marked(engine, spec=NotifySpec())
    updates = [f"UPDATE orders SET status = '{status}'" for status in "bcd"]
    events = received(engine, Order, "INSERT INTO orders VALUES (1, 'a')", *updates)
    assert [type(event) for event in events] == [Inserted, Updated, Updated, Updated]


def test_zero_row_update_calls_the_handler(engine):
    """A statement that changes no row calls no handler."""
    Order = marked(engine)
    listener = Listener(engine, Order, "end_of_test")
    called = []
    listener.on(Order)(called.append)
    listener.on("end_of_test")(lambda _: listener.stop())
    with listener:
        run(
            engine,
            "UPDATE orders SET status = 'x'",
            "DELETE FROM orders",
            "INSERT INTO orders SELECT 1, 'x' WHERE false",
        )
        run(engine, "NOTIFY end_of_test")
        listener.run()
    assert called == []


def test_events_lost_in_a_reconnect_without_a_word(engine, proxied, proxy):
    """What was written between the loss of a connection and the return is missing, and a Gap stands
    in its place."""
    Order = marked(engine)
    with Listener(proxied, Order) as listener:
        proxy.refuse()
        proxy.cut()
        run(engine, "INSERT INTO orders VALUES (1, 'missed')")
        proxy.accept()
        (gap,) = take(listener, 1)
        run(engine, "INSERT INTO orders VALUES (2, 'heard')")
        (event,) = take(listener, 1)
    assert isinstance(gap, Gap)
    with engine.connect() as connection:
        assert gap.since <= connection.execute(text("SELECT now()")).scalar()
    assert event.identity == (2,)


def test_a_handlers_exception_loses_what_follows(engine):
    """After a handler's exception the next call of run() goes on with the next event."""
    Order = marked(engine)
    listener = Listener(engine, Order, "end_of_test")
    handled = []

    @listener.on(Order)
    def handle(event: Any) -> None:
        handled.append(event.identity[0])
        if event.identity == (2,):
            raise ZeroDivisionError

    listener.on("end_of_test")(lambda _: listener.stop())
    with listener:
        run(engine, "INSERT INTO orders SELECT generate_series(1, 5), 'a'", "NOTIFY end_of_test")
        with pytest.raises(ZeroDivisionError):
            listener.run()
        listener.run()
    assert handled == [1, 2, 3, 4, 5]


# -- order -----------------------------------------------------------------------------------------


def test_concurrent_handlers_complete_out_of_order(engine):
    """Handlers run one after the other: what takes longer is not overtaken."""
    Order = marked(engine)
    listener = Listener(engine, Order, "end_of_test")
    completed = []

    @listener.on(Order)
    def handle(event: Any) -> None:
        time.sleep(0.01 if event.identity[0] % 2 else 0)  # odd ones are slow
        completed.append(event.identity[0])

    listener.on("end_of_test")(lambda _: listener.stop())
    with listener:
        for i in range(1, 9):
            run(engine, f"INSERT INTO orders VALUES ({i}, 'a')")
        run(engine, "NOTIFY end_of_test")
        listener.run()
    assert completed == [1, 2, 3, 4, 5, 6, 7, 8]


def test_notifications_popped_from_the_end(engine):
    """Notifications that arrive together come in the order in which they were sent."""
    Order = marked(engine)
    events = received(
        engine, Order, *[f"INSERT INTO orders VALUES ({i}, 'a')" for i in range(1, 11)]
    )
    assert [event.identity[0] for event in events] == list(range(1, 11))


# -- names and texts -------------------------------------------------------------------------------

EVIL = "x'; DROP TABLE victim; --"


def test_injection_through_names(engine):
    """Names of tables, columns and channels that hold SQL are names and nothing else, from
    create_all to drop_all."""
    run(engine, "CREATE TABLE victim ()")
    evil_quoted = EVIL.replace("'", '"')
    for name in (EVIL, evil_quoted, "$function$; DROP TABLE victim; $function$", "%s %(a)s :b \\"):
        Marked = marked(
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
    Order = marked(engine)
    odd = "it's \"\\ %s %(x)s $1 :name ; --"
    with Listener(engine, Order, "plain") as listener, Session(engine) as session:
        session.add(Order(id=1, status=odd))
        session.flush()
        session.execute(text("SELECT pg_notify('plain', :odd)"), {"odd": odd})
        session.commit()
        event, notification = take(listener, 2)
    assert event.new["status"] == notification.payload == odd


# -- cost ------------------------------------------------------------------------------------------


def test_idle_listener_is_busy(engine):
    """An idle listener asks the server nothing between heartbeats and uses no processor time to
    speak of."""
    Order = marked(engine)
    with Listener(engine, Order, "end_of_test") as listener:
        until_end(engine, listener)
        asked = text("SELECT query_start FROM pg_stat_activity WHERE application_name = 'sa_pgnotify listener'"
                     " AND datname = current_database()")  # fmt: skip
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            before, started = connection.execute(asked).all(), time.process_time()
            assert listener.get(timeout=1.0) is None
            used = time.process_time() - started
            assert connection.execute(asked).all() == before
            assert len(before) == 1
    assert used < 0.1


def test_lock_outage_from_trigger_ddl_at_start(engine):
    """create_all where all is in place, and starting to listen, wait for no lock, though a
    transaction holds the table."""
    Order = marked(engine)
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


# -- what is left behind ---------------------------------------------------------------------------


def test_drop_all_leaves_functions_behind(engine):
    """drop_all leaves no function, trigger or comment of ours."""
    Order = marked(engine)
    ours = text("SELECT count(*) FROM pg_proc WHERE proname LIKE 'sa_pgnotify%'")
    with engine.connect() as connection:
        assert connection.execute(ours).scalar() == 1
        Order.metadata.drop_all(engine)
        assert connection.execute(ours).scalar() == 0


def test_another_teams_triggers(engine):
    """Triggers and functions of others, on our tables too, are neither reported nor dropped."""
    Order = marked(engine)
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


def test_something_that_is_no_engine(engine):
    """An engine that the listener cannot use is refused with the name of what it takes."""
    with pytest.raises(NotifyConfigError, match="an Engine, as create_engine"):
        Listener(object(), marked(engine))  # type: ignore[arg-type]
