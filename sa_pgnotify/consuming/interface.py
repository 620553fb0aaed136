"""What blocking and asyncio consumers share: the checks of their arguments, and the contents of a
batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Generic, Literal, TypeAlias, TypedDict

from sqlalchemy import Engine, MetaData, Table

from ..arguments import refuse_not_callable, refuse_not_positive
from ..drivers.waiting import Waiting
from ..errors import NotifyConfigError, PgNotifyError
from ..events.changes import Deleted, E_co, Existing, Inserted, Truncated, Updated
from ..events.kinds import Gap
from ..log.snapshots import Position
from ..states import OnState
from .batch import OpenBatch
from .checkpoint import SNAPSHOT
from .chunks import TransactionPart, transactions
from .failures import OnError
from .positions import ConsumerKey
from .upkeep import settings_of
from .worker import Worker

__all__ = ["BaseBatch", "BaseConsumer", "Consumed", "ConsumerOptions", "Place", "Source", "Start"]

Consumed: TypeAlias = (
    Inserted[E_co] | Updated[E_co] | Deleted[E_co] | Truncated[E_co] | Existing[E_co] | Gap
)
"""What a batch holds."""
Place = Literal["now", "beginning"]
Start = Literal["now", "beginning", "snapshot"]
Source = type[Any] | Table | MetaData
"""What can be consumed."""


class ConsumerOptions(TypedDict, total=False):
    """The keyword arguments of both consumers but ``session_factory``, for the overloads of their
    constructors."""

    batch_size: int
    partition: tuple[int, int]
    start: Start
    heartbeat: float
    on_error: OnError | None
    on_state: OnState | None
    park_key: bool


MOST_PARTS = 1000


class BaseBatch(Generic[E_co]):
    """Changes of the log, in order, with the transaction in which they are processed.

    Iterating returns each :class:`~sa_pgnotify.Change`, and a :class:`~sa_pgnotify.Gap` where
    something is missing.
    """

    def __init__(self, worker: Worker, work: OpenBatch) -> None:
        self._worker = worker
        self._work = work

    def __iter__(self) -> Iterator[Consumed[E_co]]:
        events: Iterator[Any] = self._work.events()
        return events

    def __len__(self) -> int:
        return sum(event is not None for chunk in self._work.chunks for event in chunk.events)

    def transactions(self) -> Iterator[TransactionPart]:
        """Return the changes by transaction, each with its id, and with whether it begins and ends
        in this batch.

        A transaction is whole unless it is longer than ``batch_size``.
        """
        return transactions(self._work.chunks, self._work.reached)

    @property
    def position(self) -> Position:
        """The position after the batch, which is stored when its block ends."""
        return self._work.after

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self)} changes for {self._worker.key}>"


class BaseConsumer(Generic[E_co]):
    """What :class:`~sa_pgnotify.Consumer` and :class:`~sa_pgnotify.AsyncConsumer` share."""

    _session_factory: Callable[[], Any]

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
        park_key: bool = False,
    ) -> None:
        kind = type(self).__name__
        self._key = _checked_key(kind, name, partition)
        refuse_not_callable(kind, "on_error", on_error, "(error, change, failures)")
        refuse_not_callable(kind, "on_state", on_state, "a StateChange")
        refuse_not_positive(kind, batch_size=batch_size, heartbeat=heartbeat)
        if type(batch_size) is not int:
            raise NotifyConfigError(kind, f"batch_size={batch_size!r} is not a whole number")
        if start not in ("now", "beginning", SNAPSHOT):
            raise NotifyConfigError(
                kind,
                f"start={start!r} is not a place to begin at",
                "Give 'now', 'beginning' or 'snapshot'",
            )
        settings_of(entities)  # raises if they cannot be consumed
        self._engine = engine
        self._entities = entities
        self._options: dict[str, Any] = {
            "batch_size": batch_size, "start": start, "heartbeat": heartbeat, "on_error": on_error, "on_state": on_state,
            "park_key": park_key,
        }  # fmt: skip
        self._worker: Worker | None = None

    @property
    def name(self) -> str:
        """The name under which the position is stored."""
        return self._key.name

    def stop(self) -> None:
        """End the iteration: at once if it waits, else after the batch that is being processed.

        Safe from any thread, and from a signal handler. The iteration closes the connection, or the
        end of the consumer's block does.
        """
        if self._worker is not None and self._worker.link.is_ours:
            self._worker.stop()

    def _make_worker(self, make_waiting: Callable[[], Waiting]) -> Worker:
        link = None if self._worker is None else self._worker.link
        if link is not None and link.is_ours and not link.stopping:
            raise PgNotifyError(
                "this consumer has been started already. stop() it first, or create another one"
            )
        self._worker = Worker(
            self._engine,
            self._key,
            self._entities,
            make_waiting(),
            self._session_factory,
            **self._options,
        )
        return self._worker

    def _started(self) -> Worker:
        if self._worker is None:
            raise PgNotifyError(
                "this consumer was not started: use it in a with block, or call start()"
            )
        if not self._worker.link.is_ours:
            raise PgNotifyError(
                "this consumer was started before a fork, and consumes in the parent process",
                "Start another one in this process",
            )
        return self._worker


def _checked_key(kind: str, name: str, partition: tuple[int, int]) -> ConsumerKey:
    if not isinstance(name, str) or not name or "\0" in name:
        raise NotifyConfigError(
            kind,
            f"{name!r} is not a consumer's name",
            "The position is stored under the name, so give a text that is not empty",
        )
    # (0, 0) is refused below
    part, parts = partition if isinstance(partition, tuple) and len(partition) == 2 else (0, 0)
    if not 0 <= part < parts <= MOST_PARTS:
        raise NotifyConfigError(
            kind,
            f"partition={partition!r} is not a part",
            f"Write (i, n), with i from 0 to n - 1, and n at most {MOST_PARTS}",
        )
    return ConsumerKey(name, part, parts)
