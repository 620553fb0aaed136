"""Relays into Kafka, Redis and RabbitMQ are killed while writers write. JetStream's are killed in
``test_exact.py``."""

from __future__ import annotations

import json

import pytest
from rabbit_relays import RabbitCheck

from sa_pgnotify.testing import ClusterCheck


def killed(kind, url, broker, name, **options):
    def read():
        return [json.dumps(entry.body).encode() for entry in broker.entries(name)]

    # zombies and lost sessions are the same for every sink, see test_exact.py; a process that takes
    # over must have the time to publish
    few = {"seconds": 6.0, "every": 1.0, "writers": 2, "terminate": False, "zombies": False}
    report = kind(url, broker.url, name, read, batch_size=100, **few, **options).run()
    report.raise_if_wrong()
    assert report.transactions > 20
    assert report.disturbances["kill"], report


def test_relays_into_kafka_are_killed(url, kafka, name):
    """A reader of committed messages has each change once, in order, in whole transactions."""
    kafka.create(name)
    killed(ClusterCheck, url, kafka, name)


def test_relays_into_redis_are_killed(url, redis, name):
    """A reader has each change once, in order, in whole transactions."""
    killed(ClusterCheck, url, redis, name)


@pytest.mark.thorough
def test_relays_into_rabbitmq_are_killed(url, rabbitmq, name):
    """Each change arrives at least once, and without the repeated ones, they are in order."""
    rabbitmq.prepare(name)
    killed(RabbitCheck, url, rabbitmq, name, at_least_once=True)
