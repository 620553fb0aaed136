"""The sink that a URL names, for the command line and for processes that are started anew."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import NotifyConfigError
from .jetstream import JetStream
from .kafka import Kafka
from .redis_streams import RedisStreams
from .sink import Sink

__all__ = ["SINKS", "sink_of"]


def _kafka(url: str, topic: str) -> Sink:
    return _with_subject(Kafka(url), topic)


def _redis(url: str, stream: str) -> Sink:
    return _with_subject(RedisStreams(url), stream)


def _with_subject(sink: Sink, subject: str) -> Sink:
    """Publish everything into one topic or stream, or where a template says, if it is given."""
    if subject:
        sink.default_subject = subject
    return sink


SINKS: dict[str, Callable[[str, str], Sink]] = {
    "nats": JetStream,
    "tls": JetStream,
    "ws": JetStream,
    "wss": JetStream,
    "kafka": _kafka,
    "redis": _redis,
    "rediss": _redis,
    "unix": _redis,
}
"""By the scheme of the URL: what makes a sink of the URL and the name of a stream or topic."""


def sink_of(url: str, stream: str) -> Sink:
    """Return the sink of a URL.

    :param url: such as ``"nats://a,b,c"``.
    :param stream: the name of JetStream's stream, or the topic or Redis stream for all changes; empty
        there for one for each table.
    :raises NotifyConfigError: if no sink has such a URL.
    """
    scheme = url.partition("://")[0]
    make = SINKS.get(scheme)
    if make is None:
        raise NotifyConfigError(
            "relay",
            f"{scheme}:// is not a broker",
            f"Give a URL of {', '.join(f'{s}://' for s in SINKS)}",
        )
    return make(url, stream)
