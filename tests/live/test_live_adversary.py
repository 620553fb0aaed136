"""Attacks on the live queries of others by a role that may only write rows, send notifications or
create objects in public: it can cause statements to be run again, and nothing else."""

from __future__ import annotations

import pytest
from adversary import set_traps, sprung
from forgery import message
from live_check import Followed
from live_shop import step
from sqlalchemy import (
    Column,
    Enum,
    Integer,
    MetaData,
    Table,
    Text,
    create_engine,
    func,
    select,
    text,
)
from statements import run

from sa_pgnotify import LiveQuery, NotifySpec, notify_on_change


class Things:
    """Marked tables: one with an integer key, one with a text key, and one with labels."""

    def __init__(self, engine, *, durable: bool) -> None:
        self.metadata = MetaData()
        self.orders = Table(
            "orders", self.metadata, Column("id", Integer, primary_key=True), Column("status", Text)
        )
        self.names = Table("names", self.metadata, Column("name", Text, primary_key=True))
        label = Enum("red", "green", native_enum=False, create_constraint=False, length=20)
        self.labels = Table(
            "labels", self.metadata, Column("id", Integer, primary_key=True), Column("label", label)
        )
        for table in (self.orders, self.names, self.labels):
            notify_on_change(table, NotifySpec(durable=durable))
        self.metadata.create_all(engine)
        run(engine, "INSERT INTO orders VALUES (1, 'a')", "INSERT INTO names VALUES ('x')")


@pytest.fixture(params=[True, False], ids=["durable", "ephemeral"])
def things(engine, request):
    return Things(engine, durable=request.param)


def forged(table: str, key: str) -> str:
    """Return a message that the row with a given key has changed."""
    column = {"orders": "id", "names": "name"}[table]
    shape = {"columns": [column], "carried": 1, "key": 1}
    return message(key, shape).replace("public.orders", f"public.{table}")


KEYS = [
    ("orders", "99999999999999999999"),
    ("orders", "-1"),
    ("orders", "1.5"),
    ("orders", "NaN"),
    ("orders", "x' OR true --"),
    ("orders", "\\N"),
    ("orders", ""),
    ("names", "'; DROP TABLE names; --"),
    ("names", '{"a", NULL}'),
    ("names", "\ufffe%s%(x)s:y"),
    ("names", "n" * 3000),
]


@pytest.mark.sample(2)
@pytest.mark.parametrize("driver", ["psycopg2", "psycopg"])
def test_forged_notifications(engine, stranger, things, driver):
    """Notifications of rows that do not or cannot exist end no query, and results stay right."""
    live_engine = create_engine(engine.url.set(drivername=f"postgresql+{driver}"))
    role = create_engine(engine.url.set(username=stranger))
    statements = [
        *(select(things.orders).where(things.orders.c.id > n) for n in (0, 1)),
        select(things.names),
    ]
    lives = [
        Followed(LiveQuery(live_engine, statement).start(), statement) for statement in statements
    ]
    for one in lives:
        one.settle(engine)
    for number, (table, key) in enumerate(KEYS, 100):
        with role.begin() as connection:
            notify = text("SELECT pg_notify(:channel, :payload)")
            payload = forged(table, key)
            connection.execute(notify, {"channel": f"public.{table}", "payload": payload})
        run(
            engine,
            f"INSERT INTO orders VALUES ({number}, 'b')",
            f"INSERT INTO names VALUES ('{number}')",
        )
        for one in lives:
            one.settle(engine)
    for one in lives:
        one.live.stop()
    live_engine.dispose()
    role.dispose()


@pytest.mark.parametrize("driver", ["psycopg2", "psycopg"])
def test_a_key_that_cannot_be_looked_up(engine, things, driver, monkeypatch):
    """If the database or the driver refuses to look an identity up, the whole statement is run."""
    live_engine = create_engine(engine.url.set(drivername=f"postgresql+{driver}"))
    for table, bad in ((things.orders, 2**80), (things.names, "nul \0"), (things.names, "\ud800")):
        pair = [select(table).where(table.primary_key.columns[0].is_not(None)), select(table)]
        lives = [
            Followed(LiveQuery(live_engine, statement).start(), statement) for statement in pair
        ]
        for one in lives:
            one.settle(engine)
        evaluator = lives[0].live._feed._evaluator
        with lives[0].live._feed._lock:
            evaluator._changes._rows.setdefault(table, set()).add((bad,))
        run(
            engine,
            "INSERT INTO orders SELECT max(id) + 1, 'b' FROM orders",
            "INSERT INTO names VALUES (gen_random_uuid())",
        )
        for one in lives:
            one.settle(engine)
            one.live.stop()
    live_engine.dispose()


def test_a_value_that_the_program_cannot_read(engine, things):
    """A row that a type of the program cannot read ends the queries that return it, with that
    error, and no other query."""
    labels = things.labels
    with (
        LiveQuery(engine, select(labels).where(labels.c.id < 10)) as one,
        LiveQuery(engine, select(labels).where(labels.c.id > 10)) as other,
        LiveQuery(engine, select(things.names)) as third,
    ):
        step(one), step(other), step(third)
        run(engine, "INSERT INTO labels VALUES (1, 'blue')")
        with pytest.raises(LookupError, match="blue"):
            step(one)
        run(engine, "INSERT INTO labels VALUES (11, 'red')", "INSERT INTO names VALUES ('z')")
        assert [event.row.label for event in step(other)] == ["red"]
        assert len(step(third)) == 1


def test_objects_in_public_are_not_called(engine, things):
    """Live queries do not call functions, operators or types in public that have the names of those
    that they use themselves."""
    names = {"pg_current_snapshot", "unnest", "array_position", "pg_function_is_visible"}
    set_traps(engine, names, {"=", "<>"})
    live_engine = create_engine(engine.url)
    statements = [
        select(things.names),
        *(select(things.orders).where(things.orders.c.id > n) for n in (0, 1)),
    ]
    lives = [LiveQuery(live_engine, statement).start() for statement in statements]
    for live in lives:
        step(live)
    run(engine, "INSERT INTO orders VALUES (2, 'b')", "INSERT INTO names VALUES ('z')")
    for live in lives:
        assert len(step(live)) == 1
        live.stop()
    ours = [found for found in sprung(engine) if "sa_pgnotify" in found[-1]]
    assert ours == []
    live_engine.dispose()


def test_memory_is_bounded_by_what_is_held(engine, things, monkeypatch):
    """Changed rows beyond a limit are not remembered one by one, and steps that are not taken are
    merged, so that a row that has entered and left needs no memory."""
    monkeypatch.setattr("sa_pgnotify.live.changes.MOST_ROWS", 100)
    with (
        LiveQuery(engine, select(things.orders)) as live,
        LiveQuery(engine, select(func.count(things.orders.c.id))) as beside,
    ):
        step(live), step(beside)
        for start in range(1000, 3000, 500):
            run(
                engine,
                f"INSERT INTO orders SELECT n, 'b' FROM generate_series({start}, {start + 499}) AS n",
            )
            step(beside)
            run(engine, "DELETE FROM orders WHERE id >= 1000")
            step(beside)
        run(engine, "INSERT INTO orders VALUES (7, 'last')")
        step(beside)
        assert [event.row.id for event in step(live)] == [7]
        assert len(live._query.held.rows) == 2
        (group,) = [g for g in live._feed._evaluator._groups.values() if live._query in list(g)]
        assert len(group._index._only) == 2
