"""The members of a stream consumer in a :class:`sa_pgnotify.testing.ClusterCheck`: processes that write
down, through the sessions of their batches, what they were given."""

from __future__ import annotations

import json
import logging
import random
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import create_engine, insert
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from ...events.kinds import Gap
from ...relay.jetstream import JetStream
from ...streaming.batch import StreamMessage
from ...streaming.group import partition_of
from ...streaming.stream_consumer import StreamBatch, StreamConsumer
from ..delivery.readers import GAP, Seen
from ..delivery.tables import EFFECTS, ROWS, SCHEMA
from ..delivery.writers import Written

__all__ = ["MEMBERS", "MemberRows", "handled"]

logger = logging.getLogger("sa_pgnotify.testing")
MEMBERS = "members"
"""The name of the consumer."""


@dataclass(frozen=True)
class MemberRows:
    """What a member does: handle the rows of the check.

    :ivar application: the application name of its sessions.
    :ivar slowness: the most seconds that a handler takes, so that a kill often meets its transaction.
    """

    url: str
    to: str
    stream: str
    application: str
    batch_size: int
    slowness: float
    partitions: int
    lease: float

    def consumer(self, sessions: Callable[[], Session]) -> StreamConsumer[Any]:
        """Return the consumer of a process."""
        return StreamConsumer(
            JetStream(self.to, self.stream),
            MEMBERS,
            ROWS,
            session_factory=sessions,
            partitions=self.partitions,
            batch_size=self.batch_size,
            lease=self.lease,
            start="beginning",
            schema=SCHEMA,
        )

    def consume(self, keep: Callable[[Any], bool]) -> Iterator[None]:
        """Handle what comes, and yield after each failure, as :meth:`Job.consume` does."""
        connect = {"application_name": self.application}
        sessions = sessionmaker(create_engine(self.url, connect_args=connect))
        while True:
            try:
                with self.consumer(sessions) as consumer:
                    for batch in consumer:
                        with batch as session:
                            self.work_off(batch, session)
            except SQLAlchemyError as error:
                logger.info("a member begins again: %s", error)
            yield

    def work_off(self, batch: StreamBatch[Any], session: Session) -> None:
        """Write down a batch."""
        seen = json.dumps([self._seen(message) for message in batch.messages()])
        session.execute(insert(EFFECTS), {"name": MEMBERS, "part": 0, "seen": seen})
        time.sleep(self.slowness * random.random())  # noqa: S311 (no secret)

    def _seen(self, message: StreamMessage[Any]) -> list[Any]:
        """Return the partition, and what was delivered."""
        part = partition_of(message.subject, self.partitions)
        event: Any = message.event
        if isinstance(event, Gap):
            return [part, 0, GAP, 0, str(event)]
        values = event.old if event._kind == "deleted" else event.new
        operation = event._kind[0].upper()
        return [part, event.transaction_id, operation, event.identity[0], values["token"]]


def handled(effects: Iterable[str], partitions: int) -> list[list[Seen]]:
    """Return what was handled in each partition, in its order."""
    found: list[list[Seen]] = [[] for _ in range(partitions)]
    for text in effects:
        for part, *change in json.loads(text):
            found[part].append(Seen(Written(*change)))
    return found
