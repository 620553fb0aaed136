"""Queries that share the analysis of another statement of their shape, as those of a Hub do: what one
of them is or does wrong stays with it."""

from __future__ import annotations

import pytest
from sqlalchemy import (
    Column,
    Integer,
    MetaData,
    String,
    Table,
    TypeDecorator,
    create_engine,
    select,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from statements import run

from sa_pgnotify import LiveQuery, NotifyConfigError, NotifySpec, notify_on_change
from sa_pgnotify.live.feed import feed_of
from sa_pgnotify.live.interface import new_query
from sa_pgnotify.live.statement import LiveStatement
from sa_pgnotify.web import Hub


class Unreadable(TypeDecorator[str]):
    impl = String
    cache_ok = True

    def process_result_value(self, value, dialect):
        raise ValueError("it cannot be read")


@pytest.fixture
def table(engine):
    """A marked table with one row."""
    metadata = MetaData()
    table = Table("t", metadata, Column("id", Integer, primary_key=True), Column("v", Unreadable))
    notify_on_change(table, NotifySpec(durable=True))
    metadata.create_all(engine)
    run(engine, "INSERT INTO t VALUES (1, 'a')")
    return table


def test_a_query_that_fails_at_its_start(engine, table):
    """A query that cannot be evaluated raises the error once, also if it shares the analysis of one
    that is gone. (A feed tries it alone after it has failed together with others.)"""

    def statement(least):
        return select(table).where(table.c.id >= least)

    feed = feed_of(engine)
    shared = LiveStatement(statement(0))
    for least in (0, 1):
        options = {"old": False, "rows": False, "refresh": None}
        query = new_query("Hub", statement(least), lambda: None, live=shared, **options)
        with pytest.raises(ValueError, match="cannot be read"):
            feed.add(query)


def test_options_of_the_execution(url, table):
    """A statement that names another schema is refused, even if one of its shape is followed."""
    hub = Hub(create_async_engine(url.set(drivername="postgresql+psycopg")))
    known = hub._page(select(table.c.id).where(table.c.id >= 1), None)
    other = select(table.c.id).where(table.c.id >= 2)
    with pytest.raises(NotifyConfigError, match="schema_translate_map"):
        hub._page(other.execution_options(schema_translate_map={None: "tenant"}), None)
    assert hub._page(other, None).live is known.live


def test_the_only_query_fails(engine, table, caplog):
    """If the only query of a feed fails while it is followed, the feed is ready for another one."""
    live_engine = create_engine(engine.url)
    quotients = select(table.c.id, 10 / (table.c.id - 5))
    with LiveQuery(live_engine, quotients) as live:
        steps = live.steps(timeout=10)
        next(steps)
        run(engine, "INSERT INTO t VALUES (5, 'b')")
        with pytest.raises(DBAPIError, match="division by zero"):
            next(steps)
        with LiveQuery(live_engine, select(table.c.id)) as other:
            rows = other.steps(timeout=10)
            next(rows)
            run(engine, "INSERT INTO t VALUES (6, 'c')")
            assert [event.key for event in next(rows)] == [(6,)]
    assert "they end" not in caplog.text
    live_engine.dispose()
