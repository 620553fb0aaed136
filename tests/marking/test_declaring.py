"""What a declaration must survive: dicts that tables share, classes defined again, columns that no
class maps or no trigger sees."""

import ast
import gc
import pickle
from pathlib import Path

import pytest
import sqlalchemy as sa
from kinds import driver_url
from logs import received_from_log
from receiving import received, take
from revisions import apply, catalog, differences, upgrade
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, declared_attr, mapped_column
from statements import run

from sa_pgnotify import (
    CreateNotifyTriggers,
    Inserted,
    Listener,
    NotifyConfigError,
    NotifyOnChange,
    NotifySpec,
    Updated,
    ValuesNotCarried,
    check,
    notify_on_change,
)
from sa_pgnotify.marking.spec import INFO_KEY, marking_of

ALL = NotifySpec(values="all")
ROOT = Path(__file__).parent.parent.parent


def key() -> sa.Column:
    return sa.Column("id", sa.Integer, primary_key=True)


# -- Table.info ------------------------------------------------------------------------------------


class Untouchable(dict):
    """A program's own dict: whoever writes into it fails the test."""

    def _refuse(self, *_: object, **__: object) -> None:
        raise AssertionError("the program's own dict was written to")

    __setitem__ = __delitem__ = update = setdefault = pop = popitem = clear = __ior__ = _refuse


def shared_base(info: dict) -> type:
    class Base(DeclarativeBase):
        __table_args__ = {"info": info}

    return Base


def by_mixin(Base):
    return type(
        "A",
        (NotifyOnChange, Base),
        {"__tablename__": "a", "id": mapped_column(sa.Integer, primary_key=True)},
    ).__table__


def by_inheritance(Base):
    """Of joined tables three levels deep the middle one is marked twice: its class is looked up in
    the root."""
    args = {"polymorphic_on": "kind", "polymorphic_identity": "a"}
    members = {
        "id": mapped_column(sa.Integer, primary_key=True),
        "kind": mapped_column(sa.Text),
        "__mapper_args__": args,
    }
    above = type("A", (NotifyOnChange, Base), {"__tablename__": "a", **members})
    for name in ("b", "c"):
        link = mapped_column(sa.ForeignKey(f"{above.__tablename__}.id"), primary_key=True)
        above = type(
            name,
            (above,),
            {"__tablename__": name, "id": link, "__mapper_args__": {"polymorphic_identity": name}},
        )
    return Base.metadata.tables["a"]


def by_function(Base):
    return notify_on_change(sa.Table("a", Base.metadata, key(), info=Base.__table_args__["info"]))


def by_class(Base):
    return notify_on_change(
        type(
            "A", (Base,), {"__tablename__": "a", "id": mapped_column(sa.Integer, primary_key=True)}
        )
    ).__table__


def by_metadata(Base):
    table = sa.Table("a", Base.metadata, key(), info=Base.__table_args__["info"])
    notify_on_change(Base.metadata, NotifySpec(durable=True), skip=("audit",))
    return table


@pytest.mark.parametrize(
    "way",
    [by_mixin, by_inheritance, by_function, by_class, by_metadata],
    ids=lambda way: way.__name__,
)
def test_a_dict_that_tables_share_is_never_written_to(engine, way):
    """``info`` of a base's __table_args__ is one dict for all its tables: marking one marks no
    other, and the dict stays as it was."""
    info = Untouchable(owner="billing team")
    Base = shared_base(info)
    audit = type(
        "Audit",
        (Base,),
        {"__tablename__": "audit", "id": mapped_column(sa.Integer, primary_key=True)},
    ).__table__
    table = way(Base)
    assert info == {"owner": "billing team"}
    assert marking_of(audit) is None
    assert marking_of(table) is not None
    assert table.info["owner"] == "billing team"
    Base.metadata.create_all(engine)
    with engine.connect() as connection:
        marked = set(
            connection.scalars(
                sa.text(
                    "SELECT tgrelid::regclass::text FROM pg_trigger WHERE starts_with(tgname, 'sa_pgnotify')"
                )
            )
        )
    assert marked == {t.name for t in Base.metadata.tables.values() if marking_of(t) is not None}
    assert "audit" not in marked
    for copy in (
        table.to_metadata(sa.MetaData()),
        pickle.loads(pickle.dumps(sa.Table("p", sa.MetaData(), key(), info=table.info))),
    ):
        assert marking_of(copy) == marking_of(table)


