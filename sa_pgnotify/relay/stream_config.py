"""Which configurations of a JetStream stream can hold a relay's promise."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..errors import NotifyConfigError, printable

__all__ = ["check_stream", "new_stream", "takes"]

ATOMIC = (2, 12)
"""The version of NATS from which on there are atomic batches."""
Version = tuple[int, int]
LEAST_MESSAGE = 4096
"""What ``max_msg_size`` must allow, so that a place and a ``Gap`` fit."""

FIT = frozenset(
    [
        "name",
        "description",
        "subjects",
        "retention",
        "storage",
        "max_consumers",
        "max_msgs",
        "max_bytes",
        "max_age",
        "max_msgs_per_subject",
        "max_msg_size",
        "discard",
        "num_replicas",
        "duplicate_window",
        "placement",
        "sources",
        "compression",
        "first_seq",
        "republish",
        "sealed",
        "mirror",
        "deny_delete",
        "deny_purge",
        "allow_direct",
        "mirror_direct",
        "allow_rollup_hdrs",
        "consumer_limits",
        "metadata",
        "allow_msg_ttl",
        "allow_msg_schedules",
        "subject_delete_marker_ttl",
        "allow_atomic",
        "allow_batched",
        "template_owner",
    ]
)
"""The settings of NATS 2.14 and earlier that do no harm to messages and places, whatever their
values, or whose values :func:`_problems` checks."""
UNFIT: Mapping[str, tuple[object, str]] = {
    "no_ack": (False, "nobody knows whether a message was stored"),
    "subject_transform": (None, "messages are stored under other subjects than the relay's"),
    "discard_new_per_subject": (
        False,
        "a row that has reached the limit of its subject holds up all others",
    ),
    "allow_msg_counter": (False, "it takes nothing but counters"),
    "persist_mode": ("default", "it confirms messages that a crash may take back"),
}
"""Settings that must not be set, each with its harmless value and the reason."""


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
    for setting, (harmless, why) in UNFIT.items():
        value = config.get(setting)
        if value and value != harmless:
            yield f"its {setting} is {_short(value)}: {why}", f"Create it without {setting}"
    if config.get("retention", "limits") != "limits":
        yield (
            f"its retention is {config['retention']!r}: messages are removed when they were read, and the last one holds the relay's place",
            "Create it with retention 'limits'; readers that remove what they have done can have a stream of their own that sources it",
        )
    if config.get("storage", "file") != "file":
        yield (
            f"its storage is {config['storage']!r}: a restart of the server removes all messages, and the relay's place with them",
            "Create it with --storage file",
        )
    if config.get("max_age"):
        yield (
            f"its max_age is {config['max_age'] / 1e9:.0f} s, after which the last message is removed, and the relay's place with it",
            f"Limit it by max_bytes or max_msgs: nats stream edit {name} --max-age=0 --max-bytes=100GB",
        )
    if 0 < config.get("max_msg_size", -1) < LEAST_MESSAGE:
        yield (
            f"its max_msg_size is {config['max_msg_size']}, in which a Gap and the relay's place do not fit",
            f"Allow {LEAST_MESSAGE} bytes or more: nats stream edit {name} --max-msg-size={LEAST_MESSAGE}",
        )
    if version >= ATOMIC and not config.get("allow_atomic"):
        yield (
            "it does not allow atomic batches, so a transaction might be stored in part",
            f"Allow them (allow_atomic): nats stream edit {name} --allow-batch",
        )
    for setting in sorted({*config} - FIT - UNFIT.keys()):
        if config[setting] not in (None, False, 0, -1, "", [], {}, "default"):
            yield (
                f"it has the setting {setting}={_short(config[setting])}, and whether messages and places keep with it is not known",
                "Create it without that setting, or use a newer version of sa_pgnotify",
            )


def _short(value: object) -> str:
    return printable(repr(value), 80)


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
