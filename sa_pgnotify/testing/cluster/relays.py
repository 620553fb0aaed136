"""The relays of a :class:`sa_pgnotify.testing.ClusterCheck`: processes that are killed, or stopped
until another one has taken over."""

from __future__ import annotations

import logging
import random
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, create_engine
from sqlalchemy.exc import SQLAlchemyError

from ...relay.relay import Relay
from ...relay.sink import Message, Sink
from ...relay.sinks import sink_of
from ..delivery.readers import HEARTBEAT
from ..delivery.supervised import KillableProcess
from ..delivery.tables import ROWS

__all__ = ["ClusterProcess", "RelayRows"]

logger = logging.getLogger("sa_pgnotify.testing")


@dataclass(frozen=True)
class RelayRows:
    """What a process of the check does: relay the rows of the check.

    :ivar application: the application name of its sessions.
    :ivar slowness: the most seconds between the sink's confirmation and the commit of the position,
        so that a kill often meets that moment.
    """

    url: str
    name: str
    to: str
    stream: str
    application: str
    batch_size: int
    slowness: float

    def relay(self, engine: Engine, sink: Sink) -> Relay:
        """Return the relay of a process."""
        return Relay(
            engine,
            self.name,
            ROWS,
            to=sink,
            start="beginning",
            batch_size=self.batch_size,
            heartbeat=HEARTBEAT,
        )

    def consume(self, keep: Callable[[Any], bool]) -> Iterator[None]:
        """Relay, and yield after each failure, as :meth:`Job.consume` does."""
        engine = create_engine(self.url, connect_args={"application_name": self.application})
        while True:
            sink = sink_of(self.to, self.stream)
            publish = sink.publish

            def slowly(messages: Sequence[Message], place: str, publish: Any = publish) -> None:
                publish(messages, place)
                time.sleep(self.slowness * random.random())  # noqa: S311 (no secret)

            setattr(sink, "publish", slowly)  # noqa: B010 (mypy refuses the assignment)
            try:
                self.relay(engine, sink).run()
            except SQLAlchemyError as error:
                logger.info("relay %s begins again: %s", self.name, error)
            yield


class ClusterProcess(KillableProcess):
    """A relay, or a member of a stream consumer, in a process of its own."""

    def stop(self) -> None:
        """Let it sleep, without its noticing."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)
