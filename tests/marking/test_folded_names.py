"""Names without quotes, and relations that are not tables."""

import pytest
import sqlalchemy as sa
from kinds import driver_url
from receiving import received, take
from sqlalchemy.orm import DeclarativeBase
from statements import run

from sa_pgnotify import (
    CreateNotifyTriggers,
    Listener,
    NotifyConfigError,
    NotifyOnChange,
    NotifySpec,
    check,
    notify_on_change,
)

ALL = NotifySpec(values="all")


def key() -> sa.Column:
    return sa.Column("id", sa.Integer, primary_key=True)


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
