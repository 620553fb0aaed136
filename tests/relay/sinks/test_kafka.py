"""What only Kafka has: partitions, transactions, and topics with limits of their own."""

from __future__ import annotations

from collections import defaultdict

import pytest
from statements import run
from waiting import wait_until

from sa_pgnotify import NotifyConfigError
from sa_pgnotify.relay import Message

POSITION = "sa-pgnotify.position.{}"
pytestmark = pytest.mark.parametrize("broker", ["kafka"], indirect=True)


def test_rows_keep_to_a_partition(engine, broker, name, relay):
    """The rows of a topic are spread over its partitions, each row in one, and a TRUNCATE is in every
    partition, after the rows that it removed."""
    relay()
    run(engine, "INSERT INTO notes SELECT n, 'new' FROM generate_series(1, 50) AS n")
    run(engine, "UPDATE notes SET text = 'old'")
    run(engine, "TRUNCATE notes")
    wait_until(lambda: len(broker.entries(name)) == 100 + broker.partitions)
    lanes, lane_of = defaultdict(list), defaultdict(set)
    for entry in broker.entries(name):
        lanes[entry.lane].append(entry.body["event"])
        if entry.body["identity"]:
            lane_of[entry.body["identity"][0]].add(entry.lane)
    assert len(lanes) == broker.partitions
    assert all(len(found) == 1 for found in lane_of.values())
    for found in lanes.values():
        assert found.count("truncated") == 1 and found[-1] == "truncated"
        assert found.count("inserted") == found.count("updated") > 0


def test_a_broker_without_transactions_is_refused(broker, relay):
    """Without transactions, a part of a publication could be seen, and the place would be wrong."""
    broker.gateway.transactions = False
    try:
        error = relay().join()
    finally:
        broker.gateway.transactions = True
    assert isinstance(error, NotifyConfigError)
    assert "has no transactions" in error.problem


@pytest.mark.parametrize(
    ("partitions", "policy", "named"),
    [(1, "delete", "cleanup.policy=delete"), (2, "compact", "2 partitions")],
)
def test_a_topic_that_loses_the_place_is_refused(broker, name, relay, partitions, policy, named):
    """The topic of the place keeps the last message of each key, and has one partition."""
    broker.create(POSITION.format(name), partitions, cleanup_policy=policy)
    error = relay().join()
    assert isinstance(error, NotifyConfigError)
    assert named in error.problem


def test_the_limit_of_a_topic_counts(engine, broker, name, relay):
    """A message over max.message.bytes of its topic is parked; a smaller one arrives."""
    broker.create(f"{name}.notes", max_message_bytes="2000")
    running = relay()
    run(engine, f"INSERT INTO notes VALUES (1, '{'x' * 2000}')")
    run(engine, "INSERT INTO notes VALUES (2, 'small')")
    wait_until(lambda: len(running.relay.parked()) == 1)
    wait_until(lambda: len(broker.entries(name)) == 2)
    assert {entry.body["event"] for entry in broker.entries(name)} == {"gap", "inserted"}


def test_what_was_not_committed_is_not_there(broker, name):
    """A process that ends within its transaction leaves neither messages nor its place."""
    first, second = broker.sink(name), broker.sink(name)
    headers = {"Sa-Pgnotify-Key": "k"}
    message = Message(f"{name}.notes", b'{"event": "one"}', "k", "notes/1", headers)
    unseen = Message(f"{name}.notes", b'{"event": "two"}', "k", "notes/1", headers)
    first.connect(name)
    first.resume()
    first.publish([message], "place 1")
    first._producer.begin_transaction()
    for subject, value in ((unseen.subject, unseen.body), (POSITION.format(name), "place 2")):
        first._producer.produce(subject, value)
    first._producer.flush(5)
    second.connect(name)
    assert second.resume() == "place 1"
    assert [entry.body["event"] for entry in broker.entries(name)] == ["one"]
    first.close()
    second.close()
