"""Random statements over tables that are written to at random, and copies of their results that are
kept by steps alone."""

from __future__ import annotations

import random
from collections import Counter
from contextlib import nullcontext
from typing import Any

from capturing import capturing
from sqlalchemy import (
    Column,
    Engine,
    Integer,
    MetaData,
    Numeric,
    Select,
    Table,
    Text,
    and_,
    create_engine,
    exists,
    func,
    or_,
    select,
)
from sqlalchemy.dialects.postgresql import JSONB

from sa_pgnotify import Enter, Leave, LiveQuery, NotifySpec, Step, Update, notify_on_change
from sa_pgnotify.live.frozen import frozen_row

PATIENCE = 200
"""Twentieths of a second after which a copy that differs is wrong."""
KEYS = 30
"""Rows have keys below it, so that they meet."""


class Schema:
    """Three tables that refer to each other, one with a composite key.

    :param durable: for each table, whether it is.
    """

    def __init__(self, durable: tuple[bool, bool, bool], **options: Any) -> None:
        self.metadata = metadata = MetaData()
        self.customers = Table(
            "customers",
            metadata,
            Column("id", Integer, primary_key=True, autoincrement=False),
            Column("region", Text),
            Column("score", Numeric(8, 2)),
        )
        self.orders = Table(
            "orders",
            metadata,
            Column("id", Integer, primary_key=True, autoincrement=False),
            Column("customer", Integer),
            Column("status", Text),
            Column("doc", JSONB),
        )
        self.items = Table(
            "items",
            metadata,
            Column("kind", Text, primary_key=True),
            Column("number", Integer, primary_key=True, autoincrement=False),
            Column("order_id", Integer),
            Column("price", Integer),
        )
        self.tables = (self.customers, self.orders, self.items)
        for table, is_durable in zip(self.tables, durable):
            notify_on_change(table, NotifySpec(durable=is_durable, **options))

    def statement(self, chance: random.Random) -> Select[Any]:
        """Return a statement of one of many forms, with filters at random."""
        c, o, i = self.customers, self.orders, self.items
        forms = [
            lambda: select(o).where(self._filter(chance, o)),
            lambda: select(c.c.region, c.c.score).where(self._filter(chance, c)),
            lambda: (
                select(o.c.id, c.c.region, o.c.doc)
                .join_from(o, c, o.c.customer == c.c.id)
                .where(self._filter(chance, o), self._filter(chance, c))
            ),
            lambda: (
                select(i, o.c.status, c.c.region)
                .join_from(i, o, i.c.order_id == o.c.id)
                .join(c, o.c.customer == c.c.id)
                .where(self._filter(chance, c))
            ),
            lambda: (
                select(o.c.id, c.c.id, c.c.region)
                .join_from(o, c, o.c.customer == c.c.id, isouter=True)
                .where(self._filter(chance, o))
            ),
            lambda: (
                select(o.c.status, func.count(), func.sum(o.c.customer))
                .where(self._filter(chance, o))
                .group_by(o.c.status)
            ),
            lambda: select(func.count()).select_from(i).where(self._filter(chance, i)),
            lambda: (
                select(o).where(self._filter(chance, o)).order_by(o.c.customer, o.c.id).limit(5)
            ),
            lambda: select(c.c.region).distinct(),
            lambda: select(o.c.status).where(
                exists().where(c.c.id == o.c.customer, self._filter(chance, c))
            ),
            lambda: self._self_join(chance),
            lambda: select(o.c.id, func.row_number().over(order_by=o.c.id)).where(
                self._filter(chance, o)
            ),
        ]
        return chance.choice(forms)()

    def _self_join(self, chance: random.Random) -> Select[Any]:
        one, other = self.orders.alias(), self.orders.alias()
        return (
            select(one.c.id, other.c.id)
            .join_from(one, other, and_(one.c.customer == other.c.customer, one.c.id < other.c.id))
            .where(one.c.status == chance.choice("ab"))
        )

    def _filter(self, chance: random.Random, table: Table) -> Any:
        if table is self.customers:
            return or_(table.c.region == chance.choice("xyz"), table.c.score > chance.randint(1, 9))
        if table is self.orders:
            return table.c.status == chance.choice("abc")
        return table.c.price > chance.randint(1, 9)

    def change(self, chance: random.Random) -> str:
        """Return a statement that writes."""
        table = chance.choice(self.tables).name
        key, other = chance.randrange(KEYS), chance.randrange(KEYS)
        ref, digit = chance.randrange(KEYS), chance.randint(1, 9)
        if table == "customers":
            row, change = (
                f"({key}, '{chance.choice('xyz')}', {digit}.50)",
                f"region = '{chance.choice('xyz')}'",
            )
        elif table == "orders":
            doc = chance.choice(
                ["NULL", "'{\"n\": 1}'", "'{\"n\": true}'", "'{\"n\": 1.0}'", "'null'"]
            )
            row = f"({key}, {ref}, '{chance.choice('abc')}', {doc})"
            change = chance.choice(
                [f"status = '{chance.choice('abc')}'", f"customer = {ref}", f"doc = {doc}"]
            )
        else:
            row = f"('{chance.choice('pq')}', {key}, {ref}, {digit})"
            change = chance.choice([f"order_id = {ref}", f"price = {digit}"])
        name = "number" if table == "items" else "id"
        draw = chance.random()
        if draw < 0.35:
            return f"INSERT INTO {table} VALUES {row} ON CONFLICT DO NOTHING"
        if draw < 0.7:
            return f"UPDATE {table} SET {change} WHERE {name} BETWEEN {key} AND {key + chance.choice((0, 0, 3))}"
        if draw < 0.8:
            free = f"NOT EXISTS (SELECT FROM {table} WHERE {name} = {other})"
            return f"UPDATE {table} SET {name} = {other} WHERE {name} = {key} AND {free}"
        if draw < 0.99:
            return f"DELETE FROM {table} WHERE {name} BETWEEN {key} AND {key + chance.choice((0, 0, 2))}"
        return f"TRUNCATE {table}"

    def write(self, engine: Engine, chance: random.Random) -> None:
        """Some transactions, of which some are rolled back, wholly or to a savepoint."""
        with engine.connect() as connection:
            for _ in range(chance.randint(1, 3)):
                for _ in range(chance.randint(1, 4)):
                    point = connection.begin_nested()
                    connection.exec_driver_sql(self.change(chance))
                    point.rollback() if chance.random() < 0.15 else point.commit()
                connection.rollback() if chance.random() < 0.15 else connection.commit()


