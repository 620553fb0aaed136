"""Marking an application that is there already: all tables of a MetaData at once, and classes that
cannot take the mixin."""

import logging

import pytest
import sqlalchemy as sa
from receiving import received, take
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    column_property,
    mapped_column,
    registry,
    relationship,
)
from statements import run

from sa_pgnotify import (
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
from sa_pgnotify.marking.spec import marking_of

ALL = NotifySpec(values="all")


def core(*names: str) -> sa.MetaData:
    metadata = sa.MetaData()
    for name in names:
        sa.Table(
            name, metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("v", sa.Text)
        )
    return metadata


def marked(metadata: sa.MetaData) -> set[str]:
    return {t.fullname for t in metadata.tables.values() if marking_of(t) is not None}


def application() -> type:
    """Classes as an application has them, that know nothing of us."""

    class Base(DeclarativeBase):
        pass

    class Person(Base):
        __tablename__ = "person"
        __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "person"}
        id: Mapped[int] = mapped_column(primary_key=True)
        kind: Mapped[str]
        full_name: Mapped[str | None] = mapped_column("name")
        orders: Mapped[list["Order"]] = relationship(back_populates="by")

    class Engineer(Person):
        __tablename__ = "engineer"
        __mapper_args__ = {"polymorphic_identity": "engineer"}
        id: Mapped[int] = mapped_column(sa.ForeignKey("person.id"), primary_key=True)
        language: Mapped[str | None]

    class Order(Base):
        __tablename__ = "orders"
        id: Mapped[int] = mapped_column(primary_key=True)
        person_id: Mapped[int | None] = mapped_column(sa.ForeignKey("person.id"))
        by: Mapped[Person | None] = relationship(back_populates="orders")

    sa.Table(
        "tags",
        Base.metadata,
        sa.Column("order_id", sa.ForeignKey("orders.id"), primary_key=True),
        sa.Column("tag", sa.Text, primary_key=True),
    )
    sa.Table("keyless", Base.metadata, sa.Column("a", sa.Integer))
    sa.Table(
        "scratch",
        Base.metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        prefixes=["TEMPORARY"],
    )
    sa.Table(
        "alembic_version", Base.metadata, sa.Column("version_num", sa.String(32), primary_key=True)
    )
    Base.Person, Base.Engineer, Base.Order = Person, Engineer, Order
    return Base


@pytest.mark.parametrize(
    "spec", [ALL, NotifySpec(values="all", durable=True)], ids=["ephemeral", "durable"]
)
def test_an_application_is_marked_in_one_line(engine, caplog, spec):
    """Every table that can be marked is, mapped ones as their classes: one event for an entity,
    attributes by name; what is passed over has a line in the log."""
    Base = application()
    with caplog.at_level(logging.INFO, "sa_pgnotify"):
        assert notify_on_change(Base.metadata, spec) is Base.metadata
    assert marked(Base.metadata) == {"person", "engineer", "orders", "tags"}
    passed = {record.getMessage() for record in caplog.records}
    assert {line.partition(" is not marked")[0] for line in passed} == {
        "keyless",
        "scratch",
        "alembic_version",
    }
    assert any("it has no primary key" in line for line in passed)
    for name in ("keyless", "scratch", "alembic_version"):
        Base.metadata.remove(Base.metadata.tables[name])
    Base.metadata.create_all(engine)
    assert check(engine, Base.metadata) == []

    def work():
        with Session(engine) as session:
            engineer = Base.Engineer(full_name="ann", language="py")
            session.add(Base.Order(by=engineer))
            session.flush()
            engineer.language = "sql"
            session.flush()
            session.execute(sa.insert(Base.metadata.tables["tags"]).values(order_id=1, tag="x"))
            session.commit()

    for source in (Base.metadata, Base):
        with Listener(engine, source) as listener:
            work()
            events = take(listener, 4)
            run(
                engine,
                "DELETE FROM tags",
                "DELETE FROM orders",
                "DELETE FROM engineer",
                "DELETE FROM person",
            )
            gone = take(listener, 3)
        assert [(type(e), e.entity) for e in events] == [
            (Inserted, Base.Engineer), (Inserted, Base.Order), (Updated, Base.Engineer), (Inserted, Base.metadata.tables["tags"]),
        ]  # fmt: skip
        assert events[0].new["full_name"] == "ann"
        assert events[2].changed == {"language"}
        assert [(type(e), e.entity) for e in gone] == [
            (Deleted, Base.metadata.tables["tags"]), (Deleted, Base.Order), (Deleted, Base.Engineer),
        ]  # fmt: skip
        run(engine, "ALTER SEQUENCE orders_id_seq RESTART")
    Base.metadata.drop_all(engine)
    with engine.connect() as connection:
        assert (
            connection.scalar(
                sa.text("SELECT count(*) FROM pg_proc WHERE starts_with(proname, 'sa_pgnotify')")
            )
            == 0
        )


