"""What statements of every kind and size make of messages, and what comes out of them at the other
end."""

from __future__ import annotations

import re
from typing import Any

import pytest
from receiving import received, take, until_end
from sqlalchemy import Engine, ForeignKey, Integer, String, Text, event, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from statements import run

from sa_pgnotify import (
    Deleted,
    Inserted,
    Listener,
    Notification,
    NotifyOnChange,
    NotifySpec,
    Updated,
)
from sa_pgnotify.triggers.templates.v1 import PART_BYTES


def orders(engine: Engine, spec: NotifySpec = NotifySpec(), **table_args: Any) -> Any:
    """A marked class ``Order`` on a new table ``orders``."""

    class Base(DeclarativeBase):
        pass

    class Order(NotifyOnChange, Base):
        __tablename__ = "orders"
        __notify__ = spec
        __table_args__ = table_args
        id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
        status: Mapped[str | None] = mapped_column(Text)

    Base.metadata.create_all(engine)
    return Order


ALL = NotifySpec(values="all")


def seen(events: list[Any]) -> list[tuple[Any, ...]]:
    """Kind and identity of each event."""
    return [(type(event), *event.identity) for event in events]


# -- many rows -------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [100_000, pytest.param(1_000_000, marks=pytest.mark.thorough)])
def test_many_rows_in_one_statement(engine, count):
    """Every row of one statement arrives, once and in order, however many there are."""
    Order = orders(engine)
    with Listener(engine, Order, buffer_size=3 * count) as listener:
        run(engine, f"INSERT INTO orders SELECT g FROM generate_series(1, {count}) AS g")
        events = take(listener, count)
        assert [event.identity[0] for event in events] == list(range(1, count + 1))
        assert {type(event) for event in events} == {Inserted}
        assert listener.stats.gaps == 0


def test_many_updates_come_in_the_order_of_the_statement(engine):
    """The rows of a large UPDATE come in the order in which the statement changed them, though OLD
    and NEW were joined."""
    Order = orders(engine)
    run(engine, "INSERT INTO orders SELECT g FROM generate_series(1, 200000) AS g")
    with Listener(engine, Order, buffer_size=400_000) as listener:
        run(engine, "SET work_mem = '64kB'", "UPDATE orders SET status = 'x'")
        assert [event.identity[0] for event in take(listener, 200_000)] == list(range(1, 200_001))


def test_rows_and_values_of_100_000_updates(engine):
    """Old and new values of a statement of 100,000 rows stay paired, changed keys included."""
    Order = orders(engine, ALL)
    run(engine, "INSERT INTO orders SELECT g, 'old ' || g FROM generate_series(1, 100000) AS g")
    with Listener(engine, Order, buffer_size=200_000) as listener:
        run(engine, "UPDATE orders SET id = -id, status = 'new ' || id")
        for event in take(listener, 100_000):
            (number,) = event.previous_identity
            assert event.identity == (-number,)
            assert (dict(event.old), dict(event.new)) == (
                {"id": number, "status": f"old {number}"},
                {"id": -number, "status": f"new {number}"},
            )


# -- large rows ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("character", "count"), [("x", 30_000_000), ("😀", 4_000_000), ("€", 3_000_001)]
)
def test_a_row_of_any_size(engine, character, count):
    """A text of 30 MB, and texts whose characters take several bytes, come whole."""
    Order = orders(engine, ALL)
    first, second, third = received(
        engine, Order, f"INSERT INTO orders VALUES (1, 'a' || repeat('{character}', {count}) || 'z')", "DELETE FROM orders",
        "INSERT INTO orders VALUES (2, 'small')",
    )  # fmt: skip
    assert first.new["status"] == "a" + character * count + "z"
    assert second.old["status"] == first.new["status"]
    assert third.new["status"] == "small"


