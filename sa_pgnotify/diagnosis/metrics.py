"""Figures of listeners, consumers, captures and change logs in the words of Prometheus.

It needs the extra ``metrics``, which adds the Prometheus client. The figures are read when they are
scraped, so they cost nothing in between::

    REGISTRY.register(Metrics(engine, listener))
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine

from ..consuming.overview import ConsumerStatus, consumers, logs_of
from ..errors import PgNotifyError
from ..listening.interface import BaseListener
from ..log.capture_state import CaptureState, captured_logs, captures
from ..log.retention import state
from ..sql import Execute, execute_on

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Metric

__all__ = ["Metrics", "registry_of"]

PREFIX = "sa_pgnotify"


class Metrics:
    """A collector for a registry of the Prometheus client.

    :param engine: of the database whose consumers and change logs are shown; None to show only
        ``listeners``. Each scrape takes a connection from it. The engine may be that of the
        program, or one of a role that may only read these tables.
    :param listeners: those of this process.
    :raises PgNotifyError: if the Prometheus client is not installed.
    """

    def __init__(self, engine: Engine | None, *listeners: BaseListener[Any]) -> None:
        try:
            import prometheus_client  # noqa: F401 (to fail here, not at the first scrape)
        except ImportError as error:
            raise PgNotifyError(
                "metrics need the extra metrics", "pip install 'sa_pgnotify[metrics]'"
            ) from error
        self._engine = engine
        self._listeners = listeners

    def collect(self) -> Iterator[Metric]:
        """Return the figures as they are now. The client calls it."""
        if self._listeners:
            yield from _listening(self._listeners)
        if self._engine is not None:
            with (
                self._engine.connect().execution_options(
                    isolation_level="READ COMMITTED"
                ) as connection,
                connection.begin(),
            ):
                yield from [
                    *_consuming(consumers(connection)),
                    *_capturing(execute_on(connection)),
                    *_database(connection),
                ]


def registry_of(metrics: Metrics) -> CollectorRegistry:
    """Return a registry that has nothing but ``metrics``."""
    from prometheus_client import CollectorRegistry

    registry = CollectorRegistry()
    registry.register(metrics)
    return registry


def _listening(listeners: Iterable[BaseListener[Any]]) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    stats = [(str(number), listener.stats) for number, listener in enumerate(listeners)]
    for name, what in (
        ("connected", "1 if the connection of the listener listens, else 0"),
        ("buffered", "events that wait for the program"),
        ("latency", "seconds from the last statement to the arrival of its event"),
    ):
        suffix = "_seconds" if name == "latency" else ""
        gauge = GaugeMetricFamily(f"{PREFIX}_listener_{name}{suffix}", what, labels=["listener"])
        for number, one in stats:
            value = getattr(one, name)
            if value is not None:
                gauge.add_metric([number], float(value))
        yield gauge
    for name, what in (
        ("received", "events that have arrived, with gaps"),
        ("delivered", "events that the program has taken"),
        ("gaps", "gaps: places where events may be missing"),
        ("reconnects", "reconnections after a loss"),
    ):
        counter = CounterMetricFamily(f"{PREFIX}_listener_{name}", what, labels=["listener"])
        for number, one in stats:
            counter.add_metric([number], getattr(one, name))
        yield counter


_OF_CONSUMERS: tuple[tuple[str, str, Callable[[ConsumerStatus], float]], ...] = (
    ("behind", "changes that the consumer has not finished", lambda c: c.lag.events),
    ("behind_seconds", "age of the oldest of these changes", lambda c: c.lag.seconds),
    (
        "moved_timestamp_seconds",
        "when its position was stored last",
        lambda c: c.moved_at.timestamp(),
    ),
    ("failures", "how often the change that it has reached has failed", lambda c: c.failures),
    ("parked", "changes that are parked under its name", lambda c: c.parked),
    ("has_lost", "1 if changes that it has not read are gone, else 0", lambda c: c.has_lost),
    ("rows_done", "rows that its snapshots and backfills have read", lambda c: c.lag.rows_done),
    ("rows_estimate", "rows that these have in all, estimated", lambda c: c.lag.rows_estimate),
)


def _consuming(found: list[ConsumerStatus]) -> Iterator[Metric]:
    from prometheus_client.core import GaugeMetricFamily

    labels = ["log", "consumer", "part", "parts"]
    for name, what, value in _OF_CONSUMERS:
        gauge = GaugeMetricFamily(f"{PREFIX}_consumer_{name}", what, labels=labels)
        for consumer in found:
            part, parts = consumer.partition
            gauge.add_metric([consumer.log, consumer.name, str(part), str(parts)], value(consumer))
        yield gauge


_OF_CAPTURES: tuple[tuple[str, str, Callable[[CaptureState], float]], ...] = (
    ("works", "1 if a capture of the log works, else 0", lambda c: c.works),
    ("behind_seconds", "since it captured last, if there is more", lambda c: c.seconds),
    ("retained_bytes", "the write-ahead log that its slot keeps", lambda c: c.slot.retained),
)
_SLOT_STATES = ("reserved", "extended", "unreserved", "lost", "missing")


def _capturing(execute: Execute) -> Iterator[Metric]:
    from prometheus_client.core import GaugeMetricFamily

    ((is_standby,),) = execute("SELECT pg_catalog.pg_is_in_recovery()::int")
    found = [] if is_standby else captures(execute, captured_logs(execute))
    for name, what, value in _OF_CAPTURES:
        gauge = GaugeMetricFamily(f"{PREFIX}_capture_{name}", what, labels=["log"])
        for capture in found:
            gauge.add_metric([capture.log], float(value(capture)))
        yield gauge
    what = "1 for the wal_status that the capture's replication slot has, or missing; else 0"
    gauge = GaugeMetricFamily(f"{PREFIX}_capture_slot", what, labels=["log", "status"])
    for capture in found:
        for status in _SLOT_STATES:
            is_so = status == (capture.slot.wal_status or "missing")
            gauge.add_metric([capture.log, status], float(is_so))
    yield gauge


def _database(connection: Connection) -> Iterator[Metric]:
    from prometheus_client.core import GaugeMetricFamily

    execute = execute_on(connection)
    size = GaugeMetricFamily(f"{PREFIX}_log_bytes", "size of the change log", labels=["log"])
    for names in logs_of(execute):
        size.add_metric([names.head], state(execute, names).size)
    yield size
    ((used,),) = execute("SELECT pg_catalog.pg_notification_queue_usage()")
    what = "share of PostgreSQL's notification queue in use, 0 to 1"
    yield GaugeMetricFamily(f"{PREFIX}_queue_usage_ratio", what, float(used))