class Copy:
    """The result of a live query as its steps say it is.

    :ivar rows: by their keys, frozen.
    :ivar wrong: what did not fit.
    """

    def __init__(self) -> None:
        self.rows: dict[Any, Any] = {}
        self.steps = 0
        self.wrong: list[str] = []

    def take(self, step: Step) -> None:
        self.steps += 1
        if step.is_whole:
            self.rows = {}
        for event in step:
            held = self.rows.get(event.key)
            match event:
                case Enter(key, row):
                    self._expect(held is None, event)
                    self.rows[key] = frozen_row(row)
                case Update(key, row, old):
                    self._expect(held is not None and held == frozen_row(old), event)
                    self._expect(held != frozen_row(row), event)
                    self.rows[key] = frozen_row(row)
                case Leave(key, old):
                    self._expect(held is not None and held == frozen_row(old), event)
                    self.rows.pop(key, None)

    def _expect(self, is_right: bool, event: Any) -> None:
        if not is_right:
            self.wrong.append(repr(event))

    def differs(self, engine: Engine, statement: Select[Any]) -> str:
        """Return how the copy differs from the result now; empty if it does not."""
        with engine.connect() as connection:
            there = Counter(frozen_row(row) for row in connection.execute(statement))
        here = Counter(self.rows.values())
        return "" if here == there else f"more here {here - there}, more there {there - here}"


class Followed:
    """A live query, and the copy of its result."""

    def __init__(self, engine: Engine, statement: Select[Any]) -> None:
        self.statement = statement
        self.live = LiveQuery(engine, statement).start()
        self.copy = Copy()

    def settle(self, engine: Engine) -> str:
        """Take steps until the copy is the result, and return how it differs if it does not become
        so."""
        difference = "never looked"
        for _ in range(PATIENCE):
            for step in self.live.steps(timeout=0):
                self.copy.take(step)
            if not (difference := self.copy.differs(engine, self.statement)):
                return ""
            for step in self.live.steps(timeout=0.05):
                self.copy.take(step)
                break
        return difference


CUT = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid()"""


def follow(
    engine: Engine,
    seed: int,
    durable: tuple[bool, bool, bool],
    *,
    queries: int = 8,
    rounds: int = 12,
    cuts: float = 0.1,
    stops: bool = False,
    capture: Any = "triggers",
) -> tuple[list[str], int]:
    """Follow random queries while random transactions are committed, and compare after each round.

    :param cuts: how likely all connections are cut in a round.
    :param stops: whether to stop at the first difference.
    :param capture: of the tables' NotifySpec.
    :returns: what was wrong, and how many comparisons were made.
    """
    chance, schema = random.Random(seed), Schema(durable, capture=capture)
    schema.metadata.create_all(engine)
    with capturing(engine, schema.metadata) if capture == "wal" else nullcontext():
        return _follow(engine, chance, schema, queries, rounds, cuts, stops=stops)


def _follow(
    engine: Engine,
    chance: random.Random,
    schema: Schema,
    queries: int,
    rounds: int,
    cuts: float,
    *,
    stops: bool,
) -> tuple[list[str], int]:
    compared = 0
    for _ in range(20):
        schema.write(engine, chance)
    live_engine = create_engine(engine.url, pool_pre_ping=True)  # connections are cut
    followed = [Followed(live_engine, schema.statement(chance)) for _ in range(queries)]
    wrong = []
    try:
        for _ in range(rounds):
            schema.write(engine, chance)
            if chance.random() < cuts:
                with engine.connect() as connection:
                    connection.exec_driver_sql(CUT)
                schema.write(engine, chance)
            for one in followed:
                compared += 1
                if difference := one.settle(engine):
                    wrong.append(f"{one.statement}: {difference}")
            if stops and wrong:
                break
            if chance.random() < 0.2:
                place = chance.randrange(len(followed))
                wrong += [f"{followed[place].statement}: {e}" for e in followed[place].copy.wrong]
                followed[place].live.stop()
                followed[place] = Followed(live_engine, schema.statement(chance))
    finally:
        for one in followed:
            wrong += [f"{one.statement}: {event}" for event in one.copy.wrong]
            one.live.stop()
        live_engine.dispose()
    return wrong, compared