def test_several_marked_classes_share_a_dict(engine):
    """Classes whose declarations differ may have one ``info``: each table has its own marking, and
    publishes by it."""
    Base = shared_base({})
    for name, values in (("a", ()), ("b", ("y",)), ("c", "all")):
        members = {"id": mapped_column(sa.Integer, primary_key=True), "y": mapped_column(sa.Text)}
        type(
            name,
            (NotifyOnChange, Base),
            {"__tablename__": name, "__notify__": NotifySpec(values=values), **members},
        )
    Base.metadata.create_all(engine)
    events = received(engine, Base, *(f"INSERT INTO {name} (y) VALUES ('hi')" for name in "abc"))
    assert [dict(e.new) for e in events] == [{"id": 1}, {"id": 1, "y": "hi"}, {"id": 1, "y": "hi"}]


def test_no_module_writes_into_a_dict_called_info():
    """Table.info belongs to the program: our code replaces it, and never assigns, deletes or
    updates a key of it."""
    found = []
    for path in [
        p for folder in ("sa_pgnotify", "alembic_ops") for p in (ROOT / folder).rglob("*.py")
    ]:
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Subscript)
                and not isinstance(node.ctx, ast.Load)
                and isinstance(node.value, ast.Attribute)
            ):
                found += [(path.name, node.lineno)] if node.value.attr == "info" else []
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and isinstance(node.func.value, ast.Attribute)
            ):
                writes = node.func.attr in (
                    "update",
                    "pop",
                    "setdefault",
                    "clear",
                    "popitem",
                    "__setitem__",
                )
                found += (
                    [(path.name, node.lineno)] if writes and node.func.value.attr == "info" else []
                )
    assert found == []


# -- defined again ---------------------------------------------------------------------------------

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
                values=cls.told, when=lambda old, new: sa.or_(new.v.is_(None), new.v != "x")
            )

    class A(Mixin, Base):
        __tablename__ = "a"
        __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "A"}
        told = ("v",)
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
        type("C", (A,), {"__mapper_args__": {"polymorphic_identity": "C"}, "told": ()})


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
    """A Table given anew columns (extend_existing) may be marked anew; without them, the
    contradiction stays an error."""
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


# -- columns that no class maps --------------------------------------------------------------------


def partly_mapped(spec: NotifySpec, **mapper_args: object) -> type:
    class Base(DeclarativeBase):
        pass

    columns = (sa.Column(name, sa.Text) for name in ("v", "secret", "Other Secret"))
    table = sa.Table("a", Base.metadata, key(), *columns)
    return type(
        "A",
        (NotifyOnChange, Base),
        {"__table__": table, "__notify__": spec, "__mapper_args__": mapper_args},
    )


