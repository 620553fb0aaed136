"""Copies, schemas, names, keys and kinds of columns of marked classes."""

import datetime as dt
import decimal
import enum
import pickle
import uuid

import pytest
import sqlalchemy as sa
from marking_forms import kinds_entities_identities, mixin_before_base, received_by_session
from receiving import received
from sqlalchemy.orm import (
    Mapped,
    Session,
    mapped_column,
)
from statements import run

from sa_pgnotify import (
    Deleted,
    Inserted,
    NotifyOnChange,
    NotifySpec,
    Updated,
    check,
)

ALL = NotifySpec(values="all")


def copied_table(Base):
    copy = sa.MetaData()
    for table in Base.metadata.sorted_tables:
        table.to_metadata(copy)
    return copy


@pytest.mark.parametrize(
    "copy",
    [copied_table, lambda Base: pickle.loads(pickle.dumps(Base.metadata))],
    ids=["to_metadata", "pickle"],
)
def test_a_copy_of_the_metadata_is_marked_as_well(engine, Base, copy):
    """Table.to_metadata() and pickling keep the marking, its condition included; the copy's events
    are about its tables."""

    class Order(NotifyOnChange, Base):
        __tablename__ = "orders"
        __notify__ = NotifySpec(values="all", when=lambda old, new: new.status != "draft")
        id: Mapped[int] = mapped_column(primary_key=True)
        status: Mapped[str]

    metadata = copy(Base)
    metadata.create_all(engine)
    assert check(engine, Base.metadata) == check(engine, metadata) == []
    (insert,) = received(engine, metadata, "INSERT INTO orders (status) VALUES ('draft'), ('new')")
    assert kinds_entities_identities([insert]) == [(Inserted, metadata.tables["orders"], (2,))]
    assert insert.new == {"id": 2, "status": "new"}


def test_a_copy_in_another_schema_and_name_is_a_table_of_its_own(engine, Base):
    """to_metadata(schema=, name=) gives a marked table whose triggers and channel are its own."""
    run(engine, "CREATE SCHEMA archive")
    Order = mixin_before_base(engine)
    archived = Order.__table__.to_metadata(Order.metadata, schema="archive", name="old_orders")
    Order.metadata.create_all(engine)
    inserts = (
        "INSERT INTO orders (status) VALUES ('a')",
        "INSERT INTO archive.old_orders (status) VALUES ('b')",
    )
    assert [e.entity for e in received(engine, Order, *inserts)] == [Order]
    assert [e.entity for e in received(engine, archived, *inserts)] == [archived]


def test_schema_translate_map(engine):
    """With schema_translate_map each schema has triggers of its own, and a listener hears only the
    schema of its engine."""
    run(engine, 'CREATE SCHEMA "Tenant 1"', "CREATE SCHEMA t2")
    Order = mixin_before_base(engine)
    first, second = (
        engine.execution_options(schema_translate_map={None: schema})
        for schema in ("Tenant 1", "t2")
    )
    for tenant in (first, second):
        Order.metadata.create_all(tenant)
        assert check(tenant, Order.metadata) == []
    inserts = (
        'INSERT INTO "Tenant 1".orders (id, status) VALUES (11, $$a$$)',
        "INSERT INTO t2.orders (id, status) VALUES (22, 'b')",
    )
    assert kinds_entities_identities(received(first, Order, *inserts)) == [(Inserted, Order, (11,))]
    run(engine, 'TRUNCATE "Tenant 1".orders, t2.orders')
    assert kinds_entities_identities(received(second, Order, *inserts)) == [
        (Inserted, Order, (22,))
    ]
    Order.metadata.drop_all(first)
    assert [d.kind for d in check(first, Order.metadata)] == ["missing"]
    assert check(second, Order.metadata) == []


def test_events_have_attribute_names_not_column_names(engine, Base):
    """Events and specs speak of attributes where their columns are called differently, even
    crosswise."""

    class Order(NotifyOnChange, Base):
        __tablename__ = "orders"
        __notify__ = NotifySpec(
            values=("state", "id"),
            update_of=("state",),
            when=lambda old, new: new.state.is_not(None),
        )
        number: Mapped[int] = mapped_column("id", primary_key=True)
        id: Mapped[str | None] = mapped_column("state")
        state: Mapped[str | None] = mapped_column("the state")

    Base.metadata.create_all(engine)
    insert, update = received(
        engine,
        Order,
        "INSERT INTO orders VALUES (7, 'x', 'open')",
        "UPDATE orders SET state = 'y'",
        "UPDATE orders SET \"the state\" = 'shut'",
    )
    assert insert.identity == (7,)
    assert insert.new == {"number": 7, "id": "x", "state": "open"}
    assert (update.changed, update.old["state"], update.new) == (
        {"state"},
        "open",
        {"number": 7, "id": "y", "state": "shut"},
    )


def test_composite_identity_is_in_the_order_that_get_takes(engine, Base):
    """The identity follows the mapper's primary key, also where that is declared in another order
    or on a table without one."""

    class Line(NotifyOnChange, Base):
        __tablename__ = "lines"
        note: Mapped[str | None]
        place: Mapped[int] = mapped_column(primary_key=True)
        order: Mapped[str] = mapped_column(primary_key=True)

    class Turned(NotifyOnChange, Base):
        __table__ = sa.Table(
            "turned",
            Base.metadata,
            sa.Column("a", sa.Integer, primary_key=True),
            sa.Column("b", sa.Text, primary_key=True),
        )
        __mapper_args__ = {"primary_key": [__table__.c.b, __table__.c.a]}

    class Keyless(NotifyOnChange, Base):
        __table__ = sa.Table(
            "keyless",
            Base.metadata,
            sa.Column("a", sa.Integer),
            sa.Column("b", sa.Text),
            sa.Column("c", sa.Integer),
        )
        __mapper_args__ = {"primary_key": [__table__.c.b, __table__.c.a]}

    Base.metadata.create_all(engine)
    for class_, obj in (
        (Line, Line(place=1, order="x")),
        (Turned, Turned(a=1, b="x")),
        (Keyless, Keyless(a=1, b="x", c=2)),
    ):
        (insert,) = received_by_session(engine, class_, lambda session, obj=obj: session.add(obj))
        with Session(engine) as session:
            assert insert.identity == sa.inspect(session.get(class_, insert.identity)).identity


