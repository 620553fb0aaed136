"""What blocking and asyncio consumers of a stream share: the checks of their arguments."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from typing import Any, Generic, Literal, TypedDict
from uuid import uuid4

from sqlalchemy import MetaData, Table

from ..consuming.failures import OnError
from ..drivers.waiting import Waiting
from ..errors import NotifyConfigError, PgNotifyError
from ..events.changes import E_co
from ..relay.jetstream import JetStream
from ..states import OnState, States
from .database import HandlerDatabase
from .event_reader import EventReader
from .places import ParkedMessage, Places, StreamLag
from .stream_client import Blocking, StreamClient
from .worker import Worker

__all__ = ["BaseStreamConsumer", "StreamOptions", "StreamSource", "StreamStart"]

StreamStart = Literal["now", "beginning"]
StreamSource = type[Any] | Table | MetaData
"""What can be consumed."""


class StreamOptions(TypedDict, total=False):
    """The keyword arguments of both consumers but ``session_factory``."""

    partitions: int
    batch_size: int
    start: StreamStart
    lease: float
    schema: str | None
    on_error: OnError | None
    on_state: OnState | None


class BaseStreamConsumer(Generic[E_co]):
    """What :class:`StreamConsumer` and :class:`AsyncStreamConsumer` share."""

    def __init__(
        self,
        stream: JetStream,
        name: str,
        entities: tuple[Any, ...],
        session_factory: Callable[[], Any],
        *,
        partitions: int = 16,
        batch_size: int = 1000,
        start: StreamStart = "now",
        lease: float = 10.0,
        schema: str | None = None,
        on_error: OnError | None = None,
        on_state: OnState | None = None,
    ) -> None:
        kind = type(self).__name__
        _check(kind, stream, name, session_factory, start)
        numbers = {"partitions": partitions, "batch_size": batch_size}
        wrong = [option for option, n in numbers.items() if type(n) is not int or n < 1]
        if wrong or partitions > 1000 or not lease > 0:
            raise NotifyConfigError(
                kind,
                f"{wrong[0] if wrong else 'partitions or lease'} is out of range",
                "Give at least 1 (partitions: up to 1000; lease: seconds)",
            )
        self._stream, self.name = stream, name
        self._events = EventReader(entities)
        places = Places(stream.stream, name, schema)
        self._database = HandlerDatabase(places, session_factory, name)
        self._options: dict[str, Any] = {
            "partitions": partitions,
            "batch_size": batch_size,
            "start": start,
            "lease": lease,
            "on_error": on_error,
        }
        self._on_state = on_state
        self._worker: Worker | None = None

    def stop(self) -> None:
        """End the iteration: at once if it waits, else after the batch that is being processed. The
        other members take its partitions over at once.

        Safe from any thread, and from a signal handler.
        """
        if self._worker is not None:
            self._worker.stop()

    @property
    def member(self) -> str | None:
        """What identifies this member in its group, in the table of places and in the log; None
        before it has started."""
        return None if self._worker is None else self._worker.member

    def _make_worker(self, waiting: Waiting, blocking: Blocking) -> Worker:
        if self._worker is not None and not self._worker.stopping:
            raise PgNotifyError(
                "this consumer has been started already. stop() it first, or create another one"
            )
        member = f"{socket.gethostname()[:40]}-{uuid4().hex[:12]}"
        states = States(f"stream consumer {self.name} ({member})", on_state=self._on_state)
        self._worker = Worker(
            StreamClient(self._stream, blocking),
            self._database,
            self._events,
            waiting,
            states,
            name=self.name,
            member=member,
            **self._options,
        )
        return self._worker

    def _started(self) -> Worker:
        if self._worker is None:
            raise PgNotifyError(
                "this consumer has not been started", "Use it in a with block, or call run()"
            )
        return self._worker

    def _lag(self, blocking: Blocking) -> StreamLag:
        client = StreamClient(self._stream, blocking)
        try:
            client.connect()
            last = client.state().last
        finally:
            client.close()
        known = self._database.transact(self._database.places.load)
        members: dict[str, int] = {}
        for place in known.values():
            if place.member:
                members[place.member] = members.get(place.member, 0) + 1
        places = {part: place.sequence for part, place in sorted(known.items())}
        behind = last - min(places.values(), default=last)
        return StreamLag(max(0, behind), places, members)

    def _parked(self) -> list[ParkedMessage]:
        return self._database.transact(self._database.places.parked)


def _check(kind: str, stream: Any, name: Any, session_factory: Any, start: Any) -> None:
    if not isinstance(stream, JetStream):
        raise NotifyConfigError(
            kind,
            f"it reads a stream of NATS JetStream, not {stream!r}",
            "Give JetStream(url, stream=...). Other brokers are read by their own clients",
        )
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_-]{1,200}", name):
        raise NotifyConfigError(
            kind, f"{name!r} is not a name", "Use ASCII letters, digits, - and _"
        )
    if not callable(session_factory):
        raise NotifyConfigError(
            kind,
            f"session_factory={session_factory!r} makes no sessions",
            "Give a sessionmaker of the handler's database",
        )
    if start not in ("now", "beginning"):
        raise NotifyConfigError(
            kind, f"start={start!r} is not a place to begin at", "Give 'now' or 'beginning'"
        )
