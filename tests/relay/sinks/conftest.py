"""Each broker in turn, and relays of notes into it."""

import uuid
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest
from brokers import Nats
from kafka_broker import kafka_gateway
from rabbit_server import MISSING, PROGRAM, rabbit_server
from redis_server import redis_server
from sink_brokers import Broker, JetStreamBroker, KafkaBroker, RabbitBroker, RedisBroker
from sqlalchemy import Engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from sa_pgnotify import NotifyOnChange, NotifySpec


@pytest.fixture(scope="session")
def jetstream(nats: Nats) -> Broker:
    return JetStreamBroker(nats)


@pytest.fixture(scope="session")
def kafka() -> Iterator[KafkaBroker]:
    with kafka_gateway() as gateway:
        yield KafkaBroker(gateway)


@pytest.fixture(scope="session")
def redis() -> Iterator[RedisBroker]:
    with redis_server() as server:
        yield RedisBroker(server)


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[Broker]:
    if PROGRAM is None:
        pytest.skip(MISSING)
    with rabbit_server() as server:
        yield RabbitBroker(server)


@pytest.fixture
def name() -> str:
    """A name for a relay of this test."""
    return f"r{uuid.uuid4().hex[:10]}"


@pytest.fixture
def broker(request: pytest.FixtureRequest, name: str) -> Broker:
    """The broker that the test names."""
    broker: Broker = request.getfixturevalue(request.param)
    broker.prepare(name)
    return broker


@pytest.fixture(name="Item")
def _item(engine: Engine) -> Any:
    """A durable entity whose rows may be large."""

    class Base(DeclarativeBase):
        pass

    class Note(NotifyOnChange, Base):
        __tablename__ = "notes"
        __notify__: ClassVar = NotifySpec(durable=True, values="all")
        id: Mapped[int] = mapped_column(primary_key=True)
        text: Mapped[str]

    Base.metadata.create_all(engine)
    return Note


@pytest.fixture
def relay(relaying: Callable[..., Any], broker: Broker, name: str) -> Callable[..., Any]:
    """What runs a relay of notes into the broker, until the end of the test."""

    def start(**options: Any) -> Any:
        return relaying(name, **{"to": broker.sink(name), **options})

    return start
