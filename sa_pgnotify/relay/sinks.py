"""The sink that a URL names, for the command line and for processes that are started anew."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import NotifyConfigError
from .jetstream import JetStream
from .sink import Sink

__all__ = ["SINKS", "sink_of"]

SINKS: dict[str, Callable[[str, str], Sink]] = {
    "nats": JetStream,
    "tls": JetStream,
    "ws": JetStream,
    "wss": JetStream,
}
"""By the scheme of the URL: what makes a sink of the URL and the name of a stream."""


def sink_of(url: str, stream: str) -> Sink:
    """Return the sink of a URL.

    :param url: such as ``"nats://a,b,c"``.
    :param stream: the name of the stream.
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
