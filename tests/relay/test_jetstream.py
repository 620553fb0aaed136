"""Changes of the log arrive in a stream of JetStream: each once, whole transactions, in their order."""

from __future__ import annotations

import pytest
from brokers import nats_server
from durables import model_of
from relays import Running
from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.orm import Session
from statements import rows, run
from waiting import wait_until

from sa_pgnotify import CloudEvents, Consumer, NotifyConfigError, PgNotifyError, change_context
from sa_pgnotify.consuming.by_name import parts_of
from sa_pgnotify.consuming.parked import retry
from sa_pgnotify.relay import JetStream, Relay, SinkUnavailable
from sa_pgnotify.sql import execute_on


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


def test_a_large_transaction_is_divided_and_marked(engine, nats, stream, relaying):
    """A transaction with more changes than an atomic batch takes comes in several, whose messages say
    so; a small one comes whole and unmarked."""
    run(engine, "INSERT INTO items (id, n) SELECT i, i FROM generate_series(1, 2500) AS i")
    insert(engine, 3000)
    relaying()
    wait_until(lambda: nats.count(stream) == 2501)
    found = nats.messages(stream)
    assert [m.body["identity"] for m in found] == [[i] for i in (*range(1, 2501), 3000)]
    parts = [m.headers.get("Sa-Pgnotify-Part") for m in found]
    assert [part for part, before in zip(parts, [0, *parts]) if part != before] == [
        "begin",
        "middle",
        "end",
        None,
    ]
    marked = {m.headers["Sa-Pgnotify-Transaction"] for m in found[:-1]}
    assert marked == {str(found[0].body["transaction_id"])}


def test_what_cannot_be_published_is_parked_in_place(engine, nats, stream, relaying):
    """A change that is too large, has no valid subject, or fails in the program's function is parked;
    a Gap with its key stands in its place, and the changes around it arrive. It cannot be retried,
    because it would come in another place."""
    name = stream.lower()
    nats.create(stream, max_msg_size=4096)

    def subject(change):
        if change.identity[0] == 2:
            return f"{name}.items.a b"
        if change.identity[0] == 5:
            raise ValueError("\0 \ud800" + "x" * 2_000_000)
        return f"{name}.items.{10 // (change.identity[0] - 3)}"

    context = {"note": "x" * 5000}
    with Session(engine) as session, change_context(session, context):
        session.execute(text("INSERT INTO items (id, n) VALUES (1, 1)"))
        session.commit()
    insert(engine, 2, 3, 4, 5)
    run(engine, "TRUNCATE items")
    relay = relaying(subject=subject)
    wait_until(lambda: nats.count(stream) == 6)
    *gaps, fourth, fifth, truncated = nats.messages(stream)
    assert [m.subject for m in (*gaps, fifth, truncated)] == [f"{name}.gap"] * 5
    assert fourth.body["identity"] == [4]
    whys = ["bytes", "is not a subject", "ZeroDivisionError", r"\x00 \ud800", "TypeError"]
    for gap, why in zip([*gaps, fifth, truncated], whys):
        assert why in gap.body["detail"] and f"{name}-" in gap.body["detail"], gap.body
        assert gap.body["reason"] == "undecodable"
    wait_until(lambda: len(relay.relay.parked()) == 5)
    assert [(one.operation, one.failures) for one in relay.relay.parked()] == [
        ("I", 1),
        ("I", 1),
        ("I", 1),
        ("I", 1),
        ("T", 1),
    ]
    stored = "SELECT 1 FROM sa_pgnotify_consumers WHERE sink IS NOT NULL"
    wait_until(lambda: rows(engine, stored))
    with engine.begin() as connection:
        (part,) = parts_of(connection, relay.relay.name)
        with pytest.raises(PgNotifyError, match="is a relay, which cannot publish"):
            retry(execute_on(connection), part)


