"""The marker in every form in which a class or table can come about, and what the events of it are
about."""

import datetime as dt
import decimal
import enum
import pickle
import types
import uuid
from collections.abc import Callable

import pytest
import sqlalchemy as sa
from receiving import received, until_end
from sqlalchemy.ext.declarative import AbstractConcreteBase, DeferredReflection
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    MappedAsDataclass,
    Session,
    configure_mappers,
    declarative_base,
    mapped_column,
    registry,
)
from statements import run

from sa_pgnotify import (
    Change,
    Deleted,
    Inserted,
    Listener,
    NotifyConfigError,
    NotifyOnChange,
    NotifySpec,
    Updated,
    check,
    notify_on_change,
)

ALL = NotifySpec(values="all")


@pytest.fixture
def Base() -> type[DeclarativeBase]:
    return new_base()


def told_by(engine: sa.Engine, source: object, work: Callable[[Session], object]) -> list[Change]:
    """The events of ``source`` that ``work`` causes with a session, committed at its end."""
    with Listener(engine, source, "end_of_test") as listener:
        with Session(engine) as session:
            work(session)
            session.commit()
        return until_end(engine, listener)


def gist(events: list[Change]) -> list[tuple]:
    return [(type(e), e.entity, e.identity) for e in events]


# -- forms of the marker ---------------------------------------------------------------------------


def order(*bases: type) -> type:
    class Order(*bases):
        __tablename__ = "orders"
        id: Mapped[int] = mapped_column(primary_key=True)
        status: Mapped[str]

    return Order


def new_base(*mixins: type) -> type:
    return types.new_class("Base", (*mixins, DeclarativeBase))


def mixin_before_base(engine):
    return order(NotifyOnChange, new_base())


def mixin_after_base(engine):
    return order(new_base(), NotifyOnChange)


def marked_base(engine):
    return order(new_base(NotifyOnChange))


def abstract_base(engine):
    class Marked(NotifyOnChange, new_base()):
        __abstract__ = True

    return order(Marked)


def classic(engine):
    return order(NotifyOnChange, declarative_base())


def dataclass(engine):
    class Order(NotifyOnChange, new_base(MappedAsDataclass)):
        __tablename__ = "orders"
        id: Mapped[int] = mapped_column(primary_key=True, init=False)
        status: Mapped[str]

    return Order


def registry_mapped(engine):
    @registry().mapped
    class Order(NotifyOnChange):
        __table__ = sa.Table(
            "orders",
            sa.MetaData(),
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("status", sa.Text),
        )

    return Order


def imperative(engine):
    class Order(NotifyOnChange):
        def __init__(self, status):
            self.status = status

    registry().map_imperatively(
        Order,
        sa.Table(
            "orders",
            sa.MetaData(),
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("status", sa.Text),
        ),
    )
    return Order


def deferred_reflection(engine):
    class Reflected(DeferredReflection, new_base()):
        __abstract__ = True

    class Order(NotifyOnChange, Reflected):
        __tablename__ = "orders"

    run(engine, "CREATE TABLE orders (id serial PRIMARY KEY, status text NOT NULL)")
    Reflected.prepare(engine)
    return Order


def own_table_marked(engine):
    Order = order(new_base())
    notify_on_change(Order.__table__)
    return Order


FORMS = [
    mixin_before_base, mixin_after_base, marked_base, abstract_base, classic, dataclass, registry_mapped, imperative,
    deferred_reflection, own_table_marked,
]  # fmt: skip


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_every_form_of_marking_tells_the_class(engine, form):
    """A class marked in any form tells inserts, updates and deletes of itself, and drop_all leaves
    nothing."""
    Order = form(engine)
    metadata = Order.__table__.metadata
    metadata.create_all(engine)
    assert check(engine, metadata) == []

    def work(session):
        order = Order(status="new")
        session.add(order)
        session.flush()
        order.status = "paid"
        session.flush()
        session.delete(order)

    events = told_by(engine, Order, work)
    assert gist(events) == [(Inserted, Order, (1,)), (Updated, Order, (1,)), (Deleted, Order, (1,))]
    assert events[1].changed == {"status"}
    assert {e.table for e in events} == {Order.__table__}
    metadata.drop_all(engine)
    with engine.connect() as connection:
        assert (
            connection.scalar(
                sa.text("SELECT count(*) FROM pg_proc WHERE proname LIKE 'sa_pgnotify%'")
            )
            == 0
        )