@pytest.mark.parametrize("durable", [False, True], ids=["ephemeral", "durable"])
@pytest.mark.parametrize(
    "left_out",
    [{"include_properties": ["id", "v"]}, {"exclude_properties": ["secret", "Other Secret"]}],
    ids=lambda left_out: [*left_out][0],
)
def test_columns_that_no_class_maps_neither_travel_nor_count(engine, left_out, durable):
    """What the class leaves out is in no message, under any operation, and an UPDATE of it alone is
    not an event."""
    A = partly_mapped(NotifySpec(values="all", durable=durable), **left_out)
    A.metadata.create_all(engine)
    assert check(engine, A.metadata) == []
    statements = (
        "INSERT INTO a VALUES (1, 'v', 'VERYSECRET', 'VERYSECRET')",
        "UPDATE a SET secret = 'VERYSECRET2'",
        "UPDATE a SET \"Other Secret\" = 'VERYSECRET2'",
        "UPDATE a SET v = 'w', secret = 'VERYSECRET3'",
        "DELETE FROM a",
    )
    events = (received_from_log if durable else received)(engine, A, *statements)
    assert [type(e).__name__ for e in events] == ["Inserted", "Updated", "Deleted"]
    assert events[1].changed == {"v"}
    assert events[1].instance().v == "w"
    with engine.connect() as connection:
        sources = connection.scalars(
            sa.text("SELECT prosrc FROM pg_proc WHERE starts_with(proname, 'sa_pgnotify')")
        ).all()
        assert "ecret" not in "".join(sources)
        if durable:
            slots = connection.execute(sa.text("SELECT header, rows FROM sa_pgnotify_log_0")).all()
            assert "VERYSECRET" not in str(slots)
    A.metadata.drop_all(engine)


def test_a_columns_class_may_come_later(engine):
    """A child brings its columns into the table of its parent, and another class may map what the
    first leaves out: they travel. Those of a child that is opted out do not."""
    A = partly_mapped(
        ALL, include_properties=["id", "v", "kind"], polymorphic_on="v", polymorphic_identity="a"
    )
    Base = A.__mro__[2]

    class Child(A):
        __mapper_args__ = {"polymorphic_identity": "child"}
        mine: Mapped[str | None]

    class Quiet(A):
        __mapper_args__ = {"polymorphic_identity": "quiet"}
        __notify__ = None
        hidden: Mapped[str | None]

    assert set(marking_of(A.__table__).unmapped) == {"secret", "Other Secret", "hidden"}

    class Second(NotifyOnChange, Base):
        __table__ = A.__table__
        __notify__ = ALL
        __mapper_args__ = {"exclude_properties": ["Other Secret", "mine", "hidden"]}

    assert set(marking_of(A.__table__).unmapped) == {"Other Secret", "hidden"}
    Base.metadata.create_all(engine)
    (event,) = received(
        engine, A, "INSERT INTO a (v, mine, secret, hidden) VALUES ('child', 'm', 's', 'h')"
    )
    assert (event.entity, event.new["mine"]) == (Child, "m")
    assert Quiet.__table__ is Second.__table__


@pytest.mark.parametrize(
    "text", ["new_row.secret = 'x'", 'OLD_ROW . "Other Secret" IS NULL', "(new_row.SECRET) <> ''"]
)
def test_a_textual_condition_on_a_column_that_is_left_out_is_refused(text):
    """SQL text that names a column which the class does not map would fail in every write: it is
    refused, with the way out."""
    with pytest.raises(NotifyConfigError, match=r"A: when names .*ecret.*Map the column"):
        partly_mapped(
            NotifySpec(when=lambda old, new: sa.text(text)), include_properties=["id", "v"]
        )
    fine = sa.text("new_row.v = 'new_row.x' OR new_row.v = 'secret'")
    assert marking_of(
        partly_mapped(
            NotifySpec(when=lambda old, new: fine), include_properties=["id", "v"]
        ).__table__
    )


def test_an_expression_on_a_column_that_is_left_out_is_refused():
    """``new`` has what the class maps."""
    with pytest.raises(NotifyConfigError, match="A: when uses 'secret', which .*It has: id, v"):
        partly_mapped(
            NotifySpec(when=lambda old, new: new.secret == "x"), include_properties=["id", "v"]
        )


# -- columns that are read by an expression --------------------------------------------------------


class Reversed(sa.types.TypeDecorator):
    """As pgcrypto's types: what is stored is not what is read."""

    impl = sa.Text
    cache_ok = True

    def bind_expression(self, bindparam):
        return sa.func.reverse(sa.type_coerce(bindparam, sa.Text))

    def column_expression(self, column):
        return sa.func.reverse(column, type_=sa.Text)