def test_a_truncate_has_a_template_and_a_place(engine, nats, stream, relaying):
    """A TRUNCATE is published by the template, and odd identities are one token each."""
    relaying(subject="{relay}.{schema}.{table}.{entity}.{event}.{id}")
    run(engine, "INSERT INTO items (id, n) VALUES (-1, 1)", "TRUNCATE items")
    wait_until(lambda: nats.count(stream) == 2)
    name = stream.lower()
    assert [m.subject for m in nats.messages(stream)] == [
        f"{name}.public.items.Items.inserted.-1",
        f"{name}.public.items.Items.truncated.%",
    ]


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"max_age": 10**12}, "max_age"),
        ({"retention": "workqueue"}, "retention"),
        ({"allow_atomic": False}, "atomic batches"),
        ({"no_ack": True, "allow_atomic": False}, "no_ack"),
        ({"subjects": ["elsewhere.{0}.>"]}, "does not take"),
        ({"subject": "a b.{id}"}, "is not a subject"),
    ],
)
def test_a_stream_that_cannot_hold_the_promise_is_refused(nats, stream, relaying, config, problem):
    """At the start, a stream that would lose the place, store a transaction in part, or not take a
    Gap, is refused with what to change."""
    if "subjects" in config:
        config = {"subjects": [s.format(stream) for s in config["subjects"]]}
    options = {name: config.pop(name) for name in ("subject",) if name in config}
    nats.create(stream, **config)
    error = relaying(**options).join()
    assert isinstance(error, NotifyConfigError) and problem in str(error)
    assert error.fix


def test_a_server_without_jetstream_is_refused(relaying, stream):
    """A NATS server without JetStream cannot keep anything, and the error says how to start one."""
    with nats_server(jetstream=False) as plain:
        error = relaying(to=JetStream(plain.url, stream)).join()
    assert isinstance(error, SinkUnavailable) and "no JetStream" in str(error) and error.fix


def test_a_server_that_is_not_there_is_refused(relaying, stream):
    """A wrong URL is an error at the start, and not an endless wait."""
    assert isinstance(relaying(to=JetStream("nats://127.0.0.1:1", stream)).join(), SinkUnavailable)


def test_one_name_has_one_stream(engine, nats, elsewhere, stream, relaying):
    """A relay that has published into one stream is not continued in another one, nor in the same one
    after it was deleted, also while the relay runs, which does not create it again."""
    relay = relaying()
    insert(engine, 1)
    wait_until(lambda: nats.count(stream) == 1)
    relay.stop()
    name = stream.lower()
    error = relaying(name, to=JetStream(elsewhere.url, f"{stream}X")).join()
    assert isinstance(error, NotifyConfigError) and "publishes into" in str(error)
    running = relaying(name)
    wait_until(lambda: running.has_been("working"))
    nats.api(f"STREAM.DELETE.{stream}")
    insert(engine, 2)
    for one in (running, relaying(name)):
        error = one.join()
        assert isinstance(error, NotifyConfigError) and "deleted" in str(error)
    assert "error" in nats.api(f"STREAM.INFO.{stream}")


def test_a_standby_with_another_stream_is_refused(engine, nats, elsewhere, stream, relaying):
    """A relay that would stand by, and take over into another stream, is refused at its start."""
    relaying()
    insert(engine, 1)
    wait_until(lambda: nats.count(stream) == 1)
    error = relaying(to=JetStream(elsewhere.url, f"{stream}X")).join()
    assert isinstance(error, NotifyConfigError) and "publishes into" in str(error)


def test_the_broker_is_down_for_a_while(engine, nats, stream, relaying):
    """While the broker is down, the relay waits, holds nothing in the database, and goes on when the
    broker is back."""
    with nats_server() as broker:
        relay = relaying(to=JetStream(broker.url, stream))
        insert(engine, 1)
        wait_until(lambda: broker.count(stream) == 1)
        broker.kill()
        insert(engine, 2, 3)
        wait_until(lambda: relay.has_been("lost"))
        open_ones = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'"
        wait_until(lambda: not rows(engine, open_ones))
        broker.start()
        wait_until(lambda: broker.count(stream) == 3)
        wait_until(lambda: relay.relay.lag().events == 0)
        assert [m.body["identity"] for m in broker.messages(stream)] == [[1], [2], [3]]
        relay.stop()


def test_two_databases_publish_into_one_stream(engine, url, admin, nats, stream):
    """Two relays with names of their own publish into one stream at the same time; a relay of the same
    name from another database is refused."""
    names = [f"{stream.lower()}{i}" for i in (1, 2)]
    nats.create(stream, subjects=[f"{name}.>" for name in names])
    other = f"{url.database}_other"
    run(admin, f"CREATE DATABASE {other} TEMPLATE template0")
    second = create_engine(url.set(database=other), poolclass=NullPool)
    try:
        engines = [engine, second]
        relays = [
            Relay(each, name, model_of(each), to=JetStream(nats.url, stream), start="beginning")
            for each, name in zip(engines, names)
        ]
        with Running(relays[0]), Running(relays[1]):
            for i in range(1, 30):
                for each in engines:
                    insert(each, i)
            wait_until(lambda: nats.count(stream) == 58)
        found = nats.messages(stream)
        for name in names:
            ids = [m.body["identity"][0] for m in found if m.subject.startswith(f"{name}.")]
            assert ids == [*range(1, 30)]
        stolen = Relay(second, names[0], model_of(second), to=JetStream(nats.url, stream))
        with Running(stolen) as relay:
            assert isinstance(relay.join(), NotifyConfigError)
    finally:
        run(admin, f"DROP DATABASE {other} WITH (FORCE)")


