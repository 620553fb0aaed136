"""Consumers that are disturbed: in threads, and in processes that are killed.

A supervisor would start a consumer again when it has failed, and so does :meth:`Job.consume`. A
process of its own gets its job as one line of JSON, and ends when its parent is gone.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Protocol, Self

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from ...consuming.consumer import ChangeBatch, Consumer

__all__ = ["Job", "KillableProcess", "SupervisedThread", "Task", "run_job"]

logger = logging.getLogger("sa_pgnotify.testing")
PAUSE = 0.1
"""Seconds between the failure of a consumer and the next one."""


class Task(Protocol):
    """A dataclass that a process of its own works on."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def consume(self, keep: Callable[[Any], bool]) -> Iterator[None]:
        """Work, and yield after each failure."""
        raise NotImplementedError


@dataclass(frozen=True)
class Job(ABC):
    """What a consumer should do, in whichever process.

    :ivar RETRIED: the errors after which a new consumer begins.
    """

    RETRIED: ClassVar[tuple[type[Exception], ...]] = (SQLAlchemyError,)

    url: str
    name: str
    part: int
    parts: int

    @abstractmethod
    def engine(self) -> Engine:
        """Return the engine of the consumers."""

    @abstractmethod
    def consumer(self, engine: Engine) -> Consumer:
        """Return a new consumer."""

    @abstractmethod
    def work_off(self, batch: ChangeBatch) -> None:
        """Work off a batch."""

    def consume(self, keep: Callable[[Consumer], bool]) -> Iterator[None]:
        """Consume, and yield after each failure, before a new consumer begins.

        :param keep: is given each consumer when it has begun; it returns whether to go on.
        """
        engine = self.engine()
        try:
            while True:
                try:
                    with self.consumer(engine) as consumer:
                        if keep(consumer):
                            for batch in consumer:
                                self.work_off(batch)
                except self.RETRIED as error:
                    logger.info("consumer %s begins again: %s", self.name, error)
                yield
        finally:
            engine.dispose()


class SupervisedThread:
    """A consumer in a thread, which begins again when it has failed.

    :param leave: seconds that the thread may take to end. A thread that still connects to a server
        which does not answer is left behind.
    """

    def __init__(self, job: Job, leave: float) -> None:
        self._job = job
        self._leave = leave
        self._stop = threading.Event()
        self._consumer: Consumer | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        for _ in self._job.consume(self._keep):
            if self._stop.wait(PAUSE):
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
        self._thread.join(self._leave)


class KillableProcess:
    """A consumer, or a relay, in a process of its own, which is killed and started again."""

    def __init__(self, job: Task) -> None:
        self._job = job
        self._process: subprocess.Popen[str]

    def __enter__(self) -> Self:
        job = type(self._job)
        program = f"from {job.__module__} import {job.__name__} as job; from {__name__} import run_job; run_job(job)"
        self._process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-c", program],
            stdin=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asdict(self._job)) + "\n")
        self._process.stdin.flush()
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:
            self._process.kill()

    def kill(self) -> None:
        """Kill the process, and start another one."""
        self.__exit__()
        self.__enter__()


def run_job(job: Callable[..., Task]) -> None:
    """Consume until this process is killed, or its parent is gone."""
    logging.getLogger("sa_pgnotify").addHandler(logging.NullHandler())
    given: dict[str, Any] = json.loads(sys.stdin.readline())
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    for _ in job(**given).consume(lambda _: True):
        time.sleep(PAUSE)