class Variant(sa.types.TypeDecorator):
    """The dialect's own type has the expression."""

    impl = sa.Text
    cache_ok = True

    def load_dialect_impl(self, dialect):
        return Point() if dialect.name == "postgresql" else sa.Text()


class Point(sa.types.UserDefinedType):
    """As the documentation of UserDefinedType shows it, and as GeoAlchemy2 does."""

    cache_ok = True

    def get_col_spec(self, **_):
        return "text"

    def column_expression(self, col):
        return sa.func.concat("P", col, type_=self)


class Plain(sa.types.UserDefinedType):
    """It overrides column_expression(), and leaves the column as it is."""

    cache_ok = True

    def get_col_spec(self, **_):
        return "text"

    def column_expression(self, col):
        return col


BY_EXPRESSION = {"decorator": Reversed(), "user-defined": Point(), "its impl": Variant()}


@pytest.mark.parametrize("type_", BY_EXPRESSION.values(), ids=BY_EXPRESSION)
def test_a_column_that_is_read_by_an_expression(engine, type_):
    """Its stored value is not what a SELECT gives: under "all" it stays at home, its changes are
    reported, and asking for it says so."""

    class Base(DeclarativeBase):
        pass

    class Card(NotifyOnChange, Base):
        __tablename__ = "cards"
        __notify__ = ALL
        id: Mapped[int] = mapped_column(primary_key=True)
        number = mapped_column(type_)
        owner: Mapped[str | None]

    Base.metadata.create_all(engine)
    assert check(engine, Base.metadata) == []
    inserted, updated = received(
        engine,
        Card,
        "INSERT INTO cards (id, number, owner) VALUES (1, '1174', 'ann')",
        "UPDATE cards SET number = '9999'",
    )
    assert dict(inserted.new) == {"id": 1, "owner": "ann"}
    assert updated.changed == {"number"}
    for values in (inserted.new, updated.old):
        with pytest.raises(
            ValuesNotCarried, match=r"does not carry 'number'.*values=.*load\(session\)"
        ) as caught:
            values["number"]
        assert caught.value.missing == ("number",)
        assert isinstance(caught.value, KeyError)
        assert values.get("number", "nothing") == "nothing"
    with Session(engine) as session:
        instance = updated.instance()
        assert instance.owner == "ann"
        session.add(instance)
        assert (
            instance.number
            == updated.load(session).number
            == session.scalar(sa.select(Card.number))
        )


@pytest.mark.parametrize("type_", BY_EXPRESSION.values(), ids=BY_EXPRESSION)
def test_where_such_a_column_is_refused(type_):
    """As a value asked for by name, in the primary key and as the discriminator it is refused, in
    Core too, with the way out."""
    columns = (
        sa.Column("id", type_, primary_key=True),
        sa.Column("x", type_),
        sa.Column("n", sa.Integer),
    )
    table = sa.Table(
        "t", sa.MetaData(), sa.Column("n", sa.Integer, primary_key=True), sa.Column("x", type_)
    )
    with pytest.raises(
        NotifyConfigError,
        match=r"^t: values names 'x', which is read through an SQL expression .*event\.load\(session\)",
    ):
        notify_on_change(table, NotifySpec(values=("x",)))
    notify_on_change(table, NotifySpec(update_of=("x",)))
    with pytest.raises(
        NotifyConfigError, match=r"^k: .*primary key 'id' is read through an SQL expression"
    ):
        notify_on_change(sa.Table("k", sa.MetaData(), *columns))

    class Base(DeclarativeBase):
        pass

    with pytest.raises(
        NotifyConfigError, match=r"^D: .*polymorphic_on 'x' is read through an SQL expression"
    ):
        type("D", (NotifyOnChange, Base), {
            "__tablename__": "d", "id": mapped_column(sa.Integer, primary_key=True), "x": mapped_column(type_),
            "__mapper_args__": {"polymorphic_on": "x", "polymorphic_identity": "d"},
        })  # fmt: skip


