"""What a snapshot reads of each kind of entity: its keys in any order that PostgreSQL has, its classes,
the columns that the role may read, and values that cannot be read."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
import sqlalchemy as sa
from consumers import consumer_of
from copying import copied, table_of
from durables import model_of
from hierarchies import order_and_rush
from logs import SLOTS
from sqlalchemy import BigInteger, Column, MetaData, NullPool, Table, Text, create_engine
from sqlalchemy.dialects import postgresql as pg
from statements import rows, run

from sa_pgnotify import (
    Consumer,
    Existing,
    Gap,
    Inserted,
    NotifyConfigError,
    NotifySpec,
    UndecodableValue,
    Updated,
    notify_on_change,
)
from sa_pgnotify.scanning import entity_rows

KEYS = {
    "text in C": (Text(collation="C"), "chr(64 + i)"),
    "text in the database's order": (Text(), "chr(64 + (i * 7) % 58) || i"),
    "text, quotes": (Text(), "chr(39) || chr(92) || chr(37) || i"),
    "char": (sa.CHAR(5), "'k' || i"),
    "varchar": (sa.String(9), "'k' || i"),
    "numeric": (sa.Numeric(9, 3), "i / 7.0"),
    "double": (sa.Double(), "i / 7.0"),
    "uuid": (sa.Uuid(), "md5(i::text)::uuid"),
    "date": (sa.Date(), "date '2020-01-01' + i"),
    "moment": (
        sa.DateTime(timezone=True),
        "timestamptz '2020-01-01 12:00+05' + i * interval '1 h'",
    ),
    "interval": (sa.Interval(), "i * interval '1 day 1 s'"),
    "bytes": (sa.LargeBinary(), "decode(md5(i::text), 'hex')"),
    "boolean": (sa.Boolean(), "i = 1"),
    "enum": (sa.Enum("z", "y", "x", name="letter"), "('{z,y,x}'::text[])[i]::letter"),
    "inet": (pg.INET(), "('10.0.0.' || i)::inet"),
    "array": (pg.ARRAY(BigInteger, as_tuple=True), "ARRAY[i, -i]"),
}


@pytest.fixture(autouse=True)
def small_pages(monkeypatch):
    """A page has as many rows as a batch."""
    monkeypatch.setattr(entity_rows, "PAGE_ROWS", 1)


@pytest.mark.sample(4)
@pytest.mark.parametrize("name", KEYS)
def test_keys_of_each_type(engine, name):
    """Rows come in the order of the key's type and collation, and each of them once, also where a
    page ends between them; and changes of rows that were read come, those of other rows do not."""
    type_, value = KEYS[name]
    metadata = MetaData()
    table = Table("t", metadata, Column("id", type_, primary_key=True), Column("n", BigInteger))
    notify_on_change(table, NotifySpec(values="all", durable=True))
    metadata.create_all(engine)
    count = {"boolean": 2, "enum": 3}.get(name, 25)
    run(engine, f"INSERT INTO t SELECT {value}, i FROM generate_series(1, {count}) AS i")
    between = [lambda: run(engine, "UPDATE t SET n = n + 100")] * 2
    with Consumer(engine, "c", table, start="snapshot", batch_size=2) as consumer:
        copy, changes = copied(consumer, between=between)
    with engine.connect() as connection:
        ordered = connection.execute(sa.select(table).order_by(table.c.id)).all()
    assert copy == {(row.id,): row._asdict() for row in ordered}
    assert [c.identity[0] for c in changes if isinstance(c, Existing)] == [r.id for r in ordered]


def test_composite_keys(engine):
    """The columns of the key are compared together, in the order of the mapper."""
    metadata = MetaData()
    table = Table(
        "t",
        metadata,
        Column("n", BigInteger),
        Column("b", Text(collation="C"), primary_key=True),
        Column("a", BigInteger, primary_key=True, autoincrement=False),
    )
    notify_on_change(table, NotifySpec(values="all", durable=True))
    metadata.create_all(engine)
    run(engine, "INSERT INTO t SELECT i, chr(65 + i % 3), i FROM generate_series(1, 20) AS i")
    between = [lambda: run(engine, "UPDATE t SET b = 'A', a = a + 100 WHERE a % 2 = 0")]
    with Consumer(engine, "c", table, start="snapshot", batch_size=3) as consumer:
        copy, _ = copied(consumer, between=between)
    assert set(copy) == {(b, a) for b, a in rows(engine, "SELECT b, a FROM t")}


def test_joined_inheritance_is_one_event_for_the_whole_entity(engine):
    """A row of a class with tables of its own comes once, with the columns of all its tables and
    as the most specific class; changes of each table follow."""
    Order, Rush = order_and_rush(engine, durable=True)
    run(
        engine,
        "INSERT INTO orders SELECT i, 'new', CASE WHEN i % 2 = 0 THEN 'rush' ELSE 'order' END FROM generate_series(1, 6) AS i",
        "INSERT INTO rushes SELECT i, i * 10 FROM generate_series(2, 6, 2) AS i",
    )
    between = [lambda: run(engine, "UPDATE rushes SET days = 0", "UPDATE orders SET status = 'x'")]
    found: dict[Any, dict[str, Any]] = {}
    seen = []
    with Consumer(engine, "c", Order, start="snapshot", batch_size=3) as consumer:
        for number, batch in enumerate(consumer):
            with batch:
                for change in batch:
                    seen.append((type(change), change.entity, change.identity[0]))
                    found.setdefault(change.identity, {}).update(change.new)
            if not number:
                between[0]()
            elif not (consumer.lag().events or consumer.lag().rows_estimate):
                break
    assert [one for one in seen if one[0] is Existing] == [
        (Existing, Rush if i % 2 == 0 else Order, i) for i in range(1, 7)
    ]
    assert (Updated, Rush, 2) in seen
    assert (Updated, Rush, 4) not in seen
    assert found == {
        (i,): {"id": i, "status": "x", "kind": "rush", "days": 0}
        if i % 2 == 0
        else {"id": i, "status": "x", "kind": "order"}
        for i in range(1, 7)
    }


def test_only_the_classes_that_are_wanted(engine):
    """A consumer of a class below another gets the rows of that class."""
    _, Rush = order_and_rush(engine, durable=True)
    run(
        engine,
        "INSERT INTO orders VALUES (1, 'new', 'order'), (2, 'new', 'rush')",
        "INSERT INTO rushes VALUES (2, 20)",
    )
    with Consumer(engine, "c", Rush, start="snapshot") as consumer:
        for batch in consumer:
            with batch:
                assert [(c.entity, c.identity, c.new["days"]) for c in batch] == [(Rush, (2,), 20)]
            break


def test_a_partitioned_table(engine):
    """The rows of all partitions come, in the order of the key."""
    run(
        engine,
        "CREATE TABLE t (id bigint PRIMARY KEY, n bigint) PARTITION BY RANGE (id)",
        "CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (1) TO (10)",
        "CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (10) TO (100)",
        "INSERT INTO t SELECT i, i FROM generate_series(1, 20) AS i",
    )
    table = Table(
        "t", MetaData(), Column("id", BigInteger, primary_key=True), Column("n", BigInteger)
    )
    notify_on_change(table, NotifySpec(values="all", durable=True))
    table.metadata.create_all(engine)
    between = [lambda: run(engine, "TRUNCATE t1", "UPDATE t SET n = 0 WHERE id = 15")]
    with Consumer(engine, "c", table, start="snapshot", batch_size=12) as consumer:
        found = []
        for batch in consumer:
            with batch:
                found += [(type(c).__name__, c.identity) for c in batch]
            if between:
                between.pop()()
            elif not (consumer.lag().events or consumer.lag().rows_estimate):
                break
    assert [one for one in found if one[0] == "Existing"] == [
        ("Existing", (i,)) for i in range(1, 21)
    ]


def test_a_value_that_cannot_be_read_spoils_only_itself(engine, kind):
    """With each driver: the row comes, its other values can be read, and so can all other rows."""
    table = Table(
        "t",
        MetaData(),
        Column("id", BigInteger, primary_key=True),
        Column("day", sa.Date),
        Column("n", BigInteger),
    )
    notify_on_change(table, NotifySpec(values="all", durable=True))
    table.metadata.create_all(engine)
    run(
        engine,
        "INSERT INTO t SELECT i, CASE WHEN i IN (4, 9) THEN date '20000-01-01' ELSE date '2020-01-01' END, i FROM generate_series(1, 12) AS i",
    )
    found = []
    with consumer_of(kind, engine, "c", table, start="snapshot") as consumer:
        for batch in consumer:
            with batch:
                found += list(batch)
            if len(found) == 12:
                break
    for row in found:
        assert row.new["n"] == row.identity[0]
        if row.identity[0] in (4, 9):
            with pytest.raises(UndecodableValue, match="day"):
                row.new["day"]
        else:
            assert row.new["day"] == dt.date(2020, 1, 1)


def test_an_identity_that_cannot_be_read_is_a_gap(engine):
    """The row cannot be named, so a Gap stands for it; the others come."""
    table = Table("t", MetaData(), Column("id", sa.Date, primary_key=True))
    notify_on_change(table, NotifySpec(values="all", durable=True))
    table.metadata.create_all(engine)
    run(engine, "INSERT INTO t VALUES ('2020-01-01'), ('20000-01-01'), ('2021-01-01')")
    with Consumer(engine, "c", table, start="snapshot") as consumer:
        for batch in consumer:
            with batch:
                first, second, gap = batch
            break
    assert isinstance(gap, Gap)
    assert gap.reason == "undecodable"
    assert "20000-01-01" in gap.detail
    assert [first.identity[0].year, second.identity[0].year] == [2020, 2021]


def as_role(engine: Any, name: str) -> Any:
    return create_engine(engine.url.set(username=name, password=None), poolclass=NullPool)


CONSUMER_RIGHTS = (
    "GRANT SELECT, INSERT, UPDATE ON sa_pgnotify_consumers TO {role}",
    "GRANT SELECT, INSERT ON sa_pgnotify_log TO {role}",
    *(f"GRANT SELECT ON {slot} TO {{role}}" for slot in SLOTS),
)


def test_columns_that_the_role_may_not_read_are_left_out(engine, stranger):
    """A row has the columns that the consumer's role may read."""
    Item = model_of(engine)
    run(engine, "INSERT INTO items VALUES (1, 10)")
    run(engine, *(right.format(role=stranger) for right in CONSUMER_RIGHTS))
    run(engine, f"GRANT SELECT (id) ON items TO {stranger}")
    with Consumer(as_role(engine, stranger), "c", Item, start="snapshot") as consumer:
        for batch in consumer:
            with batch:
                (row,) = batch
                assert dict(row.new) == {"id": 1}
            break


