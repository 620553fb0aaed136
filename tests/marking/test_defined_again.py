"""Classes and tables that are defined again, as a notebook does: the last definition counts, and what
is gone contradicts nothing."""

import gc

import pytest
import sqlalchemy as sa
from receiving import received
from sqlalchemy.orm import DeclarativeBase, Mapped, declared_attr, mapped_column

from sa_pgnotify import (
    Inserted,
    NotifyConfigError,
    NotifyOnChange,
    NotifySpec,
    Updated,
    check,
    notify_on_change,
)
from sa_pgnotify.marking.spec import marking_of

ALL = NotifySpec(values="all")


def key() -> sa.Column:
    return sa.Column("id", sa.Integer, primary_key=True)


CELL = """
class Order(NotifyOnChange, Base):
    __tablename__ = "orders"
    __table_args__ = {{"extend_existing": True}}
    __notify__ = {spec}
    id: Mapped[int] = mapped_column(primary_key=True)
    v: Mapped[str | None]
    {more}
"""


UNMARKED = CELL.replace("NotifyOnChange, ", "").replace("__notify__ = {spec}", "")


WHEN = "NotifySpec(values='all', when=lambda old, new: new.v != 'x')"


REDEFINED = {
    "the same": ("NotifySpec()", "NotifySpec()", "", {"id"}),
    "the same condition": (WHEN, WHEN, "", {"id", "v"}),
    "another condition": ("NotifySpec(when=lambda old, new: new.v == 'x')", WHEN, "", {"id", "v"}),
    "other values": ("NotifySpec()", "NotifySpec(values='all')", "", {"id", "v"}),
    "fewer values": ("NotifySpec(values='all')", "NotifySpec()", "", {"id"}),
    "other operations": (
        "NotifySpec(operations=('delete',))",
        "NotifySpec(operations=('insert',))",
        "",
        {"id"},
    ),
    "a new column": (
        "NotifySpec(values='all')",
        "NotifySpec(values='all')",
        "w: Mapped[str | None]",
        {"id", "v", "w"},
    ),
    "a new column by name": (
        "NotifySpec(values=('v',))",
        "NotifySpec(values=('w',))",
        "w: Mapped[str | None]",
        {"id", "w"},
    ),
}


def run_cell(names: dict, cell: str, spec: str, more: str = "") -> type:
    """Define the class as a notebook does, in one module's names."""
    exec(cell.format(spec=spec, more=more), names)
    return names["Order"]


@pytest.fixture
def cells():
    class Base(DeclarativeBase):
        pass

    return {
        "Base": Base,
        "NotifyOnChange": NotifyOnChange,
        "NotifySpec": NotifySpec,
        "Mapped": Mapped,
        "mapped_column": mapped_column,
    }


@pytest.mark.filterwarnings("ignore:This declarative base already contains a class")
@pytest.mark.parametrize(("first", "second", "more", "carried"), REDEFINED.values(), ids=REDEFINED)
def test_the_last_definition_of_a_class_wins(engine, cells, first, second, more, carried):
    """A notebook's cell that runs again, unchanged or not, raises nothing, and the events are of
    the class that it defined last."""
    earlier = run_cell(cells, CELL, first)
    Order = run_cell(cells, CELL, second, more)
    Base = cells["Base"]
    Base.metadata.create_all(engine)
    assert check(engine, Base.metadata) == []
    for source in (Order, Base, Base.metadata):
        (event,) = received(engine, source, "INSERT INTO orders (v) VALUES ('a')")
        assert event.entity is Order
        assert event.new.keys() == carried
    assert earlier is not Order


@pytest.mark.filterwarnings("ignore:This declarative base already contains a class")
@pytest.mark.parametrize(
    "second", [UNMARKED, CELL.replace("{spec}", "None")], ids=["without the mixin", "opted out"]
)
def test_a_class_defined_again_without_events_is_not_marked(engine, cells, second):
    """Taking the mixin out of a cell takes the marking away."""
    run_cell(cells, CELL, WHEN)
    Order = run_cell(cells, second, "")
    assert marking_of(Order.__table__) is None


@pytest.mark.filterwarnings(
    "ignore:This declarative base already contains a class",
    "ignore:Reassigning polymorphic association",
)
@pytest.mark.parametrize(
    "again", [("Person", "Engineer"), ("Person",), ("Engineer",)], ids=" and ".join
)
def test_a_hierarchy_defined_again(engine, again):
    """Parent and joined child may be defined again together or alone, with a condition and with
    other values."""

    class Base(DeclarativeBase):
        pass

    made: dict[str, type] = {}

    def define(name: str, values: object) -> None:
        spec = NotifySpec(values=values, when=lambda old, new: sa.func.coalesce(new.id, old.id) > 0)
        if name == "Person":
            key = mapped_column(sa.Integer, primary_key=True)
            args = {"polymorphic_on": "kind", "polymorphic_identity": "person"}
            members = {
                "kind": mapped_column(sa.Text),
                "__mapper_args__": args,
                "__notify__": spec,
                "id": key,
            }
            bases = (NotifyOnChange, Base)
        else:
            key = mapped_column(sa.ForeignKey("person.id"), primary_key=True)
            members = {
                "language": mapped_column(sa.Text),
                "__mapper_args__": {"polymorphic_identity": "engineer"},
                "id": key,
            }
            bases = (made["Person"],)
        made[name] = type(
            name,
            bases,
            {"__tablename__": name.lower(), "__table_args__": {"extend_existing": True}, **members},
        )

    for name in ("Person", "Engineer"):
        define(name, ())
    for name in again:
        define(name, "all")
    Base.metadata.create_all(engine)
    assert check(engine, Base.metadata) == []
    statements = (
        "INSERT INTO person (id, kind) VALUES (1, 'engineer')",
        "INSERT INTO engineer (id, language) VALUES (1, 'x')",
        "UPDATE engineer SET language = 'y'",
    )
    if "Engineer" in again:
        events = received(
            engine, made["Person"] if len(again) == 2 else made["Engineer"], *statements
        )
        assert [(type(e), e.entity) for e in events] == [
            (Inserted, made["Engineer"]),
            (Updated, made["Engineer"]),
        ]


