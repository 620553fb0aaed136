"""Live queries of mapped classes: entities are loaded as the ORM loads them for the same statement,
in any schema and with any names."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from live_check import follows
from sqlalchemy import ForeignKey, Text, func, select
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import (
    Bundle,
    DeclarativeBase,
    Mapped,
    aliased,
    column_property,
    composite,
    defer,
    load_only,
    mapped_column,
    relationship,
    undefer,
    with_loader_criteria,
)
from statements import run

from sa_pgnotify import NotifyOnChange, NotifySpec


class Point:
    def __init__(self, x, y):
        self.x, self.y = x, y

    def __composite_values__(self):
        return self.x, self.y

    def __eq__(self, other):
        return isinstance(other, Point) and (other.x, other.y) == (self.x, self.y)

    def __hash__(self):
        return hash((self.x, self.y))


PLACES = {
    "plain": ("parents", "kids", "id", None, None),
    "schema": ("parents", "kids", "id", "other", None),
    "quoted": ("Par ents", "Ki%ds", 'I"d(', 'Sch ema"', None),
    "translated": ("parents", "kids", "id", None, "tenant"),
}
"""The names of two tables and of a key, their schema, and the schema that replaces it."""


@pytest.fixture(params=PLACES)
def family(engine, request):
    """Parents and kids with some rows. ``engine`` is the engine with their schema, and ``writes``
    are statements that change them."""
    parents, kids, key, schema, tenant = PLACES[request.param]
    prefix = "" if schema is None else f"{schema}."

    class Base(DeclarativeBase):
        pass

    Base.metadata.schema = schema

    class Kid(NotifyOnChange, Base):
        __tablename__ = kids
        __notify__ = NotifySpec(durable=True)
        id: Mapped[int] = mapped_column(key, primary_key=True)
        parent_id: Mapped[int | None] = mapped_column(ForeignKey(f"{prefix}{parents}.id"))
        v: Mapped[int]

    class Parent(NotifyOnChange, Base):
        __tablename__ = parents
        __notify__ = NotifySpec(durable=True)
        id: Mapped[int] = mapped_column(primary_key=True)
        x: Mapped[int]
        y: Mapped[int]
        big: Mapped[str] = mapped_column(Text, deferred=True)
        up_id: Mapped[int | None] = mapped_column(ForeignKey(f"{prefix}{parents}.id"))
        point: Mapped[Point] = composite("x", "y")
        kids: Mapped[list[Kid]] = relationship()
        up: Mapped[Parent | None] = relationship(remote_side="Parent.id")

        @hybrid_property
        def twice(self):
            return self.x * 2

    of_parent = select(func.count()).where(Kid.parent_id == Parent.id)
    Parent.count = column_property(of_parent.correlate_except(Kid).scalar_subquery())

    def quoted(*names):
        return ".".join('"' + name.replace('"', '""') + '"' for name in names if name)

    for name in filter(None, (schema, tenant)):
        run(engine, f"CREATE SCHEMA {quoted(name)}")
    live_engine = engine
    if tenant is not None:
        live_engine = engine.execution_options(schema_translate_map={None: tenant})
    Base.metadata.create_all(live_engine)
    p, k, i = quoted(schema or tenant, parents), quoted(schema or tenant, kids), quoted(key)
    run(
        engine,
        f"INSERT INTO {p} VALUES (1, 1, 1, 'b', NULL), (2, 2, 2, 'c', 1)",
        f"INSERT INTO {k} VALUES (1, 1, 10), (2, 1, 20), (3, NULL, 30)",
    )
    writes = (
        f"INSERT INTO {p} VALUES (3, 1, 5, 'd', 2)",
        f"UPDATE {p} SET x = x + 1, big = 'zz' WHERE id IN (1, 3)",
        f"INSERT INTO {k} VALUES (4, 3, 40)",
        f"UPDATE {k} SET parent_id = 2, v = v + 1 WHERE {i} = 1",
        f"UPDATE {p} SET up_id = 3 WHERE id = 1",
        f"DELETE FROM {k} WHERE {i} = 2",
        f"UPDATE {p} SET x = 7",
        f"TRUNCATE {k}",
    )
    return SimpleNamespace(engine=live_engine, Parent=Parent, Kid=Kid, writes=writes)


def with_up(P, K):
    up = aliased(P)
    return [select(P, up).join(P.up.of_type(up)), select(P.id, up.x).join(P.up.of_type(up))]


def of_a_subquery(P, K):
    return [select(aliased(K, select(K).where(K.v > n).subquery())) for n in (5, 15)]


STATEMENTS = {
    "entities": lambda P, K: [select(P), select(P, K).join(P.kids), select(P, K).outerjoin(P.kids)],
    "shared": lambda P, K: [select(P, K.v).join(P.kids).where(P.x > n) for n in (0, 1, 2)],
    "aliases of one class": with_up,
    "entities of a subquery": of_a_subquery,
    "columns that are not loaded": lambda P, K: [
        select(P).options(option).where(P.x > n)
        for option in (defer(P.x), load_only(P.x), undefer(P.big))
        for n in (0, 1)
    ],
    "criteria": lambda P, K: [
        select(K).options(with_loader_criteria(K, K.v > n)) for n in (10, 20)
    ],
    "composite": lambda P, K: [select(P.id, P.point), select(P.point).where(P.x > 1)],
    "hybrid": lambda P, K: [select(P.twice, P.id).where(P.twice > n) for n in (2, 3)],
    "column_property": lambda P, K: [select(P.id, P.count), select(P.count).where(P.count > 0)],
    "bundle": lambda P, K: [select(Bundle("b", P.id, P.x), P.y)],
    "any and has": lambda P, K: [
        *(select(P.id).where(P.kids.any(K.v > n)) for n in (10, 20)),
        select(P.id).where(P.up.has(P.x > 1)),
    ],
    "groups": lambda P, K: [select(P.id, func.count(K.id)).outerjoin(P.kids).group_by(P.id)],
    "distinct": lambda P, K: [select(P).join(P.kids).distinct()],
}


@pytest.mark.sample(8)
@pytest.mark.parametrize("name", STATEMENTS)
def test_statements_of_the_orm(family, engine, name):
    """Each way in which the ORM builds the elements of a row."""
    follows(family.engine, STATEMENTS[name](family.Parent, family.Kid), family.writes)
