"""Publishing the changes of the log into a broker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Engine, MetaData, Table
from sqlalchemy.orm import Session

from ..consuming.admin import lag_of
from ..consuming.interface import BaseConsumer, Source, Start
from ..consuming.parked import Parked, parked_of
from ..consuming.positions import Lag
from ..consuming.worker import Worker
from ..drivers.waiting import ThreadWaiting
from ..errors import NotifyConfigError
from ..events.cloud_events import CloudEvents
from ..marking.sources import expand
from ..states import OnState
from ..subscription.engines import blocking_engine
from .messages import Format, Messages
from .publisher import Publisher
from .sink import Guarantee, Sink
from .subjects import Subject, token

__all__ = ["Relay"]


class Relay(BaseConsumer[Any]):
    """Publishes the changes of durable entities into a message broker, from which any number of
    processes on any machines can read them.

    ::

        Relay(engine, "shop", [Order, Customer], to=JetStream("nats://a,b,c", stream="SHOP")).run()

    Whole transactions are published, each committed change once, and the changes of each row in
    their order, as far as the sink promises. A ``Gap``, and one in place of each change that cannot
    be published, goes to the subject ``NAME.gap``. Several processes may run a relay of one name: one of them
    works, and the others stand by to take over.

    It is a consumer, so ``consumers()``, ``forget()``, the limits of the log and ``sa-pgnotify
    consumers`` treat it as one.

    :param engine: an engine of PostgreSQL and psycopg2 or psycopg.
    :param name: the name under which the position is stored, in the database and in the sink.
    :param entities: as of a :class:`~sa_pgnotify.Consumer`.
    :param to: where to publish, such as :class:`JetStream`.
    :param subject: the subject (topic, stream, routing key) of each change: a function of the change,
        or a template with the fields ``{relay}``, ``{schema}``, ``{table}``, ``{entity}``,
        ``{event}`` and ``{id}``. By default that of the sink.
    :param format: ``"envelope"``, which :meth:`~sa_pgnotify.Change.to_json` writes, or a
        :class:`~sa_pgnotify.CloudEvents`.
    :param start: where to begin if the name is new: ``"now"``, ``"beginning"`` or ``"snapshot"``, as
        of a :class:`~sa_pgnotify.Consumer`.
    :param batch_size: the most changes that are published at once. If the sink takes less, that
        counts.
    :param heartbeat: as of a :class:`~sa_pgnotify.Consumer`.
    :param on_state: called with each :class:`~sa_pgnotify.StateChange`.
    :raises NotifyConfigError: if an argument cannot work, or an entity is not durable.
    """

    def __init__(
        self,
        engine: Engine,
        name: str,
        entities: Sequence[Source] | Source,
        *,
        to: Sink,
        subject: Subject | None = None,
        format: Format = "envelope",  # noqa: A002
        start: Start = "now",
        batch_size: int = 1000,
        heartbeat: float = 10.0,
        on_state: OnState | None = None,
    ) -> None:
        blocking = blocking_engine(engine, "Relay", "an Engine: the relay blocks its thread")
        if not isinstance(to, Sink):
            raise NotifyConfigError(
                "Relay", f"to={to!r} is not a sink", "Give one such as JetStream(url, stream=...)"
            )
        if format != "envelope" and not isinstance(format, CloudEvents):
            raise NotifyConfigError(
                "Relay",
                f"format={format!r} is unknown",
                "Give 'envelope' or a CloudEvents(source=...)",
            )
        sources = (entities,) if isinstance(entities, type | Table | MetaData) else tuple(entities)
        super().__init__(blocking, name, sources, (0, 1), batch_size=batch_size, start=start, heartbeat=heartbeat,
            on_error=None, on_state=on_state,
        )  # fmt: skip
        if not name.isascii() or not name.isprintable() or not token(name) == name:
            raise NotifyConfigError(
                "Relay",
                f"{name!r} cannot be part of a subject",
                "Name it by ASCII letters, digits, - and _",
            )
        self._session_factory = lambda: Session(engine)
        self._sink = to
        self._is_stopped = False
        messages = Messages(name, to, subject or to.default_subject, format)
        self._publisher = Publisher(name, to, messages, _named(sources))

    def run(self) -> None:
        """Publish until :meth:`stop`, in this thread.

        While the broker or the database cannot be reached, it tries again, after waits of up to 30 s.

        :raises SinkUnavailable: if the broker cannot be reached at the start.
        :raises NotifyConfigError: if the broker cannot hold the promise, or if the relay has
            published into another one.
        :raises ListenUnavailable: if the database cannot be reached at the start, and as
            :meth:`Consumer.start`; TriggersMissing as well.
        """
        try:
            self._publisher.check()
            if not self._is_stopped:
                self._publisher.run(self._worker_for_sink(), lambda: self._is_stopped)
        finally:
            self._is_stopped = False

    def _worker_for_sink(self) -> Worker:
        """Return a worker whose batches the sink takes."""
        options = self._options
        limit = self._sink.limits.messages - _most_events_of_one_change(self._entities)
        self._options = options | {
            "batch_size": max(1, min(options["batch_size"], limit)),
            "resume": self._publisher.resume,
        }
        try:
            return self._make_worker(ThreadWaiting)
        finally:
            self._options = options

    def stop(self) -> None:
        """End :meth:`run` after what is being published. Safe from any thread, and from a signal
        handler."""
        self._is_stopped = True
        super().stop()

    @property
    def published(self) -> int:
        """How many messages this process has published."""
        return self._publisher.published

    @property
    def guarantee(self) -> Guarantee:
        """What the sink promises; certain after :meth:`run` has begun."""
        return self._sink.guarantee

    def lag(self) -> Lag:
        """Return how far the relay is behind, as :meth:`Consumer.lag`. It may be called from any
        thread."""
        return lag_of(self._engine, self._key, self._entities)

    def parked(self) -> list[Parked]:
        """Return the changes that could not be published, the oldest first."""
        return parked_of(self._engine, self._key, self._entities)


def _named(sources: tuple[Any, ...]) -> list[tuple[Any, Table]]:
    """Return the classes that sources name, and the Tables without one, each with its table."""
    found: list[tuple[Any, Table]] = []
    for table, interest in expand(sources).tables.items():
        found += [(class_, table) for class_ in interest.classes] or [(table, table)]
    return found


def _most_events_of_one_change(entities: tuple[Any, ...]) -> int:
    """Return how many more messages than changes a batch may have: a TRUNCATE, which is one change,
    has an event for each class of its table."""
    mappers = [interest.mapper for interest in expand(entities).tables.values()]
    return (
        max(len(list(mapper.self_and_descendants)) for mapper in mappers if mapper)
        if any(mappers)
        else 0
    )
