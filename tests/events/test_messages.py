"""What statements of every size make of messages, and what comes out of them at the other end."""

from __future__ import annotations

import re
from typing import Any

import pytest
from orders import order_class
from receiving import kinds_and_identities, received, take, until_end
from sampling import size
from sqlalchemy import Integer, text
from sqlalchemy.orm import DeclarativeBase, mapped_column
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
from sa_pgnotify.triggers.templates.v1_send import PART_BYTES

ALL = NotifySpec(values="all")


@pytest.mark.parametrize("count", [100_000, pytest.param(1_000_000, marks=pytest.mark.thorough)])
def test_many_rows_in_one_statement(engine, count):
    """Every row of one statement arrives, once and in order, however many there are."""
    Order = order_class(engine)
    with Listener(engine, Order, buffer_size=3 * count) as listener:
        run(engine, f"INSERT INTO orders SELECT g FROM generate_series(1, {count}) AS g")
        events = take(listener, count)
        assert [event.identity[0] for event in events] == list(range(1, count + 1))
        assert {type(event) for event in events} == {Inserted}
        assert listener.stats.gaps == 0


def test_many_updates_come_in_the_order_of_the_statement(engine):
    """The rows of a large UPDATE come in the order in which the statement changed them, though OLD
    and NEW were joined."""
    Order, count = order_class(engine), size(200_000, 50_000)
    run(engine, f"INSERT INTO orders SELECT g FROM generate_series(1, {count}) AS g")
    with Listener(engine, Order, buffer_size=400_000) as listener:
        run(engine, "SET work_mem = '64kB'", "UPDATE orders SET status = 'x'")
        assert [event.identity[0] for event in take(listener, count)] == list(range(1, count + 1))


def test_rows_and_values_of_100_000_updates(engine):
    """Old and new values of a statement of 100,000 rows stay paired, changed keys included."""
    Order, count = order_class(engine, ALL), size(100_000, 20_000)
    run(engine, f"INSERT INTO orders SELECT g, 'old ' || g FROM generate_series(1, {count}) AS g")
    with Listener(engine, Order, buffer_size=200_000) as listener:
        run(engine, "UPDATE orders SET id = -id, status = 'new ' || id")
        for event in take(listener, count):
            (number,) = event.previous_identity
            assert event.identity == (-number,)
            assert (dict(event.old), dict(event.new)) == (
                {"id": number, "status": f"old {number}"},
                {"id": -number, "status": f"new {number}"},
            )


@pytest.mark.parametrize(
    ("character", "count"), [("x", 30_000_000), ("😀", 4_000_000), ("€", 3_000_001)]
)
def test_a_row_of_any_size(engine, character, count):
    """A text of 30 MB, and texts whose characters take several bytes, come whole."""
    Order = order_class(engine, ALL)
    first, second, third = received(
        engine, Order, f"INSERT INTO orders VALUES (1, 'a' || repeat('{character}', {count}) || 'z')", "DELETE FROM orders",
        "INSERT INTO orders VALUES (2, 'small')",
    )  # fmt: skip
    assert first.new["status"] == "a" + character * count + "z"
    assert second.old["status"] == first.new["status"]
    assert third.new["status"] == "small"


@pytest.mark.sample(2)
@pytest.mark.parametrize("character", ["a", "é", "€", "😀", "\x1b", "\x1f"], ids=ascii)
def test_every_length_around_the_limit_of_a_notification(engine, character):
    """Messages of every length around the bytes that one part and one notification take come whole,
    wherever the cut falls."""
    Order = order_class(engine, ALL)
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
    Order = order_class(engine)
    run(engine, "INSERT INTO orders VALUES (1, 'a')")
    with Listener(engine, Order, "public.orders", "end_of_test") as listener:
        run(engine, statement)
        assert until_end(engine, listener) == []


