"""Changes of the log arrive in a stream of JetStream: each once, whole transactions, in their order."""

from __future__ import annotations

from statements import run
from waiting import wait_until


def insert(engine, *ids):
    """A transaction for each row."""
    for number in ids:
        run(engine, f"INSERT INTO items (id, n) VALUES ({number}, {number})")


def test_changes_are_published_once(engine, nats, stream, relaying):
    """Each committed change becomes one message, in order, also over a restart of the relay."""
    relay = relaying()
    insert(engine, 1, 2)
    run(engine, "UPDATE items SET n = 7 WHERE id = 1", "DELETE FROM items WHERE id = 2")
    wait_until(lambda: nats.count(stream) == 4)
    relay.stop()
    insert(engine, 3)
    relaying()
    wait_until(lambda: nats.count(stream) == 5)
    found = nats.messages(stream)
    name = stream.lower()
    assert [(m.subject, m.body["event"]) for m in found] == [
        (f"{name}.items.1", "inserted"),
        (f"{name}.items.2", "inserted"),
        (f"{name}.items.1", "updated"),
        (f"{name}.items.2", "deleted"),
        (f"{name}.items.3", "inserted"),
    ]
    assert len({m.headers["Sa-Pgnotify-Key"] for m in found}) == 5
