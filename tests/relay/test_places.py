"""Where a relay stands is stored in the broker, where others may write: what they make up, and what
does not fit, is found out."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import NullPool, create_engine
from statements import run
from waiting import wait_until

from sa_pgnotify import NotifyConfigError, UnreadableData
from sa_pgnotify.log.scans import Scan
from sa_pgnotify.log.snapshots import Position
from sa_pgnotify.relay import JetStream, Limits
from sa_pgnotify.relay.place import Known, Place, Sealed
from sa_pgnotify.relay.stream_config import check_stream

RELAY, PLACE = "Sa-Pgnotify-Relay", "Sa-Pgnotify-Place"


def place_of(count, after=("7",)):
    tables = tuple((f"tenant_{n:04d}.customer_order_line_items", None) for n in range(count))
    scans = tuple(
        Scan(name, True, after=after, rows=n, done=True) for n, (name, _) in enumerate(tables)
    )
    at = Position("100:200:150,160", "300:300:", 12, 13, 1, tables, (), scans)
    return Place("JetStream stream SHOP", "1:2:3", 7, True, (1, 2, 3), at)


@pytest.mark.parametrize(("count", "after"), [(1000, ("7",)), (1, ("k" + "1" * 150_000, "ü"))])
def test_a_place_is_short(count, after):
    """A place of many tables, or within a snapshot whose last key is long, fits into the headers of a
    message, and is read as it was written."""
    known = Known(place_of(count, after))
    text = str(known.sealed())
    assert text.isascii() and text.isprintable() and len(text) < 49_152 // 2
    sealed = Sealed.parse(text)
    assert known.has_made(sealed) and sealed.place == known.place
    assert Known.parse(str(known)) == known


def test_a_forged_place_is_known():
    """Without the relay's secret, nobody can make a place, nor change one; and nothing that stands in
    its place is more than an error."""
    known = Known(place_of(1))
    sealed = known.sealed()
    assert not Known(place_of(1)).has_made(sealed)
    forged = Sealed(sealed.text.replace(", 7,", ", 8,"), sealed.seal)
    assert forged.text != sealed.text and not known.has_made(forged)
    for text in ("", "é", "[" * 100_000, '[2, "", "", 1, true, null, "???"] x', "[1] \ud800"):
        assert not known.has_made(Sealed.parse(text))
        with pytest.raises(UnreadableData):
            _ = Sealed.parse(text).place


def test_what_others_publish_below_the_name_ends_the_relay(engine, nats, stream, relaying):
    """A message that another one has published below the relay's name, with a made-up place or
    without, is named with its number, and when it is removed, the relay goes on and misses nothing."""
    name = stream.lower()
    key = f"{name}-1"

    def forged():
        last = nats.messages(stream)[-1].headers[PLACE]
        return {
            RELAY: name,
            PLACE: re.sub(r", (\d+), true", lambda m: f", {int(m[1]) + 1}, true", last),
        }

    for row, made in enumerate(
        [dict, lambda: {"Nats-Msg-Id": key, "Sa-Pgnotify-Key": key}, forged]
    ):
        relay = relaying()
        run(engine, f"INSERT INTO items (id, n) VALUES ({row}, 1)")
        wait_until(lambda: nats.count(stream) == 2 * row + 1 and relay.relay.lag().events == 0)  # noqa: B023
        number = nats.messages(stream)[-1].seq + 1
        nats.publish(f"{name}.x", b"{}", **made())
        run(engine, f"UPDATE items SET n = 2 WHERE id = {row}")
        error = relay.join()
        assert isinstance(error, NotifyConfigError), error
        assert f"message {number} of JetStream stream {stream}" in error.problem
        assert f"nats stream rmm {stream} {number}" in error.fix
        nats.api(f"STREAM.MSG.DELETE.{stream}", seq=number)
        again = relaying()
        wait_until(lambda: again.relay.lag().events == 0)  # noqa: B023
        again.stop()
    assert [m.body["event"] for m in nats.messages(stream)] == ["inserted", "updated"] * 3


def test_a_relay_with_too_many_tables_is_refused(nats, stream, relaying):
    """A place that the sink would not take is found at the start, and not again and again later."""

    class Narrow(JetStream):
        def connect(self, relay):
            super().connect(relay)
            self.limits = Limits(1000, 10_000, 100)

    error = relaying(to=Narrow(nats.url, stream)).join()
    assert isinstance(error, NotifyConfigError) and "several relays" in error.fix


def test_a_copy_on_the_same_server_is_refused(engine, url, admin, nats, stream, relaying):
    """A database that was created with another one as its TEMPLATE has all that the relay has stored;
    its relay does not go on under the same name, and that of the original does."""
    relay = relaying()
    run(engine, "INSERT INTO items (id, n) VALUES (1, 1)")
    wait_until(lambda: nats.count(stream) == 1 and relay.relay.lag().events == 0)
    relay.stop()
    engine.dispose()
    copy = f"{url.database}_copy"
    run(admin, f"CREATE DATABASE {copy} TEMPLATE {url.database}")
    second = create_engine(url.set(database=copy), poolclass=NullPool)
    try:
        error = relaying(engine=second).join()
        assert isinstance(error, NotifyConfigError) and f"a copy of {url.database!r}" in str(error)
    finally:
        run(admin, f"DROP DATABASE {copy} WITH (FORCE)")
    relaying()
    run(engine, "INSERT INTO items (id, n) VALUES (2, 2)")
    wait_until(lambda: nats.count(stream) == 2)


FIT = {"name": "S", "allow_atomic": True, "storage": "file", "max_msgs": -1, "metadata": {"a": "b"}}


@pytest.mark.parametrize(
    "more",
    [
        {"storage": "memory"},
        {"subject_transform": {"src": "a.>", "dest": "b.>"}},
        {"discard_new_per_subject": True, "max_msgs_per_subject": 1},
        {"allow_msg_counter": True},
        {"persist_mode": "async"},
        {"max_msg_size": 512},
        {"a_setting_of_a_later_server": 7},
    ],
)
def test_only_streams_that_keep_what_they_get(more):
    """A stream is refused unless all its settings are known to keep messages and places."""
    assert check_stream("S", FIT, (2, 14))
    with pytest.raises(NotifyConfigError, match=next(iter(more))) as found:
        check_stream("S", {**FIT, **more}, (2, 14))
    assert found.value.fix
