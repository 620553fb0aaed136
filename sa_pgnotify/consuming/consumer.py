"""Consuming the change log in threads: named positions that move with the program's work."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from ..drivers.waiting import ThreadWaiting
from ..errors import NotifyConfigError, PgNotifyError
from ..events.changes import Change
from ..events.kinds import Gap
from ..log.snapshots import Position
from ..states import OnState
from .admin import Parked, lag_of, parked_of, seek
from .batch import OnError, OpenBatch
from .chunks import TransactionPart, transactions
from .positions import ConsumerKey, Lag
from .upkeep import settings_of
from .worker import Worker

__all__ = ["BaseBatch", "BaseConsumer", "ChangeBatch", "Consumer"]


class BaseBatch:
    """Changes of the log, in order, and the transaction that they are worked off in.

    Iterating gives each :class:`~sa_pgnotify.Change`, and a :class:`~sa_pgnotify.Gap` where
    something is missing.
    """

    def __init__(self, worker: Worker, work: OpenBatch) -> None:
        self._worker = worker
        self._work = work

    def __iter__(self) -> Iterator[Change | Gap]:
        return self._work.events()

    def __len__(self) -> int:
        return sum(event is not None for chunk in self._work.chunks for event in chunk.events)

    def transactions(self) -> Iterator[TransactionPart]:
        """The same by transaction: each tells its id, its changes, and whether it begins and ends
        here.

        Transactions come whole; only one that is longer than ``batch_size`` is divided.
        """
        return transactions(self._work.chunks, self._work.reached)

    @property
    def position(self) -> Position:
        """The place behind the batch, which is stored when its block ends."""
        return self._work.after

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self)} changes for {self._worker.key}>"


class ChangeBatch(BaseBatch):
    """What iterating a :class:`Consumer` gives. Use it in a ``with`` block, whose session's
    transaction the position is stored in::

        with batch as session:
            for change in batch:
                session.add(Invoice(order_id=change.identity[0]))

    At the end of the block all is committed; if it raises, all is rolled back, and the same changes
    come again. OpenBatch that is not done through this session is done at least once: it may be done and
    the commit fail.
    """

    def __enter__(self) -> Any:
        return self._worker.transactions.enter(self._work, threading.get_ident())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        return self._worker.transactions.finish(self._work, error)


class BaseConsumer:
    """What :class:`Consumer` and :class:`~sa_pgnotify.AsyncConsumer` share."""

    def __init__(
        self,
        engine: Engine,
        name: str,
        entities: tuple[Any, ...],
        partition: tuple[int, int],
        *,
        batch_size: int,
        start: str,
        heartbeat: float,
        on_error: OnError | None,
        on_state: OnState | None,
    ) -> None:
        kind = type(self).__name__
        if not isinstance(name, str) or not name or "\0" in name:
            raise NotifyConfigError(
                kind,
                f"{name!r} is no name of a consumer: its position is kept under it, so give text",
            )
        # which is refused below
        part, parts = partition if isinstance(partition, tuple) and len(partition) == 2 else (0, 0)
        if not 0 <= part < parts <= 1000:
            raise NotifyConfigError(
                kind,
                f"partition={partition!r} is no part: write (i, n), with i from 0 to n - 1, and n at most 1000",
            )
        if on_state is not None and not callable(on_state):
            raise NotifyConfigError(
                kind, f"on_state={on_state!r} cannot be called: it is a function of a StateChange"
            )
        if on_error is not None and not callable(on_error):
            raise NotifyConfigError(
                kind,
                f"on_error={on_error!r} cannot be called: it is a function of (error, change, failures)",
            )
        if type(batch_size) is not int or batch_size < 1 or heartbeat <= 0:
            raise NotifyConfigError(kind, "batch_size and heartbeat must be greater than zero")
        if start not in ("now", "beginning"):
            raise NotifyConfigError(
                kind, f"start={start!r} is no place in the log; it is 'now' or 'beginning'"
            )
        settings_of(entities)  # what cannot work is refused here
        self._engine = engine
        self._entities = entities
        self._key = ConsumerKey(name, part, parts)
        self._options: dict[str, Any] = {
            "batch_size": batch_size, "start": start, "heartbeat": heartbeat, "on_error": on_error, "on_state": on_state
        }  # fmt: skip
        self._worker: Worker | None = None

    @property
    def name(self) -> str:
        return self._key.name

    def _started(self) -> Worker:
        if self._worker is None:
            raise PgNotifyError(
                "this consumer does not consume: use it in a with block, or call start()"
            )
        if not self._worker.link.is_ours:
            raise PgNotifyError(
                "this consumer was started before a fork, and consumes in the parent. Start one in this process"
            )
        return self._worker

    def _refuse_second_start(self) -> None:
        if (
            self._worker is not None
            and self._worker.link.is_ours
            and not self._worker.link.stopping
        ):
            raise PgNotifyError(
                "this consumer has been started already; stop() it first, or make another one"
            )


class Consumer(BaseConsumer):
    """Reads the changes of durable entities from a named position in the change log, which is
    stored with the work that is done.

    ::

        with Consumer(engine, "billing", Order) as consumer:
            for batch in consumer:
                with batch as session:             # one transaction: your work and the position commit together
                    for change in batch:
                        session.add(Invoice(order_id=change.identity[0]))

    Each committed change is consumed once under each name, also by changes of process, and in the
    order of each row. Several consumers of one name may run: one of them works, the others stand by
    and take over.

    :param engine: an engine of PostgreSQL and psycopg2 or psycopg.
    :param name: what the position is kept under.
    :param entities: mapped classes, Tables, a MetaData or declarative base, of one MetaData, all of
        them marked ``durable=True``.
    :param batch_size: how many changes a batch has at most, unless a TRUNCATE adds some.
    :param partition: ``(i, n)``: this one reads the i-th of n parts, counted from 0, into which
        rows are divided by identity. Each part has a position of its own, and needs a consumer.
    :param start: where to begin if the name is new: ``"now"``, or at the ``"beginning"`` of what
        the log still holds.
    :param heartbeat: seconds between two questions to the server; also how late it finds what was
        written without ringing.
    :param session_factory: makes the batches' sessions, on the database that ``engine`` is of; by
        default ``Session(engine)``.
    :param on_error: called with what a change's work raised, the change, and how often that makes;
        gives ``"raise"``, ``"retry"`` (after a while), ``"skip"``, or ``"park"`` (into the table
        ``sa_pgnotify_parked``). By default the error is raised.
    :param on_state: called with each :class:`~sa_pgnotify.StateChange`, as for a
        :class:`~sa_pgnotify.Listener`.
    :raises NotifyConfigError: if an argument cannot work, or an entity is not durable.
    """

    def __init__(
        self,
        engine: Engine,
        name: str,
        *entities: Any,
        batch_size: int = 1000,
        partition: tuple[int, int] = (0, 1),
        start: str = "now",
        heartbeat: float = 10.0,
        session_factory: Callable[[], Session] | None = None,
        on_error: OnError | None = None,
        on_state: OnState | None = None,
    ) -> None:
        given: Any = engine
        if hasattr(given, "sync_engine") or (isinstance(given, Engine) and given.dialect.is_async):
            raise NotifyConfigError(
                "Consumer",
                "this engine is asyncio's. Use AsyncConsumer, and give it the AsyncEngine",
            )
        if not isinstance(given, Engine):
            raise NotifyConfigError(
                "Consumer",
                f"it takes an Engine, as create_engine() makes, not {type(given).__name__}",
            )
        super().__init__(
            engine,
            name,
            entities,
            partition,
            batch_size=batch_size,
            start=start,
            heartbeat=heartbeat,
            on_error=on_error,
            on_state=on_state,
        )
        self._session_factory = session_factory or (lambda: Session(engine))

    def start(self) -> Self:
        """Connect, and take the position, or make it if the name is new: what is committed from
        then on is not missed.

        :raises TriggersMissing: if a table has no enabled triggers, or some that do not write to
            the change log.
        :raises ListenUnavailable: if there is no connection, none that brings notifications, or no
            change log.
        :raises PgNotifyError: if it has been started already.
        """
        self._refuse_second_start()
        self._worker = worker = Worker(
            self._engine,
            self._key,
            self._entities,
            ThreadWaiting(),
            self._session_factory,
            **self._options,
        )
        try:
            worker.begin()
        except BaseException:
            worker.end()
            self._worker = None
            raise
        return self

    def stop(self) -> None:
        """End the iteration: at once, if it waits, else after the batch that is being worked off.
        From any thread, and from a signal handler. The connection is closed by the iteration, or at
        the end of the ``with`` block."""
        if self._worker is not None and self._worker.link.is_ours:
            self._worker.stop()

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

    def __iter__(self) -> Iterator[ChangeBatch]:
        """Batches, until :meth:`stop`."""
        worker = self._started()
        while (work := worker.next_work()) is not None:
            yield ChangeBatch(worker, work)

    def run(self, handler: Callable[[Any, Change | Gap], object]) -> None:
        """Call ``handler(session, change)`` for each change, until :meth:`stop`; batches are
        committed as they end."""
        for batch in self:
            with batch as session:
                for change in batch:
                    handler(session, change)

    def lag(self) -> Lag:
        """How far it is behind: committed changes that it has not finished, and the age of the
        oldest. From any thread."""
        return lag_of(self._engine, self._key, self._entities)

    def seek(self, place: str | Position) -> None:
        """Go on from ``"now"``, from the ``"beginning"`` of what the log still holds, or from
        behind a change, given its ``position``.

        It waits for a batch of this name that is being worked off, in whichever process. One that
        works in another process goes there with its next batch, or at its heartbeat.

        :raises PgNotifyError: if the consumer is not known in the database, or this is called
            within a batch's block.
        """
        if self._worker is not None:
            self._worker.transactions.refuse_within_block(threading.get_ident())
        seek(self._engine, self._key, self._entities, place)
        if self._worker is not None:
            self._worker.look()

    def parked(self) -> list[Parked]:
        """What ``on_error`` has parked, the oldest first."""
        return parked_of(self._engine, self._key, self._entities)
