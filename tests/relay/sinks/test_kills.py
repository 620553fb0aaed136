"""Relays into Kafka, Redis and RabbitMQ are killed while writers write. JetStream's are killed in
``test_exact.py``."""

from __future__ import annotations

import json

from rabbit_relays import RabbitCheck

from sa_pgnotify.testing import ClusterCheck


def killed(kind, url, broker, name, **options):
    def read():
        return [json.dumps(entry.body).encode() for entry in broker.entries(name)]

    # what was taken away but the processes is the same for all sinks, see test_exact.py
    few = {"seconds": 5.0, "every": 0.1, "writers": 2, "terminate": False, "zombies": False}
    report = kind(url, broker.url, name, read, batch_size=100, **few, **options).run()
    print(report)
    report.raise_if_wrong()
    assert report.transactions > 20
    assert "kill" in report.disturbances, report


def test_relays_into_kafka_are_killed(url, kafka, name):
    """Relays are killed, and lose their broker: a reader of committed messages has each change once,
    in order, in whole transactions."""
    kafka.create(name)
    killed(ClusterCheck, url, kafka, name, disturbances={"cut": kafka.gateway.cut})


def test_relays_into_redis_are_killed(url, redis, name):
    """The same with Redis, which is killed as well, and started again."""

    def restart():
        redis.leave()
        redis.come_back()

    killed(ClusterCheck, url, redis, name, disturbances={"restart": restart})


def test_relays_into_rabbitmq_are_killed(url, rabbitmq, name):
    """Each change arrives at least once, and without the repeated ones, they are in order."""
    rabbitmq.prepare(name)
    killed(RabbitCheck, url, rabbitmq, name, at_least_once=True)