def test_a_directive_declares_for_each_class(engine):
    """@declared_attr.directive makes a spec and a lambda for each class: they are the same if they
    come to the same SQL."""

    class Base(DeclarativeBase):
        pass

    class Mixin(NotifyOnChange):
        @declared_attr.directive
        def __notify__(cls):
            return NotifySpec(
                values=cls.published, when=lambda old, new: sa.or_(new.v.is_(None), new.v != "x")
            )

    class A(Mixin, Base):
        __tablename__ = "a"
        __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "A"}
        published = ("v",)
        id: Mapped[int] = mapped_column(primary_key=True)
        kind: Mapped[str]
        v: Mapped[str]

    class B(A):
        __mapper_args__ = {"polymorphic_identity": "B"}

    Base.metadata.create_all(engine)
    assert [
        e.entity
        for e in received(engine, A, "INSERT INTO a (kind, v) VALUES ('B', 'v'), ('B', 'x')")
    ] == [B]
    with pytest.raises(
        NotifyConfigError, match="C: A marked the table 'a', which they share, with other options"
    ):
        type("C", (A,), {"__mapper_args__": {"polymorphic_identity": "C"}, "published": ()})


@pytest.mark.filterwarnings("ignore:This declarative base already contains a class")
def test_siblings_of_one_name_are_not_one_class_defined_again():
    """A function that makes several children of one class gives them one qualified name: their
    contradiction stays an error."""

    class Base(DeclarativeBase):
        pass

    class Person(Base):
        __tablename__ = "person"
        __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "person"}
        id: Mapped[int] = mapped_column(primary_key=True)
        kind: Mapped[str]

    def child(kind: str, spec: NotifySpec) -> type:
        class Child(NotifyOnChange, Person):
            __mapper_args__ = {"polymorphic_identity": kind}
            __notify__ = spec

        return Child

    kept = child("a", NotifySpec())
    with pytest.raises(NotifyConfigError, match="Child marked the table 'person'"):
        child("b", ALL)
    assert marking_of(Person.__table__).values == ()
    assert kept.__table__ is Person.__table__


def test_a_class_that_is_gone_contradicts_nothing(engine):
    """A class that nothing holds any more, or that is not mapped any more, leaves its table to the
    next, whatever it is called."""

    class Base(DeclarativeBase):
        pass

    def define(name: str, spec: NotifySpec) -> type:
        table = Base.metadata.tables.get("orders")
        table = sa.Table("orders", Base.metadata, key()) if table is None else table
        return type(name, (NotifyOnChange, Base), {"__table__": table, "__notify__": spec})

    define("Order", NotifySpec())
    Sale = define("Sale", ALL)
    with pytest.raises(NotifyConfigError, match="Sale marked the table 'orders', which they share"):
        define("Purchase", NotifySpec())
    Base.metadata.create_all(engine)
    assert [e.entity for e in received(engine, Base, "INSERT INTO orders DEFAULT VALUES")] == [Sale]


def test_what_marked_a_table_does_not_keep_it_alive():
    """A program that makes models at run time may let them go: the marker holds no class and no
    table."""
    import weakref

    def make() -> weakref.ref:
        class Base(DeclarativeBase):
            pass

        class Order(NotifyOnChange, Base):
            __tablename__ = "orders"
            __notify__ = NotifySpec(when=lambda old, new: new.id > 0)
            id: Mapped[int] = mapped_column(primary_key=True)

        return weakref.ref(Order.__table__)

    gone = make()
    gc.collect()
    assert gone() is None


def test_a_core_table_defined_again():
    """A Table that gets new columns (extend_existing) may be marked again; without them, the
    contradiction remains an error."""
    metadata = sa.MetaData()
    for spec in (
        NotifySpec(when=lambda old, new: new.id > 1),
        NotifySpec(when=lambda old, new: new.id > 1),
        ALL,
    ):
        table = notify_on_change(
            sa.Table("t", metadata, key(), sa.Column("v", sa.Text), extend_existing=True), spec
        )
    assert (marking_of(table).values, marking_of(table).condition) == ("all", None)
    with pytest.raises(
        NotifyConfigError, match="t: the table is already marked, with other options. Mark it once"
    ):
        notify_on_change(table)
