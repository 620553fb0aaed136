"""Consuming the change log in threads, from named positions that move with the program's work."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self, Unpack, overload

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from ..drivers.waiting import ThreadWaiting
from ..events.changes import E_co
from ..log.snapshots import Position
from ..states import OnState
from ..subscription.engines import blocking_engine
from .admin import lag_of, seek
from .backfill import backfill
from .failures import OnError
from .interface import BaseBatch, BaseConsumer, Consumed, ConsumerOptions, Place, Source, Start
from .parked import Parked, parked_of, retry_parked
from .positions import Lag

__all__ = ["ChangeBatch", "Consumer"]


class ChangeBatch(BaseBatch[E_co]):
    """What iterating a :class:`Consumer` gives. Use it in a ``with`` block; the transaction of the
    block's session also stores the position::

        with batch as session:
            for change in batch:
                session.add(Invoice(order_id=change.identity[0]))

    At the end of the block everything is committed. If the block raises, everything is rolled back,
    and the same changes come again. Work that does not go through this session is done at least
    once, because the commit may fail after it was done.
    """

    def __enter__(self) -> Session:
        session: Session = self._worker.transactions.enter(self._work, threading.get_ident())
        return session

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        return self._worker.transactions.finish(self._work, error)


class Consumer(BaseConsumer[E_co]):
    """Reads the changes of durable entities from a named position in the change log, which is
    stored together with the work that is done.

    ::

        with Consumer(engine, "billing", Order) as consumer:
            for batch in consumer:
                with batch as session:             # one transaction: your work and the position commit together
                    for change in batch:
                        session.add(Invoice(order_id=change.identity[0]))

    Each committed change is consumed once under each name, also when another process takes over,
    and the changes of each row come in their order. Several consumers of one name may run: one of
    them works, and the others stand by to take over.

    :param engine: an engine of PostgreSQL and psycopg2 or psycopg.
    :param name: the name under which the position is stored.
    :param entities: mapped classes, Tables, a MetaData or declarative base, of one MetaData, all of
        them marked ``durable=True``.
    :param batch_size: the most changes that a batch has, unless a TRUNCATE adds some.
    :param partition: ``(i, n)``: this consumer reads the i-th of n parts, counted from 0, into
        which rows are divided by identity. Each part has a position of its own, and needs a
        consumer.
    :param start: where to begin if the name is new: ``"now"``; at the ``"beginning"`` of what the
        log still holds; or with a ``"snapshot"``, the rows that the tables hold, each as an
        :class:`~sa_pgnotify.Existing`, and then what changes after it was read. A snapshot is meant
        for work that is done in the batch's session; for a copy elsewhere, call :meth:`backfill`.
    :param heartbeat: seconds between two queries that check the connection; also the delay with
        which it finds changes whose writers do not ring.
    :param session_factory: creates the batches' sessions, on the database of ``engine``; by default
        ``Session(engine)``.
    :param on_error: called with the exception, the change, and how often the change has failed.
        Returns ``"raise"``, ``"retry"`` (after a while), ``"skip"``, or ``"park"`` (into the table
        ``sa_pgnotify_parked``). By default the error is raised.
    :param on_state: called with each :class:`~sa_pgnotify.StateChange`, as for a
        :class:`~sa_pgnotify.Listener`.
    :param park_key: keep the order of each row when a change is parked: later changes of the same
        row are parked as well, without being given out, until :meth:`retry_parked` gives them out
        in order. This costs a query for each batch.
    :raises NotifyConfigError: if an argument cannot work, or an entity is not durable.
    """

    @overload
    def __init__(
        self,
        engine: Engine,
        name: str,
        entity: type[E_co],
        /,
        *,
        session_factory: Callable[[], Session] | None = None,
        **options: Unpack[ConsumerOptions],
    ) -> None: ...

    @overload
    def __init__(
        self: Consumer[Any],
        engine: Engine,
        name: str,
        *entities: Source,
        session_factory: Callable[[], Session] | None = None,
        **options: Unpack[ConsumerOptions],
    ) -> None: ...

    def __init__(
        self,
        engine: Engine,
        name: str,
        *entities: Source,
        batch_size: int = 1000,
        partition: tuple[int, int] = (0, 1),
        start: Start = "now",
        heartbeat: float = 10.0,
        session_factory: Callable[[], Session] | None = None,
        on_error: OnError | None = None,
        on_state: OnState | None = None,
        park_key: bool = False,
    ) -> None:
        blocking = blocking_engine(engine, "Consumer", "AsyncConsumer")
        super().__init__(blocking, name, entities, partition, batch_size=batch_size, start=start, heartbeat=heartbeat,
            on_error=on_error, on_state=on_state, park_key=park_key,
        )  # fmt: skip
        self._session_factory = session_factory or (lambda: Session(engine))

    def start(self) -> Self:
        """Connect, and load the position, or create it if the name is new. No change that is
        committed after that is missed.

        :raises TriggersMissing: if a table has no enabled triggers, or if its triggers do not write
            to the change log.
        :raises ListenUnavailable: if no connection can be made, if it does not deliver
            notifications, or if there is no change log.
        :raises PgNotifyError: if it has been started already.
        """
        worker = self._make_worker(ThreadWaiting)
        try:
            worker.begin()
        except BaseException:
            worker.end()
            self._worker = None
            raise
        return self

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._worker is not None and self._worker.link.is_ours:
            self._worker.stop()
            self._worker.end()

    def __iter__(self) -> Iterator[ChangeBatch[E_co]]:
        """Return batches until :meth:`stop`."""
        worker = self._started()
        while (work := worker.next_work()) is not None:
            yield ChangeBatch(worker, work)

    def run(self, handler: Callable[[Session, Consumed[E_co]], object]) -> None:
        """Call ``handler(session, change)`` for each change until :meth:`stop`; each batch is
        committed when it ends."""
        for batch in self:
            with batch as session:
                for change in batch:
                    handler(session, change)

    def lag(self) -> Lag:
        """Return how far the consumer is behind: how many committed changes it has not finished,
        and the age of the oldest. It may be called from any thread."""
        return lag_of(self._engine, self._key, self._entities)

    def seek(self, place: Place | Position) -> None:
        """Continue from ``"now"``, from the ``"beginning"`` of what the log still holds, or after a
        change, given its ``position``.

        It waits for a batch of this name that is being processed, in whichever process. A consumer
        that works in another process continues there with its next batch, or at its heartbeat.

        :raises PgNotifyError: if the consumer is not known in the database, or if this is called
            within a batch's block.
        """
        if self._worker is not None:
            self._worker.transactions.refuse_within_block(threading.get_ident(), "seek")
        seek(self._engine, self._key, self._entities, place)
        if self._worker is not None:
            self._worker.check_soon()

    def backfill(self, entity: Any, where: Any = None) -> None:
        """Give out rows that are there, each as an :class:`~sa_pgnotify.Existing`, among the changes.

        ::

            consumer.backfill(Order, where=Order.region == "eu")

        A row is given out as it is after the changes before it, so replaying the events gives the
        table. It waits for a batch of this name that is being processed, and returns before the rows
        are read: :meth:`lag` shows how many were.

        :param entity: a mapped class or Table that the consumer reads.
        :param where: comparisons of the entity's columns with values, joined by ``and_()``,
            ``or_()`` and ``not_()``; all rows by default.
        :raises NotifyConfigError: if the rows cannot be read, or ``where`` is anything else.
        :raises PgNotifyError: if the consumer is not known in the database, or does not read the
            entity, or if this is called within a batch's block.
        """
        if self._worker is not None:
            self._worker.transactions.refuse_within_block(threading.get_ident(), "backfill")
        backfill(self._engine, self._key, self._entities, entity, where)
        if self._worker is not None:
            self._worker.check_soon()

    def parked(self) -> list[Parked]:
        """Return what ``on_error`` has parked, the oldest first."""
        return parked_of(self._engine, self._key, self._entities)

    def retry_parked(self) -> int:
        """Give out what ``on_error`` has parked, in batches of its own, before the changes that
        come next; and return how many changes these are.

        A change leaves the table when its batch is committed. If it fails again, ``on_error``
        decides again. A row that a snapshot or backfill had read is read again. This may be called
        in any process: a consumer that works in another one begins at its heartbeat. It waits for a
        batch of this name that is being processed.

        :raises PgNotifyError: if the consumer is not known in the database, or if this is called
            within a batch's block.
        """
        if self._worker is not None:
            self._worker.transactions.refuse_within_block(threading.get_ident(), "retry_parked")
        count = retry_parked(self._engine, self._key, self._entities)
        if self._worker is not None:
            self._worker.check_soon()
        return count