@pytest.mark.parametrize("character", ["a", "é", "€", "😀", "\x1b", "\x1f"], ids=ascii)
def test_every_length_around_the_limit_of_a_notification(engine, character):
    """Messages of every length around the bytes that one part and one notification take come whole,
    wherever the cut falls."""
    Order = orders(engine, ALL)
    size = {"\x1b": 2, "\x1f": 2}.get(character, len(character.encode()))
    lengths = [
        n
        for parts in (1, 2, 3)
        for n in range((parts * PART_BYTES - 330) // size, (parts * PART_BYTES + 110) // size)
    ]
    if size == 1:
        lengths = [n for n in lengths if n < 2 * PART_BYTES]
    with Listener(engine, Order, "end_of_test") as listener:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            for shift in range(size):  # so that the cut falls on every byte of a character
                insert = text("INSERT INTO orders VALUES (:id, :lead || repeat(:c, :n))")
                rows = [
                    {"id": n * 4 + shift, "lead": "a" * shift, "c": character, "n": n}
                    for n in lengths[shift::size]
                ]
                connection.execute(insert, rows)
        events = until_end(engine, listener)
    texts = {event.identity[0]: event.new["status"] for event in events}
    assert len(texts) == len(events) == len(lengths)
    assert all(value == "a" * (key % 4) + character * (key // 4) for key, value in texts.items())


# -- no rows, the same rows ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO orders SELECT 1 WHERE false",
        "UPDATE orders SET status = 'x' WHERE false",
        "DELETE FROM orders WHERE false",
        "UPDATE orders SET status = status",
        "INSERT INTO orders VALUES (1) ON CONFLICT DO NOTHING",
        "WITH gone AS (DELETE FROM orders WHERE id < 0 RETURNING id) SELECT * FROM gone",
    ],
)
def test_nothing_changed_sends_nothing(engine, statement):
    """A statement that changes no row, or gives every column the value it has, sends no
    notification at all."""
    Order = orders(engine)
    run(engine, "INSERT INTO orders VALUES (1, 'a')")
    with Listener(engine, Order, "public.orders", "end_of_test") as listener:
        run(engine, statement)
        assert until_end(engine, listener) == []


def test_one_notification_for_many_rows(engine):
    """A hundred small rows of a statement travel in one notification, on the channel named after
    the table."""
    orders(engine)
    with Listener(engine, "public.orders", "end_of_test") as listener:
        run(engine, "INSERT INTO orders SELECT generate_series(1, 100)")
        (notification,) = until_end(engine, listener)
    assert isinstance(notification, Notification)
    assert re.match(r"sa1 \d+ 0 1\x1e", notification.payload)


def test_identical_changes_in_one_transaction(engine):
    """Changes of one transaction that look alike are as many events, in one statement or in
    several."""
    Order = orders(engine)
    there_and_back = ["UPDATE orders SET status = 'b'", "UPDATE orders SET status = 'a'"] * 3
    again = ["DELETE FROM orders", "INSERT INTO orders VALUES (1, 'a')"] * 3
    events = received(engine, Order, "INSERT INTO orders VALUES (1, 'a')", *there_and_back, *again)
    assert seen(events) == [(Inserted, 1), *[(Updated, 1)] * 6, *[(Deleted, 1), (Inserted, 1)] * 3]
    assert len({event.transaction_id for event in events}) == 1


def test_identical_large_rows_in_one_transaction(engine):
    """Parts of large rows that look alike, in several statements of one transaction, are not taken
    for one."""
    Order = orders(engine, ALL)
    large = f"INSERT INTO orders VALUES (1, repeat('x', {5 * PART_BYTES}))"
    events = received(
        engine, Order, large, "DELETE FROM orders", large, "DELETE FROM orders", large
    )
    assert seen(events) == [(Inserted, 1), (Deleted, 1), (Inserted, 1), (Deleted, 1), (Inserted, 1)]


def test_messages_of_a_transaction_differ(engine):
    """No two notifications of a transaction are the same text, even within one microsecond: each
    message has a number of its own."""
    orders(engine)
    with Listener(engine, "public.orders", "end_of_test") as listener:
        run(
            engine,
            "INSERT INTO orders VALUES (1)",
            *["UPDATE orders SET status = coalesce(status, '') || 'x'"] * 3,
        )
        assert len({event.payload.split("\x1e")[0] for event in until_end(engine, listener)}) == 4


# -- transactions ----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 100_000])
def test_what_is_rolled_back_to_a_savepoint_is_not_seen(engine, size):
    """A savepoint that was rolled back leaves no event, not even a part of a long message; what
    stands around it arrives in order."""
    Order = orders(engine, ALL)
    events = received(
        engine, Order,
        "INSERT INTO orders VALUES (1)", "SAVEPOINT one", f"INSERT INTO orders VALUES (2, repeat('x', {size}))",
        "SAVEPOINT two", "UPDATE orders SET status = 'y' WHERE id = 2", "ROLLBACK TO one",
        f"INSERT INTO orders VALUES (2, repeat('x', {size}))",
        "SAVEPOINT three", "DELETE FROM orders WHERE id = 1", "RELEASE three", "INSERT INTO orders VALUES (4)",
    )  # fmt: skip
    assert seen(events) == [(Inserted, 1), (Inserted, 2), (Deleted, 1), (Inserted, 4)]


def test_a_rolled_back_transaction_is_not_seen(engine):
    """A transaction that was rolled back sends nothing."""
    Order = orders(engine)
    with Listener(engine, Order, "end_of_test") as listener, engine.connect() as connection:
        connection.exec_driver_sql("INSERT INTO orders SELECT generate_series(1, 5000)")
        connection.rollback()
        assert until_end(engine, listener) == []


def test_order_of_transactions(engine):
    """Transactions come in the order of their commits, and those that overlap are not mixed."""
    Order = orders(engine)
    with Listener(engine, Order) as listener, engine.connect() as first, engine.connect() as second:
        for i in range(1, 5):
            first.exec_driver_sql(f"INSERT INTO orders VALUES ({i})")
            second.exec_driver_sql(f"INSERT INTO orders VALUES ({10 + i})")
        second.commit()
        first.commit()
        events = take(listener, 8)
    assert [event.identity[0] for event in events] == [11, 12, 13, 14, 1, 2, 3, 4]
    assert (
        len({event.transaction_id for event in events[:4]})
        == len({event.backend_pid for event in events[:4]})
        == 1
    )


# -- wide tables -----------------------------------------------------------------------------------


@pytest.mark.sample(2)
@pytest.mark.parametrize("values", [(), "all"], ids=["identity", "all"])
@pytest.mark.parametrize(
    "width", [30, 31, 32, 40, 61, 62, 63, 150, 835, pytest.param(1500, marks=pytest.mark.thorough)]
)
def test_wide_tables(engine, width, values):
    """Tables wider than a mask of bits, than the arguments of a function, and than a target list
    say what changed, and their values."""

    class Base(DeclarativeBase):
        pass

    columns = {f"c{i}": mapped_column(Integer) for i in range(1, width)}
    body = {
        "__tablename__": "wide",
        "__notify__": NotifySpec(values=values),
        "id": mapped_column(Integer, primary_key=True),
        **columns,
    }
    Wide: Any = type("Wide", (NotifyOnChange, Base), body)
    Base.metadata.create_all(engine)
    changes = sorted(
        {f"c{i}" for i in (1, 30, 31, 32, 61, 62, 63, 93, 100, 101, width - 1) if i < width}
    )
    assignments = ", ".join(f"{name} = -1" for name in changes)
    inserted, one, several, deleted = received(
        engine, Wide,
        f"INSERT INTO wide VALUES ({', '.join(str(i) for i in range(width))})",
        f"UPDATE wide SET c{width - 1} = NULL", f"UPDATE wide SET {assignments}", "DELETE FROM wide",
    )  # fmt: skip
    assert seen([inserted, one, several, deleted]) == [
        (kind, 0) for kind in (Inserted, Updated, Updated, Deleted)
    ]
    assert (one.changed, several.changed) == ({f"c{width - 1}"}, set(changes))
    start = {"id": 0} | ({f"c{i}": i for i in range(1, width)} if values else {})
    middle = start | ({f"c{width - 1}": None} if values else {})
    end = start | (dict.fromkeys(changes, -1) if values else {})
    assert [inserted.new, one.old, one.new, several.old, several.new, deleted.old] == [
        start,
        start,
        middle,
        middle,
        end,
        end,
    ]


# -- statements of every kind ----------------------------------------------------------------------

UPD, INS, DEL = Updated, Inserted, Deleted
KINDS = {
    "upsert": (
        "INSERT INTO orders SELECT g, 'x' FROM generate_series(2, 5) AS g ON CONFLICT (id) DO UPDATE SET status = excluded.status",
        {(UPD, 2), (UPD, 3), (INS, 4), (INS, 5)},
    ),
    "upsert of what is there": (
        "INSERT INTO orders VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET status = 'y'",
        {(UPD, 1)},
    ),
    "merge": (
        """MERGE INTO orders AS o USING (VALUES (1, 'x'), (2, NULL), (9, 'n')) AS v (id, status) ON o.id = v.id
           WHEN MATCHED AND v.status IS NULL THEN DELETE WHEN MATCHED THEN UPDATE SET status = v.status
           WHEN NOT MATCHED THEN INSERT VALUES (v.id, v.status)""",
        {(UPD, 1), (DEL, 2), (INS, 9)},
    ),
    "data-modifying CTE": (
        """WITH gone AS (DELETE FROM orders WHERE id = 1 RETURNING id), changed AS (UPDATE orders SET status = 'x' WHERE id = 2)
           INSERT INTO orders SELECT id + 100 FROM gone""",
        {(DEL, 1), (UPD, 2), (INS, 101)},
    ),
    "update from": (
        "UPDATE orders SET status = v.s FROM (VALUES (1, 'x'), (3, 'y')) AS v (id, s) WHERE v.id = orders.id",
        {(UPD, 1), (UPD, 3)},
    ),
    "rows that move": ("UPDATE orders SET id = id + 10 WHERE id > 1", {(UPD, 12), (UPD, 13)}),
}


@pytest.mark.parametrize("case", KINDS)
def test_statements_of_several_kinds(engine, case):
    """Whatever statement makes a change, it is told once and as what it did to the row."""
    Order = orders(engine)
    run(engine, "INSERT INTO orders SELECT g, 'a' FROM generate_series(1, 3) AS g")
    statement, expected = KINDS[case]
    events = received(engine, Order, statement)
    assert set(seen(events)) == expected
    assert len(events) == len(expected)


def test_copy(engine):
    """Rows that COPY loads are told as inserted."""
    Order = orders(engine)
    run(engine, "CREATE TABLE rows_to_load AS SELECT 1")
    with Listener(engine, Order) as listener:
        run(engine, "COPY orders (id) FROM PROGRAM 'seq 1 1000'")
        assert seen(take(listener, 1000)) == [(Inserted, i) for i in range(1, 1001)]


@pytest.mark.parametrize(
    ("action", "expected"), [("CASCADE", (Deleted, 7)), ("SET NULL", (Updated, 7))]
)
def test_foreign_key_actions(engine, action, expected):
    """What a foreign key's ON DELETE does to rows of another table is told there."""

    class Base(DeclarativeBase):
        pass

    class Parent(NotifyOnChange, Base):
        __tablename__ = "parent"
        id: Mapped[int] = mapped_column(primary_key=True)

    class Child(NotifyOnChange, Base):
        __tablename__ = "child"
        id: Mapped[int] = mapped_column(primary_key=True)
        parent_id: Mapped[int | None] = mapped_column(ForeignKey("parent.id", ondelete=action))

    Base.metadata.create_all(engine)
    run(engine, "INSERT INTO parent VALUES (1), (2)", "INSERT INTO child VALUES (7, 1), (8, 2)")
    events = received(engine, Base, "DELETE FROM parent WHERE id = 1")
    assert {(event.entity, *seen([event])[0]) for event in events} == {
        (Parent, Deleted, 1),
        (Child, *expected),
    }


def test_partitions(engine):
    """A row that an UPDATE moves into another partition is told as one update, a change through a
    partitioned table as any other."""
    Order = orders(engine, ALL, postgresql_partition_by="RANGE (id)")
    run(
        engine,
        "CREATE TABLE low PARTITION OF orders FOR VALUES FROM (0) TO (100)",
        "CREATE TABLE high PARTITION OF orders FOR VALUES FROM (100) TO (200)",
    )
    statements = [
        "INSERT INTO orders VALUES (1, 'a'), (101, 'b')",
        "UPDATE orders SET id = 150 WHERE id = 1",
        "DELETE FROM orders",
    ]
    events = received(engine, Order, *statements)
    assert seen(events[:3]) == [(Inserted, 1), (Inserted, 101), (Updated, 150)]
    assert (events[2].previous_identity, events[2].old["status"]) == ((1,), "a")
    assert set(seen(events[3:])) == {(Deleted, 150), (Deleted, 101)}


def test_swapped_keys(engine):
    """Two rows that swap their keys are two updates, each with its own previous identity and its
    own values."""
    Order = orders(engine, ALL)
    run(
        engine,
        "ALTER TABLE orders DROP CONSTRAINT orders_pkey",
        "ALTER TABLE orders ADD PRIMARY KEY (id) DEFERRABLE",
    )
    run(engine, "INSERT INTO orders VALUES (1, 'one'), (2, 'two')")
    events = received(engine, Order, "UPDATE orders SET id = 3 - id")
    found = {
        (
            event.previous_identity,
            event.identity,
            event.old["status"],
            event.new["status"],
            event.changed,
        )
        for event in events
    }
    assert found == {
        ((1,), (2,), "one", "one", frozenset({"id"})),
        ((2,), (1,), "two", "two", frozenset({"id"})),
    }


def test_previous_identity_of_a_composite_key(engine):
    """A change to one column of a composite key gives the whole previous identity; an update that
    leaves the key gives None."""

    class Base(DeclarativeBase):
        pass

    class Line(NotifyOnChange, Base):
        __tablename__ = "line"
        position: Mapped[str] = mapped_column(String, primary_key=True)
        order_id: Mapped[int] = mapped_column(primary_key=True)
        amount: Mapped[int | None]

    Base.metadata.create_all(engine)
    run(engine, "INSERT INTO line (position, order_id) VALUES ('', 1)")
    kept, moved = received(
        engine, Line, "UPDATE line SET amount = 1", "UPDATE line SET position = 'b'"
    )
    assert (kept.identity, kept.previous_identity, kept.changed) == (("", 1), None, {"amount"})
    assert (moved.identity, moved.previous_identity, moved.changed) == (
        ("b", 1),
        ("", 1),
        {"position"},
    )


def test_a_unit_of_work(engine):
    """What a session flushes arrives as one transaction, and each event loads the object that the
    session wrote."""
    Order = orders(engine)
    with Listener(engine, Order) as listener, Session(engine) as session:
        session.add_all([Order(id=i, status="new") for i in range(1, 4)])
        session.flush()
        session.get(Order, 2).status = "open"
        session.delete(session.get(Order, 3))
        session.commit()
        events = take(listener, 5)
        assert seen(events[:3]) == [(Inserted, 1), (Inserted, 2), (Inserted, 3)]
        assert set(seen(events[3:])) == {(Updated, 2), (Deleted, 3)}
        assert [getattr(event.load(session), "status", None) for event in events[:3]] == [
            "new",
            "open",
            None,
        ]


def test_the_plan_of_a_small_update_does_not_serve_a_large_one(engine):
    """PL/pgSQL keeps the plan of a session's first calls: an UPDATE of many rows after one of a few
    must not take their square in time."""

    class Base(DeclarativeBase):
        pass

    class Order(NotifyOnChange, Base):
        __tablename__ = "orders"
        __notify__ = NotifySpec(values="all", when=lambda old, new: new.qty > old.qty)
        id: Mapped[int] = mapped_column(primary_key=True)
        qty: Mapped[int]

    Base.metadata.create_all(engine)
    with Listener(engine, Order, "end_of_test", buffer_size=200_000) as listener:
        run(
            engine,
            "INSERT INTO orders SELECT i, 0 FROM generate_series(1, 30000) AS i",
            "UPDATE orders SET qty = 1 WHERE id = 1",
            "UPDATE orders SET qty = 1 WHERE id IN (2, 3)",
            "SET LOCAL statement_timeout = '30s'",  # a square of 30,000 takes minutes
            "UPDATE orders SET qty = 2",
        )
        events = until_end(engine, listener)
    assert sum(isinstance(event, Updated) for event in events) == 30_003


def test_a_program_in_another_client_encoding_reads_every_payload(engine, kind):
    """A program whose connections are in LATIN1 receives what LATIN1 cannot write: the listening
    connection is in UTF-8, and its driver knows."""
    Order = orders(engine, ALL)
    own = kind.engine(engine.url)

    @event.listens_for(own.sync_engine if kind.is_async else own, "connect")
    def latin1(dbapi, _):
        cursor = dbapi.cursor()
        cursor.execute("SET client_encoding TO 'LATIN1'")
        cursor.close()
        dbapi.commit()

    with kind.listener(own, Order) as listener:
        run(engine, "INSERT INTO orders VALUES (1, '€ é 😀')")
        (inserted,) = take(listener, 1)
        assert inserted.new["status"] == "€ é 😀"
        run(engine, "UPDATE orders SET status = 'é'")
        (updated,) = take(listener, 1)
        assert (updated.old["status"], updated.new["status"]) == ("€ é 😀", "é")
        assert (listener.stats.gaps, listener.stats.reconnects) == (0, 0)
