"""Which configurations of a JetStream stream can hold a relay's promise."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..errors import NotifyConfigError

__all__ = ["check_stream", "new_stream", "takes"]

ATOMIC = (2, 12)
"""The version of NATS from which on there are atomic batches."""
Version = tuple[int, int]


def new_stream(
    name: str, subjects: Sequence[str], replicas: int, version: Version
) -> dict[str, Any]:
    """Return the configuration of a new stream."""
    config = {"name": name, "subjects": [*subjects], "storage": "file", "num_replicas": replicas}
    return config | {"allow_atomic": True} if version >= ATOMIC else config


def check_stream(name: str, config: Mapping[str, Any], version: Version) -> bool:
    """Return whether the stream takes atomic batches.

    :raises NotifyConfigError: if it cannot hold the promise.
    """
    for problem, fix in _problems(name, config, version):
        raise NotifyConfigError(f"JetStream stream {name}", problem, fix)
    return bool(config.get("allow_atomic"))


def _problems(name: str, config: Mapping[str, Any], version: Version) -> Iterable[tuple[str, str]]:
    if config.get("sealed") or config.get("mirror"):
        yield "it is sealed, or a mirror, and takes no messages", "Publish into another one"
    if config.get("no_ack"):
        yield (
            "it has no_ack, so nobody knows whether a message was stored",
            "Create it without no_ack",
        )
    if config.get("retention", "limits") != "limits":
        yield (
            f"its retention is {config['retention']!r}: messages are removed when they were read, and the last one holds the relay's place",
            "Create it with retention 'limits'; readers that remove what they have done can have a stream of their own that sources it",
        )
    if config.get("max_age"):
        yield (
            f"its max_age is {config['max_age'] / 1e9:.0f} s, after which the last message is removed, and the relay's place with it",
            f"Limit it by max_bytes or max_msgs: nats stream edit {name} --max-age=0 --max-bytes=100GB",
        )
    if version >= ATOMIC and not config.get("allow_atomic"):
        yield (
            "it does not allow atomic batches, so a transaction might be stored in part",
            f"Allow them (allow_atomic): nats stream edit {name} --allow-batch",
        )


def takes(patterns: Iterable[str], subject: str) -> bool:
    """Return whether a stream with these subjects takes a message.

    >>> takes(["shop.>"], "shop.orders.7"), takes(["shop.*"], "shop.orders.7")
    (True, False)
    """
    tokens = subject.split(".")
    return any(_matches(pattern.split("."), tokens) for pattern in patterns)


def _matches(pattern: Sequence[str], tokens: Sequence[str]) -> bool:
    if pattern[-1] == ">":
        pattern = pattern[:-1]
        if len(tokens) <= len(pattern):
            return False
        tokens = tokens[: len(pattern)]
    return len(pattern) == len(tokens) and all(
        want in ("*", have) for want, have in zip(pattern, tokens)
    )
