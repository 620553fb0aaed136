"""Statements that a live query refuses, because their results change without an event: each error
names what is wrong and a way out, and the way out works."""

from __future__ import annotations

import pytest
from live_shop import models, step
from sqlalchemy import (
    Column,
    ForeignKey,
    Integer,
    MetaData,
    Table,
    Text,
    create_engine,
    func,
    insert,
    literal_column,
    select,
    text,
    union,
)
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    contains_eager,
    joinedload,
    lazyload,
    mapped_column,
    relationship,
    selectinload,
    subqueryload,
)
from statements import run

from sa_pgnotify import (
    AsyncLiveQuery,
    LiveQuery,
    NotifyConfigError,
    NotifyOnChange,
    NotifySpec,
    PgNotifyError,
    TriggersMissing,
    notify_on_change,
)

REFRESH = r"or pass refresh=, the interval in seconds at which the statement is run"


def table(spec: NotifySpec | None, name: str = "things", **options) -> Table:
    """Return a table, which is marked unless ``spec`` is None."""
    columns = [Column(name, Text) for name in ("kept", "other")]
    made = Table(name, MetaData(), Column("id", Integer, primary_key=True), *columns, **options)
    if spec is not None:
        notify_on_change(made, spec)
    return made


@pytest.fixture
def shop(engine):
    """The marked classes, with one order."""
    base = models()
    base.metadata.create_all(engine)
    run(
        engine,
        "INSERT INTO customers VALUES (1, 'ann')",
        "INSERT INTO orders VALUES (1, 1, 'OPEN', 5)",
    )
    return base


def refused(engine, statement, message: str, **options) -> None:
    """Fail unless the statement is refused with a matching message, and nothing is left running."""
    with pytest.raises(NotifyConfigError, match=message):
        LiveQuery(engine, statement, **options).start()


# -- tables ----------------------------------------------------------------------------------------


def test_a_table_without_events(engine):
    """A table that is not marked is refused by name, wherever the statement reads it; with refresh=
    its changes come without events."""
    plain, marked = table(None, schema="other"), table(NotifySpec(), "marked")
    message = rf"reads other\.things, which is not marked.*NotifyOnChange.*{REFRESH}"
    inner = select(plain.c.id)
    for statement in (
        inner,
        select(marked).where(marked.c.id.in_(inner)),
        select(inner.cte()),
        select(marked.c.id, inner.limit(1).scalar_subquery()),
    ):
        refused(engine, statement, message)
    run(engine, "CREATE SCHEMA other", "CREATE TABLE other.things (id int, kept text, other text)")
    with LiveQuery(engine, select(plain.c.id), refresh=0.05) as live:
        assert step(live).events == []
        run(engine, "INSERT INTO other.things VALUES (1)")
        assert [event.row.id for event in step(live)] == [1]


def test_a_view(engine, shop):
    """A view counts as a table that is not marked, and can be followed with refresh=."""
    run(engine, "CREATE VIEW open AS SELECT id FROM orders")
    view = Table("open", MetaData(), Column("id", Integer))
    refused(engine, select(view), "reads open, which is not marked")
    with LiveQuery(engine, select(view), refresh=0.05) as live:
        assert len(step(live)) == 1
        run(engine, "INSERT INTO orders VALUES (2, 1, 'OPEN', 5)")
        assert len(step(live)) == 1


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        (NotifySpec(operations=("insert", "update")), r"operations=\('insert', 'update'\)"),
        (NotifySpec(when=lambda old, new: new.id > 0), "when="),
        (NotifySpec(update_of=("kept",)), r"update_of=\('kept',\)"),
    ],
    ids=["operations", "when", "update_of"],
)
def test_markings_that_leave_changes_out(engine, spec, reason):
    """A marking that leaves changes out is refused, and the error names the option that does."""
    made = table(spec)
    message = rf"things does not publish all changes.*{reason}.*Publish all changes.*{REFRESH}"
    refused(engine, select(made), message)
    made.metadata.create_all(engine)
    with LiveQuery(engine, select(made), refresh=0.05) as live:
        step(live)
        run(engine, "INSERT INTO things VALUES (1, 'a', 'b')")
        assert len(step(live)) == 1


def test_update_of_what_is_read(engine):
    """A marking with update_of= is accepted if the statement reads only its columns and the key."""
    made = table(NotifySpec(update_of=("id", "kept")))
    made.metadata.create_all(engine)
    with LiveQuery(engine, select(made.c.kept)) as live:
        step(live)
        run(engine, "INSERT INTO things VALUES (1, 'a', 'b')")
        step(live)
        run(engine, "UPDATE things SET other = 'c'", "UPDATE things SET kept = 'c'")
        assert [event.row.kept for event in step(live)] == ["c"]
    refused(engine, select(made.c.kept).where(made.c.other == "b"), "update_of=")


