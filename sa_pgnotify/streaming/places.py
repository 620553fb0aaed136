"""The tables in the handler's database: how far each partition has come, and what was parked.

A partition's row also has the member and the epoch that may move it. A member that takes a
partition over writes its epoch there first, and each transaction that moves the place compares it.
So a member that was replaced while it slept cannot commit any work.

The statements are SQLAlchemy's, and use nothing but what every database with transactions has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    DateTime,
    Identity,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    and_,
    case,
    insert,
    or_,
    select,
    update,
)

__all__ = ["ParkedMessage", "Place", "Places", "StreamLag", "stream_tables"]

PLACES, PARKED = "sa_pgnotify_stream_places", "sa_pgnotify_stream_parked"


def stream_tables(metadata: MetaData, *, schema: str | None = None) -> tuple[Table, Table]:
    """Return the tables of places and of parked messages, in the program's MetaData, so that
    ``create_all`` and Alembic handle them.

    A :class:`StreamConsumer` creates them if they are missing. Call this if migrations should.

    :param metadata: that of the handler's database.
    :param schema: their schema; by default that of the MetaData.
    """
    schema = schema or metadata.schema
    known = metadata.tables.get(f"{schema}.{PLACES}" if schema else PLACES)
    if known is not None:
        return known, metadata.tables[f"{schema}.{PARKED}" if schema else PARKED]
    number = BigInteger().with_variant(Integer, "sqlite")  # which numbers INTEGER keys only
    places = Table(
        PLACES,
        metadata,
        Column("stream", String(255), primary_key=True),
        Column("name", String(255), primary_key=True),
        Column("part", Integer, primary_key=True, autoincrement=False),
        Column("sequence", BigInteger, nullable=False, comment="the last message that was handled"),
        Column("stored", BigInteger, nullable=False, comment="when the broker stored it, in ns"),
        Column("created", String(64), nullable=False, comment="when the stream was created"),
        Column("member", String(64), nullable=False, comment="may move the place"),
        Column("epoch", BigInteger, nullable=False, comment="of the member's lease"),
        Column("failed", BigInteger, nullable=False, comment="the message that failed last"),
        Column("failures", Integer, nullable=False, comment="how often it has failed"),
        schema=schema,
    )
    parked = Table(
        PARKED,
        metadata,
        Column("id", number, Identity(), primary_key=True),
        Column("stream", String(255), nullable=False),
        Column("name", String(255), nullable=False),
        Column("sequence", BigInteger, nullable=False),
        Column("subject", Text, nullable=False),
        Column("body", Text, nullable=False),
        Column("error", Text, nullable=False),
        Column("failures", Integer, nullable=False),
        Column("parked_at", DateTime(timezone=True), nullable=False),
        schema=schema,
    )
    return places, parked


class Place(NamedTuple):
    """How far a partition has come.

    :ivar sequence: the number of the last message that was handled.
    :ivar stored: when the broker has stored it, see :attr:`Received.stored`: a stream that has lost
        its last messages gives their numbers to others. 0 if there was none.
    :ivar created: the stream that it is of.
    """

    sequence: int
    stored: int
    created: str
    member: str = ""
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class ParkedMessage:
    """A message whose change was parked.

    :ivar id: its number in the table ``sa_pgnotify_stream_parked``. Delete the row once the change
        has been dealt with.
    :ivar sequence: the number of the message in the stream.
    :ivar body: JSON, as it was published; empty for a gap of the stream.
    :ivar error: the exception that the program raised last for it, as text.
    :ivar failures: how often it has failed.
    :ivar parked_at: when it was parked, by the clock of the member that did it.
    """

    id: int
    sequence: int
    subject: str
    body: str
    error: str
    failures: int
    parked_at: datetime


@dataclass(frozen=True, slots=True)
class StreamLag:
    """How far a consumer is behind.

    :ivar messages: how many messages of the stream its slowest partition has still to pass, those of
        other partitions included.
    :ivar partitions: by partition, the number of the last message that was handled.
    :ivar members: by member, how many partitions it works.
    """

    messages: int
    partitions: Mapping[int, int]
    members: Mapping[str, int]


class Places:
    """The places of one consumer.

    :ivar tables: in their order of creation.
    """

    def __init__(self, stream: str, name: str, schema: str | None) -> None:
        self.tables = stream_tables(MetaData(), schema=schema)
        self._places, self._parked = self.tables
        self._key = {"stream": stream, "name": name}
        p = self._places.c
        self._mine = and_(p.stream == stream, p.name == name)

    def create_tables(self, connection: Connection) -> None:
        """Create the tables that are missing."""
        self._places.metadata.create_all(connection)

    def load(self, connection: Connection) -> dict[int, Place]:
        """Return all places; empty before the consumer has begun."""
        p = self._places.c
        columns = (p.part, p.sequence, p.stored, p.created, p.member, p.epoch)
        found = connection.execute(select(*columns).where(self._mine))
        return {part: Place(*rest) for part, *rest in found}

    def begin(self, connection: Connection, partitions: int, place: Place) -> None:
        """Store the place at which a new consumer begins, for each partition."""
        row = {**self._key, **place._asdict(), "failed": 0, "failures": 0}
        connection.execute(
            insert(self._places), [{**row, "part": part} for part in range(partitions)]
        )

    def adopt(self, connection: Connection, part: int, member: str, epoch: int) -> bool:
        """Let a member move a place from now on, and return whether its epoch is new."""
        p = self._places.c
        statement = update(self._places).where(self._mine, p.part == part, p.epoch < epoch)
        return connection.execute(statement.values(member=member, epoch=epoch)).rowcount == 1

    def move(self, connection: Connection, held: Mapping[int, int], member: str, to: Place) -> bool:
        """Move the places of partitions, and return whether the member may move them all.

        :param held: partitions with their epochs.
        """
        at = {"sequence": to.sequence, "stored": to.stored, "created": to.created}
        statement = self._of(held, member).values(at)
        return connection.execute(statement).rowcount == len(held)

    def count_failure(
        self, connection: Connection, part: int, epoch: int, member: str, sequence: int
    ) -> int | None:
        """Count a failure of a message, and return how often it has failed in all processes; None if
        the member may not move the place any more."""
        p = self._places.c
        failures = case((p.failed == sequence, p.failures + 1), else_=1)
        statement = self._of({part: epoch}, member).values(failures=failures, failed=sequence)
        if connection.execute(statement).rowcount != 1:
            return None
        found = connection.execute(select(p.failures).where(self._mine, p.part == part))
        return int(found.scalar_one())

    def _of(self, held: Mapping[int, int], member: str) -> Any:
        p = self._places.c
        owned = or_(*(and_(p.part == part, p.epoch == epoch) for part, epoch in held.items()))
        return update(self._places).where(self._mine, p.member == member, owned)

    # -- what was parked ---------------------------------------------------------------------------

    def park(
        self,
        connection: Connection,
        sequence: int,
        subject: str,
        body: str,
        error: str,
        failures: int,
    ) -> None:
        """Store a message that was parked."""
        row = {"sequence": sequence, "subject": subject, "body": body, "error": error}
        more = {"failures": failures, "parked_at": datetime.now(UTC)}
        connection.execute(insert(self._parked), [{**self._key, **row, **more}])

    def parked(self, connection: Connection) -> list[ParkedMessage]:
        """Return what was parked, the oldest first."""
        p = self._parked.c
        columns = (p.id, p.sequence, p.subject, p.body, p.error, p.failures, p.parked_at)
        mine = and_(p.stream == self._key["stream"], p.name == self._key["name"])
        found = connection.execute(select(*columns).where(mine).order_by(p.id))
        return [ParkedMessage(*row) for row in found]
