"""What a relay does is the same with every sink."""

from __future__ import annotations

from collections import defaultdict

import pytest
from statements import run
from waiting import wait_until

from sa_pgnotify import NotifyConfigError
from sa_pgnotify.relay import Guarantee, Message, SinkFenced, SinkUnavailable
from sa_pgnotify.relay.sinks import sink_of

EXACT = ["jetstream", "kafka", "redis"]


def brokers(names, *thoroughly):
    """Run a test for each broker; for some of them only with --thorough."""
    marks = {name: [pytest.mark.thorough] for name in thoroughly}
    params = [pytest.param(name, marks=marks.get(name, [])) for name in names]
    return pytest.mark.parametrize("broker", params, indirect=True)


# JetStream has tests of its own, and RabbitMQ takes long to start
each = brokers([*EXACT, "rabbitmq"], "jetstream", "rabbitmq")
each_exact = brokers(EXACT, "jetstream")


def write(engine, *ids, text="new"):
    """A transaction for each row."""
    for number in ids:
        run(engine, f"INSERT INTO notes (id, text) VALUES ({number}, '{text}')")


def events(broker, name):
    """The events of each row in their order, without those that came again."""
    found, seen = defaultdict(list), set()
    for entry in broker.entries(name):
        if entry.key not in seen and entry.body["event"] != "gap":
            seen.add(entry.key)
            found[entry.body["identity"][0]].append(entry.body["event"])
    return dict(found)


def gaps(broker, name):
    return [e.body for e in broker.entries(name) if e.body["event"] == "gap"]


def is_sent_once(broker, name, relay):
    """Whether nothing came again, or may have."""
    keys = [entry.key for entry in broker.entries(name)]
    return len(keys) == len(set(keys)) or relay.relay.guarantee is Guarantee.AT_LEAST_ONCE


@each
def test_each_change_arrives_in_the_order_of_its_row(engine, broker, name, relay):
    """Each change arrives, those of a row in their order, across a restart of the relay."""
    first = relay()
    run(engine, "INSERT INTO notes SELECT n, 'new' FROM generate_series(1, 20) AS n")
    run(engine, "UPDATE notes SET text = 'old'", "DELETE FROM notes WHERE id = 7")
    wait_until(lambda: sum(map(len, events(broker, name).values())) == 41)
    first.stop()
    write(engine, 7)
    second = relay()
    wait_until(lambda: sum(map(len, events(broker, name).values())) == 42)
    expected = {n: ["inserted", "updated"] for n in range(1, 21)}
    expected[7] = ["inserted", "updated", "deleted", "inserted"]
    assert events(broker, name) == expected
    assert is_sent_once(broker, name, second)
    rows_of = defaultdict(set)
    for entry in broker.entries(name):
        rows_of[entry.body["identity"][0]].add(entry.lane)
    assert all(len(lanes) == 1 for lanes in rows_of.values())


@brokers([*EXACT, "rabbitmq"], "jetstream")
def test_a_crash_between_confirmation_and_record(engine, broker, name, relay):
    """If a relay loses everything between the broker's confirmation and its own commit, the change is
    not published again, or with the same key if the broker keeps no place."""
    sink = broker.sink(name)
    publish, crashes = sink.publish, [1]

    def publish_and_crash(messages, place):
        publish(messages, place)
        if crashes and crashes.pop():
            raise SinkUnavailable("the connection was lost")

    sink.publish = publish_and_crash
    relaying = relay(to=sink)
    write(engine, 1, 2)
    wait_until(lambda: len(events(broker, name)) == 2)
    assert not crashes
    assert is_sent_once(broker, name, relaying)
    assert events(broker, name) == {1: ["inserted"], 2: ["inserted"]}
    assert not gaps(broker, name)


