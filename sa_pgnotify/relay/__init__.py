"""The relay: publish the changes of the log into a message broker, from which any number of machines
read them.

A relay is a consumer whose work is done in a broker instead of the database's own transaction. So it
reads the log with the parts of ``consuming``, and a sink (:mod:`sa_pgnotify.relay.sink` is the
interface), one module for each broker, publishes. The folder may import ``consuming`` and what that
imports; a broker's client is an extra, and is imported when its sink is made.
"""

from .jetstream import JetStream
from .kafka import Kafka
from .redis_streams import RedisStreams
from .relay import Relay
from .sink import SINK_SECONDS, Guarantee, Limits, Message, Sink, SinkFenced, SinkUnavailable

__all__ = [
    "SINK_SECONDS",
    "Guarantee",
    "JetStream",
    "Kafka",
    "Limits",
    "Message",
    "RedisStreams",
    "Relay",
    "Sink",
    "SinkFenced",
    "SinkUnavailable",
]
