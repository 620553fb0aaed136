"""What listeners, consumers and the functions of an operator send runs nothing of another role.

A reader often has more rights than the roles that may create objects in public: a superuser's
listener that ran one of their functions would give them all of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from adversary import calls, names_of, operators, set_traps, sprung, statements_sent
from consumers import consume, consumer_of
from kinds import Kind
from logs import sleepers
from receiving import take
from revisions import Revision, apply, autogenerate
from sessions import sessions_end, terminate_listener
from sqlalchemy.dialects import postgresql
from statements import run

from sa_pgnotify import (
    DropNotifyTriggers,
    Gap,
    Inserted,
    NotifySpec,
    change_context,
    check,
    consumers,
    forget,
    notify_on_change,
    prune,
)
from sa_pgnotify.diagnosis.doctor import diagnose
from sa_pgnotify.scanning import entity_rows
from sa_pgnotify.testing import CapturedChanges

NOT_QUALIFIED = {"now", "substr"}
"""These are called with exactly the types of pg_catalog's functions, which are found first."""

Step = tuple[str, Callable[[], object]]


def tables(engine: sa.Engine) -> tuple[sa.MetaData, sa.Table, sa.Table]:
    """An ephemeral table with columns that the drivers read in different ways, a partitioned one
    and a durable one, in the database."""
    metadata = sa.MetaData()

    def number() -> sa.Column[int]:
        return sa.Column("id", sa.Integer, primary_key=True)

    things = sa.Table(
        "things",
        metadata,
        number(),
        sa.Column("mood", postgresql.ENUM("good", "bad", name="mood"), server_default="good"),
        sa.Column("words", postgresql.ARRAY(sa.Text), server_default="{a}"),
        sa.Column("doc", sa.JSON, server_default="{}"),
        sa.Column("price", sa.Numeric, server_default="1.5"),
        sa.Column("table_", postgresql.REGCLASS, server_default="pg_class"),
    )
    parted = sa.Table("parted", metadata, number(), postgresql_partition_by="RANGE (id)")
    items = sa.Table("items", metadata, number())
    codes = sa.Table(  # pg_catalog has no operator for two values of the type varchar
        "codes",
        metadata,
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("area", sa.String, server_default="eu"),
    )
    notify_on_change(things, NotifySpec(values="all"))
    notify_on_change(parted, NotifySpec())
    for table in (items, codes):
        notify_on_change(table, NotifySpec(durable=True, values="all"))
    metadata.create_all(engine, checkfirst=False)
    run(
        engine,
        "DROP TABLE IF EXISTS public.done",
        "CREATE TABLE public.parted_1 PARTITION OF public.parted FOR VALUES FROM (0) TO (1000000)",
        "CREATE TABLE public.done (id int GENERATED ALWAYS AS IDENTITY, what text)",
    )
    return metadata, things, items