@each_exact
def test_a_zombie_is_locked_out(broker, name):
    """A process that does not know that another one has published for its relay publishes nothing."""
    old, new = broker.sink(name), broker.sink(name)
    try:
        for sink in (old, new):
            sink.connect(name)
        old.resume()
        old.publish([message(name, "one")], "place 1")
        assert new.resume() == "place 1"
        new.publish([message(name, "two"), message(name, "three")], "place 2")
        with pytest.raises(SinkFenced):
            old.publish([message(name, "never")], "place 3")
        new.close()
        new.connect(name)
        assert new.resume() == "place 2"
        assert {e.body["name"] for e in broker.entries(name)} == {"one", "two", "three"}
    finally:
        for sink in (old, new):
            sink.close()


def message(name, text):
    headers = {"Sa-Pgnotify-Key": text}
    return Message(f"{name}.notes", f'{{"name": "{text}"}}'.encode(), text, "notes/1", headers)


@each
def test_one_works_and_another_stands_by(engine, broker, name, relay):
    """Of two relays of one name the second one takes over when the first one stops, and nothing is
    published twice."""
    first, second = relay(), relay()
    write(engine, 1, 2)
    wait_until(lambda: first.relay.published + second.relay.published == 2)
    working, waiting = (first, second) if first.relay.published else (second, first)
    assert waiting.relay.published == 0
    working.stop()
    write(engine, 3)
    wait_until(lambda: waiting.relay.published == 1)
    assert events(broker, name) == dict.fromkeys((1, 2, 3), ["inserted"])
    assert is_sent_once(broker, name, waiting)


@each
def test_a_broker_that_is_away_holds_the_relay_only(engine, broker, name, relay):
    """While the broker is away, writers are not held up, and when it is back, each change arrives."""
    running = relay()
    write(engine, 1)
    wait_until(lambda: len(events(broker, name)) == 1)
    broker.leave()
    try:
        write(engine, 2, 3)
        wait_until(lambda: running.has_been("lost"))
        write(engine, 4)
    finally:
        broker.come_back()
    wait_until(lambda: len(events(broker, name)) == 4)
    assert set(events(broker, name)) == {1, 2, 3, 4}
    assert is_sent_once(broker, name, running)
    assert not gaps(broker, name)


@each
def test_what_the_broker_does_not_take_is_parked(engine, broker, name, relay):
    """A payload over the limit, and a subject that is invalid, are parked with their keys, a Gap is in
    their places, and the other changes of their rows arrive."""
    sink = broker.sink(name)
    default = sink.default_subject.format(relay=name, table="notes", id="{0}")

    def subject(change):
        (number,) = change.identity
        return broker.invalid if number == 3 else default.format(number)

    running = relay(to=sink, subject=subject)
    write(engine, 1)
    write(engine, 2, text="x" * broker.most_bytes)
    write(engine, 3, 4)
    # the first of them still carries the old value
    for text in ("small", "smaller"):
        run(engine, f"UPDATE notes SET text = '{text}' WHERE id = 2")
    wait_until(lambda: len(events(broker, name)) == 3)
    assert events(broker, name) == {1: ["inserted"], 2: ["updated"], 4: ["inserted"]}
    wait_until(lambda: len(running.relay.parked()) == 3)
    assert [one.operation for one in running.relay.parked()] == ["I", "I", "U"]
    details = [gap["detail"] for gap in gaps(broker, name)]
    assert len(details) == 3
    assert all(f"the change {name}-" in detail for detail in details)


WRONG = {
    "kafka://127.0.0.1:1": (SinkUnavailable, "refused"),
    "kafka://127.0.0.1:1?no.such.setting=1": (NotifyConfigError, "no.such.setting"),
    "redis://127.0.0.1:1": (SinkUnavailable, "refused"),
    "redis://127.0.0.1:1/x?db=y": (NotifyConfigError, "db"),
    "sftp://127.0.0.1": (NotifyConfigError, "sftp"),
}


@pytest.mark.parametrize("url", WRONG)
def test_what_is_wrong_is_named_at_the_start(url):
    """A broker that is not there, and an address that cannot be one, are reported with the cause."""
    kind, named = WRONG[url]
    with pytest.raises(kind, match=named):
        sink_of(url, "shop").connect("shop")
