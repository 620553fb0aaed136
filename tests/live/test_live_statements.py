"""Live queries of every kind of statement: the result equals that of a SELECT at first and after
each change."""

from __future__ import annotations

import enum
from decimal import Decimal

import pytest
from live_check import follows
from live_shop import Code
from sqlalchemy import (
    ARRAY,
    CHAR,
    REAL,
    BigInteger,
    Column,
    Date,
    DateTime,
    Enum,
    Float,
    Integer,
    Interval,
    LargeBinary,
    MetaData,
    Numeric,
    String,
    Table,
    TypeDecorator,
    Uuid,
    case,
    column,
    exists,
    func,
    literal,
    literal_column,
    select,
    text,
    true,
    tuple_,
    union,
    values,
)
from sqlalchemy.dialects.postgresql import INET, INT4RANGE, JSONB, aggregate_order_by
from statements import run

from sa_pgnotify import LiveQuery, NotifySpec, Update, notify_on_change


class Size(enum.Enum):
    SMALL = "s"
    BIG = "b"


# -- keys ------------------------------------------------------------------------------------------

KEYS = {
    "char": (CHAR(5), "'ab'", "'cd'"),
    "numeric": (Numeric(8, 2), "1.5", "2"),
    "double": (Float(), "1.5", "0.1"),
    "real": (REAL(), "1.5", "0.1"),
    "bigint": (BigInteger(), "9007199254740993", "-1"),
    "uuid": (Uuid(), "'00000000-0000-0000-0000-000000000001'", "gen_random_uuid()"),
    "uuid as text": (Uuid(as_uuid=False), "'00000000-0000-0000-0000-000000000001'", "gen_random_uuid()"),
    "enum": (Enum(Size, name="size"), "'SMALL'", "'BIG'"),
    "enum as text": (Enum(Size, native_enum=False), "'SMALL'", "'BIG'"),
    "of the program": (Code(), "'a'", "'b'"),
    "moment": (DateTime(timezone=True), "'2020-01-01 00:00+02'", "'2020-01-01 00:00:00.000001+02'"),
    "interval": (Interval(), "'1 day'", "'1 month'"),
    "bytes": (LargeBinary(), r"'\x00ff'", r"'\x0102'"),
    "array": (ARRAY(Integer), "'{1,2}'", "'{3}'"),
    "inet": (INET(), "'10.0.0.1'", "'10.0.0.2'"),
    "range": (INT4RANGE(), "'[1,3)'", "'[5,8)'"),
    "document": (JSONB(), "'{\"a\": 1}'", "'[1]'"),
}  # fmt: skip


@pytest.mark.sample(8)
@pytest.mark.parametrize("name", KEYS)
def test_keys_of_each_type(engine, name):
    """Rows can be looked up and leave by keys of any type that PostgreSQL can index."""
    kind, one, other = KEYS[name]
    key = Column("k", kind, primary_key=True, autoincrement=False)  # 2.0 makes a REAL a SERIAL
    table = Table("t", MetaData(), key, Column("v", Integer))
    notify_on_change(table, NotifySpec(durable=True))
    table.metadata.create_all(engine)
    run(engine, f"INSERT INTO t VALUES ({one}, 1)")
    writes = [
        f"INSERT INTO t VALUES ({other}, 2)",
        f"UPDATE t SET v = 5 WHERE k = {one}",
        f"DELETE FROM t WHERE k = {one}",
        f"UPDATE t SET k = {one}",
        "DELETE FROM t",
    ]
    follows(engine, [select(table).where(table.c.v > limit) for limit in (0, 1)], writes)