def test_core_table_tells_the_table(engine):
    """The events of a table that no class maps are about the Table, with the columns' keys as
    names."""
    orders = sa.Table(
        "orders",
        sa.MetaData(),
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("the status", sa.Text, key="status"),
    )
    assert notify_on_change(orders, NotifySpec(values=("status",))) is orders
    orders.metadata.create_all(engine)
    for source in (orders, orders.metadata):
        insert, update = received(
            engine,
            source,
            "TRUNCATE orders",
            "INSERT INTO orders VALUES (1, 'a')",
            "UPDATE orders SET \"the status\" = 'b'",
        )[1:]
        assert gist([insert, update]) == [(Inserted, orders, (1,)), (Updated, orders, (1,))]
        assert insert.new == {"id": 1, "status": "a"}
        assert (update.changed, update.old, update.new) == (
            {"status"},
            {"id": 1, "status": "a"},
            {"id": 1, "status": "b"},
        )


@pytest.mark.parametrize(
    "form", [mixin_before_base, own_table_marked], ids=lambda form: form.__name__
)
def test_entity_is_what_was_asked_for(engine, form):
    """Who listens to a class hears of the class, who listens to its table hears of the table."""
    Order = form(engine)
    Order.metadata.create_all(engine)
    insert = "INSERT INTO orders (status) VALUES ('new')"
    assert [e.entity for e in received(engine, Order, insert)] == [Order]
    assert [e.entity for e in received(engine, Order.__table__, insert)] == [Order.__table__]


@pytest.mark.parametrize("inherited", [True, False])
def test_none_opts_out(engine, Base, inherited):
    """A class with __notify__ = None under a marked base has no trigger, tells nothing, and is
    refused as a source."""

    class Marked(NotifyOnChange, Base):
        __abstract__ = True

    class Order(Marked):
        __tablename__ = "orders"
        id: Mapped[int] = mapped_column(primary_key=True)

    class Quiet(Marked):
        __abstract__ = inherited
        __notify__ = None
        if not inherited:
            __tablename__ = "audit"
            id: Mapped[int] = mapped_column(primary_key=True)

    class Audit(Quiet):
        if inherited:
            __tablename__ = "audit"
            id: Mapped[int] = mapped_column(primary_key=True)

    Base.metadata.create_all(engine)
    for source in (Base, Base.metadata, Marked):
        assert {
            e.entity
            for e in received(
                engine,
                source,
                "INSERT INTO audit DEFAULT VALUES",
                "INSERT INTO orders DEFAULT VALUES",
            )
        } == {Order}
    with pytest.raises(NotifyConfigError, match="Audit"):
        Listener(engine, Audit)
    with engine.connect() as connection:
        assert (
            connection.scalar(
                sa.text(
                    "SELECT count(*) FROM pg_trigger WHERE tgrelid = 'audit'::regclass AND NOT tgisinternal"
                )
            )
            == 0
        )


def test_base_abstract_base_and_metadata_mean_all_that_is_marked(engine, Base):
    """An abstract base stands for the classes below it; base and sa.MetaData stand for everything
    marked, Core tables included."""

    class Marked(NotifyOnChange, Base):
        __abstract__ = True
        id: Mapped[int] = mapped_column(primary_key=True)

    class A(Marked):
        __tablename__ = "a"

    class B(Marked):
        __tablename__ = "b"

    class C(NotifyOnChange, Base):
        __tablename__ = "c"
        id: Mapped[int] = mapped_column(primary_key=True)

    class Unmarked(Base):
        __tablename__ = "u"
        id: Mapped[int] = mapped_column(primary_key=True)

    core = notify_on_change(
        sa.Table("core", Base.metadata, sa.Column("id", sa.Integer, primary_key=True))
    )
    Base.metadata.create_all(engine)
    inserts = [
        f"INSERT INTO {name} (id) SELECT coalesce(max(id), 0) + 1 FROM {name}"
        for name in ("a", "b", "c", "u", "core")
    ]
    assert [e.entity for e in received(engine, Marked, *inserts)] == [A, B]
    assert [e.entity for e in received(engine, Base, *inserts)] == [A, B, C, core]
    assert [e.entity for e in received(engine, Base.metadata, *inserts)] == [A, B, C, core]


