"""Marked classes that inherit from each other: one event for each entity, of its own class."""

from collections.abc import Callable

import pytest
import sqlalchemy as sa
from marking_forms import kinds_entities_identities, received_by_session
from receiving import received
from sqlalchemy.ext.declarative import AbstractConcreteBase
from sqlalchemy.orm import (
    Mapped,
    Session,
    configure_mappers,
    mapped_column,
)

from sa_pgnotify import (
    Deleted,
    Inserted,
    NotifyOnChange,
    NotifySpec,
    Updated,
    check,
)

ALL = NotifySpec(values="all")


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


@pytest.mark.usefixtures("for_each")
def test_joined_entity_is_one_event_of_its_own_class(engine, Base):
    """With joined tables, three levels deep, one entity inserted or deleted is one event, of the
    class that it is."""
    classes = joined(Base)
    Base.metadata.create_all(engine)
    assert check(engine, Base.metadata) == []
    for source in (classes[0], Base, Base.metadata):
        assert kinds_entities_identities(
            received_by_session(engine, source, live(*(class_() for class_ in classes)))
        ) == lives(*classes)


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

    assert kinds_entities_identities(received_by_session(engine, Manager, work)) == lives(
        None, None, Manager, Chief
    )
    assert kinds_entities_identities(received_by_session(engine, Chief, work)) == lives(
        None, None, None, Chief
    )
    if marked == ("Manager",):
        for source in (Base, Base.metadata):
            assert kinds_entities_identities(received_by_session(engine, source, work)) == lives(
                None, None, Manager, Chief
            )


def test_updates_of_a_marked_child_only(engine, Base):
    """If only a child is marked, updates of its rows in its parent's table are published, and those
    of its siblings are not."""
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
    """A child with __notify__ = None publishes nothing in any of its tables, while its parent and
    siblings do."""
    classes = joined(Base, Engineer=None)
    Person, _Engineer, Manager, Chief = classes
    Base.metadata.create_all(engine)
    for source in (Person, Base, Base.metadata):
        assert kinds_entities_identities(
            received_by_session(engine, source, live(*(class_() for class_ in classes)))
        ) == lives(Person, None, Manager, Chief)


@pytest.mark.usefixtures("for_each")
def test_update_of_attributes_in_several_joined_tables(engine, Base):
    """update_of and values may name attributes of all the tables of a child; each table publishes
    its own."""
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

    first, other, *later = received_by_session(engine, Part, work)
    assert kinds_entities_identities([first, other]) == [
        (Inserted, Bolt, ("x", 7)),
        (Inserted, Bolt, ("y", 7)),
    ]
    assert kinds_entities_identities(later) == [
        (Updated, Bolt, ("x", 7)),
        (Updated, Bolt, ("x", 7)),
        (Deleted, Bolt, ("x", 7)),
    ]
    assert [e.changed for e in later[:2]] == [{"length"}, {"nut"}]


@pytest.mark.parametrize("marked", ["parent", "child"])
def test_single_table(engine, Base, marked):
    """In one shared table the discriminator names the class; marking a child alone publishes
    nothing of the others."""
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
        assert kinds_entities_identities(
            received_by_session(engine, source, live(*(class_() for class_ in classes)))
        ) == lives(*entities)


def test_concrete(engine, Base):
    """With concrete inheritance each class has a table, and each row is published as its own
    class."""

    class Person(NotifyOnChange, Base):
        __tablename__ = "person"
        id: Mapped[int] = mapped_column(primary_key=True)

    class Engineer(Person):
        __tablename__ = "engineer"
        __mapper_args__ = {"concrete": True}
        id: Mapped[int] = mapped_column(primary_key=True)
        language: Mapped[str | None]

    Base.metadata.create_all(engine)
    assert kinds_entities_identities(
        received_by_session(engine, Person, live(Person(), Engineer()))
    ) == lives(Person, Engineer)
    assert kinds_entities_identities(
        received_by_session(engine, Engineer, live(Person(), Engineer()))
    ) == lives(None, Engineer)
    assert kinds_entities_identities(
        received_by_session(engine, Base, live(Person(), Engineer()))
    ) == lives(Person, Engineer)


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
        assert kinds_entities_identities(
            received_by_session(engine, source, live(Circle(), Square()))
        ) == lives(*entities)
