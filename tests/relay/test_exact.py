"""A relay publishes each committed change once, whatever is killed, and whenever; and a relay that is
wrong is found out."""

from __future__ import annotations

import json

import pytest
from relays import Died, Mortal, Running
from sampling import size
from sqlalchemy import text
from statements import run
from waiting import wait_until
from wrong_relays import StoresFirstCheck, skips_by_number, stores_first

from sa_pgnotify.relay import JetStream, Relay
from sa_pgnotify.testing import ClusterCheck


def check(url, nats, stream, kind=ClusterCheck, **options):
    def read():
        found = nats.messages(stream) if nats.count(stream) else []
        return [json.dumps(message.body).encode() for message in found]

    return kind(url, nats.url, stream, read, **{"seconds": size(4.0, 3.0), "every": 0.2, **options})


def test_relays_are_killed_and_replaced(url, nats, stream):
    """Two relays under one name are killed, and wake as zombies: the stream has
    each change once, in order, in whole transactions."""
    report = check(url, nats, stream, terminate=False).run()
    report.raise_if_wrong()
    assert report.transactions > 20
    assert {"kill", "zombie"} <= set(report.disturbances), report


@pytest.mark.thorough
def test_a_wrong_relay_is_found_out(url, nats, stream):
    """The check misses changes if a relay stores its position before it publishes."""
    assert check(url, nats, stream, StoresFirstCheck, seconds=12.0).run().missing


RIGHT = ("items.1", "items.2")
ROUTES = {
    # how a relay dies, what it does wrong, what the stream has then
    "after": (False, None, RIGHT),
    "before": (True, None, RIGHT),
    "before, stored first": (True, stores_first, ("items.1",)),
    "after, skips by number": (False, skips_by_number, ("items.2", "items.2")),
}


@pytest.mark.parametrize("way", ROUTES)
def test_a_relay_dies_while_a_window_changes(engine, nats, stream, Item, way):
    """A process dies before or after it has published a transaction. Before the next one comes, a
    transaction commits whose changes are older, so that it comes first when the log is read anew. A
    relay that stores its position first, or that goes on by number, loses a change or doubles one."""
    before, wrong, expected = ROUTES[way]
    name = stream.lower()

    def relay(sink):
        made = Relay(engine, name, Item, to=sink, start="beginning")
        return wrong(made) if wrong else made

    sink = Mortal(nats.url, stream)
    sink.before = before
    with engine.connect() as late:
        late.execute(text("INSERT INTO items (id, n) VALUES (1, 1)"))
        run(engine, "INSERT INTO items (id, n) VALUES (2, 2)")
        with pytest.raises(Died):
            relay(sink).run()
        late.commit()
    last = relay(JetStream(nats.url, stream))
    with Running(last):
        wait_until(lambda: last.lag().events == 0)
    found = [message.subject.removeprefix(f"{name}.") for message in nats.messages(stream)]
    assert sorted(found) == sorted(expected)


def test_what_is_parked_is_kept_over_a_death(engine, nats, stream, Item):
    """A change whose Gap is published is parked, once, although the process dies before it stores its
    position."""
    name = stream.lower()
    run(engine, "INSERT INTO items (id, n) VALUES (1, 1)")

    def relay(kind):
        return Relay(
            engine,
            name,
            Item,
            to=kind(nats.url, stream),
            start="beginning",
            subject=lambda change: "elsewhere",
        )

    with pytest.raises(Died):
        relay(Mortal).run()
    last = relay(JetStream)
    with Running(last):
        wait_until(lambda: last.lag().events == 0)
    assert [message.subject for message in nats.messages(stream)] == [f"{name}.gap"]
    assert len(last.parked()) == 1
