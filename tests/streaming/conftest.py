"""A NATS server, a stream that is filled as a relay fills it, and members that work on it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from brokers import Nats, nats_server
from sqlalchemy import Engine, MetaData
from sqlalchemy.orm import sessionmaker
from streams import HANDLED, Member, MemberProgram, Published, item_of, record

from sa_pgnotify.relay import JetStream
from sa_pgnotify.streaming import StreamConsumer


@pytest.fixture(scope="session")
def nats() -> Iterator[Nats]:
    """A NATS server of this worker."""
    with nats_server() as server:
        yield server


@pytest.fixture
def stream(nats: Nats) -> str:
    """A stream of this test."""
    name = f"S{uuid.uuid4().hex[:10]}"
    nats.create(name, subjects=[f"{name}.>"])
    return name


@pytest.fixture
def published(nats: Nats, stream: str) -> Iterator[Published]:
    publisher = Published(nats, stream, stream)
    yield publisher
    publisher.close()


@pytest.fixture
def sessions(engine: Engine) -> Any:
    """Sessions of the handler's database."""
    HANDLED.create_all(engine)
    return sessionmaker(engine)


@pytest.fixture(name="Item")
def _item() -> Any:
    """The entity whose changes are published."""
    return item_of(MetaData())


@pytest.fixture
def member(nats: Nats, stream: str, sessions: Any, Item: Any) -> Iterator[Callable[..., Member]]:
    """What starts members, which are stopped at the end of the test."""
    members: list[Member] = []

    def start(handler: Any = record, **options: Any) -> Member:
        states: list[Any] = []
        own = {"session_factory": sessions, "start": "beginning", "lease": 1.0, **options}
        to = JetStream(own.pop("url", nats.url), stream)
        consumer: Any = StreamConsumer(to, "billing", Item, on_state=states.append, **own)
        members.append(Member(consumer, handler, states))
        return members[-1]

    yield start
    for one in members:
        one.stop()


@pytest.fixture
def program(nats: Nats, stream: str, sessions: Any, engine: Engine) -> Iterator[Callable[..., Any]]:
    """What starts members in processes of their own, which wait within their first batch."""
    programs: list[MemberProgram] = []

    def start(wrong: str = "") -> MemberProgram:
        url = engine.url.render_as_string(hide_password=False)
        programs.append(MemberProgram(nats.url, stream, url, wrong))
        return programs[-1]

    yield start
    for one in programs:
        one.kill()
