"""Columns that no class maps, that are read by an expression, or that belong to PostgreSQL: they
neither travel nor count."""

import pytest
import sqlalchemy as sa
from column_types import Reversed
from logs import received_from_log
from receiving import received
from revisions import apply, catalog, differences, upgrade
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from statements import run

from sa_pgnotify import (
    NotifyConfigError,
    NotifyOnChange,
    NotifySpec,
    ValuesNotCarried,
    check,
    notify_on_change,
)
from sa_pgnotify.marking.spec import INFO_KEY, marking_of

ALL = NotifySpec(values="all")


def key() -> sa.Column:
    return sa.Column("id", sa.Integer, primary_key=True)


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
