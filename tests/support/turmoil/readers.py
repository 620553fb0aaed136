"""What reads under chaos: listeners of several drivers, and consumers in threads and in processes
that are killed.

Run as a program, it is such a process: it reads from its input what it should consume, as one line
of JSON.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

from kinds import Kind
from sqlalchemy import NullPool, Table, create_engine, insert, make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from sa_pgnotify import Consumer, Deleted, Gap, Inserted, PgNotifyError, Updated

from .load import DURABLE, EFFECTS, Change

APPLICATION = "chaos reader"
"""What the sessions of the readers are called, so that they are found and ended."""
END = "end"
"""How the token of a row begins that marks the end of a round."""
LEAVE = 20.0
"""Seconds that a thread may take to end."""


def change_of(event: Any) -> Change | None:
    """Return what an event tells; None if it is not the change of a row."""
    if not isinstance(event, Inserted | Updated | Deleted) or event.identity is None:
        return None
    values = event.old if isinstance(event, Deleted) else event.new
    return Change(event.table.name, type(event).__name__[0], event.identity[0], values["token"])


class Told(NamedTuple):
    """A Gap.

    :ivar since: nothing that was committed before is missing; ``arrived`` when it came, both by
        ``time.time()``.
    """

    since: float
    arrived: float
    reason: str
    detail: str


@dataclass
class Stream:
    """What one listener has given, from one start to one stop.

    :ivar events: changes and gaps in their order.
    :ivar started: when start() had returned; ``complete`` whether the last row of each table has
        come.
    :ivar errors: what it raised.
    """

    relations: frozenset[str]
    started: float
    complete: bool = False
    events: list[Change | Told] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @property
    def gaps(self) -> list[Told]:
        return [event for event in self.events if isinstance(event, Told)]


class Listening:
    """A listener in a thread, which may be stopped and started again.

    :ivar streams: what it gave, one for each start.
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
        """Start it; tries again while there is no server to connect to."""
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
                        Told(event.since.timestamp(), time.time(), event.reason, event.detail)
                    )
                elif (change := change_of(event)) is not None:
                    stream.events.append(change)
                else:
                    stream.errors.append(repr(event))
        except Exception as error:
            stream.errors.append(repr(error))

    def has_ended(self) -> bool:
        """Whether each table's last row has come."""
        stream = self.streams[-1]
        ended = {
            event.relation
            for event in reversed(stream.events[-2000:])
            if isinstance(event, Change) and event.token.startswith(END)
        }
        stream.complete = ended == stream.relations
        return bool(stream.errors) or stream.complete


class Job(NamedTuple):
    """What a consumer should do, in whichever process."""

    url: str
    name: str
    part: int
    parts: int
    heartbeat: float

    def consume(self, keep: Callable[[Consumer], bool]) -> None:
        """Consume, and begin anew after each failure, as a supervisor would have it.

        :param keep: is given each consumer when it has begun; whether to go on.
        """
        engine = create_engine(
            self.url, poolclass=NullPool, connect_args={"application_name": APPLICATION}
        )
        options: dict[str, Any] = {
            "partition": (self.part, self.parts),
            "start": "beginning",
            "heartbeat": self.heartbeat,
        }
        while True:
            try:
                with Consumer(engine, self.name, *DURABLE, batch_size=300, **options) as consumer:
                    if not keep(consumer):
                        return
                    for batch in consumer:
                        with batch as session:
                            if effects := [self._effect(event) for event in batch]:
                                session.execute(insert(EFFECTS), effects)
            except (SQLAlchemyError, PgNotifyError) as error:
                logging.getLogger("chaos").info("consumer %s begins anew: %s", self.name, error)
            time.sleep(0.1)

    def _effect(self, event: Any) -> dict[str, Any]:
        change = change_of(event) or Change("", f"G {event}"[:200], 0, "")
        return {"reader": self.name, **change._asdict()}


class Consuming:
    """A consumer in a thread."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._stop = threading.Event()
        self._consumer: Consumer | None = None
        self._thread = threading.Thread(target=job.consume, args=(self._keep,), daemon=True)

    def _keep(self, consumer: Consumer) -> bool:
        self._consumer = consumer
        return not self._stop.is_set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._consumer is not None:
            self._consumer.stop()
        self._thread.join(LEAVE)


class Process:
    """A consumer in a process of its own, which is killed and begun anew."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"from {__name__} import main; main()"],
            stdin=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(self._job) + "\n")
        self._process.stdin.flush()
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:
            self._process.kill()

    def kill(self) -> None:
        self.__exit__()
        self.__enter__()


def main() -> None:
    """Consume until this process is killed, or its parent is gone."""
    logging.getLogger("sa_pgnotify").addHandler(logging.NullHandler())
    job = Job(*json.loads(sys.stdin.readline()))
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    job.consume(lambda _: True)
