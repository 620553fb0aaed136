"""The brokers of all sinks, with one face: how to publish into each, what is in it, and how to take it
away."""

from __future__ import annotations

import asyncio
import json
import signal
from abc import ABC, abstractmethod
from collections import defaultdict
from typing import Any, NamedTuple

import aio_pika
import confluent_kafka as kafka
from brokers import Nats
from confluent_kafka.admin import AdminClient, NewTopic
from kafka_broker import Gateway
from rabbit_server import RabbitServer
from redis_server import RedisServer
from relay_rabbitmq import RabbitMQ

from sa_pgnotify.relay import JetStream, Kafka, Limits, RedisStreams, Sink


class Entry(NamedTuple):
    """A message.

    :ivar lane: what keeps the order: a stream, or a partition.
    """

    lane: str
    subject: str
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def key(self) -> str:
        return self.headers["Sa-Pgnotify-Key"]


class Broker(ABC):
    """What the tests of all sinks need of a broker.

    :cvar most_bytes: a payload that is larger is refused.
    :cvar invalid: a subject that is refused.
    """

    most_bytes = 1 << 20
    invalid: str

    def prepare(self, relay: str) -> None:
        """Make what must be there before a relay publishes."""

    @abstractmethod
    def sink(self, relay: str) -> Sink:
        """Return a new sink for a relay of this name."""

    @abstractmethod
    def entries(self, relay: str) -> list[Entry]:
        """Return all messages of a relay, in the order of each lane."""

    @abstractmethod
    def leave(self) -> None:
        """Let it not be reached."""

    @abstractmethod
    def come_back(self) -> None: ...


class JetStreamBroker(Broker):
    invalid = "not a subject"

    def __init__(self, server: Nats) -> None:
        self._server = server

    def sink(self, relay: str) -> Sink:
        return JetStream(self._server.url, relay)

    def entries(self, relay: str) -> list[Entry]:
        if not self._server.count(relay):
            return []
        return [Entry(relay, m.subject, m.headers, m.body) for m in self._server.messages(relay)]

    def leave(self) -> None:
        self._server.kill()

    def come_back(self) -> None:
        self._server.start()


class KafkaBroker(Broker):
    invalid = "not/a/topic"
    partitions = 3

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.url = f"kafka://127.0.0.1:{gateway.port}"
        self.config = {"bootstrap.servers": f"127.0.0.1:{gateway.port}", "log_level": 0}

    def sink(self, relay: str) -> Sink:
        return Kafka(self.url, partitions=self.partitions)

    def create(self, topic: str, partitions: int = 1, **config: str) -> None:
        named = {name.replace("_", "."): value for name, value in config.items()}
        admin = AdminClient(self.config)
        admin.create_topics([NewTopic(topic, partitions, config=named)])[topic].result(5)

    def entries(self, relay: str) -> list[Entry]:
        reader = kafka.Consumer(
            {
                **self.config,
                "group.id": relay,
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 10,
            }
        )
        try:
            topics = reader.list_topics(timeout=5).topics
            parts = [
                kafka.TopicPartition(name, number, kafka.OFFSET_BEGINNING)
                for name, topic in topics.items()
                if name.startswith(f"{relay}.") or name == relay
                for number in topic.partitions
            ]
            return self._read(reader, parts) if parts else []
        finally:
            reader.close()

    def _read(self, reader: Any, parts: list[Any]) -> list[Entry]:
        reader.assign(parts)
        found, ended = [], set()
        while len(ended) < len(parts):
            message = reader.poll(5)
            assert message is not None
            lane = f"{message.topic()}/{message.partition()}"
            if message.error() is None:
                headers = {name: value.decode() for name, value in message.headers() or []}
                found.append(Entry(lane, message.topic(), headers, json.loads(message.value())))
            else:
                assert message.error().code() == kafka.KafkaError._PARTITION_EOF
                ended.add(lane)
        return found

    def leave(self) -> None:
        self.gateway.refuse()

    def come_back(self) -> None:
        self.gateway.accept()


class RedisBroker(Broker):
    invalid = ""

    def __init__(self, server: RedisServer) -> None:
        self.server, self.url = server, server.url
        server.client().config_set("proto-max-bulk-len", self.most_bytes)

    def sink(self, relay: str) -> Sink:
        return RedisStreams(self.server.url)

    def entries(self, relay: str) -> list[Entry]:
        with self.server.client() as client:
            return [
                Entry(stream, stream, entry, json.loads(entry.pop("body")))
                for stream in [*client.scan_iter(f"{relay}*")]
                for _, entry in client.xrange(stream)
            ]

    def leave(self) -> None:
        self.server.kill()

    def come_back(self) -> None:
        self.server.start()
        self.server.client().config_set("proto-max-bulk-len", self.most_bytes)


class RabbitBroker(Broker):
    invalid = "x" * 256

    def __init__(self, server: RabbitServer) -> None:
        self._server, self.url = server, server.url
        self._read: dict[str, list[Entry]] = defaultdict(list)

    def prepare(self, relay: str) -> None:
        asyncio.run(self._with_channel(relay, self._bind))

    def sink(self, relay: str) -> Sink:
        return RabbitMQ(self._server.url, relay, Limits(100, self.most_bytes))

    def entries(self, relay: str) -> list[Entry]:
        asyncio.run(self._with_channel(relay, self._drain))
        return self._read[relay]

    async def _with_channel(self, relay: str, work: Any) -> None:
        async with await aio_pika.connect(self._server.url) as connection:
            await work(relay, await connection.channel())

    async def _bind(self, relay: str, channel: Any) -> None:
        kind = aio_pika.ExchangeType.TOPIC
        exchange = await channel.declare_exchange(relay, kind, durable=True)
        queue = await channel.declare_queue(relay, durable=True)
        await queue.bind(exchange, "#")

    async def _drain(self, relay: str, channel: Any) -> None:
        queue = await channel.get_queue(relay)
        while (m := await queue.get(no_ack=True, fail=False)) is not None:
            assert m.message_id == m.headers["Sa-Pgnotify-Key"]
            entry = Entry(relay, m.routing_key, dict(m.headers), json.loads(m.body))
            self._read[relay].append(entry)

    def leave(self) -> None:
        self._server.signal(signal.SIGSTOP)

    def come_back(self) -> None:
        self._server.signal(signal.SIGCONT)