SKIPS = {
    "names": lambda metadata: ("b", "shop.c"),
    "a set of a name without schema": lambda metadata: {"b", "c"},
    "tables": lambda metadata: [metadata.tables["b"], metadata.tables["shop.c"]],
    "a function": lambda metadata: lambda table: table.name != "a",
}


@pytest.mark.parametrize("skip", SKIPS.values(), ids=SKIPS)
def test_skip(caplog, skip):
    """What ``skip`` leaves out is not marked, and named in the log."""
    metadata = core("a", "b")
    sa.Table("c", metadata, sa.Column("id", sa.Integer, primary_key=True), schema="shop")
    with caplog.at_level(logging.INFO, "sa_pgnotify"):
        notify_on_change(metadata, skip=skip(metadata))
    assert marked(metadata) == {"a"}
    assert [record.getMessage().partition(" is not marked")[0] for record in caplog.records] == [
        "b",
        "shop.c",
    ]


BAD = {
    "an unknown name": (
        {"skip": ("b", "audti")},
        "skip names audti, which it does not hold. It holds a, b",
    ),
    "a table of another MetaData": (
        {"skip": (core("a").tables["a"],)},
        "skip names a, which it does not hold",
    ),
    "one name for a list": ({"skip": "b"}, r"Write skip=\['b'\]"),
    "values that one table lacks": ({"spec": NotifySpec(values=("v", "w"))}, "values names 'w'"),
    "a condition that one table lacks": (
        {"spec": NotifySpec(when=lambda old, new: new.w == 1)},
        "when uses 'w'",
    ),
    "all of it": ({"skip": ("a", "b")}, "none of its tables can be marked: a: skip names it"),
}


@pytest.mark.parametrize(("arguments", "problem"), BAD.values(), ids=BAD)
def test_what_cannot_be_said_of_all_marks_nothing(arguments, problem):
    """An error in the declaration, or in ``skip``, is raised, and leaves all tables as they
    were."""
    metadata = core("a", "b")
    before = {name: dict(t.info) for name, t in metadata.tables.items()}
    with pytest.raises(NotifyConfigError, match=problem):
        notify_on_change(metadata, **arguments)
    assert {name: dict(t.info) for name, t in metadata.tables.items()} == before
    notify_on_change(metadata, ALL)
    assert marked(metadata) == {"a", "b"}


def test_an_error_half_way_marks_no_class():
    """The same where a hierarchy of classes was marked before the table that the declaration cannot
    work on."""
    Base = application()
    with pytest.raises(NotifyConfigError, match="names 'full_name'"):
        notify_on_change(Base.metadata, NotifySpec(update_of=("full_name",)))
    assert marked(Base.metadata) == set()
    notify_on_change(
        Base.metadata,
        NotifySpec(update_of=("full_name",)),
        skip=lambda t: t.name not in ("person", "engineer"),
    )
    assert marked(Base.metadata) == {"person", "engineer"}


def test_an_empty_metadata_is_refused():
    """Called before the models are imported it would mark nothing, in silence."""
    with pytest.raises(
        NotifyConfigError,
        match="MetaData: it holds no table yet. Mark it after the modules of its models are imported",
    ):
        notify_on_change(sa.MetaData())


@pytest.mark.parametrize("first", ["alone", "all"])
@pytest.mark.parametrize("form", ["core", "class", "opted out"])
def test_what_is_said_of_one_counts_for_more(caplog, first, form):
    """A table or class that is declared alone, before or after all of its MetaData, keeps its own
    declaration."""

    class Base(DeclarativeBase):
        pass

    sa.Table("other", Base.metadata, sa.Column("id", sa.Integer, primary_key=True))
    table = sa.Table(
        "a", Base.metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("v", sa.Text)
    )
    spec = NotifySpec(operations=("insert",))

    def alone():
        if form == "core":
            notify_on_change(table, spec)
        else:
            type(
                "A",
                (NotifyOnChange, Base),
                {"__table__": table, "__notify__": spec if form == "class" else None},
            )

    for step in (
        (alone, lambda: notify_on_change(Base.metadata, ALL))
        if first == "alone"
        else (lambda: notify_on_change(Base.metadata, ALL), alone)
    ):
        with caplog.at_level(logging.INFO, "sa_pgnotify"):
            step()
    assert marking_of(Base.metadata.tables["other"]).values == "all"
    if form == "opted out" and first == "alone":
        assert marking_of(table) is None
        assert "a is not marked by notify_on_change(metadata): its class opts it out" in caplog.text
    elif form != "opted out":
        assert (marking_of(table).operations, marking_of(table).values) == (("insert",), ())


