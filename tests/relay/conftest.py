"""The brokers that relays publish into, and relays in threads."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from brokers import Nats, nats_server
from durables import model_of
from sqlalchemy import Engine

from sa_pgnotify.relay import JetStream, Relay


@pytest.fixture(scope="session")
def nats() -> Iterator[Nats]:
    """A NATS server of this worker."""
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


class Running:
    """A relay in a thread.

    :ivar states: the states that it has reported.
    """

    def __init__(self, relay: Relay, states: list[Any]) -> None:
        self.relay, self.states = relay, states
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.relay.run()
        except BaseException as error:
            self.error = error

    def stop(self) -> None:
        self.relay.stop()
        self.join()

    def join(self) -> BaseException | None:
        """Wait for its end, and return the error that ended it."""
        self._thread.join(30)
        assert not self._thread.is_alive()
        return self.error

    def has_been(self, state: str) -> bool:
        return any(change.state == state for change in self.states)


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
