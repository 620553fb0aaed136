"""What reads under chaos: listeners of several drivers, and the jobs of consumers."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

from kinds import Kind
from sqlalchemy import Engine, NullPool, Table, create_engine, insert, make_url
from sqlalchemy.exc import DBAPIError

from sa_pgnotify import ChangeBatch, Consumer, Deleted, Gap, Inserted, PgNotifyError, Updated
from sa_pgnotify.testing.delivery.supervised import Job

from .load import DURABLE, EFFECTS, Change

APPLICATION = "chaos reader"
"""The application name of the readers' sessions, by which they are found and ended."""
END = "end"
"""The beginning of the token of a row that marks the end of a round."""
LEAVE = 20.0
"""Seconds that a thread may take to end."""


def change_of(event: Any) -> Change | None:
    """Return the change of a row that an event reports; None for other events."""
    if not isinstance(event, Inserted | Updated | Deleted) or event.identity is None:
        return None
    values = event.old if isinstance(event, Deleted) else event.new
    return Change(event.table.name, type(event).__name__[0], event.identity[0], values["token"])


class ReceivedGap(NamedTuple):
    """A Gap that a listener has received.

    :ivar since: nothing that was committed before is missing, by ``time.time()``.
    :ivar arrived: when it came, by ``time.time()``.
    """

    since: float
    arrived: float
    reason: str
    detail: str


@dataclass
class Stream:
    """What one listener has yielded, from one start to one stop.

    :ivar started: when start() had returned, by ``time.time()``.
    :ivar complete: whether the last row of each table has come.
    :ivar events: changes and gaps in their order.
    :ivar errors: what the listener raised.
    """

    relations: frozenset[str]
    started: float
    complete: bool = False
    events: list[Change | ReceivedGap] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @property
    def gaps(self) -> list[ReceivedGap]:
        return [event for event in self.events if isinstance(event, ReceivedGap)]


class Listening:
    """A listener in a thread, which may be stopped and started again.

    :ivar streams: what it has yielded, one stream for each start.
    """

    def __init__(
        self, name: str, kind: str, url: str, tables: Sequence[Table], heartbeat: float
    ) -> None:
        self.name = name
        self.streams: list[Stream] = []
        self._kind = Kind(kind)
        driver = "asyncpg" if self._kind.driver == "asyncpg" else "libpq"
        named = (
            {"server_settings": {"application_name": APPLICATION}}
            if driver == "asyncpg"
            else {"application_name": APPLICATION}
        )
        self._engine = self._kind.engine(make_url(url), connect_args=named)
        self._tables = tables
        self._heartbeat = heartbeat
        self._listener: Any = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._kind.close()

    def start(self) -> None:
        """Start the listener, and try again while there is no server to connect to."""
        until = time.monotonic() + 30
        while True:
            self._listener = self._kind.listener(
                self._engine, *self._tables, heartbeat=self._heartbeat
            )
            try:
                self._listener.start()
                break
            except (PgNotifyError, DBAPIError):
                if time.monotonic() > until:
                    raise
                time.sleep(0.2)
        self.streams.append(Stream(frozenset(table.name for table in self._tables), time.time()))
        self._thread = threading.Thread(
            target=self._run, args=(self._listener, self.streams[-1]), daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        if self._thread is not None:
            self._listener.stop()
            self._thread.join(LEAVE)
            if self._thread.is_alive():
                self.streams[-1].errors.append("stop() did not end it")
            self._thread = None

    def restart(self) -> None:
        self.stop()
        self.start()

    def _run(self, listener: Any, stream: Stream) -> None:
        try:
            for event in listener:
                if isinstance(event, Gap):
                    stream.events.append(
                        ReceivedGap(
                            event.since.timestamp(), time.time(), event.reason, event.detail
                        )
                    )
                elif (change := change_of(event)) is not None:
                    stream.events.append(change)
                else:
                    stream.errors.append(repr(event))
        except Exception as error:
            stream.errors.append(repr(error))

    def has_ended(self) -> bool:
        """Return whether the last row of each table has come, or the listener has failed."""
        stream = self.streams[-1]
        ended = {
            event.relation
            for event in reversed(stream.events[-2000:])
            if isinstance(event, Change) and event.token.startswith(END)
        }
        stream.complete = ended == stream.relations
        return bool(stream.errors) or stream.complete


@dataclass(frozen=True)
class ConsumeDurable(Job):
    """Consume the durable tables, and write down the changes through the batch's session."""

    heartbeat: float

    def engine(self) -> Engine:
        named = {"application_name": APPLICATION}
        return create_engine(self.url, poolclass=NullPool, connect_args=named)

    def consumer(self, engine: Engine) -> Consumer:
        return Consumer(
            engine,
            self.name,
            *DURABLE,
            batch_size=300,
            partition=(self.part, self.parts),
            start="beginning",
            heartbeat=self.heartbeat,
        )

    def work_off(self, batch: ChangeBatch) -> None:
        with batch as session:
            if effects := [self._effect(event) for event in batch]:
                session.execute(insert(EFFECTS), effects)

    def _effect(self, event: Any) -> dict[str, Any]:
        change = change_of(event) or Change("", f"G {event}"[:200], 0, "")
        return {"reader": self.name, **change._asdict()}