# -- copies, schemas, names, keys, kinds of columns ------------------------------------------------


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
    assert gist([insert]) == [(Inserted, metadata.tables["orders"], (2,))]
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
    assert gist(received(first, Order, *inserts)) == [(Inserted, Order, (11,))]
    run(engine, 'TRUNCATE "Tenant 1".orders, t2.orders')
    assert gist(received(second, Order, *inserts)) == [(Inserted, Order, (22,))]
    Order.metadata.drop_all(first)
    assert [d.kind for d in check(first, Order.metadata)] == ["missing"]
    assert check(second, Order.metadata) == []


def test_attribute_names_are_told_not_column_names(engine, Base):
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
        (insert,) = told_by(engine, class_, lambda session, obj=obj: session.add(obj))
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

    insert, update = told_by(engine, Thing, work)
    with Session(engine) as session:
        (identity,) = sa.inspect(session.get(Thing, insert.identity)).identity
    assert insert.identity == update.identity == (identity,)
    assert type(insert.identity[0]) is type(identity)
    assert update.previous_identity is None


@pytest.mark.parametrize("persisted", [True, False], ids=["stored", "virtual"])
def test_identity_and_generated_columns(engine, Base, persisted):
    """Identity columns tell the number that the database gave, generated columns what the database
    computed."""
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
    """A partitioned table tells what its partitions hold; a row that moves between them is one
    update."""

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
    assert gist([insert, update, delete]) == [
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


# -- inheritance -----------------------------------------------------------------------------------


def joined(Base, marked=("Person",), **options):
    """Person, Engineer and Manager below it, Chief below Manager; each with a table. ``options``:
    class name to __notify__."""

    def bases(name, *above):
        return (*above, NotifyOnChange) if name in marked else above

    def members(name):
        own = {"__mapper_args__": {"polymorphic_identity": name.lower()}}
        return own | ({"__notify__": options[name]} if name in options else {})

    def child(name, parent, column):
        key = mapped_column(sa.ForeignKey(f"{parent.__tablename__}.id"), primary_key=True)
        return type(
            name,
            bases(name, parent),
            members(name) | {"__tablename__": name.lower(), "id": key, column: sa.Column(sa.Text)},
        )

    person = members("Person")
    person["__mapper_args__"]["polymorphic_on"] = "kind"
    person |= {
        "id": sa.Column(sa.Integer, primary_key=True),
        "kind": sa.Column(sa.Text),
        "name": sa.Column(sa.Text),
    }
    Person = type("Person", bases("Person", Base), person | {"__tablename__": "person"})
    Engineer, Manager = child("Engineer", Person, "language"), child("Manager", Person, "budget")
    return Person, Engineer, Manager, child("Chief", Manager, "title")


def live(*objects: object) -> Callable[[Session], None]:
    """Insert the objects, in this order, and delete them in the other."""

    def work(session):
        for i, obj in enumerate(objects, 1):
            obj.id = i
            session.add(obj)
            session.flush()
        for obj in reversed(objects):
            session.delete(obj)
            session.flush()

    return work


def lives(*classes: type) -> list[tuple]:
    there = [(Inserted, class_, (i,)) for i, class_ in enumerate(classes, 1) if class_]
    return there + [(Deleted, entity, identity) for _, entity, identity in reversed(there)]


def test_joined_entity_is_one_event_of_its_own_class(engine, Base):
    """With joined tables, three levels deep, one entity inserted or deleted is one event, of the
    class that it is."""
    classes = joined(Base)
    Base.metadata.create_all(engine)
    assert check(engine, Base.metadata) == []
    for source in (classes[0], Base, Base.metadata):
        assert gist(told_by(engine, source, live(*(class_() for class_ in classes)))) == lives(
            *classes
        )


def test_update_of_any_joined_table_is_of_the_childs_class(engine, Base):
    """A change in the root's, a middle or the last table is an Updated of the most specific class,
    with that table's attributes."""
    Person, Engineer, _Manager, Chief = joined(Base, Person=ALL)
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all(
            [Chief(id=1, name="a", budget="b", title="c"), Engineer(id=2, language="d")]
        )
        session.commit()
    statements = (
        f"UPDATE {t} SET {c} = {v}"
        for t, c, v in [
            ("person", "name", "'A'"),
            ("manager", "budget", "NULL"),
            ("chief", "title", "'C'"),
        ]
    )
    events = received(engine, Person, *statements, "UPDATE engineer SET language = 'D'")
    assert {(e.entity, e.identity, *e.changed) for e in events[:2]} == {
        (Chief, (1,), "name"),
        (Engineer, (2,), "name"),
    }
    assert [(type(e), e.entity, e.identity, e.changed) for e in events[2:]] == [
        (Updated, Chief, (1,), {"budget"}), (Updated, Chief, (1,), {"title"}), (Updated, Engineer, (2,), {"language"}),
    ]  # fmt: skip
    assert [dict(e.old) for e in events[2:]] == [
        {"id": 1, "budget": "b"},
        {"id": 1, "title": "c"},
        {"id": 2, "language": "d"},
    ]


@pytest.mark.parametrize("marked", [("Person",), ("Person", "Manager"), ("Manager",)])
def test_listening_to_a_class_leaves_out_parents_and_siblings(engine, Base, marked):
    """A listener to a class hears of it and the classes below it, whether it or its parent is
    marked."""
    classes = joined(Base, marked)
    _Person, _Engineer, Manager, Chief = classes
    Base.metadata.create_all(engine)

    def work(session):
        objects = [class_(name="x") for class_ in classes]
        live(*objects)(session)

    assert gist(told_by(engine, Manager, work)) == lives(None, None, Manager, Chief)
    assert gist(told_by(engine, Chief, work)) == lives(None, None, None, Chief)
    if marked == ("Manager",):
        for source in (Base, Base.metadata):
            assert gist(told_by(engine, source, work)) == lives(None, None, Manager, Chief)


def test_updates_of_a_marked_child_only(engine, Base):
    """Where only a child is marked, updates of its rows in its parent's table are told, those of
    its siblings are not."""
    Person, Engineer, Manager, _Chief = joined(Base, ("Engineer",))
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all([Person(id=1), Engineer(id=2), Manager(id=3)])
        session.commit()
    events = received(
        engine,
        Engineer,
        "UPDATE person SET name = 'n'",
        "UPDATE engineer SET language = 'l'",
        "UPDATE manager SET budget = 'b'",
    )
    assert [(e.entity, e.identity, e.changed) for e in events] == [
        (Engineer, (2,), {"name"}),
        (Engineer, (2,), {"language"}),
    ]


def test_child_opts_out(engine, Base):
    """A child with __notify__ = None is silent in all its tables, while its parent and siblings
    tell."""
    classes = joined(Base, Engineer=None)
    Person, _Engineer, Manager, Chief = classes
    Base.metadata.create_all(engine)
    for source in (Person, Base, Base.metadata):
        assert gist(told_by(engine, source, live(*(class_() for class_ in classes)))) == lives(
            Person, None, Manager, Chief
        )


def test_update_of_attributes_in_several_joined_tables(engine, Base):
    """update_of and values may name attributes of all the tables of a child; each table tells its
    own."""
    _, _, Manager, _ = joined(
        Base,
        ("Manager",),
        Manager=NotifySpec(update_of=("name", "budget"), values=("name", "budget")),
    )
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add(Manager(id=1, name="n", budget="b"))
        session.commit()
    statements = (
        "UPDATE person SET kind = kind || ''",
        "UPDATE person SET name = 'N'",
        "UPDATE manager SET budget = 'B'",
    )
    events = received(engine, Manager, *statements)
    assert [(e.changed, e.new.get("name"), e.new.get("budget")) for e in events] == [
        ({"name"}, "N", None),
        ({"budget"}, None, "B"),
    ]


def test_joined_composite_keys(engine, Base):
    """Composite keys whose columns are called and ordered differently in the child's tables give
    the identity that get takes."""

    class Part(NotifyOnChange, Base):
        __tablename__ = "part"
        __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "part"}
        maker: Mapped[str] = mapped_column(primary_key=True)
        number: Mapped[int] = mapped_column(primary_key=True)
        kind: Mapped[str]

    class Screw(Part):
        __tablename__ = "screw"
        __table_args__ = (
            sa.ForeignKeyConstraint(["its_maker", "its_number"], ["part.maker", "part.number"]),
        )
        __mapper_args__ = {"polymorphic_identity": "screw"}
        number: Mapped[int] = mapped_column("its_number", primary_key=True)
        maker: Mapped[str] = mapped_column("its_maker", primary_key=True)
        length: Mapped[int]

    class Bolt(Screw):
        __tablename__ = "bolt"
        __table_args__ = (
            sa.ForeignKeyConstraint(["m", "n"], ["screw.its_maker", "screw.its_number"]),
        )
        __mapper_args__ = {"polymorphic_identity": "bolt"}
        number: Mapped[int] = mapped_column("n", primary_key=True)
        maker: Mapped[str] = mapped_column("m", primary_key=True)
        nut: Mapped[int]

    Base.metadata.create_all(engine)

    def work(session):
        bolt = Bolt(maker="x", number=7, length=1, nut=1)
        session.add_all([bolt, Bolt(maker="y", number=7, length=1, nut=1)])
        for name in ("length", "nut"):
            session.flush()
            setattr(bolt, name, 2)
        session.flush()
        session.delete(bolt)

    first, other, *later = told_by(engine, Part, work)
    assert gist([first, other]) == [(Inserted, Bolt, ("x", 7)), (Inserted, Bolt, ("y", 7))]
    assert gist(later) == [
        (Updated, Bolt, ("x", 7)),
        (Updated, Bolt, ("x", 7)),
        (Deleted, Bolt, ("x", 7)),
    ]
    assert [e.changed for e in later[:2]] == [{"length"}, {"nut"}]