def test_an_entity_that_the_role_may_not_read_is_refused(engine, stranger):
    """start() says which right is missing, and stores nothing."""
    Item = model_of(engine)
    run(engine, *(right.format(role=stranger) for right in CONSUMER_RIGHTS))
    consumer = Consumer(as_role(engine, stranger), "c", Item, start="snapshot")
    with pytest.raises(NotifyConfigError, match="SELECT right on id.*GRANT SELECT ON items"):
        consumer.start()
    assert rows(engine, "SELECT * FROM sa_pgnotify_consumers") == []


@pytest.mark.parametrize(
    "readable, missing, table",
    [(["orders"], "id", "rushes"), (["orders (id, status)", "rushes"], "kind", "orders")],
    ids=["the key of a table below", "what decides the class"],
)
def test_a_table_below_that_the_role_may_not_read_is_refused(
    engine, stranger, readable, missing, table
):
    """With joined inheritance, the error names the table and the column of the missing right, instead
    of PostgreSQL's error for a query that the program did not write."""
    Order, _ = order_and_rush(engine, durable=True)
    run(engine, *(right.format(role=stranger) for right in CONSUMER_RIGHTS))
    for what in readable:
        name, _, columns = what.partition(" ")
        run(engine, f"GRANT SELECT {columns} ON {name} TO {stranger}")
    consumer = Consumer(as_role(engine, stranger), "c", Order, start="snapshot")
    with pytest.raises(
        NotifyConfigError, match=f"right on {missing}\\. GRANT SELECT ON {table} TO"
    ):
        consumer.start()