def test_the_last_word_on_all_wins():
    """If the whole MetaData is marked again with other options, each table that was marked this way
    gets the new ones."""
    Base = application()
    for spec in (NotifySpec(), ALL, NotifySpec(when=lambda old, new: sa.true())):
        notify_on_change(Base.metadata, spec)
    assert {
        marking_of(Base.metadata.tables[name]).condition
        for name in ("person", "engineer", "orders", "tags")
    } == {"true"}
    assert marking_of(Base.metadata.tables["tags"]).values == ()


def test_one_name_in_several_metadata(engine):
    """The same table, in the MetaData of several modules: each is marked, installs, and is
    heard."""
    first, second = core("a", "b"), core("a")
    for metadata in (first, second):
        notify_on_change(metadata, ALL)
        metadata.create_all(engine)
        assert [d for d in check(engine, metadata) if d.kind != "left over"] == []
    for metadata in (first, second):
        (event,) = received(engine, metadata, "INSERT INTO a (v) VALUES ('x')")
        assert event.entity is metadata.tables["a"]


def test_columns_that_the_class_leaves_out_stay_at_home():
    """As under the mixin, ``values="all"`` is what the class maps."""
    mapping = registry()
    table = sa.Table(
        "a",
        mapping.metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("secret", sa.Text),
    )
    mapping.map_imperatively(type("A", (), {}), table, exclude_properties=["secret"])
    notify_on_change(mapping.metadata, ALL)
    assert marking_of(table).unmapped == ("secret",)


def test_a_mapping_to_a_join_is_passed_over():
    """A class that maps a join is none of a table's: its tables are marked as they stand."""

    class Base(DeclarativeBase):
        pass

    a = sa.Table("a", Base.metadata, sa.Column("id", sa.Integer, primary_key=True))
    b = sa.Table("b", Base.metadata, sa.Column("id", sa.ForeignKey("a.id"), primary_key=True))
    type("Both", (Base,), {"__table__": a.join(b), "id": column_property(a.c.id, b.c.id)})
    notify_on_change(Base.metadata)
    assert marked(Base.metadata) == {"a", "b"}


# -- classes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [lambda c: c, sa.inspect], ids=["class", "mapper"])
def test_a_class_is_marked_as_the_mixin_would(engine, target):
    """notify_on_change takes a class or its mapper, gives it back, and marks the children that are
    there and those that come."""
    Base = application()
    assert notify_on_change(target(Base.Person), ALL) is target(Base.Person)

    class Late(Base.Person):
        __tablename__ = "late"
        __mapper_args__ = {"polymorphic_identity": "late"}
        id: Mapped[int] = mapped_column(sa.ForeignKey("person.id"), primary_key=True)

    assert marked(Base.metadata) == {"person", "engineer", "late"}
    Base.metadata.create_all(engine)
    statements = (
        "INSERT INTO person VALUES (1, 'late', 'ann'), (2, 'engineer', 'bob')", "INSERT INTO late VALUES (1)", "INSERT INTO engineer VALUES (2)",
    )  # fmt: skip
    for source in (Base.Person, Base, Base.metadata):
        events = received(engine, source, *statements)
        assert [(type(e), e.entity, e.new["full_name"]) for e in events] == [
            (Inserted, Late, "ann"),
            (Inserted, Base.Engineer, "bob"),
        ]
        run(engine, "DELETE FROM late", "DELETE FROM engineer", "DELETE FROM person")


def test_as_a_decorator(engine):
    """It returns what it was given, so a class may wear it."""

    class Base(DeclarativeBase):
        pass

    @notify_on_change
    class Order(Base):
        __tablename__ = "orders"
        id: Mapped[int] = mapped_column(primary_key=True)

    Base.metadata.create_all(engine)
    assert [e.entity for e in received(engine, Order, "INSERT INTO orders DEFAULT VALUES")] == [
        Order
    ]


def test_a_class_that_is_marked_otherwise_is_refused():
    """A class that has the mixin and another declaration is marked twice, which is refused. An
    equal declaration is allowed."""

    class Base(DeclarativeBase):
        pass

    class Order(NotifyOnChange, Base):
        __tablename__ = "orders"
        __notify__ = NotifySpec(when=lambda old, new: new.id > 1)
        id: Mapped[int] = mapped_column(primary_key=True)

    notify_on_change(Order, NotifySpec(when=lambda old, new: new.id > 1))
    with pytest.raises(
        NotifyConfigError,
        match="orders: the table is already marked, with other options. Mark it once",
    ):
        notify_on_change(Order, ALL)
