"""What a consumer does besides giving out batches: subscribe, react to writers, and run checks.

A consumer needs triggers that write to one change log. While a trigger is missing it cannot read
on, so it tries to subscribe again until all are installed. Triggers that were altered in between
may have lost changes, which a ``Gap`` reports.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from ..drivers import ListenConnection
from ..errors import NotifyConfigError, TriggersMissing
from ..log.tables import LogSettings, find_log
from ..marking.sources import expand
from ..marking.spec import marking_of
from ..protocol.wire import LOST, MOVED
from ..states import States
from ..subscription.link import Link
from ..subscription.subscription import Subscription
from ..subscription.trigger_watch import VERIFY_SECONDS
from .follower import Follower

__all__ = ["Upkeep", "settings_of"]


class Upkeep:
    """Keeps one consumer subscribed, and checks what it relies on.

    :param heartbeat: seconds between two checks.
    """

    def __init__(
        self,
        link: Link,
        follower: Follower,
        entities: tuple[Any, ...],
        heartbeat: float,
        states: States,
    ) -> None:
        self._link = link
        self._follower = follower
        self._entities = entities
        self._heartbeat = heartbeat
        self._subscription = Subscription(link.engine, states)
        self._altered = ""  # how triggers were altered, as long as it is not reported
        self._due = self._checked_at = 0.0

    def connected(self, connection: ListenConnection, *, strict: bool) -> None:
        """Subscribe on a new connection, and load the position.

        :raises TriggersMissing: if a table has no enabled triggers that write to the change log.
        """
        with self._link.deadline(connection):
            # If the program gives up the session, the server must not wait for a lock for ever.
            limit = f"{self._link.patience * 800:.0f}"
            connection.execute(f"SELECT pg_catalog.set_config('lock_timeout', '{limit}', false)")
            self._subscription.renew()
            self._subscribe(connection, strict=strict)
            self._follower.connected(connection)

    def _subscribe(self, connection: ListenConnection, *, strict: bool) -> None:
        subscription = self._subscription
        self._altered = self._altered or subscription.altered(connection)
        missing = subscription.change(connection, expand(self._entities), strict=strict)
        routes = subscription.routes.values()
        logs = {route.log: route.sources for route in routes if route.log is not None}
        silent = [s for route in routes if route.log is None for s in route.sources.values()]
        if missing is not None:
            raise missing
        if len(logs) != 1 or silent:
            tables = silent or [s for sources in logs.values() for s in sources.values()]
            raise TriggersMissing(
                tuple(source.table.fullname for source in tables),
                "the triggers that are installed do not write to the change log",
                "Run metadata.create_all(engine), or the migration",
            )
        ((log, sources),) = logs.items()
        self._follower.use(log, sources)

    # -- in the consumer's loop --------------------------------------------------------------------

    @property
    def due_in(self) -> float:
        """Seconds until :meth:`run` has something to do."""
        return self._due - time.monotonic() if self._subscription.comparison.is_done else 0.0

    def check_soon(self) -> None:
        """Check at the next turn, because the stored position was moved."""
        self._due = 0.0

    def run(self, connection: ListenConnection) -> None:
        """Run the check if it is due, and continue to compare the triggers' functions."""
        self._subscription.comparison.run()
        if self._due <= time.monotonic():
            self._check(connection)

    def receive(self, connection: ListenConnection) -> None:
        """Take the notifications of writers that have arrived, without waiting."""
        for _, payload, _ in connection.receive():
            if payload == MOVED:
                self._due = min(self._due, self._checked_at + VERIFY_SECONDS)
            elif payload == LOST:
                self._follower.tail.losses.wake()
            self._follower.tail.wake()

    def _check(self, connection: ListenConnection) -> None:
        """Check that the connection, the triggers and the stored position have not changed."""
        self._checked_at = time.monotonic()
        self._due = self._checked_at + self._heartbeat
        if self._subscription.altered(connection):
            self._subscribe(connection, strict=False)
            self._follower.register(connection)
        self._follower.heartbeat(connection)
        if self._altered and self._follower.works:
            text = f"triggers were altered, and changes may be missing: {self._altered}"
            self._follower.report_loss(text)
            self._altered = ""


def settings_of(entities: Iterable[Any]) -> LogSettings:
    """Return the settings of the change log of ``entities``.

    :raises NotifyConfigError: if one of them cannot be consumed.
    """
    if not entities:
        raise NotifyConfigError("Consumer", "it has nothing to consume: name at least one entity")
    if any(isinstance(entity, str) for entity in entities):
        raise NotifyConfigError(
            "Consumer",
            "notifications of a plain channel are not stored, so they cannot be consumed",
            "Give mapped classes or Tables",
        )
    tables = list(expand(entities).tables)
    for table in tables:
        marking = marking_of(table)
        if marking is None or not marking.durable:
            raise NotifyConfigError(
                table.fullname,
                "it is not durable, so its changes are not stored",
                "Mark it with NotifySpec(durable=True)",
            )
    logs = {id(table.metadata): find_log(table.metadata) for table in tables}
    found = next(iter(logs.values()), None)
    if len(logs) != 1 or found is None:
        raise NotifyConfigError(
            "Consumer",
            "its entities belong to several MetaData, or to none, and each MetaData has its own log",
            "Give entities of one MetaData",
        )
    return found.settings
