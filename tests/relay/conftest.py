"""The brokers that relays publish into, and relays in threads."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from brokers import Nats, nats_server
from durables import model_of
from relays import Running
from sqlalchemy import Engine

from sa_pgnotify.relay import JetStream, Relay


@pytest.fixture(scope="session")
def nats() -> Iterator[Nats]:
    """A NATS server of this worker."""
    with nats_server() as server:
        yield server


@pytest.fixture(scope="session")
def elsewhere() -> Iterator[Nats]:
    """Another NATS server."""
    with nats_server() as server:
        yield server


@pytest.fixture
def stream() -> str:
    """A name for a stream of this test."""
    return f"S{uuid.uuid4().hex[:10]}"


@pytest.fixture(name="Item")
def _item(engine: Engine) -> Any:
    """A durable entity."""
    return model_of(engine)


@pytest.fixture
def relaying(
    engine: Engine, nats: Nats, stream: str, Item: Any
) -> Iterator[Callable[..., Running]]:
    """What runs a relay of items into the test's stream, until the end of the test."""
    running: list[Running] = []

    def start(name: str | None = None, **options: Any) -> Running:
        states: list[Any] = []
        own = {"to": JetStream(nats.url, stream), "start": "beginning", **options}
        source = own.pop("engine", engine)
        entities = own.pop("entities", Item)
        relay = Relay(source, name or stream.lower(), entities, on_state=states.append, **own)
        running.append(Running(relay, states))
        return running[-1]

    yield start
    for one in running:
        one.stop()