def test_one_notification_for_many_rows(engine):
    """A hundred small rows of a statement travel in one notification, on the channel named after
    the table."""
    order_class(engine)
    with Listener(engine, "public.orders", "end_of_test") as listener:
        run(engine, "INSERT INTO orders SELECT generate_series(1, 100)")
        (notification,) = until_end(engine, listener)
    assert isinstance(notification, Notification)
    assert re.match(r"sa1 \d+ 0 1\x1e", notification.payload)


def test_identical_changes_in_one_transaction(engine):
    """Changes of one transaction that look alike are as many events, in one statement or in
    several."""
    Order = order_class(engine)
    there_and_back = ["UPDATE orders SET status = 'b'", "UPDATE orders SET status = 'a'"] * 3
    again = ["DELETE FROM orders", "INSERT INTO orders VALUES (1, 'a')"] * 3
    events = received(engine, Order, "INSERT INTO orders VALUES (1, 'a')", *there_and_back, *again)
    assert kinds_and_identities(events) == [
        (Inserted, 1),
        *[(Updated, 1)] * 6,
        *[(Deleted, 1), (Inserted, 1)] * 3,
    ]
    assert len({event.transaction_id for event in events}) == 1


def test_identical_large_rows_in_one_transaction(engine):
    """Parts of large rows that look alike, in several statements of one transaction, are not taken
    for one."""
    Order = order_class(engine, ALL)
    large = f"INSERT INTO orders VALUES (1, repeat('x', {5 * PART_BYTES}))"
    events = received(
        engine, Order, large, "DELETE FROM orders", large, "DELETE FROM orders", large
    )
    assert kinds_and_identities(events) == [
        (Inserted, 1),
        (Deleted, 1),
        (Inserted, 1),
        (Deleted, 1),
        (Inserted, 1),
    ]


def test_messages_of_a_transaction_differ(engine):
    """No two notifications of a transaction are the same text, even within one microsecond: each
    message has a number of its own."""
    order_class(engine)
    with Listener(engine, "public.orders", "end_of_test") as listener:
        run(
            engine,
            "INSERT INTO orders VALUES (1)",
            *["UPDATE orders SET status = coalesce(status, '') || 'x'"] * 3,
        )
        assert len({event.payload.split("\x1e")[0] for event in until_end(engine, listener)}) == 4


@pytest.mark.parametrize("size", [1, 100_000])
def test_what_is_rolled_back_to_a_savepoint_is_not_seen(engine, size):
    """A savepoint that was rolled back leaves no event, not even a part of a long message; what
    stands around it arrives in order."""
    Order = order_class(engine, ALL)
    events = received(
        engine, Order,
        "INSERT INTO orders VALUES (1)", "SAVEPOINT one", f"INSERT INTO orders VALUES (2, repeat('x', {size}))",
        "SAVEPOINT two", "UPDATE orders SET status = 'y' WHERE id = 2", "ROLLBACK TO one",
        f"INSERT INTO orders VALUES (2, repeat('x', {size}))",
        "SAVEPOINT three", "DELETE FROM orders WHERE id = 1", "RELEASE three", "INSERT INTO orders VALUES (4)",
    )  # fmt: skip
    assert kinds_and_identities(events) == [
        (Inserted, 1),
        (Inserted, 2),
        (Deleted, 1),
        (Inserted, 4),
    ]


def test_a_rolled_back_transaction_is_not_seen(engine):
    """A transaction that was rolled back sends nothing."""
    Order = order_class(engine)
    with Listener(engine, Order, "end_of_test") as listener, engine.connect() as connection:
        connection.exec_driver_sql("INSERT INTO orders SELECT generate_series(1, 5000)")
        connection.rollback()
        assert until_end(engine, listener) == []


def test_order_of_transactions(engine):
    """Transactions come in the order of their commits, and those that overlap are not mixed."""
    Order = order_class(engine)
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
    assert kinds_and_identities([inserted, one, several, deleted]) == [
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
