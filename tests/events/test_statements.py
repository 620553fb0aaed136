"""What statements and transactions of every kind are delivered as."""

from __future__ import annotations

import pytest
from orders import order_class
from receiving import kinds_and_identities, received, take, until_end
from sqlalchemy import Column, ForeignKey, Integer, MetaData, String, Table, Text, event
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from statements import run

from sa_pgnotify import (
    Deleted,
    Inserted,
    Listener,
    NotifyOnChange,
    NotifySpec,
    Truncated,
    Updated,
    notify_on_change,
)

ALL = NotifySpec(values="all")


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


@pytest.mark.usefixtures("for_each")
@pytest.mark.parametrize("case", KINDS)
def test_statements_of_several_kinds(engine, case):
    """Whatever statement makes a change, there is one event, and it says what happened to the
    row."""
    Order = order_class(engine)
    run(engine, "INSERT INTO orders SELECT g, 'a' FROM generate_series(1, 3) AS g")
    statement, expected = KINDS[case]
    events = received(engine, Order, statement)
    assert set(kinds_and_identities(events)) == expected
    assert len(events) == len(expected)


def test_copy(engine):
    """Rows that COPY loads are published as inserted."""
    Order = order_class(engine)
    run(engine, "CREATE TABLE rows_to_load AS SELECT 1")
    with Listener(engine, Order) as listener:
        run(engine, "COPY orders (id) FROM PROGRAM 'seq 1 1000'")
        assert kinds_and_identities(take(listener, 1000)) == [(Inserted, i) for i in range(1, 1001)]


@pytest.mark.usefixtures("for_each")
@pytest.mark.sample(2)
@pytest.mark.parametrize(
    ("action", "expected"), [("CASCADE", (Deleted, 7)), ("SET NULL", (Updated, 7))]
)
def test_foreign_key_actions(engine, action, expected):
    """What a foreign key's ON DELETE does to rows of another table is published as changes of that
    table."""

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
    assert {(event.entity, *kinds_and_identities([event])[0]) for event in events} == {
        (Parent, Deleted, 1),
        (Child, *expected),
    }


def test_partitions(engine):
    """A row that an UPDATE moves into another partition is published as one update, and a change
    through a partitioned table like any other."""
    Order = order_class(engine, ALL, postgresql_partition_by="RANGE (id)")
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
    assert kinds_and_identities(events[:3]) == [(Inserted, 1), (Inserted, 101), (Updated, 150)]
    assert (events[2].previous_identity, events[2].old["status"]) == ((1,), "a")
    assert set(kinds_and_identities(events[3:])) == {(Deleted, 150), (Deleted, 101)}


def test_partitions_for_each_row(engine):
    """A trigger for each row also sees what is written to a partition itself. A row that moves to
    another partition comes as PostgreSQL writes it, deleted and inserted; all under the name of the
    marked table, which may have been renamed, and may have a partitioned table above and below."""
    spec = NotifySpec(values="all", for_each="row")
    Order = order_class(engine, spec, postgresql_partition_by="RANGE (id)")
    run(
        engine,
        "CREATE TABLE low (status text, id int NOT NULL) PARTITION BY RANGE (id)",
        "ALTER TABLE orders ATTACH PARTITION low FOR VALUES FROM (0) TO (100)",
        "CREATE TABLE lowest PARTITION OF low FOR VALUES FROM (0) TO (50)",
        "CREATE TABLE high PARTITION OF orders FOR VALUES FROM (100) TO (200)",
        "CREATE TABLE above (id int NOT NULL, status text) PARTITION BY RANGE (id)",
        "ALTER TABLE above ATTACH PARTITION orders FOR VALUES FROM (0) TO (1000)",
    )
    statements = [
        "INSERT INTO lowest VALUES ('a', 1)",
        "INSERT INTO above VALUES (101, 'b')",
        "UPDATE low SET status = 'c'",
        "UPDATE orders SET id = 150 WHERE id = 1",
        "DELETE FROM high",
    ]
    events = received(engine, Order, *statements)
    assert kinds_and_identities(events[:5]) == [(Inserted, 1), (Inserted, 101), (Updated, 1), (Deleted, 1), (Inserted, 150)]  # fmt: skip
    assert (events[2].old["status"], events[4].new["status"]) == ("a", "c")
    assert set(kinds_and_identities(events[5:])) == {(Deleted, 150), (Deleted, 101)}
    assert {event.entity for event in events} == {Order}
    run(engine, 'ALTER TABLE orders RENAME TO "Sales"')
    metadata = MetaData()
    sales = Table(
        "Sales", metadata, Column("id", Integer, primary_key=True), Column("status", Text)
    )
    notify_on_change(sales, spec)
    metadata.create_all(engine)
    assert kinds_and_identities(received(engine, sales, "INSERT INTO lowest VALUES ('a', 7)")) == [
        (Inserted, 7)
    ]


def test_a_partition_that_is_marked_below_a_marked_table(engine):
    """Each has its own events, if one has triggers for each statement and the other for each row: of
    what is written to the partition itself the partition's, TRUNCATE included."""
    metadata = MetaData()
    columns = Column("id", Integer, primary_key=True, autoincrement=False)
    whole = Table("whole", metadata, columns, postgresql_partition_by="RANGE (id)")
    part = Table("part", metadata, columns._copy())
    notify_on_change(whole)
    notify_on_change(part, NotifySpec(for_each="row"))
    run(
        engine,
        "CREATE TABLE whole (id int PRIMARY KEY) PARTITION BY RANGE (id)",
        "CREATE TABLE part PARTITION OF whole FOR VALUES FROM (0) TO (100)",
    )
    metadata.create_all(engine)
    direct = received(engine, metadata, "INSERT INTO part VALUES (1)", "TRUNCATE part")
    assert [(type(event), event.entity) for event in direct] == [
        (Inserted, part),
        (Truncated, part),
    ]
    through = received(engine, metadata, "INSERT INTO whole VALUES (2)")
    assert {(type(event), event.entity) for event in through} == {
        (Inserted, part),
        (Inserted, whole),
    }


@pytest.mark.usefixtures("for_each")
def test_swapped_keys(engine):
    """Two rows that swap their keys are two updates, each with its own previous identity and its
    own values."""
    Order = order_class(engine, ALL)
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


@pytest.mark.usefixtures("for_each")
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
    Order = order_class(engine)
    with Listener(engine, Order) as listener, Session(engine) as session:
        session.add_all([Order(id=i, status="new") for i in range(1, 4)])
        session.flush()
        session.get(Order, 2).status = "open"
        session.delete(session.get(Order, 3))
        session.commit()
        events = take(listener, 5)
        assert kinds_and_identities(events[:3]) == [(Inserted, 1), (Inserted, 2), (Inserted, 3)]
        assert set(kinds_and_identities(events[3:])) == {(Updated, 2), (Deleted, 3)}
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
    Order = order_class(engine, ALL)
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
