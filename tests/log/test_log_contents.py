"""What is written into the log comes out of it, whatever its size, kind and encoding, and no write
fails because of it."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from logs import end_of_log, logged, received_from_log, until_end_of_log
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from statements import rows, run
from writes import ALL_DURABLE, WRITES, durable_orders, gist

from sa_pgnotify import (
    Deleted,
    Gap,
    Inserted,
    Listener,
    NotifyOnChange,
    NotifySpec,
    Truncated,
    Updated,
)
from sa_pgnotify.triggers.templates import v1_log


@pytest.mark.parametrize("failing", ["all", "second"])
def test_a_condition_that_fails(engine, failing):
    """A `when` that the database cannot evaluate lets the write through; the log says so, and
    readers get a Gap in its place."""
    Order = durable_orders(
        engine, NotifySpec(durable=True, when=lambda old, new: 1 / (new.amount - 2) < 9)
    )
    writes = [
        "INSERT INTO orders VALUES (1, 'a', 1)",
        "INSERT INTO orders VALUES (2, 'a', 2)",
        "INSERT INTO orders VALUES (3, 'a', 3)",
    ]
    if failing == "all":
        writes = writes[1:2]
    events = received_from_log(engine, Order, *writes)
    expected: list[Any] = [(Inserted, (1,)), ("undecodable",), (Inserted, (3,))]
    assert gist(events) == (expected if failing == "second" else expected[1:2])
    assert ["failed 22012 division by zero"] == [
        header for header, _ in logged(engine) if header.startswith("failed")
    ]


def test_a_statement_over_the_limit(engine, monkeypatch):
    """A statement with more changes than the log takes succeeds, and is a Gap; those around it
    come."""
    monkeypatch.setattr(v1_log, "LONGEST_STATEMENT", 100_000)
    Order = durable_orders(engine)
    events = received_from_log(
        engine, Order, WRITES[0], "INSERT INTO orders SELECT g, repeat('x', 1000) FROM generate_series(2, 200) AS g",
        "UPDATE orders SET status = 'short'", "DELETE FROM orders",
    )  # fmt: skip
    assert gist(events)[:3] == [(Inserted, (1,)), ("undecodable",), ("undecodable",)]
    assert [event.identity for event in events[3:]] == [(number,) for number in range(1, 201)]
    assert "exceed 100000 bytes" in events[1].detail


@pytest.mark.sample(8)
@pytest.mark.parametrize("length", [1, 3489, 3490, 3491, 3492, 6990, 7001, 20_000, 300_000])
@pytest.mark.parametrize(
    "letter",
    ["x", "é", "😀", "\x1e", "\x1f\x1b"],
    ids=["ascii", "two bytes", "four bytes", "record", "unit"],
)
def test_rows_around_the_length_of_a_piece(engine, length, letter):
    """Rows shorter and longer than a piece, of any characters, come whole, each once."""
    Order = durable_orders(engine)
    insert = f"INSERT INTO orders SELECT g, repeat(E'{letter.encode('unicode_escape').decode() if letter < ' ' else letter}', {length}), g FROM generate_series(1, 5) AS g"
    events = received_from_log(
        engine, Order, insert, "UPDATE orders SET amount = 0", "DELETE FROM orders"
    )
    assert gist(events) == [
        (kind, (number,)) for kind in (Inserted, Updated, Deleted) for number in range(1, 6)
    ]
    assert {(e.new if hasattr(e, "new") else e.old)["status"] for e in events} == {letter * length}


def test_many_rows_are_few_rows_of_the_log(engine):
    """The changes of a statement are packed; each comes, in order."""
    Order = durable_orders(engine, NotifySpec(durable=True))
    events = received_from_log(engine, Order, "INSERT INTO orders SELECT generate_series(1, 20000)")
    assert [event.identity for event in events] == [(number,) for number in range(1, 20_001)]
    assert len([1 for header, _ in logged(engine) if header.startswith("I")]) < 100


@pytest.mark.thorough
def test_a_wide_table(engine):
    """A table of as many columns as PostgreSQL takes in a SELECT is logged whole."""
    metadata = sa.MetaData()
    table = sa.Table(
        "wide",
        metadata,
        sa.Column("c0", sa.Integer, primary_key=True),
        *[sa.Column(f"c{i}", sa.Integer) for i in range(1, 1000)],
    )
    from sa_pgnotify import notify_on_change

    notify_on_change(table, ALL_DURABLE)
    metadata.create_all(engine)
    inserted, updated = received_from_log(
        engine, table, "INSERT INTO wide (c0, c999) VALUES (1, 2)", "UPDATE wide SET c998 = 3"
    )
    assert (inserted.new["c999"], updated.changed, updated.new["c998"]) == (2, {"c998"}, 3)


def test_savepoints(engine):
    """Changes that were rolled back to a savepoint are not published; those of a released savepoint
    are."""
    Order = durable_orders(engine)
    events = received_from_log(
        engine, Order, WRITES[0], "SAVEPOINT a", "INSERT INTO orders VALUES (2)", "ROLLBACK TO a", "INSERT INTO orders VALUES (3)",
        "SAVEPOINT b", "INSERT INTO orders VALUES (4)", "RELEASE b",
    )  # fmt: skip
    assert gist(events) == [(Inserted, (1,)), (Inserted, (3,)), (Inserted, (4,))]
    assert len({event.transaction_id for event in events}) == 1


def test_other_ways_to_write(engine):
    """COPY, MERGE, upserts and TRUNCATE are logged as any other write."""
    Order = durable_orders(engine)
    upsert = "INSERT INTO orders VALUES (1, 'c', 3), (3, 'c', 3) ON CONFLICT (id) DO UPDATE SET status = excluded.status"
    merge = (
        "MERGE INTO orders AS o USING (VALUES (1), (2), (9)) AS v (id) ON o.id = v.id WHEN MATCHED AND o.id = 1 THEN DELETE "
        "WHEN MATCHED THEN UPDATE SET status = 'm' WHEN NOT MATCHED THEN INSERT VALUES (v.id, 'm', 0)"
    )
    with end_of_log(engine) as end, Listener(engine, Order, end) as listener:
        with engine.begin() as connection, connection.connection.cursor() as cursor:
            import io

            cursor.copy_expert("COPY orders FROM STDIN", io.StringIO("1\ta\t1\n2\tb\t2\n"))
        run(engine, upsert)
        run(engine, merge)
        run(engine, "TRUNCATE orders")
        events = until_end_of_log(engine, listener, end)
    assert gist(events[:2]) == [(Inserted, (1,)), (Inserted, (2,))]
    assert sorted(gist(events[2:4]), key=str) == sorted(
        [(Inserted, (3,)), (Updated, (1,))], key=str
    )
    assert sorted(gist(events[4:7]), key=str) == sorted(
        [(Inserted, (9,)), (Updated, (2,)), (Deleted, (1,))], key=str
    )
    assert gist(events[7:]) == [(Truncated, None)]


def test_cascades(engine):
    """Rows that a foreign key deletes, and tables that TRUNCATE CASCADE empties, are logged with
    what caused it."""

    class Base(DeclarativeBase):
        pass

    class Order(NotifyOnChange, Base):
        __tablename__ = "orders"
        __notify__ = ALL_DURABLE
        id: Mapped[int] = mapped_column(primary_key=True)

    class Item(NotifyOnChange, Base):
        __tablename__ = "items"
        __notify__ = ALL_DURABLE
        id: Mapped[int] = mapped_column(primary_key=True)
        order_id: Mapped[int] = mapped_column(sa.ForeignKey("orders.id", ondelete="CASCADE"))

    Base.metadata.create_all(engine)
    run(
        engine,
        "INSERT INTO orders VALUES (1), (2)",
        "INSERT INTO items VALUES (1, 1), (2, 1), (3, 2)",
    )
    events = received_from_log(
        engine, Base, "DELETE FROM orders WHERE id = 1", "TRUNCATE orders CASCADE"
    )
    found = [(e.entity.__name__, type(e).__name__, e.identity) for e in events]
    assert sorted(found[:3]) == [
        ("Item", "Deleted", (1,)),
        ("Item", "Deleted", (2,)),
        ("Order", "Deleted", (1,)),
    ]
    assert sorted(found[3:], key=str) == [("Item", "Truncated", None), ("Order", "Truncated", None)]


@pytest.mark.sample(2)
@pytest.mark.parametrize("encoded", ["LATIN1", "SQL_ASCII"], indirect=True)
@pytest.mark.parametrize("length", [1, 6999, 7000, 20_000])
def test_databases_of_other_encodings(encoded, length):
    """In a database of another encoding, what a client reads as Unicode comes as the same Unicode,
    in one piece or several."""
    Order = durable_orders(encoded)
    events = received_from_log(
        encoded,
        Order,
        f"INSERT INTO orders SELECT g, repeat('é', {length}) FROM generate_series(1, 3) AS g",
        "DELETE FROM orders",
    )
    assert [event.identity for event in events] == [(1,), (2,), (3,)] * 2
    assert {(e.new if hasattr(e, "new") else e.old)["status"] for e in events} == {"é" * length}


@pytest.mark.parametrize("encoded", ["SQL_ASCII"], indirect=True)
@pytest.mark.parametrize("length", [1, 9000])
def test_bytes_that_are_no_text(encoded, length):
    """A database without an encoding holds bytes that are not valid UTF-8: the write succeeds, and
    the change is published or a Gap is."""
    Order = durable_orders(encoded)
    insert = f"INSERT INTO orders VALUES (1, repeat(E'\\xff\\xe9', {length}))"
    with end_of_log(encoded) as end, Listener(encoded, Order, end) as listener:
        run(encoded, "SET client_encoding = SQL_ASCII", insert)
        (event,) = until_end_of_log(encoded, listener, end)
        assert isinstance(event, Gap) or event.identity == (1,)
    assert rows(encoded, "SELECT count(*) FROM orders") == [(1,)]
