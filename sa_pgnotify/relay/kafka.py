"""The sink for Kafka, and for what speaks its protocol with transactions.

A publication is a Kafka transaction, in which the last message, in a topic of its own, is the
relay's place. Readers with ``isolation.level=read_committed`` see all of it or nothing. The relay's
``transactional.id`` is what locks out a process that was replaced: when another one initializes it,
the broker ends the transaction that is still open, and refuses the earlier process from then on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qsl, unquote

from ..errors import NotifyConfigError
from .kafka_topics import Topics, is_valid, size_of
from .sink import SINK_SECONDS, Limits, Message, Sink, SinkFenced, SinkUnavailable

__all__ = ["Kafka"]

TRANSACTION_SECONDS = 30.0
"""Seconds after which the broker ends a transaction that nobody commits. Readers wait as long for a
relay that died, unless another one takes over."""
REQUEST_BYTES = 100_000_000
"""The client's own limit; that of the topic counts."""
BATCH_BYTES = 16_384
"""Bytes of messages that are sent together. The topic's limit is one of such batches, too."""


class Kafka(Sink):
    """Publishes into topics of Kafka, in transactions. Needs the extra ``kafka``.

    ::

        Kafka("kafka://a:9092,b:9092")

    By default each table has a topic, ``NAME.TABLE`` with the relay's name. A topic that does not
    exist is created. The key of a message is its row (:attr:`Message.row`), so that the changes of a
    row are in one partition, in their order. A TRUNCATE goes to every partition of its topic. The
    place is kept in the topic ``sa-pgnotify.position.NAME``.

    :param servers: hosts with commas between them, or ``kafka://user:password@host:port,host?name=value``
        with names of the client's configuration. With a user, it is SASL_SSL and PLAIN unless it says
        otherwise.
    :param partitions: of the topics that are created; by default as many as the broker gives them.
    :param replicas: of the topics that are created; by default as many as the broker gives them.
    :param config: the client's configuration, such as ``{"security.protocol": "SASL_SSL", ...}``.
    :raises ImportError: without confluent-kafka.
    """

    default_subject = "{relay}.{table}"
    limits = Limits(messages=10_000)  # less than the 100,000 that the client queues

    def __init__(
        self,
        servers: str,
        *,
        partitions: int = -1,
        replicas: int = -1,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        try:
            import confluent_kafka
            import confluent_kafka.admin
        except ImportError as error:
            raise ImportError(
                "Kafka needs confluent-kafka: pip install 'sa_pgnotify[kafka]'"
            ) from error
        self._kafka: Any = confluent_kafka
        self._config = {
            "socket.timeout.ms": int(SINK_SECONDS * 1000),
            "log_level": 0,  # the relay reports what fails
            **_config_of(servers),
            **(config or {}),
        }
        self._new_topic = {"num_partitions": partitions, "replication_factor": replicas}
        self._topics: Any = None
        self._producer: Any = None
        self._relay = self._position = ""

    def __str__(self) -> str:
        return "Kafka"

    # -- connecting --------------------------------------------------------------------------------

    def connect(self, relay: str) -> None:
        self._relay, self._position = relay, f"sa-pgnotify.position.{relay}"
        with self._reaching():
            self._topics = Topics(self._kafka, self._config, self._new_topic)
            self._topics.require_position(self._position)

    def close(self) -> None:
        self._producer = self._topics = None

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        """Translate the client's errors."""
        try:
            yield
        except self._kafka.KafkaException as error:
            raise self._translated(error.args[0]) from error

    def _translated(self, error: Any) -> Exception:
        code, errors = error.code(), self._kafka.KafkaError
        if code in {errors._FENCED, errors.PRODUCER_FENCED, errors.INVALID_PRODUCER_EPOCH}:
            return SinkFenced(f"another process publishes for relay {self._relay} into {self}")
        if code == errors._INVALID_ARG:
            return NotifyConfigError("Kafka", error.str(), "Correct config= or the URL")
        if code == errors._UNSUPPORTED_FEATURE:
            return NotifyConfigError(
                "Kafka",
                f"this broker has no transactions: {error.str()}",
                "Publish into Kafka 2.5 or newer, or into a broker that is compatible with its transactions",
            )
        if code == errors.TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
            return NotifyConfigError(
                "Kafka",
                f"the user may not use the transactional id {self._transactional_id!r}",
                "Allow it to WRITE and DESCRIBE that TransactionalId: kafka-acls --add --producer --transactional-id ...",
            )
        return SinkUnavailable(f"Kafka: {error.str()}")

    # -- taking over -------------------------------------------------------------------------------

    @property
    def _transactional_id(self) -> str:
        return f"sa-pgnotify.{self._relay}"

    def place_found(self) -> tuple[str, str]:
        return (
            f"the last message of topic {self._position}",
            "Publish the one before it there again",
        )

    def resume(self) -> str | None:
        with self._reaching():
            self._producer = self._kafka.Producer(
                {
                    "transaction.timeout.ms": int(TRANSACTION_SECONDS * 1000),
                    "delivery.timeout.ms": int(SINK_SECONDS * 1000),
                    "message.max.bytes": REQUEST_BYTES,
                    "partitioner": "murmur2_random",  # as the Java client, so that keys of both meet
                    "batch.size": BATCH_BYTES,
                    **self._config,
                    "transactional.id": self._transactional_id,
                }
            )
            self._producer.init_transactions(SINK_SECONDS)
            place: str | None = self._topics.last_text(self._position)
            return place

    # -- publishing --------------------------------------------------------------------------------

    def refusal(self, message: Message) -> str | None:
        topic = message.subject
        if not is_valid(topic) or topic == self._position:
            return f"{topic[:300]!r} cannot be the name of a topic of this relay"
        with self._reaching():
            most = self._topics.limit(topic)
        if isinstance(most, str):
            return most
        size = size_of(message)
        return None if size <= most else f"it has {size} bytes, and topic {topic} takes {most}"

    def publish(self, messages: Sequence[Message], place: str) -> None:
        producer = self._producer
        with self._reaching():
            producer.begin_transaction()
            for message in messages:
                headers = [*message.headers.items()]
                key = message.row or message.subject
                for more in self._partitions(message):
                    self._produce(message.subject, message.body, key=key, headers=headers, **more)
            self._produce(self._position, place, key=self._relay)
            producer.commit_transaction(SINK_SECONDS)

    def _partitions(self, message: Message) -> list[dict[str, int]]:
        """Return where to put a message: one partition that its key decides, or for a TRUNCATE, which
        concerns the rows of all, each of them."""
        if not message.row or "/" in message.row:
            return [{}]
        return [{"partition": n} for n in range(self._topics.partitions(message.subject))]

    def _produce(self, *message: Any, **more: Any) -> None:
        while True:
            try:
                self._producer.produce(*message, **more)
                return
            except BufferError:  # the queue is full
                self._producer.poll(0.1)


def _config_of(servers: str) -> dict[str, str]:
    """Return the client's configuration that a URL says.

    >>> _config_of("kafka://a:9092,b:9092?client.id=shop")
    {'bootstrap.servers': 'a:9092,b:9092', 'client.id': 'shop'}
    >>> _config_of("kafka://ann:secret@a:9092")["security.protocol"]
    'SASL_SSL'
    """
    rest, _, query = servers.partition("://")[2].partition("?")
    user, at, hosts = (rest or servers).rpartition("@")
    name, _, password = user.partition(":")
    secret = {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "PLAIN",
        "sasl.username": unquote(name),
        "sasl.password": unquote(password),
    }
    return {"bootstrap.servers": hosts, **(secret if at else {}), **dict(parse_qsl(query))}