def test_an_expression_that_changes_nothing_is_none(engine):
    """A type whose column_expression() gives the column itself travels as ever."""
    table = notify_on_change(
        sa.Table("t", sa.MetaData(), key(), sa.Column("x", Plain())), NotifySpec(values=("x",))
    )
    table.metadata.create_all(engine)
    assert [e.new["x"] for e in received(engine, table, "INSERT INTO t VALUES (1, 'x')")] == ["x"]


# -- PostgreSQL's own columns ----------------------------------------------------------------------

SYSTEM = ["tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"]
FORMS = {
    "values": lambda name: NotifySpec(values=(name,)),
    "update_of": lambda name: NotifySpec(update_of=(name,)),
    "when": lambda name: NotifySpec(when=lambda old, new: getattr(new, name).is_not(None)),
    "textual when": lambda name: NotifySpec(
        when=lambda old, new: sa.text(f"new_row.{name.upper()} IS NOT NULL")
    ),
}


@pytest.mark.parametrize("declared", [True, False], ids=["system=True", "by its name"])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("name", SYSTEM)
def test_system_columns_are_refused_by_name(name, form, declared):
    """No trigger sees a row's system columns: naming one is refused where it is declared, however
    the model declares it."""
    table = sa.Table("t", sa.MetaData(), key(), sa.Column(name, sa.Text, system=declared))
    with pytest.raises(
        NotifyConfigError, match=rf"t: .*{name}.*(?i:system column of PostgreSQL).*Leave it out"
    ):
        notify_on_change(table, form(name))
    assert INFO_KEY not in table.info
    with pytest.raises(NotifyConfigError, match=rf"primary key '{name}' is a system column"):
        notify_on_change(
            sa.Table(
                "t", sa.MetaData(), sa.Column(name, sa.Text, primary_key=True, system=declared)
            )
        )


@pytest.mark.parametrize("declared", [True, False], ids=["system=True", "by its name"])
@pytest.mark.parametrize("name", SYSTEM)
def test_system_columns_are_no_part_of_all(engine, name, declared):
    """Under values="all" they do not travel; the object that an event makes reads them when it is
    in a session."""

    class Base(DeclarativeBase):
        pass

    class Doc(NotifyOnChange, Base):
        __tablename__ = "docs"
        __notify__ = NotifySpec(values="all", when=lambda old, new: new.v.is_distinct_from("x"))
        id: Mapped[int] = mapped_column(primary_key=True)
        v: Mapped[str | None]

    run(engine, "CREATE TABLE docs (id serial PRIMARY KEY, v text)")
    setattr(Doc, name, mapped_column(name, sa.Text, system=declared))
    Base.metadata.create_all(engine)
    assert check(engine, Base.metadata) == []
    inserted, updated = received(
        engine, Doc, "INSERT INTO docs (v) VALUES ('a')", "UPDATE docs SET v = 'b'"
    )
    assert dict(inserted.new) == {"id": 1, "v": "a"}
    assert updated.changed == {"v"}
    with Session(engine) as session:
        instance = updated.instance()
        session.add(instance)
        assert getattr(instance, name) is not None


# -- names without quotes --------------------------------------------------------------------------


