"""The readers of a :class:`sa_pgnotify.testing.DeliveryCheck`: consumers and listeners, and what
they have seen."""

from __future__ import annotations

import json
import random
import threading
import time
from dataclasses import dataclass
from typing import NamedTuple, Self

from sqlalchemy import Engine, create_engine, insert
from sqlalchemy.exc import DBAPIError

from ...consuming.consumer import ChangeBatch, Consumer
from ...errors import PgNotifyError
from ...events.changes import Change, Deleted, Inserted, Updated
from ...events.kinds import Gap, Notification
from ...listening.listener import Listener
from .supervised import Job
from .tables import EFFECTS, ROWS, read_from
from .writers import END, Written

__all__ = [
    "APPLICATION",
    "GAP",
    "HEARTBEAT",
    "LEAVE",
    "ConsumeRows",
    "DisturbedJob",
    "HandlerFailed",
    "Listening",
    "Seen",
    "engine_for",
]

APPLICATION = "sa_pgnotify delivery"
"""The application name of the readers' sessions, by which they are found and ended."""
HEARTBEAT = 1.0
"""Seconds between the heartbeats of the readers. Changes of transactions that were prepared with the
doorbell off are found so late."""
LEAVE = 10.0
"""Seconds that a thread may take to end. A thread that still connects to a server which does not
answer is left behind."""
GAP = "gap"
"""Stands for an operation if a gap was delivered; the text of the gap is the token."""


class Seen(NamedTuple):
    """A change that was delivered.

    :ivar begins: whether its transaction was said to begin with it; None if that is not known.
    :ivar ends: whether its transaction was said to end with it; None if that is not known.
    """

    change: Written
    begins: bool | None = None
    ends: bool | None = None


def _seen(event: Change | Gap | Notification) -> Written:
    if not isinstance(event, Inserted | Updated | Deleted):
        return Written(0, GAP, 0, str(event))
    values = event.old if isinstance(event, Deleted) else event.new
    operation = type(event).__name__[0]
    return Written(event.transaction_id, operation, event.identity[0], values["token"])


def engine_for(url: str) -> Engine:
    return create_engine(url, connect_args={"application_name": APPLICATION})


class HandlerFailed(Exception):
    """Stands for an error of a program's own handler."""


@dataclass(frozen=True)
class DisturbedJob(Job):
    """Work of a consumer of the check: its sessions are ended, and its handler fails now and then.

    :ivar captured: whether the tables are captured from the write-ahead log.
    """

    RETRIED = (DBAPIError, PgNotifyError, HandlerFailed)

    batch_size: int
    captured: bool = False

    def engine(self) -> Engine:
        return engine_for(self.url)


@dataclass(frozen=True)
class ConsumeRows(DisturbedJob):
    """Consume the rows of the check, and write down what was seen through the batch's session."""

    def consumer(self, engine: Engine) -> Consumer:
        return Consumer(
            engine,
            self.name,
            read_from(ROWS, captured=self.captured),
            batch_size=self.batch_size,
            partition=(self.part, self.parts),
            start="beginning",
            heartbeat=HEARTBEAT,
        )

    def work_off(self, batch: ChangeBatch) -> None:
        seen: list[Seen] = []
        for _, changes, begins, ends in batch.transactions():
            for i, change in enumerate(changes):
                # the parts of a divided name do not see where the changes of the other parts lie
                edges = (
                    (begins and i == 0, ends and i == len(changes) - 1)
                    if self.parts == 1
                    else (None, None)
                )
                seen.append(Seen(_seen(change), *edges))
        with batch as session:
            session.execute(
                insert(EFFECTS).values(name=self.name, part=self.part, seen=json.dumps(seen))
            )
            mood = random.random()  # noqa: S311 (no secret)
            if mood < 0.02:
                raise HandlerFailed("a handler that fails now and then")
            if mood < 0.2:
                time.sleep(0.02)  # so that disturbances often meet a batch that is being worked off


class Listening:
    """A listener in a thread, and what it has seen.

    :ivar ended: set when the last change of all has come.
    """

    def __init__(self, url: str, *, captured: bool) -> None:
        self.seen: list[Seen] = []
        self.ended = threading.Event()
        self._engine = engine_for(url)
        rows = read_from(ROWS, captured=captured)
        self._listener = Listener(self._engine, rows, heartbeat=HEARTBEAT, buffer_size=500)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        for event in self._listener:
            self.seen.append(Seen(_seen(event)))
            if self.seen[-1].change.token == END:
                self.ended.set()

    def __enter__(self) -> Self:
        self._listener.start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.stop()
        self._thread.join(LEAVE)
        self._engine.dispose()
