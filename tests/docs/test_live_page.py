"""The live page of orders: looked at in headless Chromium, and its stream read as a browser
does."""

import json
import os
import re
import shutil
import signal
from contextlib import closing, contextmanager
from http.client import HTTPConnection

import pytest
from kinds import address
from playwright.sync_api import expect, sync_playwright
from programs import EXAMPLES, Program
from sessions import terminate_listener
from sqlalchemy import text
from statements import run

CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
SWITCHES = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
INSERT = """INSERT INTO orders (customer, total, status) VALUES ('Ada Lovelace', 36, 'shipped'), ('Grace Hopper', 12.5, 'paid'),
            ('Edsger Dijkstra', 199.99, 'cancelled'), ('Barbara Liskov', 74.2, 'packed'), ('Alan Turing', 8.75, 'new'),
            ('Katherine Johnson', 54.1, 'new')"""


@contextmanager
def served(url, port=0):
    """The program, as its docstring starts it, and the port it serves."""
    with Program(
        "-m", "uvicorn", "--app-dir", EXAMPLES / "live_orders", "app:app", "--timeout-graceful-shutdown", "1", "--port", str(port),
        merged=True, DATABASE_URL=address(url, "psycopg"),
    ) as program:  # fmt: skip
        line = program.wait_for("running on")
        yield program, int(line.partition("127.0.0.1:")[2].split()[0])


def finish(program) -> None:
    """End the program as a supervisor does."""
    program.send(signal.SIGTERM)
    code, *_ = program.end()
    assert code in (0, -signal.SIGTERM)  # uvicorn raises the signal again when it has cleaned up
    raised = [
        line
        for line in program.output.lines
        if re.search(r"^[\w.]*(Error|Exception|Group)\b|Warning|destroyed|retrieved", line)
    ]
    # uvicorn's, of streams that it has cut off
    assert all("CancelledError" in line for line in raised), raised


@pytest.fixture
def page():
    """A page of a new browser; a test fails by an error in it that nobody caught."""
    if CHROMIUM is None:
        pytest.skip("there is no Chromium: apt-get install chromium")
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=CHROMIUM, args=SWITCHES) as browser,
    ):
        page = browser.new_page(viewport={"width": 880, "height": 460})
        page.set_default_timeout(20_000)
        expect.set_options(timeout=20_000)
        errors = []
        page.on("pageerror", lambda error: errors.append(error))
        yield page
        assert errors == []


def test_page_shows_orders_as_they_change(url, engine, page):
    """What another program inserts, updates and deletes is on the page, without a reload, in its
    place and marked; text stays text."""
    with served(url) as (program, port):
        page.goto(f"http://127.0.0.1:{port}")
        rows = page.locator("tbody tr:not(.gone)")
        expect(page.locator("#state")).to_have_text("live")
        expect(page.locator("#none")).to_be_visible()
        run(engine, INSERT)
        expect(rows).to_have_count(6)
        expect(page.locator("#none")).to_be_hidden()
        expect(rows.first).to_have_text("6Katherine Johnson54.10new")
        # the marks of what is new have faded
        page.wait_for_function("!document.getAnimations().length")
        run(engine, "UPDATE orders SET status = 'paid' WHERE id = 5")
        expect(page.locator("[data-id='5'] .status")).to_have_text("paid")
        assert page.evaluate(
            "document.getAnimations().map(animation => animation.effect.target.className)"
        ) == ["status"]
        if name := os.environ.get("SA_PGNOTIFY_SCREENSHOT"):
            page.screenshot(path=name)
        run(
            engine,
            "UPDATE orders SET customer = '<b>Bold</b> & Sons' WHERE id = 4",
            "DELETE FROM orders WHERE id IN (1, 2)",
        )
        expect(page.locator("[data-id='4'] .customer")).to_have_text("<b>Bold</b> & Sons")
        expect(rows).to_have_count(4)
        expect(page.locator("#count")).to_have_text("4")
        run(engine, "UPDATE orders SET id = 7 WHERE id = 3")
        expect(rows.first).to_have_text("7Edsger Dijkstra199.99cancelled")
        expect(rows).to_have_count(4)
        run(engine, "TRUNCATE orders")
        expect(rows).to_have_count(0)
        finish(program)


def test_page_shows_what_it_missed(url, engine, page):
    """After the database's connection was lost, and after a restart of the program, the page shows
    the current state, and says when it cannot."""
    with served(url) as (program, port):
        page.goto(f"http://127.0.0.1:{port}")
        expect(page.locator("#state")).to_have_text("live")
        run(engine, INSERT)
        expect(page.locator("[data-id='1'] .status")).to_have_text("shipped")
        terminate_listener(engine)
        run(engine, "UPDATE orders SET status = 'lost' WHERE id = 1")
        expect(page.locator("[data-id='1'] .status")).to_have_text("lost")
        finish(program)
    expect(page.locator("#state")).to_have_text("connecting again")
    run(engine, "UPDATE orders SET status = 'found' WHERE id = 1")
    with served(url, port) as (program, _):
        expect(page.locator("[data-id='1'] .status")).to_have_text("found")
        expect(page.locator("#state")).to_have_text("live")
        finish(program)


def delivered(stream):
    """The server-sent events of a stream."""
    name = None
    for line in stream:
        field, _, value = line.decode().rstrip("\n").partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            yield name, json.loads(value)


def test_slow_browser_is_sent_everything_again(url, engine):
    """A browser that does not read while much changes costs no memory; when it reads on, what it
    has at the end is what is there."""
    with (
        served(url) as (program, port),
        closing(HTTPConnection("127.0.0.1", port, timeout=30)) as connection,
    ):
        run(
            engine,
            "INSERT INTO orders (customer, total, status) SELECT 'somebody', 1, 'new' FROM generate_series(1, 3)",
        )
        connection.request("GET", "/events")
        stream = delivered(connection.getresponse())
        assert [order["id"] for order in next(stream)[1]] == [1, 2, 3]
        for number in range(400):  # 40 MB: no socket's buffer holds that
            run(
                engine,
                f"UPDATE orders SET customer = repeat('x', 100000), total = {number} WHERE id = 2",
            )
        run(
            engine,
            "DELETE FROM orders WHERE id = 1",
            "UPDATE orders SET status = 'end' WHERE id = 3",
        )
        seen, again, updates = {}, 0, 0
        while seen.get(3) != "end":
            name, data = next(stream)
            updates += name == "updated"
            if name == "orders":
                again += 1
                seen = {order["id"]: order["status"] for order in data}
            elif name == "updated":
                seen[data["id"]] = data["status"]
            elif name == "deleted":
                del seen[data["id"]]
        with engine.connect() as plain:
            assert seen == dict(plain.execute(text("SELECT id, status FROM orders")).all())
        assert again
        assert updates < 400
        finish(program)