@pytest.mark.parametrize("durable", [False, True], ids=["ephemeral", "durable"])
def test_names_without_quotes_are_folded_as_postgresql_folds_them(engine, durable):
    """quote=False on schema, table and columns: what PostgreSQL folds to lower case is installed,
    checked, heard and dropped."""
    run(engine, "CREATE SCHEMA app")

    class Base(DeclarativeBase):
        metadata = sa.MetaData(schema=sa.quoted_name("APP", quote=False))

    def column(name: str, *args: object, **options: object) -> sa.Column:
        return sa.Column(name, *args, quote=False, **options)

    class Legacy(NotifyOnChange, Base):
        __table__ = sa.Table(
            "LEGACY", Base.metadata, column("ID", sa.Integer, primary_key=True), column("KIND", sa.Text), column("V", sa.Text),
            sa.Column("Kept", sa.Text), quote=False,
        )  # fmt: skip
        __mapper_args__ = {"polymorphic_on": "KIND", "polymorphic_identity": "legacy"}
        __notify__ = NotifySpec(
            values=("V", "Kept"),
            update_of=("V",),
            when=lambda old, new: sa.or_(new.V.is_(None), new.V != "x"),
            durable=durable,
        )

    class Child(Legacy):
        __table__ = sa.Table(
            "CHILD", Base.metadata, column("ID", sa.Integer, sa.ForeignKey(Legacy.__table__.c.ID), primary_key=True), column("W", sa.Text),
            quote=False,
        )  # fmt: skip
        __mapper_args__ = {"polymorphic_identity": "child"}
        __notify__ = NotifySpec(update_of=("W",), durable=durable)

    class Grandchild(Child):
        __table__ = sa.Table(
            "GRANDCHILD",
            Base.metadata,
            column("ID", sa.Integer, sa.ForeignKey(Child.__table__.c.ID), primary_key=True),
            quote=False,
        )
        __mapper_args__ = {"polymorphic_identity": "grandchild"}

    Base.metadata.create_all(engine)
    assert check(engine, Base.metadata) == []
    with Listener(engine, Legacy) as listener:
        run(
            engine,
            "INSERT INTO app.legacy VALUES (1, 'grandchild', 'v', 'k'), (2, 'child', 'x', 'k')",
            "INSERT INTO app.child VALUES (1, 'w')",
            "INSERT INTO app.grandchild VALUES (1)",
            "UPDATE app.legacy SET v = 'w' WHERE id = 1",
            "UPDATE app.child SET w = 'y'",
        )
        inserted, updated, child = take(listener, 3)
    assert (inserted.entity, inserted.identity, dict(inserted.new)) == (
        Grandchild,
        (1,),
        {"ID": 1, "KIND": "grandchild", "V": "v", "Kept": "k"},
    )
    assert (updated.changed, updated.old["V"], updated.new["V"]) == ({"V"}, "v", "w")
    assert (child.entity, child.changed) == (Grandchild, {"W"})
    # which does not find the tables by these names
    Base.metadata.drop_all(engine, checkfirst=False)
    with engine.connect() as connection:
        assert (
            connection.scalar(
                sa.text("SELECT count(*) FROM pg_proc WHERE starts_with(proname, 'sa_pgnotify')")
            )
            == 0
        )


@pytest.mark.parametrize(
    ("name", "stored"), [("MiXed", "mixed"), ("ÄB", "Äb"), ('"As Is"', "As Is"), ("plain", "plain")]
)
def test_what_postgresql_folds(engine, name, stored):
    """Only ASCII letters are folded, and a name that the program has quoted itself is not."""
    table = sa.Table(
        sa.quoted_name(name, quote=False),
        sa.MetaData(),
        key(),
        sa.Column(name, sa.Text, quote=False, key="v"),
    )
    notify_on_change(table, ALL)
    table.metadata.create_all(engine)
    with engine.connect() as connection:
        assert stored in sa.inspect(connection).get_table_names()
    assert check(engine, table.metadata) == []
    (event,) = received(engine, table, f"INSERT INTO {name} VALUES (1, 'x')")
    assert event.new == {"id": 1, "v": "x"}
    table.metadata.drop_all(engine, checkfirst=False)


# -- what is not a table ---------------------------------------------------------------------------

RELATIONS = {
    "view": ("CREATE VIEW v AS SELECT 1 AS id", "is a view.*Mark the tables that it reads"),
    "materialized view": (
        "CREATE MATERIALIZED VIEW v AS SELECT 1 AS id",
        "is a materialized view.*Mark the tables",
    ),
    "foreign table": (
        "CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w; CREATE FOREIGN TABLE v (id int) SERVER s",
        "is a foreign table.*Mark it where",
    ),
}


