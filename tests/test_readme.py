"""What the README shows is what happens: its examples run, and its output is compared."""

import re
import threading
from pathlib import Path

import pytest
from conftest import run, terminate_listener, wait_until
from kinds import address
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

import sa_pgnotify
from sa_pgnotify import AsyncListener, Consumer, Listener, NotifySpec

README = (Path(__file__).parent.parent / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
MIGRATIONS = README.partition("## With Alembic")[2].partition("\n## ")[0]  # test_examples_migrations.py runs it
DURABLE = README.partition("## Nothing forgotten")[2].partition("\n## ")[0]
PYTHON = [code for language, code in BLOCKS if language == "python" and code not in MIGRATIONS and code not in DURABLE]
SQL = [code for language, code in BLOCKS if language == "sql"]
OUTPUT = [code for language, code in BLOCKS if language == "text"]


def statements(sql: str) -> list[str]:
    """The statements of a block, comments taken out."""
    return [s.strip() for s in re.sub(r"--.*", "", sql).split(";") if s.strip()]


class Shown:
    """Collects what an example prints, and can be waited for."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.more = threading.Condition()

    def print(self, *words: object) -> None:
        with self.more:
            self.lines.append(" ".join(map(str, words)))
            self.more.notify_all()

    def wait_for(self, count: int) -> list[str]:
        with self.more:
            assert self.more.wait_for(lambda: len(self.lines) >= count, timeout=20), self.lines
            return self.lines


@pytest.fixture
def shop(url, engine, monkeypatch):
    """The first example, running in a thread: its names, what it prints, and how to end it."""
    started = threading.Event()
    listeners = []

    class Watched(Listener):
        def start(self):
            result = super().start()
            listeners.append(self)
            started.set()
            return result

    monkeypatch.setattr(sa_pgnotify, "Listener", Watched)
    code = PYTHON[0].replace('create_engine("postgresql+psycopg2:///shop")', "given_engine")
    shown = Shown()
    names = {"print": shown.print, "given_engine": engine}
    thread = threading.Thread(target=exec, args=(code, names))
    thread.start()
    assert started.wait(20)
    yield names, shown
    for listener in listeners:
        listener.stop()
    thread.join()


def test_first_example_prints_what_the_readme_says(shop, engine):
    """The example at the top, given the SQL below it, prints the output below that."""
    _, shown = shop
    for statement in statements(SQL[0]):
        run(engine, statement)
    expected = OUTPUT[0].strip().splitlines()
    assert shown.wait_for(len(expected)) == expected


def test_other_examples_run(shop, engine):
    """The examples of marking and of handlers run after the first one, and do what their comments say."""
    names, _ = shop
    names["listener"].stop()
    shown = Shown()
    names["print"] = shown.print
    exec(PYTHON[1], names)
    names["Base"].metadata.create_all(engine)
    with Listener(engine, names["Product"]) as listener:
        run(
            engine,
            "INSERT INTO products (name, stock) VALUES ('much', 50)",
            "INSERT INTO products (name, stock) VALUES ('little', 5)",
            "UPDATE products SET name = 'few' WHERE stock = 5",
            "UPDATE products SET stock = 4 WHERE stock = 5",
        )
        events = [listener.get(10), listener.get(10)]
    assert [type(e).__name__ for e in events] == ["Inserted", "Updated"]
    assert dict(events[1].new) == {"id": 2, "name": "few", "stock": 4}

    exec(PYTHON[2].split("with listener:")[0], names)
    thread = threading.Thread(target=lambda: exec("with listener:\n    listener.run()", names))
    with Session(engine) as session:
        session.add(names["Order"](status="new"))
        session.commit()
        thread.start()
        while not names["listener"].stats.connected:
            threading.Event().wait(0.01)  # nothing to wait for: the example starts the listener itself
        session.execute(text("UPDATE orders SET status = 'paid'"))
        session.execute(text("NOTIFY my_channel, 'bye'"))
        session.commit()
    thread.join(20)
    assert shown.lines == ["(1,) frozenset({'status'})", "bye"]


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
def test_the_async_example_runs(shop, engine, url, monkeypatch, driver):
    """The asyncio example prints the events of the first example's class, with both of the drivers that it names."""
    names, _ = shop
    names["listener"].stop()
    listeners, started, shown = [], threading.Event(), Shown()

    class Watched(AsyncListener):
        async def start(self):
            await super().start()
            listeners.append(self)
            started.set()
            return self

    monkeypatch.setattr(sa_pgnotify, "AsyncListener", Watched)
    code = PYTHON[3].replace('"postgresql+asyncpg:///shop"', repr(address(url, driver)))
    thread = threading.Thread(target=exec, args=(code, names | {"print": shown.print}))
    thread.start()
    assert started.wait(20)
    try:
        run(engine, "INSERT INTO orders (status) VALUES ('new')")
        assert shown.wait_for(1) == ["Inserted(Order, (1,), new={'id': 1})"]
    finally:
        listeners[0].stop()
        thread.join(20)
    assert not thread.is_alive()


def test_the_durable_example_makes_one_invoice_for_each_order(url, engine, monkeypatch):
    """The consumer of the README works off each order once, those of before its second start and across a killed backend too."""
    marking, consuming = re.findall(r"```python\n(.*?)```", DURABLE, re.DOTALL)
    consumers = []

    class Watched(Consumer):
        def start(self):
            consumers.append(super().start())
            return self

    monkeypatch.setattr(sa_pgnotify, "Consumer", Watched)
    names = {"NotifySpec": NotifySpec}
    exec(PYTHON[0].partition("class Order")[0], names)
    names["engine"] = engine
    exec(marking, names)

    def billed():
        with engine.connect() as connection:
            return sorted(connection.scalars(text("SELECT order_id FROM invoices")))

    expected = []
    for times in (1, 2):
        thread = threading.Thread(target=exec, args=(consuming, names))
        thread.start()
        wait_until(lambda: len(consumers) == times)
        for disturbed in (False, True):
            run(engine, "INSERT INTO orders (status) VALUES ('new'), ('new')", "UPDATE orders SET status = 'paid'")
            expected = [*expected, len(expected) + 1, len(expected) + 2]
            if disturbed:
                terminate_listener(engine)
            wait_until(lambda: billed() == expected)
        consumers[-1].stop()
        thread.join(20)
        assert not thread.is_alive()
        run(engine, "INSERT INTO orders (status) VALUES ('while nobody consumes')")
        expected.append(len(expected) + 1)


def test_demo_tells_everything(url, monkeypatch):
    """The demo shows every kind of event, values and changed names included, and a cut connection as a Gap."""
    import importlib.util
    import io

    from rich.console import Console

    path = Path(__file__).parent.parent / "examples" / "demo.py"
    spec = importlib.util.spec_from_file_location("demo", path)
    demo = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(demo)
    screen = io.StringIO()
    demo.tour(address(url), Console(file=screen, width=200))
    shown = screen.getvalue()
    for expected in (
        "Inserted Order (1,)  new={'id': 1, 'status': 'new', 'total': 40}",
        "Updated  Order (2,)  changed status: 'new' -> 'paid'",
        "Deleted  Order (1,)  old={'id': 1, 'status': 'new', 'total': 41}",
        "Truncated Order",
        "Gap  reconnected",
        "Inserted Order (3,)  new={'id': 3, 'status': 'after the cut', 'total': 7}",
    ):
        assert expected in shown, shown
    assert shown.count("event:") == 12


def test_create_engine_is_what_the_readme_imports():
    """The README's first example keeps the line that this file replaces."""
    assert 'create_engine("postgresql+psycopg2:///shop")' in PYTHON[0]
    assert create_engine("postgresql+psycopg2:///shop").dialect.driver == "psycopg2"
