"""Consumers on a stream: the changes that relays have published, worked off by any number of
processes on any machines, exactly once in effect.

The members of a consumer divide its partitions by leases in the broker. A partition's place is
committed in the handler's own transaction, which compares the lease's epoch: that, and not the lease,
makes it safe. The folder may import ``relay``, whose client of NATS it uses, and what that imports.
"""

from .async_stream_consumer import AsyncStreamBatch, AsyncStreamConsumer
from .batch import StreamMessage
from .places import ParkedMessage, StreamLag, stream_tables
from .stream_consumer import StreamBatch, StreamConsumer

__all__ = [
    "AsyncStreamBatch",
    "AsyncStreamConsumer",
    "ParkedMessage",
    "StreamBatch",
    "StreamConsumer",
    "StreamLag",
    "StreamMessage",
    "stream_tables",
]