def test_a_snapshot_comes_first(engine, nats, stream, relaying):
    """With start="snapshot", each row comes as existing, and then each later change, also if the relay
    ends between two pages."""
    run(engine, "INSERT INTO items (id, n) SELECT i, i FROM generate_series(1, 50) AS i")
    relay = relaying(start="snapshot", batch_size=10)
    wait_until(lambda: nats.count(stream) >= 10)
    relay.stop()
    run(engine, "UPDATE items SET n = 0 WHERE id IN (1, 50)")
    relaying(start="snapshot", batch_size=10)
    wait_until(lambda: nats.count(stream) >= 51)
    run(engine, "DELETE FROM items WHERE id = 2")
    wait_until(lambda: any(m.body["event"] == "deleted" for m in nats.messages(stream)))
    state = {}
    for message in nats.messages(stream):
        row, event = message.body["identity"][0], message.body["event"]
        assert (event == "existing") == (row not in state)
        state[row] = None if event == "deleted" else message.body["new"]["n"]
    assert state == {i: {1: 0, 50: 0, 2: None}.get(i, i) for i in range(1, 51)}


def test_cloud_events(engine, nats, stream, relaying):
    """With a CloudEvents, the body is one, and its data is the envelope."""
    relaying(format=CloudEvents(source="/shop"))
    insert(engine, 1)
    wait_until(lambda: nats.count(stream) == 1)
    (message,) = nats.messages(stream)
    assert message.body["source"] == "/shop" and message.body["data"]["identity"] == [1]


def test_seek_publishes_again(engine, nats, stream, relaying):
    """seek() moves a relay as it moves a consumer, although the sink's place is elsewhere."""
    relay = relaying()
    insert(engine, 1, 2)
    wait_until(lambda: nats.count(stream) == 2)
    relay.stop()
    Consumer(engine, stream.lower(), relay.relay._entities[0]).seek("beginning")
    relaying()
    wait_until(lambda: nats.count(stream) == 4)


def test_commits_that_the_server_has_lost_are_a_gap(engine, nats, stream, relaying):
    """If the database has lost commits whose changes were published, as in a failover, a Gap says so,
    and the relay goes on from what the database knows."""
    relay = relaying()
    insert(engine, 1)
    wait_until(lambda: nats.count(stream) == 1 and relay.relay.lag().events == 0)
    at = "last, target, tx_end, row_id, row_part, relations, among, scans, sink"
    run(engine, "CREATE TABLE kept AS SELECT * FROM sa_pgnotify_consumers")
    insert(engine, 2)
    wait_until(lambda: nats.count(stream) == 2)
    relay.stop()
    same = ", ".join(f"{name} = k.{name}" for name in at.split(", "))
    run(
        engine, f"UPDATE sa_pgnotify_consumers AS c SET {same} FROM kept AS k WHERE c.relation = ''"
    )
    for slot in range(4):
        run(engine, f"DELETE FROM sa_pgnotify_log_{slot} WHERE rows LIKE '2%'")
    relaying()
    wait_until(lambda: nats.count(stream) == 3)
    gap = nats.messages(stream)[-1]
    assert gap.subject == f"{stream.lower()}.gap" and gap.body["reason"] == "lost_position"


def test_messages_that_the_broker_has_lost_are_published_again(engine, nats, stream, relaying):
    """If the stream has lost its last messages, as an R1 stream may when the power fails, the relay
    goes on from what the stream still has."""
    relay = relaying()
    for number in (1, 2):
        insert(engine, number)
        wait_until(lambda: nats.count(stream) == number and relay.relay.lag().events == 0)
    relay.stop()
    nats.api(f"STREAM.MSG.DELETE.{stream}", seq=2)
    relaying()
    wait_until(lambda: nats.count(stream) == 2)
    assert [(m.seq, m.body["identity"]) for m in nats.messages(stream)] == [(1, [1]), (3, [2])]