class Color(enum.Enum):
    RED = "r"
    GREEN = "it's green"


KEYS = [
    (sa.Uuid(), uuid.UUID(int=77)), (sa.Uuid(as_uuid=False), str(uuid.UUID(int=77))), (sa.Text(), "it's\\ ü\n%s"), (sa.Text(), ""),
    (sa.Date(), dt.date(2024, 2, 29)), (sa.Enum(Color), Color.GREEN), (sa.Enum(Color, native_enum=False), Color.RED), (sa.LargeBinary(), b"\0\xff'\\"),
    (sa.Numeric(12, 3), decimal.Decimal("17.250")), (sa.Numeric(asdecimal=False), 0.5),
]  # fmt: skip


@pytest.mark.parametrize(
    ("type_", "key"), KEYS, ids=lambda value: str(getattr(value, "__visit_name__", "")) or None
)
def test_identity_is_what_the_session_calls_it(engine, Base, type_, key):
    """A key of any type arrives equal in value and type to the identity of the object that a
    session loads."""

    class Thing(NotifyOnChange, Base):
        __tablename__ = "things"
        id = mapped_column(type_, primary_key=True, autoincrement=False)
        n: Mapped[int]

    Base.metadata.create_all(engine)

    def work(session):
        thing = Thing(id=key, n=1)
        session.add(thing)
        session.flush()
        thing.n = 2
        session.flush()

    insert, update = received_by_session(engine, Thing, work)
    with Session(engine) as session:
        (identity,) = sa.inspect(session.get(Thing, insert.identity)).identity
    assert insert.identity == update.identity == (identity,)
    assert type(insert.identity[0]) is type(identity)
    assert update.previous_identity is None


@pytest.mark.parametrize("persisted", [True, False], ids=["stored", "virtual"])
def test_identity_and_generated_columns(engine, Base, persisted):
    """Events have the number that the database gave an identity column, and the value that it
    computed for a generated column."""
    if not persisted:
        with engine.connect() as connection:
            if connection.dialect.server_version_info < (18,) or sa.__version__.startswith("2.0."):
                pytest.skip("virtual generated columns need PostgreSQL 18 and SQLAlchemy 2.1")

    class Box(NotifyOnChange, Base):
        __tablename__ = "boxes"
        __notify__ = ALL
        id: Mapped[int] = mapped_column(sa.Identity(always=True, start=100), primary_key=True)
        side: Mapped[int]
        area: Mapped[int] = mapped_column(sa.Computed("side * side", persisted=persisted))
        label: Mapped[str] = mapped_column(
            sa.Text, sa.Computed("'50% of ''' || side || ''''", persisted=persisted)
        )

    Base.metadata.create_all(engine)
    assert check(engine, Base.metadata) == []
    insert, update, delete = received(
        engine,
        Box,
        "INSERT INTO boxes (side) VALUES (3)",
        "UPDATE boxes SET side = 4",
        "DELETE FROM boxes",
    )
    assert insert.new == {"id": 100, "side": 3, "area": 9, "label": "50% of '3'"}
    assert update.changed == {"side", "area", "label"}
    assert (update.old["area"], update.new["area"], delete.old["area"]) == (9, 16, 16)


def test_partitioned_parent(engine, Base):
    """A partitioned table publishes the changes of its partitions; a row that moves between them is
    one update."""

    class Reading(NotifyOnChange, Base):
        __tablename__ = "readings"
        __table_args__ = {"postgresql_partition_by": "RANGE (id)"}
        id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
        value: Mapped[int]

    Base.metadata.create_all(engine)
    run(
        engine,
        *(
            f"CREATE TABLE part{i} PARTITION OF readings FOR VALUES FROM ({i}00) TO ({i}99)"
            for i in (1, 2)
        ),
    )
    Base.metadata.create_all(engine)
    assert check(engine, Base.metadata) == []
    insert, update, delete = received(
        engine,
        Reading,
        "INSERT INTO readings VALUES (101, 1)",
        "UPDATE readings SET id = 202",
        "DELETE FROM readings",
    )
    assert kinds_entities_identities([insert, update, delete]) == [
        (Inserted, Reading, (101,)),
        (Updated, Reading, (202,)),
        (Deleted, Reading, (202,)),
    ]
    assert update.previous_identity == (101,)
    Base.metadata.drop_all(engine)


def test_other_dialects_know_nothing_of_it(Base):
    """On SQLite, as in an application's unit tests, create_all, drop_all and check do as if there
    were no marker."""

    class Order(NotifyOnChange, Base):
        __tablename__ = "orders"
        __notify__ = NotifySpec(values="all", when=lambda old, new: new.status == "x")
        id: Mapped[int] = mapped_column(primary_key=True)
        status: Mapped[str]

    engine = sa.create_engine("sqlite://")
    sent = []
    sa.event.listen(
        engine, "before_cursor_execute", lambda c, cursor, statement, *_: sent.append(statement)
    )
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add(Order(status="new"))
        session.commit()
    assert check(engine, Base.metadata) == []
    Base.metadata.drop_all(engine)
    assert not [
        statement for statement in sent if "pgnotify" in statement or "TRIGGER" in statement.upper()
    ]
    engine.dispose()
