"""The check of a relay into RabbitMQ, by the sink of ``examples/relay_rabbitmq.py``."""

from __future__ import annotations

from dataclasses import dataclass

from relay_rabbitmq import RabbitMQ

from sa_pgnotify.relay.sinks import SINKS
from sa_pgnotify.testing import ClusterCheck
from sa_pgnotify.testing.cluster.relays import RelayRows

SINKS["amqp"] = RabbitMQ


@dataclass(frozen=True)
class RabbitRows(RelayRows):
    """Relays into RabbitMQ: its process imports this module."""


class RabbitCheck(ClusterCheck):
    _job = RabbitRows
