"""What only Redis has: memory that it may free, files that it may write late, and replicas."""

from __future__ import annotations

import logging

import pytest
from redis_server import DURABLE, redis_server
from sink_brokers import RedisBroker
from statements import run
from waiting import wait_until

from sa_pgnotify import NotifyConfigError
from sa_pgnotify.relay import RedisStreams

VOLATILE = ("--appendonly", "no", "--save", "")
SNAPSHOTS = ("--appendonly", "no", "--save", "3600", "1")


def write(engine, *ids):
    for number in ids:
        run(engine, f"INSERT INTO notes VALUES ({number}, 'new')")


def ids(broker, name):
    return [entry.body["identity"][0] for entry in broker.entries(name)]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ((*DURABLE, "--maxmemory-policy", "allkeys-lru"), "maxmemory-policy"),
        (VOLATILE, "stores nothing on disk"),
        ((*DURABLE, "--cluster-enabled", "yes"), "cluster"),
    ],
)
def test_a_server_that_may_lose_messages_is_refused(relaying, name, options, named):
    """Redis is refused if it may remove messages, forgets them in a restart, or is a cluster."""
    with redis_server(*options) as server:
        error = relaying(name, to=RedisStreams(server.url)).join()
    assert isinstance(error, NotifyConfigError)
    assert named in error.problem


def test_what_a_crash_takes_back_is_published_again(engine, relaying, name, caplog):
    """If Redis loses its last messages in a crash, it loses the place with them, and the relay
    publishes them again, with its next ones. It warns at the start."""
    with redis_server(*SNAPSHOTS) as server, caplog.at_level(logging.WARNING, "sa_pgnotify"):
        broker = RedisBroker(server)
        relaying(name, to=broker.sink(name))
        write(engine, 1, 2)
        wait_until(lambda: ids(broker, name) == [1, 2])
        assert any("appendonly no" in record.message for record in caplog.records)
        server.client().save()
        write(engine, 3)
        wait_until(lambda: ids(broker, name) == [1, 2, 3])
        server.kill()
        server.start()
        assert ids(broker, name) == [1, 2]
        write(engine, 4)  # the relay notices when it publishes
        wait_until(lambda: ids(broker, name) == [1, 2, 3, 4])


def test_streams_are_trimmed_if_that_is_asked_for(engine, redis, relaying, name):
    """With ``maxlen``, a stream keeps about as many entries; fewer than a publication are refused."""
    with pytest.raises(NotifyConfigError, match="maxlen"):
        RedisStreams(redis.url, maxlen=999)
    running = relaying(name, to=RedisStreams(redis.url, maxlen=1000))
    run(engine, "INSERT INTO notes SELECT n, 'new' FROM generate_series(1, 3000) AS n")
    wait_until(lambda: running.relay.published == 3000)
    assert 1000 <= redis.server.client().xlen(f"{name}.notes") < 1200


def test_a_key_of_another_type_is_parked(engine, redis, relaying, name):
    """A change whose stream has the name of a key of another type is parked, and does not hold up the
    others."""
    client = redis.server.client()
    client.set(f"{name}.notes", "x")
    running = relaying(name, to=redis.sink(name), subject=lambda c: f"{name}.{stream_of(c)}")
    run(engine, "INSERT INTO notes SELECT n, 'new' FROM generate_series(1, 3) AS n")
    wait_until(lambda: running.relay.published == 3)
    assert "is not a stream, but a string" in running.relay.parked()[0].error
    assert client.xlen(f"{name}.first") == 1 and client.xlen(f"{name}.gap") == 2


def stream_of(change):
    return "first" if change.identity == (1,) else "notes"


def test_a_server_without_memory_holds_the_relay(engine, relaying, name):
    """If Redis refuses writes because its memory is full, nothing is lost and nothing stored in part."""
    with redis_server() as server:
        broker, client = RedisBroker(server), server.client()
        running = relaying(name, to=broker.sink(name))
        write(engine, 1)
        wait_until(lambda: ids(broker, name) == [1])
        client.config_set("maxmemory", "1mb")
        run(engine, f"INSERT INTO notes SELECT n, '{'x' * 100}' FROM generate_series(2, 500) AS n")
        wait_until(lambda: running.has_been("lost"))
        assert ids(broker, name) == [1]
        client.config_set("maxmemory", "0")
        wait_until(lambda: sorted(ids(broker, name)) == list(range(1, 501)))


def test_replicas_must_confirm(engine, redis, relaying, name):
    """With ``replicas=1``, the relay's position moves only when a replica has the messages."""
    running = relaying(name, to=RedisStreams(redis.url, replicas=1))
    wait_until(lambda: running.has_been("lost"))
    write(engine, 1)
    port = str(redis.server.port)
    with redis_server(*DURABLE, "--replicaof", "127.0.0.1", port) as replica:
        wait_until(lambda: running.relay.published == 1)
        with replica.client() as client:
            assert client.xlen(f"{name}.notes") == 1
        running.stop()
