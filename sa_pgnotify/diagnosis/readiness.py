"""Whether a program can rely on its database now: the check behind a readiness probe.

A probe asks every few seconds, so this reads the catalog and the positions once, sends no
notification, and waits for a lock for a second at most.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, MetaData

from ..consuming.overview import ConsumerStatus, consumers
from ..log.capture_state import captured_logs
from ..log.tables import LogNames
from ..sql import execute_on, schema_translation
from ..triggers.catalog import marked_sets
from ..triggers.drift import check
from ..triggers.installation import read_installation
from .capture import uncaptured
from .consumers import lost, name_of
from .findings import Finding
from .triggers import damaged, silent

__all__ = ["LagLimits", "readiness"]

_PATIENCE = "SELECT pg_catalog.set_config('lock_timeout', '1s', true), pg_catalog.set_config('statement_timeout', '5s', true)"


@dataclass(frozen=True, slots=True)
class LagLimits:
    """How far a consumer may be behind.

    :ivar changes: the most changes that it has not finished; None for no limit.
    :ivar seconds: the greatest age of the oldest of them; None for no limit.
    :ivar names: of the consumers that are looked at; empty for all of the database.
    """

    changes: int | None = None
    seconds: float | None = None
    names: frozenset[str] = frozenset()

    @property
    def are_set(self) -> bool:
        """Whether there is a limit at all."""
        return self.changes is not None or self.seconds is not None

    def exceeded(self, consumer: ConsumerStatus) -> Finding | None:
        """Return the finding that a consumer is further behind than it may be; None if it is not."""
        lag = consumer.lag
        too_many = self.changes is not None and lag.events > self.changes
        too_old = self.seconds is not None and lag.seconds > self.seconds
        if not too_many and not too_old:
            return None
        text = f"{name_of(consumer)} is {lag.events} changes behind; the oldest is from {lag.seconds:.0f} s ago."
        fix = "See whether its program runs, and its log. More partitions read faster."
        return Finding("problem", "consumers", text, fix)


def readiness(
    engine: Engine, models: Iterable[MetaData] = (), limits: LagLimits | None = None
) -> list[Finding]:
    """Return what keeps changes from being published and consumed; nothing if all is well.

    :param models: whose triggers must be as declared; if none is given, the installed triggers
        must fire.
    :param limits: how far each consumer of the database may be behind.
    :raises sqlalchemy.exc.DBAPIError: if it cannot connect, or may not read what it needs.
    """
    wanted = list(models)
    with (
        engine.connect().execution_options(isolation_level="READ COMMITTED") as connection,
        connection.begin(),
    ):
        execute = execute_on(connection)
        execute(_PATIENCE)
        ((is_standby,),) = execute("SELECT pg_catalog.pg_is_in_recovery()::int")
        if is_standby:
            text = "This server is a standby, which can neither LISTEN nor store positions."
            fix = (
                "Connect to the primary: target_session_attrs=read-write does, with several hosts."
            )
            return [Finding("problem", "server", text, fix)]
        findings = [*(_differing(connection, wanted) if wanted else _silent(connection))]
        findings += uncaptured(execute, _captured(connection, wanted))
        if limits is not None and limits.are_set:
            for consumer in consumers(connection):
                if limits.names and consumer.name not in limits.names:
                    continue
                found = lost(consumer) if consumer.has_lost else limits.exceeded(consumer)
                findings += [] if found is None else [found]
    return findings


def _differing(connection: Connection, wanted: list[MetaData]) -> Iterator[Finding]:
    for drift in check(connection, wanted):
        if drift.kind != "left over":  # which changes nothing for these models
            problem = drift.problem[:1].upper() + drift.problem[1:]
            yield Finding("problem", "triggers", f"{problem}.", drift.fix)


def _silent(connection: Connection) -> Iterator[Finding]:
    installation = read_installation(connection)
    execute = execute_on(connection)
    yield from silent(execute, installation)
    yield from damaged(execute, installation)


def _captured(connection: Connection, wanted: list[MetaData]) -> Iterable[LogNames]:
    """Return the logs that captures fill, those of ``wanted`` or all."""
    if not wanted:
        return captured_logs(execute_on(connection))
    schema_of = schema_translation(connection)
    every = [s for m in wanted for s in marked_sets(m.tables.values(), schema_of).values()]
    return {LogNames(s.marking.log_schema) for s in every if s.marking.capture == "wal"}
