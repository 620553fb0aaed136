"""The page about consumers: its pieces run, one after the other, and do what it says."""

import asyncio
import re
import threading

import pytest
from conftest import run, wait_until
from kinds import address
from programs import ROOT
from sqlalchemy import text

import sa_pgnotify
from sa_pgnotify import AsyncConsumer, Consumer

BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "consuming.md").read_text(), re.DOTALL)
MODELS, BATCHES, RUN, PLACES, FAILING, KEEPING, ASYNCIO = BLOCKS


@pytest.fixture
def page(engine, url, monkeypatch):
    """The names of the page's first piece, and the consumers that were started, in order."""
    started = []

    class Watched(Consumer):
        def start(self):
            started.append(super().start())
            return self

    class AsyncWatched(AsyncConsumer):
        async def start(self):
            started.append(await super().start())
            return self

    monkeypatch.setattr(sa_pgnotify, "Consumer", Watched)
    monkeypatch.setattr(sa_pgnotify, "AsyncConsumer", AsyncWatched)
    names = {}
    exec(MODELS.replace('"postgresql+psycopg2:///shop"', repr(address(url))), names)
    yield names, started
    names["engine"].dispose()


def billed(engine):
    with engine.connect() as connection:
        return sorted(connection.scalars(text("SELECT order_id FROM invoices")))


def during(started, target, *args):
    """A thread that runs a piece with a consumer, once that is started."""
    count = len(started)
    thread = threading.Thread(target=target, args=args)
    thread.start()
    wait_until(lambda: len(started) > count)
    return thread


def test_batches_run_and_places(page, engine, capsys):
    """The three ways of the page to consume, and to look where a consumer is, one after the other under their names."""
    names, started = page
    exec(BATCHES.partition("with Consumer")[0], names)
    for number, piece in enumerate(("with Consumer" + BATCHES.partition("with Consumer")[2], RUN), 1):
        thread = during(started, exec, piece, names)
        run(engine, "INSERT INTO orders (status) VALUES ('new')")
        wait_until(lambda number=number: billed(engine) == list(range(1, number + 1)))
        started[-1].stop()
        thread.join(20)
        assert not thread.is_alive()
    exec(PLACES, names)
    shown = capsys.readouterr().out
    assert "Lag(events=2, seconds=" in shown
    assert "\nbilling 0 20" in shown
    assert "\nreport 0 20" in shown


def test_a_change_that_fails_is_parked(page, engine):
    """The page's on_error tries a change three times and parks it, and what follows is worked off."""
    names, started = page
    exec(BATCHES.partition("with Consumer")[0] + FAILING, names)
    run(engine, "INSERT INTO invoices (order_id) VALUES (2)")  # which a second one for order 2 runs against
    consumer = names["consumer"]

    def consume():
        with consumer:
            consumer.run(names["work"])

    thread = during(started, consume)
    run(engine, "INSERT INTO orders (status) VALUES ('a'), ('b'), ('c')")
    wait_until(lambda: billed(engine) == [1, 2, 3])
    consumer.stop()
    thread.join(20)
    (parked,) = consumer.parked()
    assert (parked.relation, parked.operation, parked.failures) == ("public.orders", "I", 3)
    assert parked.error.startswith("IntegrityError: ")
    assert parked.row.startswith("2")


def test_the_log_elsewhere(page, engine):
    """The log's schema and limits are given before the first model."""
    names, _ = page
    exec(KEEPING, names)
    log = sa_pgnotify.ChangeLog(names["AuditedBase"].metadata, schema="audit", max_age=names["timedelta"](days=30), max_size=50 << 30)
    assert {table.schema for table in log.tables} == {"audit"}


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
def test_asyncio(page, engine, url, driver):
    """The asyncio piece works off changes, with both drivers that it names."""
    names, started = page
    exec(BATCHES.partition("with Consumer")[0], names)
    exec(ASYNCIO.replace('"postgresql+asyncpg:///shop"', repr(address(url, driver))), names)
    thread = during(started, asyncio.run, names["bill"]())
    run(engine, "INSERT INTO orders (status) VALUES ('new')")
    wait_until(lambda: billed(engine) == [1])
    started[-1].stop()
    thread.join(20)
    assert not thread.is_alive()