def test_tables_without_triggers(engine):
    """A marked table whose triggers were never installed is refused at the start; after they are
    installed, the same statement can be followed."""
    made = table(NotifySpec())
    run(engine, "CREATE TABLE things (id int PRIMARY KEY, kept text, other text)")
    with pytest.raises(TriggersMissing, match="things"):
        LiveQuery(engine, select(made)).start()
    run(engine, "DROP TABLE things")
    made.metadata.create_all(engine)
    with LiveQuery(engine, select(made)) as live:
        assert step(live).is_whole


def test_a_role_that_may_not_read_a_table(engine, stranger):
    """start() raises PostgreSQL's own error, and other queries continue."""
    shop = models(durable=False)
    shop.metadata.create_all(engine)
    engine_of_role = create_engine(engine.url.set(username=stranger))
    with LiveQuery(engine, select(shop.Customer)) as other:
        step(other)
        with pytest.raises(ProgrammingError, match="permission denied for table orders"):
            LiveQuery(engine_of_role, select(shop.Order.id)).start()
        run(engine, "INSERT INTO customers VALUES (2, 'bob')")
        assert len(step(other)) == 1
    engine_of_role.dispose()


# -- functions -------------------------------------------------------------------------------------

FUNCTIONS = {
    "random": (lambda: func.random(), r"random\(\) is volatile"),
    "now": (lambda: func.now(), "the result of now changes as time passes"),
    "current_date": (lambda: func.current_date(), "the result of current_date changes"),
    "age": (lambda: func.age(func.to_timestamp(0)), "the result of age changes"),
    "stable": (lambda: func.looks(), r"looks\(\) is not immutable, and may read tables"),
    "of a schema": (lambda: func.hidden.looks(), r"looks\(\) is not immutable"),
    "quoted": (lambda: func.Looks(), r"Looks\(\) is volatile"),
    "text": (lambda: literal_column("date_part('epoch', now())"), "the result of now changes"),
    "word": (lambda: literal_column("CURRENT_TIMESTAMP"), "the result of current_timestamp"),
}


@pytest.mark.sample(4)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_with_other_results(engine, shop, name):
    """Functions that depend on time, random numbers or tables are refused by name, and are run
    again with refresh=."""
    body = "LANGUAGE sql STABLE AS 'SELECT 1'"
    run(
        engine,
        f"CREATE FUNCTION looks() RETURNS int {body}",
        "CREATE SCHEMA hidden CREATE VIEW v AS SELECT 1",
        f"CREATE FUNCTION hidden.looks() RETURNS int {body}",
        "CREATE FUNCTION \"Looks\"() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    )
    make, message = FUNCTIONS[name]
    statement = select(shop.Order.id, make().label("x"))
    refused(engine, statement, f"{message}.*Leave it out, {REFRESH}")
    refused(engine, select(shop.Order.id).order_by(make()), message)
    with LiveQuery(engine, statement, refresh=0.05) as live:
        assert len(step(live)) == 1


def test_time_passes_with_refresh(engine, shop):
    """With refresh=, a statement that compares with now() has steps although nothing is written."""
    soon = (
        func.now() - text("interval '0.2 seconds'")
        > select(func.min(func.to_timestamp(0))).scalar_subquery()
    )
    statement = select(shop.Order.id, func.clock_timestamp().label("at")).where(soon)
    with LiveQuery(engine, statement, refresh=0.05) as live:
        first = step(live).events[0].row.at
        assert step(live).events[0].row.at > first


@pytest.mark.parametrize(
    "written",
    ["(SELECT max(id) FROM secrets)", "(TABLE secrets)"],
)
def test_text_that_may_read_tables(engine, shop, written):
    """SQL text is refused if it may read tables, because these cannot be detected."""
    message = rf"has SQL text that may read tables.*Write it with select\(\), {REFRESH}"
    refused(engine, select(shop.Order.id, literal_column(written)), message)
    refused(engine, select(shop.Order.id).where(text(f"id = {written}")), message)


# -- relationships ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        lambda shop: [joinedload(shop.Order.customer)],
        lambda shop: [selectinload(shop.Order.tags)],
        lambda shop: [subqueryload(shop.Order.tags)],
    ],
    ids=["joined", "selectin", "subquery"],
)
def test_relationships_that_an_option_loads(engine, shop, options):
    """A statement that loads related objects is refused, because they would not be compared."""
    message = "loads a relationship.*Add the other entity to select"
    refused(engine, select(shop.Order).options(*options(shop)), message)
    contained = (
        select(shop.Order).join(shop.Order.customer).options(contains_eager(shop.Order.customer))
    )
    refused(engine, contained, message)


