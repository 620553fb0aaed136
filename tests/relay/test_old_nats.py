"""On a NATS server below 2.12, a relay publishes at least once, and says so."""

from __future__ import annotations

import logging
import time

import pytest
from brokers import nats_server, old_nats
from relays import Died, Mortal, Running
from statements import run
from waiting import wait_until

from sa_pgnotify.relay import Guarantee, JetStream, Relay

OLD = old_nats()
pytestmark = pytest.mark.skipif(OLD is None, reason="there is no NATS server below 2.12")


@pytest.fixture(scope="module")
def old():
    with nats_server(OLD) as server:
        yield server


@pytest.mark.parametrize(("window", "times"), [(120, 1), (0.1, 2)])
def test_a_change_comes_again_after_the_window(engine, old, stream, Item, caplog, window, times):
    """A change that is published again within the stream's duplicate_window is stored once; after it,
    twice, with the same key. The log says that no more is promised."""
    name = stream.lower()
    old.create(stream, allow_atomic=False, duplicate_window=int(window * 1e9), max_age=0)
    run(engine, "INSERT INTO items (id, n) SELECT i, i FROM generate_series(1, 1500) AS i")
    with pytest.raises(Died):
        Relay(engine, name, Item, to=Mortal(old.url, stream), start="beginning").run()
    time.sleep(0.2 if times == 2 else 0)  # the window has no event for its end
    with (
        caplog.at_level(logging.WARNING),
        Running(Relay(engine, name, Item, to=JetStream(old.url, stream))) as relay,
    ):
        wait_until(lambda: relay.relay.lag().events == 0)
        assert relay.relay.guarantee is Guarantee.AT_LEAST_ONCE
    assert "at least once" in caplog.text
    found = old.messages(stream)
    keys = [message.headers["Sa-Pgnotify-Key"] for message in found]
    assert len(set(keys)) == 1500
    assert {message.body["identity"][0] for message in found} == {*range(1, 1501)}
    assert (len(keys) == 1500) == (times == 1)