def test_the_right_to_grant_is_named_with_the_schema(engine, stranger):
    """The GRANT of the error can be run as it is, for a table of another schema too."""
    metadata = MetaData(schema="app")
    table = Table("t", metadata, Column("id", BigInteger, primary_key=True))
    notify_on_change(table, NotifySpec(durable=True))
    run(engine, "CREATE SCHEMA app")
    metadata.create_all(engine)
    run(engine, f"GRANT USAGE ON SCHEMA app TO {stranger}")
    for right in CONSUMER_RIGHTS:
        run(engine, right.format(role=stranger).replace(" ON ", " ON app."))
    with pytest.raises(NotifyConfigError, match=r"GRANT SELECT ON app\.t TO"):
        Consumer(as_role(engine, stranger), "c", table, start="snapshot").start()


def test_a_name_that_was_begun_without_a_snapshot_is_refused(engine):
    """A snapshot under a name that has read changes already would not be a beginning: the error
    names the ways out, and the way out works."""
    Item = model_of(engine)
    run(engine, "INSERT INTO items VALUES (1, 10)")
    with Consumer(engine, "c", Item):
        pass
    with pytest.raises(NotifyConfigError, match=r"without a snapshot.*backfill\(entity\)"):
        Consumer(engine, "c", Item, start="snapshot").start()
    with Consumer(engine, "c", Item) as consumer:
        consumer.backfill(Item)
        copy, _ = copied(consumer)
    assert copy == table_of(engine, "items", "id", "n")