class Sweep:
    """Every way into the package, on one database, by the drivers in turn."""

    def __init__(self, beside: sa.Engine, kinds: list[str]) -> None:
        self.engine = sa.create_engine(beside.url, poolclass=sa.NullPool)
        self.beside = beside
        self.kinds = kinds
        self.metadata, self.things, self.items = tables(self.engine)
        self._id = 0

    def insert(self, table: str) -> int:
        self._id += 1
        run(self.beside, f"INSERT INTO public.{table} (id) VALUES ({self._id})")
        return self._id

    def steps(self, migration: Revision) -> Iterator[Step]:
        """Each with its name, to be run in this order."""
        for name in self.kinds:
            kind = Kind(name)
            yield f"Listener of an ephemeral table, {name}", lambda k=kind: self.listen(k)
            yield f"Listener of a durable table, {name}", lambda k=kind: self.follow(k)
            yield f"Consumer, {name}", lambda k=kind: self.consume(k)
            yield f"Rows for a consumer, {name}", lambda k=kind: self.scan(k)
            yield "the end", kind.close
        yield "CapturedChanges", self.capture
        yield "change_context", self.context
        yield "consumers", lambda: consumers(self.engine)
        yield "prune", lambda: prune(self.engine, self.metadata)
        yield (
            "forget a table",
            lambda: forget(self.engine, self.metadata, self.kinds[0], self.items),
        )
        yield "forget", lambda: forget(self.engine, self.metadata, self.kinds[0])
        yield "check", lambda: self.expect([], check(self.engine, self.metadata))
        yield "doctor", self.doctor
        yield "autogenerate", lambda: autogenerate(self.engine, self.metadata)
        for _ in range(2):
            yield "drop_all", lambda: self.metadata.drop_all(self.engine, checkfirst=False)
            yield "create_all", lambda: self.metadata.create_all(self.engine, checkfirst=False)
        yield "downgrade", lambda: apply(self.engine, migration.downgrade)
        yield "upgrade", lambda: apply(self.engine, migration.upgrade)
        yield "check again", lambda: self.expect([], check(self.engine, self.metadata))
        yield "the end", lambda: self.metadata.drop_all(self.engine, checkfirst=False)

    @staticmethod
    def expect(expected: object, found: object) -> None:
        assert found == expected

    def listen(self, kind: Kind) -> None:
        """Start while a transaction is open that saw no listener, read values, and reconnect."""
        writer = self.beside.connect()
        writer.exec_driver_sql(f"INSERT INTO public.things (id) VALUES ({self._id + 1})")
        self._id += 1
        with kind.listener(self.engine, self.things, heartbeat=0.5) as listener:
            writer.commit()
            writer.close()
            assert [event.reason for event in take(listener, 1)] == ["started"]
            self.insert("things")
            (event,) = take(listener, 1)
            assert event.new["words"] == ["a"]
            assert event.new["table_"] == "pg_class"
            listener.subscribe("plain", self.metadata.tables["parted"])
            self.insert("parted")
            assert isinstance(take(listener, 1)[0], Inserted)
            listener.unsubscribe("plain")
            terminate_listener(self.beside)
            assert isinstance(take(listener, 1)[0], Gap)
        sessions_end(self.beside)

    def follow(self, kind: Kind) -> None:
        """Be woken by the first change, lose one, and go on after a reconnect."""
        with kind.listener(self.engine, self.items, heartbeat=0.5) as listener:
            sleepers(self.beside)
            self.insert("items")
            assert isinstance(take(listener, 1)[0], Inserted)
            run(
                self.beside,
                "SELECT nextval('public.sa_pgnotify_log_lost_seq')",
                "NOTIFY sa_pgnotify_log, ''",
            )
            assert isinstance(take(listener, 1)[0], Gap)
            terminate_listener(self.beside)
            self.insert("items")
            while isinstance(event := take(listener, 1)[0], Gap):
                pass  # a loss is reported twice, see sa_pgnotify.log.losses
            assert isinstance(event, Inserted)
        sessions_end(self.beside)

    def consume(self, kind: Kind) -> None:
        """Start, work beside another process, park, seek, and ask for the lag."""
        options: dict[str, Any] = {"heartbeat": 0.5, "on_error": lambda *_: "park"}
        name = kind.name
        with consumer_of(kind, self.engine, name, self.items, start="now", **options) as consumer:
            self.insert("items")
            consume(consumer, 1)
            with consumer_of(kind, self.engine, name, self.items, **options):
                self.insert("items")
                for batch in consumer:
                    with batch:
                        raise LookupError
                    break
            self.insert("items")
            consume(consumer, 1)
            assert len(consumer.parked()) == 1
            consumer.seek("beginning")
            assert consumer.lag().events > 0
            consume(consumer, 1)

    def scan(self, kind: Kind) -> None:
        """Begin with rows, in pages, get changes of some of them, and get rows once more."""
        codes, name = self.metadata.tables["codes"], f"rows for {kind.name}"
        run(
            self.beside,
            "TRUNCATE public.codes",
            "INSERT INTO public.codes VALUES ('a'), ('b'), ('c')",
        )
        with consumer_of(
            kind, self.engine, name, codes, start="snapshot", batch_size=1
        ) as consumer:
            consume(consumer, 1)
            run(self.beside, "UPDATE public.codes SET area = 'us' WHERE id IN ('a', 'c')")
            consume(consumer, 3)
            consumer.backfill(
                codes,
                sa.or_(
                    codes.c.area == "eu",
                    codes.c.area.in_(["eu"]),
                    codes.c.area.between("eu", "ev"),
                    codes.c.area.like("e%"),
                    codes.c.area.is_not_distinct_from("eu"),
                ),
            )
            consume(consumer, 1)
        forget(self.engine, self.metadata, name)

    def capture(self) -> None:
        with self.engine.connect() as connection:
            connection.begin()
            with CapturedChanges(connection, self.items) as captured:
                self._id += 1
                connection.execute(self.items.insert().values(id=self._id))
                captured.expect(Inserted)

    def context(self) -> None:
        with self.engine.begin() as connection, change_context(connection, {"who": "me"}):
            self._id += 1
            connection.execute(self.items.insert().values(id=self._id))

    def doctor(self) -> None:
        said = [str(finding) for finding in diagnose(self.engine)]
        assert not [text for text in said if "could not be examined" in text], said


