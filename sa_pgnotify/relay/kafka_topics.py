"""The topics of Kafka that a relay publishes into, and the one that keeps its place."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from ..errors import NotifyConfigError
from .sink import SINK_SECONDS, Message, SinkUnavailable

__all__ = ["Topics", "is_valid", "size_of"]

MESSAGE_BYTES = 1_048_588
"""``max.message.bytes`` of a topic, unless it is configured otherwise."""
FRAME_BYTES = 150
"""The most bytes that Kafka adds to a message that is sent alone, beside those of its headers."""


def is_valid(name: str) -> bool:
    """Return whether a topic can have a name.

    >>> is_valid("shop.orders"), is_valid("shop/orders"), is_valid("..")
    (True, False, False)
    """
    return re.fullmatch(r"(?!\.{1,2}$)[a-zA-Z0-9._-]{1,249}", name) is not None


def size_of(message: Message) -> int:
    """Return the most bytes that a message takes in Kafka."""
    headers = sum(len(name) + len(value) + 6 for name, value in message.headers.items())
    return FRAME_BYTES + len(message.row.encode()) + len(message.body) + headers


class Topics:
    """Looks topics up, once each, and creates those that are not there.

    All methods raise ``KafkaException``, or :class:`SinkUnavailable`, if the broker cannot be reached.

    :param kafka: the module ``confluent_kafka``.
    :param config: of the client.
    :param new: how topics are created: arguments of ``NewTopic``.
    """

    def __init__(self, kafka: Any, config: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        self._kafka, self._config, self._new = kafka, config, new
        self._errors: deque[Any] = deque(maxlen=2)
        self._admin = kafka.admin.AdminClient({**config, "error_cb": self._errors.append})
        self._found: dict[str, int | str] = {}
        self._counts = self._count()

    def _count(self) -> dict[str, int]:
        """Return how many partitions each topic of the cluster has."""
        try:
            metadata = self._admin.list_topics(timeout=SINK_SECONDS)
        except self._kafka.KafkaException as failure:
            self._admin.poll(0)  # calls the callback, whose error says more than this one
            down = self._kafka.KafkaError._ALL_BROKERS_DOWN
            errors = [error for error in self._errors if error.code() != down]
            raise SinkUnavailable(f"Kafka: {(errors or failure.args)[-1].str()}") from failure
        return {name: len(topic.partitions) for name, topic in metadata.topics.items()}

    def limit(self, name: str) -> int | str:
        """Return the most bytes of a message in a topic, or why the topic cannot exist."""
        found = self._found.get(name)
        if found is None:
            found = None if name in self._counts else self._create(name, **self._new)
            if found is None:
                found = int(self._configured(name).get("max.message.bytes", MESSAGE_BYTES))
            self._found[name] = found
        return found

    def partitions(self, name: str) -> int:
        """Return how many partitions a topic has now."""
        return self._count()[name]

    def require_position(self, name: str) -> None:
        """Create the topic that keeps the place, or check that it keeps it.

        :raises NotifyConfigError: if it may lose it.
        """
        if name not in self._counts:
            if refused := self._create(
                name, 1, self._new["replication_factor"], config={"cleanup.policy": "compact"}
            ):
                raise NotifyConfigError(
                    "Kafka",
                    refused,
                    f"Create topic {name} with one partition and cleanup.policy=compact",
                )
            return
        policy = self._configured(name).get("cleanup.policy", "compact")
        if policy != "compact" or self._counts[name] != 1:
            raise NotifyConfigError(
                f"Kafka topic {name}",
                f"it keeps the relay's place, and has {self._counts[name]} partitions and cleanup.policy={policy}, which may remove it",
                "It needs one partition and cleanup.policy=compact",
            )

    def _create(self, name: str, *arguments: Any, **more: Any) -> str | None:
        """Create a topic, and return why it cannot exist."""
        new = self._kafka.admin.NewTopic(name, *arguments, **more)
        errors = self._kafka.KafkaError
        try:
            _result(
                self._admin.create_topics(
                    [new], operation_timeout=SINK_SECONDS, request_timeout=SINK_SECONDS
                )
            )
        except self._kafka.KafkaException as failure:
            error = failure.args[0]
            if error.code() in {errors.TOPIC_EXCEPTION, errors.POLICY_VIOLATION}:
                return f"topic {name} cannot be created: {error.str()}"
            if error.code() != errors.TOPIC_ALREADY_EXISTS:
                raise SinkUnavailable(
                    f"topic {name} cannot be created: {error.str()}",
                    "Create it, or let the relay's user do it",
                ) from None
        until = time.monotonic() + SINK_SECONDS
        while name not in self._counts:
            if time.monotonic() > until:
                raise SinkUnavailable(f"Kafka does not show the new topic {name}")
            time.sleep(0.02)
            self._counts = self._count()
        return None

    def _configured(self, name: str) -> dict[str, str]:
        """Return the configuration of a topic; nothing if the user may not see it."""
        resource = self._kafka.admin.ConfigResource(self._kafka.admin.ResourceType.TOPIC, name)
        try:
            found = _result(self._admin.describe_configs([resource], request_timeout=SINK_SECONDS))
        except self._kafka.KafkaException as failure:
            if failure.args[0].code() == self._kafka.KafkaError.TOPIC_AUTHORIZATION_FAILED:
                return {}
            raise
        return {entry.name: entry.value for entry in found.values()}

    def last_text(self, name: str) -> str | None:
        """Return the last committed message of a topic with one partition."""
        kafka, partition = self._kafka, self._kafka.TopicPartition(name, 0)
        reader = kafka.Consumer(
            {
                **self._config,
                "group.id": name,  # the client demands one; nothing is committed
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 10,
            }
        )
        try:
            low, high = reader.get_watermark_offsets(partition, timeout=SINK_SECONDS)
            count, start, found = 16, high, None
            while found is None and start > low:
                count, start = 8 * count, max(low, high - count)
                reader.assign([kafka.TopicPartition(name, 0, start)])
                found = self._last_from(reader)
            return found
        finally:
            reader.close()

    def _last_from(self, reader: Any) -> str | None:
        found, until = None, time.monotonic() + SINK_SECONDS
        while (left := until - time.monotonic()) > 0:
            message = reader.poll(left)
            if message is None:
                break
            error = message.error()
            if error is None:
                found = (message.value() or b"").decode(errors="replace")
            elif error.code() == self._kafka.KafkaError._PARTITION_EOF:
                return found
            else:
                raise self._kafka.KafkaException(error)
        raise SinkUnavailable("Kafka does not return the relay's place")


def _result(futures: Mapping[Any, Any]) -> Any:
    """Return what the only future of an answer gives."""
    (future,) = futures.values()
    return future.result(2 * SINK_SECONDS)
