"""A sink for RabbitMQ, written as any program can write one for its own broker.

It needs ``aio-pika``, and publishes the changes of orders into the exchange ``shop`` until it is
stopped::

    python examples/relay_rabbitmq.py postgresql+psycopg2:///shop amqp://guest:guest@localhost/

RabbitMQ has no step that stores messages and a position together. So a change arrives at least once:
if the relay dies after a message was confirmed and before its position was stored, the message comes
again, with the same ``message_id``. A reader that remembers the ids that it has processed, in the
transaction in which it processes them, does each once.

The sink waits for the confirm of each message before it sends the next one, so that a message that is
refused has no successor, and the changes of a row stay in their order. That takes a round trip for each
message. A message that no queue would get is refused as well: bind a queue before you start the relay.
"""

import asyncio
import sys
from collections.abc import Coroutine, Sequence
from typing import Any

import aio_pika
from aio_pika.abc import AbstractConnection, AbstractExchange
from aio_pika.exceptions import AMQPError
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from sa_pgnotify import NotifyOnChange, NotifySpec
from sa_pgnotify.relay import (
    SINK_SECONDS,
    Guarantee,
    Limits,
    Message,
    Relay,
    Sink,
    SinkUnavailable,
)

LIMITS = Limits(messages=500, message_bytes=16 << 20)  # RabbitMQ's max_message_size is 16 MiB


class RabbitMQ(Sink):
    """Publishes into a durable topic exchange, with the subject as routing key."""

    guarantee = Guarantee.AT_LEAST_ONCE

    def __init__(self, url: str, exchange: str, limits: Limits = LIMITS) -> None:
        self.url, self.name, self.limits = url, exchange, limits
        # The loop runs only while a method does, so the connection has no heartbeats.
        self.runner: asyncio.Runner | None = None
        self.connection: AbstractConnection | None = None
        self.exchange: AbstractExchange

    def __str__(self) -> str:
        return f"RabbitMQ exchange {self.name}"

    def connect(self, relay: str) -> None:
        self.runner = asyncio.Runner()
        self.run(self.open())

    async def open(self) -> None:
        self.connection = await aio_pika.connect(self.url, heartbeat=0)
        # confirms are on by default; with this, a message that no queue gets raises an error
        channel = await self.connection.channel(on_return_raises=True)
        kind = aio_pika.ExchangeType.TOPIC
        self.exchange = await channel.declare_exchange(self.name, kind, durable=True)

    def resume(self) -> None:
        """RabbitMQ keeps no place: the relay goes on from the one that the database has."""

    def refusal(self, message: Message) -> str | None:
        if not 0 < len(message.subject.encode()) <= 255:
            return f"a routing key has 1 to 255 bytes, unlike {message.subject!r}"
        return super().refusal(message)

    def publish(self, messages: Sequence[Message], place: str) -> None:
        self.run(self.publish_each(messages))

    async def publish_each(self, messages: Sequence[Message]) -> None:
        for message in messages:
            sent = aio_pika.Message(
                message.body,
                message_id=message.key,
                content_type="application/json",
                headers=dict(message.headers),
                delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            )
            await self.exchange.publish(sent, message.subject)

    def close(self) -> None:
        connection, runner = self.connection, self.runner
        self.connection = self.runner = None
        if runner is None:
            return
        if connection is not None:
            runner.run(self.leave(connection))
        runner.close()

    async def leave(self, connection: AbstractConnection) -> None:
        try:
            async with asyncio.timeout(1):
                await connection.close()
        except (AMQPError, OSError, TimeoutError):
            pass  # it was lost already

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        async def limited() -> None:
            async with asyncio.timeout(SINK_SECONDS):
                await work

        assert self.runner is not None
        try:
            self.runner.run(limited())
        except (AMQPError, OSError, TimeoutError, RuntimeError) as error:
            raise SinkUnavailable(f"{self}: {error or type(error).__name__}") from error


class Base(DeclarativeBase): ...


class Order(NotifyOnChange, Base):
    __tablename__ = "orders"
    __notify__ = NotifySpec(values="all", durable=True)
    id: Mapped[int] = mapped_column(primary_key=True)
    status: Mapped[str]


def main(database: str, broker: str) -> None:
    engine = create_engine(database)
    Base.metadata.create_all(engine)
    Relay(engine, "shop", [Order], to=RabbitMQ(broker, "shop")).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
