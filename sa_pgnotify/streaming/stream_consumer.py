"""Consuming a stream in threads, by members that divide its partitions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack, overload

from sqlalchemy.orm import Session

from ..consuming.interface import Consumed
from ..drivers.waiting import ThreadWaiting
from ..errors import NotifyConfigError
from ..events.changes import E_co
from ..relay.jetstream import JetStream
from .batch import BaseStreamBatch
from .interface import BaseStreamConsumer, StreamOptions, StreamSource
from .places import ParkedMessage, StreamLag

__all__ = ["StreamBatch", "StreamConsumer"]

T = TypeVar("T")


class StreamBatch(BaseStreamBatch[E_co]):
    """What iterating a :class:`StreamConsumer` gives. Use it in a ``with`` block, as a
    :class:`~sa_pgnotify.ChangeBatch`; the transaction of the block's session also stores the place."""

    def __enter__(self) -> Session:
        session: Session = self._worker.enter(self._work)
        return session

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        handled: bool = self._worker.finish(self._work, error)
        return handled


class StreamConsumer(BaseStreamConsumer[E_co]):
    """Works off the changes that relays have published into a stream of NATS JetStream, in any number
    of processes on any machines, exactly once in effect.

    ::

        def bill(session: Session, change) -> None:
            session.add(Invoice(order_id=change.identity[0]))

        StreamConsumer(JetStream("nats://a,b,c", stream="SHOP"), "billing", Order, session_factory=Billing).run(bill)

    The handler's database may be another one than the one that the changes come from: a process needs
    the models, and not that database. The stream's subjects are divided into partitions by their
    hash. The members of a name divide the partitions, and hand them over when members come and go.
    What has been handled is stored in the transaction of the handler's session, so that each change
    is worked off once, and the changes of each subject come in their order.

    :param stream: the stream that relays publish into.
    :param name: the consumer's name: members of one name share the work.
    :param entities: as of a :class:`~sa_pgnotify.Consumer`. Changes of others are skipped.
    :param session_factory: creates the batches' sessions, on the handler's database: any database with
        transactions that SQLAlchemy supports. Tested with PostgreSQL and SQLite.
    :param partitions: how many parts the stream has for this name, and so the most members that work
        at the same time. It cannot be changed later.
    :param batch_size: about how many changes a batch has. A transaction is not divided, as far as it
        belongs to the member's partitions and was published at once.
    :param start: where to begin if the name is new: ``"now"``, or at the ``"beginning"`` of what the
        stream still holds.
    :param lease: seconds after which the others take over from a member of which they hear nothing.
    :param schema: the schema of the tables of places and of parked messages, in the handler's
        database. They are created if they are missing; see :func:`stream_tables`.
    :param on_error: as of a :class:`~sa_pgnotify.Consumer`: called with the exception, the change, and
        how often it has failed, returns ``"raise"``, ``"retry"``, ``"skip"`` or ``"park"``.
    :param on_state: called with each :class:`~sa_pgnotify.StateChange`.
    :raises NotifyConfigError: if an argument cannot work.
    """

    @overload
    def __init__(
        self,
        stream: JetStream,
        name: str,
        entity: type[E_co],
        /,
        *,
        session_factory: Callable[[], Session],
        **options: Unpack[StreamOptions],
    ) -> None: ...

    @overload
    def __init__(
        self: StreamConsumer[Any],
        stream: JetStream,
        name: str,
        *entities: StreamSource,
        session_factory: Callable[[], Session],
        **options: Unpack[StreamOptions],
    ) -> None: ...

    def __init__(
        self,
        stream: JetStream,
        name: str,
        *entities: StreamSource,
        session_factory: Callable[[], Session],
        **options: Unpack[StreamOptions],
    ) -> None:
        if hasattr(session_factory, "kw") and hasattr(
            getattr(session_factory, "class_", None), "sync_session_class"
        ):
            raise NotifyConfigError(
                "StreamConsumer", "these are asyncio sessions", "Use AsyncStreamConsumer"
            )
        super().__init__(stream, name, entities, session_factory, **options)

    def start(self) -> Self:
        """Connect, create what is missing, and join the other members.

        :raises SinkUnavailable: if the broker cannot be reached.
        :raises NotifyConfigError: if there is no such stream, or the members do not agree.
        """
        worker = self._make_worker(ThreadWaiting(), _call)
        try:
            worker.begin()
        except BaseException:
            worker.stop()
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
        if self._worker is not None:
            self._worker.stop()
            self._worker.end()

    def __iter__(self) -> Iterator[StreamBatch[E_co]]:
        """Return batches until :meth:`stop`."""
        worker = self._started()
        while (work := worker.next_work()) is not None:
            yield StreamBatch(worker, work)

    def run(self, handler: Callable[[Session, Consumed[E_co]], object]) -> None:
        """Call ``handler(session, change)`` for each change until :meth:`stop`; each batch is
        committed when it ends.

        While the broker or the handler's database cannot be reached, it tries again.

        :raises SinkUnavailable: if the broker cannot be reached at the start.
        :raises NotifyConfigError: if there is no such stream, or the members do not agree.
        """
        with self:
            for batch in self:
                with batch as session:
                    for change in batch:
                        handler(session, change)

    def lag(self) -> StreamLag:
        """Return how far the consumer is behind. It may be called from any thread, and without
        starting."""
        return self._lag(_call)

    def parked(self) -> list[ParkedMessage]:
        """Return what ``on_error`` has parked, the oldest first."""
        return self._parked()


def _call(function: Callable[[], T]) -> T:
    return function()
