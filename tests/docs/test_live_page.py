"""The live page of orders: looked at in headless Chromium, and its stream read as a browser does,
through a proxy that cuts connections."""

from __future__ import annotations

import os
import random
import re
import shutil
import time
from contextlib import ExitStack

import pytest
from live_pages import Reader, create_tables, drop_role, finish, seen_by, served
from playwright.sync_api import expect, sync_playwright
from proxy import Proxy
from sqlalchemy import URL
from statements import run
from waiting import wait_until

CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
SWITCHES = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
INSERT = """INSERT INTO orders (customer_id, total, status) VALUES
            (1, 36, 'shipped'), (2, 12.5, 'open'), (3, 199.99, 'cancelled'), (2, 74.2, 'packed'), (3, 8.75, 'open')"""


@pytest.fixture
def tables(url, engine):
    """The tables of the page, with three customers and two users."""
    create_tables(url)
    yield
    drop_role(engine)


@pytest.fixture
def browser():
    """A headless browser; a test fails by an error in a page that nobody caught."""
    if CHROMIUM is None:
        pytest.skip("there is no Chromium: apt-get install chromium")
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=CHROMIUM, args=SWITCHES) as browser,
    ):
        expect.set_options(timeout=20_000)
        yield browser


@pytest.fixture
def open_page(browser):
    """What opens the page of a user."""
    errors = []

    def opened(port: int, user: int):
        page = browser.new_page(viewport={"width": 880, "height": 400})
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: errors.append(error))
        page.goto(f"http://127.0.0.1:{port}/?user={user}")
        return page

    yield opened
    assert errors == []


def shown(page) -> dict[int, tuple[str, ...]]:
    """The rows of a page, as seen_by() gives them."""
    cells = page.evaluate(
        "Array.from(document.querySelectorAll('tbody tr:not(.gone)'), row => Array.from(row.cells, cell => cell.textContent))"
    )
    return {int(number): tuple(rest) for number, *rest in cells}


def test_page_shows_what_each_user_may_see(url, engine, tables, open_page):
    """What another program inserts, updates and deletes is on the page without a reload, also by way
    of the joined table; text stays text; each user sees other rows, and none that is not theirs any
    more."""
    with served(url) as (program, port):
        one, other = open_page(port, 1), open_page(port, 2)
        expect(one.locator("#state")).to_have_text("live")
        expect(one.locator("#none")).to_be_visible()
        run(engine, INSERT)
        expect(one.locator("tbody tr")).to_have_count(3)
        expect(other.locator("tbody tr")).to_have_count(4)
        expect(one.locator("#none")).to_be_hidden()
        assert shown(one) == seen_by(engine, 1)
        assert shown(other) == seen_by(engine, 2)
        one.wait_for_function(
            "!document.getAnimations().length"
        )  # the marks of what is new have faded
        run(engine, "UPDATE orders SET status = 'open' WHERE id = 1")
        expect(one.locator("[data-id='1'] .status")).to_have_text("open")
        assert one.evaluate("document.getAnimations().map(a => a.effect.target.className)") == [
            "status"
        ]
        if name := os.environ.get("SA_PGNOTIFY_SCREENSHOT"):
            one.screenshot(path=name)
        run(engine, "UPDATE customers SET name = '<b>Bold</b> & Sons' WHERE id = 1")
        expect(one.locator("[data-id='1'] .customer")).to_have_text("<b>Bold</b> & Sons")
        run(engine, "UPDATE orders SET status = 'paid' WHERE id = 2")
        expect(one.locator("#count")).to_have_text("2")
        run(engine, "DELETE FROM memberships WHERE user_id = 1 AND customer_id = 1")
        expect(one.locator("#count")).to_have_text("1")
        run(engine, "TRUNCATE orders")
        expect(other.locator("#count")).to_have_text("0")
        finish(program)


def test_page_shows_what_it_missed(url, engine, tables, proxy, open_page):
    """A reload, a lost connection to the browser or to the database, and a restart of the program
    miss nothing, and the page says when it cannot be right."""
    with (
        served(proxy.url) as (program, port),
        Proxy(URL.create("http", host="127.0.0.1", port=port)) as web,
    ):
        page = open_page(web.url.port, 2)
        run(engine, INSERT)
        expect(page.locator("#count")).to_have_text("4")
        web.refuse()
        web.cut()
        expect(page.locator("#state")).to_have_text("connecting again")
        run(engine, "DELETE FROM orders WHERE id = 3", "UPDATE orders SET total = 1 WHERE id = 4")
        web.accept()
        expect(page.locator("#state")).to_have_text("live")
        expect(page.locator("#count")).to_have_text("3")
        assert shown(page) == seen_by(engine, 2)
        proxy.cut()
        run(engine, "UPDATE orders SET total = 2 WHERE id = 4")
        expect(page.locator("[data-id='4'] .total")).to_have_text("2.00")
        page.reload()
        expect(page.locator("#count")).to_have_text("3")
        finish(program)
        expect(page.locator("#state")).to_have_text("connecting again")
        run(engine, "UPDATE orders SET total = 3 WHERE id = 4")
        with served(url, port=port) as (again, _):
            expect(page.locator("[data-id='4'] .total")).to_have_text("3.00")
            finish(again)


@pytest.mark.thorough
def test_many_browsers_of_two_processes(url, engine, tables, open_page):
    """With two worker processes, writers, and connections that are cut, every page is at the end
    what a SELECT of its user gives, and no byte of another user's row was sent to anybody."""
    chance = random.Random(1)
    run(engine, "UPDATE customers SET name = 'customer ' || id", INSERT)
    with ExitStack() as stack:
        program, port = stack.enter_context(served(url, "--workers", "2"))
        web = stack.enter_context(Proxy(URL.create("http", host="127.0.0.1", port=port)))
        readers = [stack.enter_context(Reader(web.url.port, user)) for user in (1, 2) * 6]
        pages = {user: open_page(web.url.port, user) for user in (1, 2)}
        wait_until(lambda: all(reader.wholes for reader in readers))
        for number in range(120):
            customer, order = chance.randint(1, 3), chance.randint(1, number + 5)
            run(
                engine,
                chance.choice(
                    [
                        f"INSERT INTO orders (customer_id, total, status) VALUES ({customer}, {number}, 'open')",
                        f"UPDATE orders SET total = total + 1 WHERE id = {order}",
                        f"UPDATE orders SET status = '{chance.choice(['open', 'paid'])}' WHERE id = {order}",
                        f"DELETE FROM orders WHERE id = {order}",
                    ]
                ),
            )
            if number % 20 == 10:
                web.cut()
            if number % 7 == 0:
                chance.choice(readers).cut()
        for reader in readers:
            wait_until(lambda reader=reader: reader.orders == seen_by(engine, reader.user))
        for user, page in pages.items():
            wait_until(lambda user=user, page=page: shown(page) == seen_by(engine, user))
        assert sum(reader.resumed for reader in readers) > 0
        for reader in readers:
            assert f"customer {3 if reader.user == 1 else 1}".encode() not in reader.received
            assert reader.failures == 0
        began = time.monotonic()
        lines = finish(program)
        assert time.monotonic() - began < 5
        assert not [line for line in lines if re.search(r"Traceback|Error|Exception", line)]