def test_subclasses_that_a_second_select_loads(engine):
    """Subclasses whose columns the ORM loads by a second SELECT are refused, because these would
    not be compared."""

    class Base(DeclarativeBase):
        pass

    class Document(NotifyOnChange, Base):
        __tablename__ = "documents"
        id: Mapped[int] = mapped_column(primary_key=True)
        kind: Mapped[str] = mapped_column(Text)
        __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "document"}

    class Invoice(Document):
        __tablename__ = "invoices"
        id: Mapped[int] = mapped_column(ForeignKey("documents.id"), primary_key=True)
        __mapper_args__ = {"polymorphic_identity": "invoice", "polymorphic_load": "selectin"}

    with pytest.raises(NotifyConfigError, match="Invoice is loaded by a second SELECT"):
        LiveQuery(engine, select(Document))


@pytest.mark.parametrize("lazy", ["joined", "selectin", "subquery", "immediate"])
def test_relationships_that_the_mapping_loads(engine, lazy):
    """A mapping that loads a relationship is refused as well. With lazyload('*') the statement can
    be followed, and changes of the entity arrive."""

    class Base(DeclarativeBase):
        pass

    class Owner(NotifyOnChange, Base):
        __tablename__ = "owners"
        id: Mapped[int] = mapped_column(primary_key=True)

    class Thing(NotifyOnChange, Base):
        __tablename__ = "things"
        id: Mapped[int] = mapped_column(primary_key=True)
        owner_id: Mapped[int] = mapped_column(ForeignKey("owners.id"))
        owner: Mapped[Owner] = relationship(lazy=lazy)

    Base.metadata.create_all(engine)
    run(engine, "INSERT INTO owners VALUES (1), (2)", "INSERT INTO things VALUES (1, 1)")
    refused(engine, select(Thing), r"loads a relationship.*lazyload\('\*'\)")
    with LiveQuery(engine, select(Thing, Owner).join(Thing.owner).options(lazyload("*"))) as live:
        assert [event.row.Owner.id for event in step(live)] == [1]
        run(engine, "UPDATE things SET owner_id = 2")
        assert {event.row.Owner.id for event in step(live) if hasattr(event, "row")} == {2}


# -- other statements and options ------------------------------------------------------------------


def test_what_is_not_a_plain_select(engine, shop):
    """Unions, writes, SQL text and locking statements are refused with what to write instead."""
    both = union(select(shop.Order.id), select(shop.Customer.id))
    refused(engine, both, r"not CompoundSelect.*select\(\) from its subquery\(\)")
    refused(engine, insert(shop.Order), r"follows a select\(\.\.\.\), not Insert")
    refused(engine, text("SELECT 1"), "not TextClause")
    refused(
        engine, select(shop.Order).with_for_update(), r"locks rows.*Leave with_for_update\(\) out"
    )
    translated = select(shop.Order).execution_options(schema_translate_map={None: "other"})
    refused(engine, translated, r"schema_translate_map.*engine\.execution_options\(\)")
    with LiveQuery(engine, select(both.subquery())) as live:
        assert len(step(live)) == 1


@pytest.mark.parametrize("refresh", [0, -1, float("nan")])
def test_a_wrong_refresh(engine, shop, refresh):
    """refresh= must be a number of seconds above 0."""
    refused(engine, select(shop.Order), "refresh=.* is not a number of seconds", refresh=refresh)


def test_a_wrong_position(engine, shop):
    """position= must be a Position, and the error says how to parse one from a text."""
    message = r"position='1:1:' is not a Position.*Position\.parse\(text\)"
    refused(engine, select(shop.Order), message, position="1:1:")


def test_an_engine_of_the_other_kind(engine, shop):
    """The error for the wrong kind of engine names the class that takes it."""
    asyncio_engine = create_async_engine(engine.url.set(drivername="postgresql+asyncpg"))
    refused(asyncio_engine, select(shop.Order), "AsyncLiveQuery")
    with pytest.raises(NotifyConfigError, match="LiveQuery"):
        AsyncLiveQuery(engine, select(shop.Order))


def test_a_query_that_is_not_started_or_twice(engine, shop):
    """Steps need start(), which can be called only once."""
    live = LiveQuery(engine, select(shop.Order))
    with pytest.raises(PgNotifyError, match="was not started.*with statement"):
        list(live)
    with live, pytest.raises(PgNotifyError, match="was started before.*Make another one"):
        live.start()
