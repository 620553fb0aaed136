"""examples/relay_rabbitmq.py runs as its docstring says."""

from __future__ import annotations

from kinds import address
from programs import EXAMPLES, Program
from sqlalchemy.exc import ProgrammingError
from statements import rows, run
from waiting import wait_until


def test_the_program_publishes_orders(url, engine, rabbitmq):
    """An order that is inserted while the program runs arrives in a queue."""
    rabbitmq.prepare("shop")
    with Program(EXAMPLES / "relay_rabbitmq.py", address(url), rabbitmq.url):
        wait_until(lambda: "shop" in relays(engine))
        run(engine, "INSERT INTO orders VALUES (1, 'new')")
        wait_until(lambda: rabbitmq.entries("shop"))
    (entry,) = rabbitmq.entries("shop")
    assert entry.subject == "shop.orders.1"
    assert entry.body["new"] == {"id": 1, "status": "new"}


def relays(engine):
    """The names of the relays that have begun."""
    try:
        return [n for (n,) in rows(engine, "SELECT name FROM sa_pgnotify_consumers")]
    except ProgrammingError:  # the program creates the table
        return []