def test_an_ephemeral_entity_is_refused(engine):
    """Nothing keeps its changes, so they cannot follow its rows."""
    Item = model_of(engine, durable=False)
    with pytest.raises(NotifyConfigError, match="not durable"):
        Consumer(engine, "c", Item, start="snapshot")


def test_a_start_that_does_not_exist(engine):
    """The error names what can be given."""
    Item = model_of(engine)
    with pytest.raises(NotifyConfigError, match="'now', 'beginning' or 'snapshot'"):
        Consumer(engine, "c", Item, start="snapshots")


def test_inserted_and_existing_are_instances_alike(engine):
    """A row that is read and one that is inserted have the same values, by the same names."""
    Item = model_of(engine)
    run(engine, "INSERT INTO items VALUES (1, 10)")
    with Consumer(engine, "c", Item, start="snapshot") as consumer:
        _, (existing,) = copied(consumer)
        run(engine, "INSERT INTO items VALUES (2, 20)")
        _, (inserted,) = copied(consumer)
    assert (type(existing), type(inserted)) == (Existing, Inserted)
    assert list(existing.new) == list(inserted.new)


def test_row_level_security_applies_to_the_rows_only(engine, stranger):
    """The rows are those that the consumer's role sees; changes come of all rows."""
    Item = model_of(engine)
    run(engine, "INSERT INTO items SELECT i, i FROM generate_series(1, 9) AS i")
    run(engine, *(right.format(role=stranger) for right in CONSUMER_RIGHTS))
    run(
        engine,
        f"GRANT SELECT ON items TO {stranger}",
        "ALTER TABLE items ENABLE ROW LEVEL SECURITY",
        f"CREATE POLICY few ON items TO {stranger} USING (n < 3)",
    )
    with Consumer(as_role(engine, stranger), "c", Item, start="snapshot") as consumer:
        copy, _ = copied(consumer)
        assert list(copy) == [(1,), (2,)]
        run(engine, "INSERT INTO items VALUES (10, 10)")
        copied(consumer, copy=copy)
    assert list(copy) == [(1,), (2,), (10,)]