@pytest.mark.parametrize("marked", ["parent", "child"])
def test_single_table(engine, Base, marked):
    """In one shared table the discriminator names the class; marking a child alone tells nothing of
    the others."""
    mixins = {marked: (NotifyOnChange,)}

    class Person(*mixins.get("parent", ()), Base):
        __tablename__ = "person"
        __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": 1}
        id: Mapped[int] = mapped_column(primary_key=True)
        kind: Mapped[int]

    class Engineer(*mixins.get("child", ()), Person):
        __mapper_args__ = {"polymorphic_identity": 2}
        language: Mapped[str | None]

    class Chief(Engineer):
        __mapper_args__ = {"polymorphic_identity": 3}

    class Manager(Person):
        __mapper_args__ = {"polymorphic_identity": 4}

    Base.metadata.create_all(engine)
    classes = (Person, Engineer, Chief, Manager)
    everything = classes if marked == "parent" else (None, Engineer, Chief, None)
    expected = {
        Base: everything,
        Base.metadata: everything,
        Engineer: (None, Engineer, Chief, None),
        Chief: (None, None, Chief, None),
    }
    for source, entities in expected.items():
        assert gist(told_by(engine, source, live(*(class_() for class_ in classes)))) == lives(
            *entities
        )


def test_concrete(engine, Base):
    """With concrete inheritance each class has a table, and each row is told by its own."""

    class Person(NotifyOnChange, Base):
        __tablename__ = "person"
        id: Mapped[int] = mapped_column(primary_key=True)

    class Engineer(Person):
        __tablename__ = "engineer"
        __mapper_args__ = {"concrete": True}
        id: Mapped[int] = mapped_column(primary_key=True)
        language: Mapped[str | None]

    Base.metadata.create_all(engine)
    assert gist(told_by(engine, Person, live(Person(), Engineer()))) == lives(Person, Engineer)
    assert gist(told_by(engine, Engineer, live(Person(), Engineer()))) == lives(None, Engineer)
    assert gist(told_by(engine, Base, live(Person(), Engineer()))) == lives(Person, Engineer)


def test_abstract_concrete_base(engine, Base):
    """The mixin on an AbstractConcreteBase marks the tables below it; the base stands for all of
    them."""

    class Shape(NotifyOnChange, AbstractConcreteBase, Base):
        strict_attrs = True

    class Circle(Shape):
        __tablename__ = "circle"
        __mapper_args__ = {"polymorphic_identity": "circle", "concrete": True}
        id: Mapped[int] = mapped_column(primary_key=True)

    class Square(Shape):
        __tablename__ = "square"
        __mapper_args__ = {"polymorphic_identity": "square", "concrete": True}
        id: Mapped[int] = mapped_column(primary_key=True)

    configure_mappers()
    Base.metadata.create_all(engine)
    assert check(engine, Base.metadata) == []
    for source, entities in {
        Shape: (Circle, Square),
        Base: (Circle, Square),
        Square: (None, Square),
    }.items():
        assert gist(told_by(engine, source, live(Circle(), Square()))) == lives(*entities)