class Secret:
    """A value that says nothing about itself."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return "Secret"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)


class Hidden(TypeDecorator[Secret]):
    impl = String
    cache_ok = True

    def process_result_value(self, value, dialect):
        return Secret(value)


def test_values_that_look_the_same(engine):
    """A row whose value changes is updated even if both values have the same repr(), and a row
    whose value stays is not."""
    table = Table("t", MetaData(), Column("id", Integer, primary_key=True), Column("v", Hidden))
    notify_on_change(table, NotifySpec(durable=True))
    table.metadata.create_all(engine)
    run(engine, "INSERT INTO t VALUES (1, 'a'), (2, 'b')")
    with LiveQuery(engine, select(table), old=False) as live:
        steps = live.steps(timeout=10)
        next(steps)
        run(engine, "UPDATE t SET v = CASE id WHEN 1 THEN 'c' ELSE v END")
        assert list(next(steps)) == [Update((1,), (1, Secret("c")), None)]


def test_a_partitioned_table(engine):
    """Rows are followed from one partition to another, and into an added partition."""
    metadata = MetaData()
    key = Column("id", Integer, primary_key=True, autoincrement=False)
    columns = [key, Column("v", Integer)]
    table = Table("t", metadata, *columns, postgresql_partition_by="RANGE (id)")
    notify_on_change(table, NotifySpec(durable=True))
    table.metadata.create_all(engine)
    part = "CREATE TABLE t_{0} PARTITION OF t FOR VALUES FROM ({0}0) TO ({0}9)"
    run(engine, part.format(1), part.format(2))
    writes = [
        "INSERT INTO t VALUES (11, 1), (21, 2), (22, 3)",
        "UPDATE t SET id = 12 WHERE id = 22",
        "DELETE FROM t WHERE id = 21",
        part.format(3),
        "INSERT INTO t VALUES (31, 1), (32, 2)",
        "UPDATE t SET v = 5",
        "TRUNCATE t",
    ]
    statements = [
        select(table),
        select(table.c.id).where(table.c.v > 1),
        select(func.sum(table.c.v)),
    ]
    follows(engine, statements, writes)


# -- forms -----------------------------------------------------------------------------------------

FIRST = (
    "INSERT INTO a VALUES (1, 1, 'abc', 1.00, '{\"a\": 1}', '{1,2}', '[1,3)', '2020-01-01', NULL)",
    "INSERT INTO a VALUES (2, 2, 'd', 1.01, NULL, NULL, NULL, NULL, 1)",
    "INSERT INTO b VALUES (1, 1, 10), (2, 1, 20), (3, NULL, 30)",
)
WRITES = (
    "INSERT INTO a VALUES (3, 1, 'e', 2, '[1]', '{3}', '[4,5)', '2021-01-01', 2)",
    "UPDATE a SET x = x + 1, s = 'z', j = '{\"a\": 2}', arr = '{9}', r = '[7,9)', n = 1.5 WHERE id IN (1, 3)",
    "INSERT INTO b VALUES (4, 3, 40)",
    "UPDATE b SET a = 2, v = v + 1 WHERE id = 1",
    "UPDATE a SET parent = 3 WHERE id = 2",
    "DELETE FROM b WHERE id = 2",
    "DELETE FROM a WHERE id = 1",
    "UPDATE a SET id = 1 WHERE id = 2",
    "TRUNCATE b",
)


class Tables:
    """Two marked tables with columns of many types."""

    def __init__(self, *, durable: bool = True) -> None:
        self.metadata = metadata = MetaData()
        self.a = Table(
            "a",
            metadata,
            Column("id", Integer, primary_key=True, autoincrement=False),
            Column("x", Integer),
            Column("s", String(3)),
            Column("n", Numeric(8, 2)),
            Column("j", JSONB),
            Column("arr", ARRAY(Integer)),
            Column("r", INT4RANGE),
            Column("d", Date),
            Column("parent", Integer),
        )
        self.b = Table(
            "b",
            metadata,
            Column("id", Integer, primary_key=True, autoincrement=False),
            Column("a", Integer),
            Column("v", Integer),
        )
        for table in (self.a, self.b):
            notify_on_change(table, NotifySpec(durable=durable))


@pytest.fixture(params=[True, False], ids=["durable", "ephemeral"])
def tables(engine, request):
    """The tables, with some rows."""
    made = Tables(durable=request.param)
    made.metadata.create_all(engine)
    run(engine, *FIRST)
    return made


def cte(a, b):
    sums = select(b.c.a, func.sum(b.c.v).label("t")).group_by(b.c.a).cte("sums")
    return select(a.c.id, sums.c.t).join(sums, sums.c.a == a.c.id)


def recursive(a, b):
    base = select(a.c.id, a.c.parent).where(a.c.parent.is_(None)).cte("t", recursive=True)
    return select(base.union_all(select(a.c.id, a.c.parent).join(base, base.c.id == a.c.parent)))


def lateral(a, b):
    best = select(b.c.v).where(b.c.a == a.c.id).order_by(b.c.v.desc()).limit(1).lateral("best")
    return select(a.c.id, best.c.v).select_from(a).join(best, true())


def nested_outer(a, b):
    p = a.alias("p")
    inner = b.join(p, p.c.id == b.c.a)
    return select(a.c.id, b.c.id, p.c.id).select_from(a.outerjoin(inner, a.c.id == b.c.a))


def first_of_each(a, b):
    number = func.row_number().over(partition_by=b.c.a, order_by=b.c.v).label("number")
    ranked = select(b.c.id, b.c.v, number).subquery()
    return select(ranked).where(ranked.c.number == 1)


def month(a, b):
    grouped = func.date_trunc("month", a.c.d)
    return select(grouped, func.count()).group_by(grouped)


def named_rows(a, b):
    names = values(column("k", Integer), column("n", String), name="names")
    names = names.data([(1, "one"), (2, "two")])
    return select(a.c.id, names.c.n).join(names, names.c.k == a.c.id)


FORMS = {
    "cte": cte,
    "recursive": recursive,
    "lateral": lateral,
    "nested outer join": nested_outer,
    "first of each": first_of_each,
    "grouped by a function": month,
    "values": named_rows,
    "exists": lambda a, b: select(a).where(exists().where(b.c.a == a.c.id)),
    "in": lambda a, b: select(a.c.id).where(a.c.id.in_(select(b.c.a).where(b.c.v > 10))),
    "scalar": lambda a, b: select(a.c.id, select(func.max(b.c.v)).where(b.c.a == a.c.id).scalar_subquery()),
    "full join": lambda a, b: select(a.c.id, b.c.id).join_from(a, b, a.c.id == b.c.a, full=True),
    "cross join": lambda a, b: select(a.c.id, b.c.id).join_from(a, b, true()),
    "rollup": lambda a, b: select(b.c.a, b.c.v, func.count()).group_by(func.rollup(b.c.a, b.c.v)),
    "window": lambda a, b: select(b.c.id, func.sum(b.c.v).over(partition_by=b.c.a, order_by=b.c.id)),
    "filtered window": lambda a, b: select(b.c.id, func.count().filter(b.c.v > 10).over(order_by=b.c.id)),
    "total over a window": lambda a, b: select(b.c.a, func.sum(func.sum(b.c.v)).over()).group_by(b.c.a),
    "window as text": lambda a, b: select(b.c.id, literal_column("sum(v) OVER (ORDER BY id)")).select_from(b),
    "aggregate as text": lambda a, b: select(literal_column("sum(v)")).select_from(b),
    "grouped documents": lambda a, b: select(a.c.j, func.count()).group_by(a.c.j),
    "grouped arrays": lambda a, b: select(a.c.arr, func.count()).group_by(a.c.arr),
    "grouped by a label": lambda a, b: select((a.c.x % 2).label("odd"), func.count()).group_by("odd"),
    "grouped by a place": lambda a, b: select(a.c.x, func.count()).group_by(text("1")),
    "having": lambda a, b: select(b.c.a, func.count()).group_by(b.c.a).having(func.count() > 1),
    "document": lambda a, b: select(a.c.id, a.c.j["a"].as_integer(), a.c.j).where(a.c.j.has_key("a")),
    "ordered aggregate": lambda a, b: select(b.c.a, func.array_agg(aggregate_order_by(b.c.v, b.c.v.desc()))).group_by(b.c.a),
    "several rows of one": lambda a, b: select(a.c.id, func.unnest(a.c.arr)),
    "range": lambda a, b: select(a.c.id, a.c.r).where(a.c.r.contains(8)),
    "case": lambda a, b: select(func.sum(case((a.c.x > 1, 1), else_=0)), func.count(literal(1))),
    "columns of one name": lambda a, b: select(a.c.id, b.c.id, literal("k").label("id")).join_from(a, b, a.c.id == b.c.a),
    "union": lambda a, b: select(union(select(a.c.id), select(b.c.id)).subquery()),
    "no row": lambda a, b: select(exists().where(b.c.v > 20)),
    "tuples": lambda a, b: select(b.c.id).where(tuple_(b.c.a, b.c.v).in_([(1, 20), (2, 11)])),
    "ties": lambda a, b: select(b.c.id).order_by(b.c.v).fetch(1, with_ties=True),
    "page": lambda a, b: select(b.c.id).order_by(b.c.id).offset(1).limit(2),
}  # fmt: skip


@pytest.mark.sample(7)
@pytest.mark.parametrize("form", FORMS)
def test_forms_of_statements(engine, tables, form):
    """Every form of a select() is followed, however it is evaluated."""
    follows(engine, [FORMS[form](tables.a, tables.b)], WRITES)


SHARED = {
    "too long text": lambda a, b: [a.c.s == s for s in ("z", "abcd", "abc", None)],
    "fractions of cents": lambda a, b: [a.c.n >= Decimal(n) for n in ("1.005", "1", "1.01")],
    "fractions of integers": lambda a, b: [a.c.x > n for n in (1.5, 1, 2)],
    "nothing": lambda a, b: [func.coalesce(a.c.parent, 0) == n for n in (0, 1, 3)],
    "lists": lambda a, b: [a.c.x.in_(of) for of in ([1], [1, 2], [])],
    "large integers": lambda a, b: [a.c.x < n for n in (2, 2**40, 2**70)],
    "subquery": lambda a, b: [exists().where(b.c.a == a.c.id, b.c.v > n) for n in (5, 15, 35)],
}


@pytest.mark.sample(2)
@pytest.mark.parametrize("name", SHARED)
def test_parameters_of_queries_that_are_evaluated_together(engine, tables, name):
    """A value means the same in a statement for many queries as it does alone."""
    a, b = tables.a, tables.b
    conditions = SHARED[name](a, b)
    follows(engine, [select(a.c.id, a.c.x).where(condition) for condition in conditions], WRITES)


def test_parameters_outside_of_where(engine, tables):
    """Each query has its own limits, and its own values in SELECT, HAVING and aggregates."""
    a, b = tables.a, tables.b
    pages = [select(b).order_by(b.c.id).limit(n) for n in (1, 2)]
    sums = [select(b.c.a, func.sum(b.c.v + n)).group_by(b.c.a).having(func.count() > n) for n in (0, 1)]  # fmt: skip
    counts = [select(func.count(literal(n)), func.count().filter(a.c.x > n)) for n in (1, 2)]
    follows(engine, [*pages, *sums, *counts], WRITES)