@pytest.mark.parametrize("autocommit", [False, True], ids=["transaction", "autocommit"])
@pytest.mark.parametrize("with_a_new_table", [True, False])
@pytest.mark.parametrize(("make", "problem"), RELATIONS.values(), ids=RELATIONS)
def test_create_all_refuses_what_is_no_table(engine, make, problem, with_a_new_table, autocommit):
    """A class that maps a view cannot have triggers: create_all says so in one error with the fix,
    and changes nothing."""
    if autocommit:
        engine = engine.execution_options(isolation_level="AUTOCOMMIT")
    run(engine, make)
    metadata = sa.MetaData()
    for name in ("v", "w") if with_a_new_table else ("v",):
        notify_on_change(sa.Table(name, metadata, key()))
    with pytest.raises(NotifyConfigError, match=rf"^v: no triggers can be installed: it {problem}"):
        metadata.create_all(engine)
    with engine.connect() as connection:
        assert sa.inspect(connection).get_table_names() in ([], ["v"])
        assert (
            connection.scalar(
                sa.text("SELECT count(*) FROM pg_proc WHERE starts_with(proname, 'sa_pgnotify')")
            )
            == 0
        )
    check(engine, metadata)


def test_several_views_are_named_at_once(engine):
    """All that is wrong is in one message."""
    run(engine, "CREATE VIEW v AS SELECT 1 AS id", "CREATE VIEW w AS SELECT 1 AS id")
    metadata = sa.MetaData()
    for name in ("v", "w"):
        notify_on_change(sa.Table(name, metadata, key()))
    with pytest.raises(NotifyConfigError, match="v: .*; w is a view"):
        metadata.create_all(engine)


@pytest.mark.parametrize("driver", ["psycopg2", "psycopg"])
@pytest.mark.parametrize(("make", "problem"), RELATIONS.values(), ids=RELATIONS)
def test_the_ddl_element_refuses_what_is_no_table(engine, make, problem, driver):
    """By hand, and in a migration, where nothing is looked at before: PostgreSQL's word for it in
    one line, and nothing is changed."""
    run(engine, make)
    table = notify_on_change(sa.Table("v", sa.MetaData(), key()))
    other = sa.create_engine(driver_url(engine.url, driver), poolclass=sa.NullPool)
    with (
        other.connect() as connection,
        pytest.raises(
            NotifyConfigError, match=r"^v: no triggers can be installed.*v.*Mark the"
        ) as caught,
    ):
        connection.execute(CreateNotifyTriggers(table))
    assert "\n" not in str(caught.value)


# -- autogenerate ----------------------------------------------------------------------------------


def test_autogenerate_is_clean(engine):
    """Of columns that stay at home nothing is in a revision: what it installs is what create_all
    does, and alembic check is content."""

    class Base(DeclarativeBase):
        __table_args__ = {"info": {"owner": "billing team"}}

    class A(NotifyOnChange, Base):
        __table__ = sa.Table(
            "a",
            Base.metadata,
            key(),
            sa.Column("v", sa.Text),
            sa.Column("secret", sa.Text),
            sa.Column("x", Reversed()),
        )
        __notify__ = ALL
        __mapper_args__ = {"exclude_properties": ["secret"]}

    class B(NotifyOnChange, Base):
        __tablename__ = "b"
        id: Mapped[int] = mapped_column(primary_key=True)

    run(engine, "CREATE TABLE a (id serial PRIMARY KEY, v text, secret text, x text)")
    revision = upgrade(engine, Base.metadata)
    assert "secret" not in revision.upgrade
    assert "'x': 'expression'" in revision.upgrade
    assert differences(engine, Base.metadata) == []
    installed = catalog(engine)
    assert check(engine, Base.metadata) == []
    Base.metadata.create_all(engine)
    assert catalog(engine) == installed
    (event,) = received(engine, A, "INSERT INTO a (v, secret, x) VALUES ('v', 'VERYSECRET', 'y')")
    assert dict(event.new) == {"id": 1, "v": "v"}
    apply(engine, revision.downgrade)
    assert "b" not in sa.inspect(engine).get_table_names()
    assert B.__table__.info["owner"] == "billing team"
