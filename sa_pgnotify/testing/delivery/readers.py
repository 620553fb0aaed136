"""Those who read in a :class:`sa_pgnotify.testing.DeliveryCheck`: consumers in threads and in
processes that are killed, and listeners.

Run as a program, it is such a process: it reads from its input what it is to do, as one line of
JSON.
"""

from __future__ import annotations

import json
import logging
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple, Self

from sqlalchemy import Engine, create_engine, insert
from sqlalchemy.exc import DBAPIError

from ...consuming.consumer import ChangeBatch, Consumer
from ...errors import PgNotifyError
from ...events.changes import Change, Deleted, Inserted, Updated
from ...events.kinds import Gap, Notification
from ...listening.listener import Listener
from .writers import EFFECTS, END, ROWS, Written

__all__ = ["APPLICATION", "GAP", "Consuming", "Job", "Listening", "Process", "Seen"]

APPLICATION = "sa_pgnotify delivery"
"""What the sessions of the readers are called, so that they are found and ended."""
HEARTBEAT = 1.0
"""Seconds; of the readers. What was prepared with the doorbell off is found so late."""
LEAVE = 10.0
"""Seconds that a thread may take to end; one that still connects to a server that does not answer
is left behind."""
GAP = "gap"
"""Stands for an operation where a gap was told, whose text is the token."""


class Seen(NamedTuple):
    """A change that was delivered, and whether its transaction was said to begin or end with it;
    None if that is not said."""

    change: Written
    begins: bool | None = None
    ends: bool | None = None


def _seen(event: Change | Gap | Notification) -> Written:
    if not isinstance(event, Inserted | Updated | Deleted) or event.identity is None:
        return Written(0, GAP, 0, str(event))
    told = event.old if isinstance(event, Deleted) else event.new
    return Written(event.transaction_id, type(event).__name__[0], event.identity[0], told["token"])


class Job(NamedTuple):
    """What a consumer is to do, in whichever process."""

    url: str
    name: str
    part: int
    parts: int
    batch_size: int

    def consume(self, keep: Callable[[Consumer], bool]) -> Iterator[None]:
        """Consume, and begin anew after each failure, as a supervisor would have it; gives way
        after each.

        :param keep: is given each consumer when it has begun; whether to go on.
        """
        engine = _reading(self.url)
        of = (self.part, self.parts)
        try:
            while True:
                try:
                    with Consumer(
                        engine,
                        self.name,
                        ROWS,
                        batch_size=self.batch_size,
                        partition=of,
                        start="beginning",
                        heartbeat=HEARTBEAT,
                    ) as consumer:
                        if keep(consumer):
                            for batch in consumer:
                                self._work_off(batch)
                except (DBAPIError, PgNotifyError, _Clumsy) as error:
                    logging.getLogger("sa_pgnotify.testing").info(
                        "consumer %s begins anew: %s", self.name, error
                    )
                yield
        finally:
            engine.dispose()

    def _work_off(self, batch: ChangeBatch) -> None:
        seen: list[Seen] = []
        for _, changes, begins, ends in batch.transactions():
            for i, change in enumerate(changes):
                # the parts of a divided name do not see where the others' changes lie
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
                raise _Clumsy("a handler that fails now and then")
            if mood < 0.2:
                # so that what is disturbed is, often enough, a batch that is being worked off
                time.sleep(0.02)


class _Clumsy(Exception):
    pass


def _reading(url: str) -> Engine:
    return create_engine(url, connect_args={"application_name": APPLICATION})


class Consuming:
    """A consumer in a thread."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._stop = threading.Event()
        self._consumer: Consumer | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        for _ in self._job.consume(self._keep):
            if self._stop.wait(0.1):
                return

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
        self._process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-c", f"from {__name__} import main; main()"],
            stdin=subprocess.PIPE,
            text=True,
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
    """What the process does: until it is killed, or nobody is there any more who would."""
    logging.getLogger("sa_pgnotify").addHandler(logging.NullHandler())
    job = Job(*json.loads(sys.stdin.readline()))
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    for _ in job.consume(lambda _: True):
        time.sleep(0.1)


class Listening:
    """A listener, and what it has heard."""

    def __init__(self, url: str) -> None:
        self.seen: list[Seen] = []
        self.ended = threading.Event()
        self._engine = _reading(url)
        self._listener = Listener(self._engine, ROWS, heartbeat=HEARTBEAT, buffer_size=500)
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