def migration_of(sweep: Sweep) -> Revision:
    """The revision that installs the triggers of the marked tables."""
    for table in sweep.metadata.sorted_tables:
        if "sa_pgnotify" in table.info:
            with sweep.engine.begin() as connection:
                connection.execute(DropNotifyTriggers(table))
    marked = sweep.metadata.tables
    revision = autogenerate(
        sweep.engine,
        sweep.metadata,
        include_name=lambda name, type_, _: type_ != "table" or name in marked,
    )
    apply(sweep.engine, revision.upgrade)
    return revision


@pytest.fixture(autouse=True)
def small_pages(monkeypatch):
    """A page of rows has as many as a batch."""
    monkeypatch.setattr(entity_rows, "PAGE_ROWS", 1)


@pytest.fixture
def beside(engine):
    """An engine for what the test itself does, whose sessions find nothing in public."""

    @sa.event.listens_for(engine, "connect")
    def search_pg_catalog(connection: Any, _: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET search_path = pg_catalog")
        connection.commit()

    return engine


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["psycopg2", "psycopg", "asyncpg"])
def test_nothing_of_a_reader_is_looked_up_in_public(beside, kind):
    """Whoever starts a listener, consumes, prunes or examines a database runs no function and no
    operator of a role that may create objects in public, however well their types fit."""
    with statements_sent(except_of=beside) as sent:
        sweep = Sweep(beside, [kind])
        migration = migration_of(sweep)
        for _, step in sweep.steps(migration):
            step()
    used = calls(sent)
    functions = names_of(beside, "proc", used)
    assert {"unnest", "sum", "count", "generate_series", "pg_try_advisory_lock"} <= functions
    assert {name for name in functions if "" in used[name]} <= NOT_QUALIFIED

    set_traps(beside, functions, names_of(beside, "operator", operators(sent)))
    sweep = Sweep(beside, [kind])
    for name, step in sweep.steps(migration):
        try:
            step()
        except Exception:
            assert not sprung(beside), name
            raise
        assert not sprung(beside), name


@pytest.mark.parametrize(
    "statement, trap",
    [
        ("SELECT * FROM unnest(ARRAY['a']::name[])", "unnest(name[])"),
        ("SELECT sum(n) FROM (VALUES (1::smallint)) AS v (n)", None),
        (
            "SELECT string_agg(n, ',') FROM (VALUES ('a'::varchar)) AS v (n)",
            "string_agg(character varying, text)",
        ),
        ("SELECT count(n) FROM (VALUES ('a'::text)) AS v (n)", "count(text)"),
        ("SELECT split_part('a'::name, ',', 1)", "split_part(name, text, integer)"),
        ("SELECT 1::bigint & 3", "bigint operator integer"),
        ("SELECT pg_catalog.unnest(ARRAY['a']::name[])", None),
        ("SELECT 1::bigint & 3::bigint", None),
    ],
)
def test_the_traps_spring(engine, statement, trap):
    """A statement that names a function or an operator that would be looked up in public, and only
    such a one, runs into a trap."""
    set_traps(engine, {"unnest", "sum", "string_agg", "count", "split_part"}, {"&"})
    run(engine, statement)
    assert [what for _, what, _ in sprung(engine)] == ([] if trap is None else [trap])
