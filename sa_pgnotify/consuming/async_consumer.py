"""Consuming the change log in an event loop, where :mod:`sa_pgnotify.consuming.worker` runs in
greenlets."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack, overload

from sqlalchemy.util import greenlet_spawn

from ..drivers.waiting import LoopWaiting
from ..errors import PgNotifyError
from ..events.changes import E_co
from ..log.snapshots import Position
from ..states import OnState
from ..subscription.engines import asyncio_engine
from .admin import lag_of, seek
from .backfill import backfill
from .failures import OnError
from .interface import BaseBatch, BaseConsumer, Consumed, ConsumerOptions, Place, Source, Start
from .parked import Parked, parked_of, retry_parked
from .positions import Lag
from .worker import Worker

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

__all__ = ["AsyncChangeBatch", "AsyncConsumer"]


class AsyncChangeBatch(BaseBatch[E_co]):
    """What iterating an :class:`AsyncConsumer` gives: a :class:`~sa_pgnotify.ChangeBatch` for
    ``async with batch as session``."""

    async def __aenter__(self) -> AsyncSession:
        session: AsyncSession = self._worker.transactions.enter(self._work, asyncio.current_task())
        return session

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        return await greenlet_spawn(self._worker.transactions.finish, self._work, error)


class AsyncConsumer(BaseConsumer[E_co]):
    """A :class:`~sa_pgnotify.Consumer` for asyncio and uvloop, without a thread.

    ::

        async with AsyncConsumer(async_engine, "billing", Order) as consumer:
            async for batch in consumer:
                async with batch as session:
                    for change in batch:
                        session.add(Invoice(order_id=change.identity[0]))

    The arguments are those of :class:`~sa_pgnotify.Consumer`. ``session_factory`` creates
    AsyncSessions, by default ``AsyncSession(async_engine)``; ``on_error`` is a plain function. Any
    await may be cancelled: what was not committed comes again.

    :param engine: an AsyncEngine of PostgreSQL and asyncpg or psycopg.
    """

    @overload
    def __init__(
        self,
        engine: AsyncEngine,
        name: str,
        entity: type[E_co],
        /,
        *,
        session_factory: Callable[[], AsyncSession] | None = None,
        **options: Unpack[ConsumerOptions],
    ) -> None: ...

    @overload
    def __init__(
        self: AsyncConsumer[Any],
        engine: AsyncEngine,
        name: str,
        *entities: Source,
        session_factory: Callable[[], AsyncSession] | None = None,
        **options: Unpack[ConsumerOptions],
    ) -> None: ...

    def __init__(
        self,
        engine: AsyncEngine,
        name: str,
        *entities: Source,
        batch_size: int = 1000,
        partition: tuple[int, int] = (0, 1),
        start: Start = "now",
        heartbeat: float = 10.0,
        session_factory: Callable[[], AsyncSession] | None = None,
        on_error: OnError | None = None,
        on_state: OnState | None = None,
        park_key: bool = False,
    ) -> None:
        blocking = asyncio_engine(engine, "AsyncConsumer", "Consumer")
        super().__init__(blocking, name, entities, partition, batch_size=batch_size, start=start, heartbeat=heartbeat,
            on_error=on_error, on_state=on_state, park_key=park_key,
        )  # fmt: skip
        if session_factory is None:
            from sqlalchemy.ext.asyncio import AsyncSession

            session_factory = lambda: AsyncSession(engine)  # noqa: E731 (short)
        self._session_factory = session_factory
        self._loop: asyncio.AbstractEventLoop | None = None

    async def start(self) -> Self:
        """See :meth:`Consumer.start`."""
        loop = asyncio.get_running_loop()
        worker = self._make_worker(lambda: LoopWaiting(loop))
        self._loop = loop
        try:
            await greenlet_spawn(worker.begin)
        except BaseException:
            self._worker = None
            worker.stop()
            await greenlet_spawn(worker.end)
            raise
        return self

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._worker is not None and self._worker.link.is_ours:
            self._worker.stop()
            await greenlet_spawn(self._worker.end)

    def _here(self) -> Worker:
        worker = self._started()
        if self._loop is not asyncio.get_running_loop():
            raise PgNotifyError(
                "this consumer was started in another event loop", "Start another one in this loop"
            )
        return worker

    async def __aiter__(self) -> AsyncIterator[AsyncChangeBatch[E_co]]:
        """Return batches until :meth:`stop`."""
        worker = self._here()
        while (work := await greenlet_spawn(worker.next_work)) is not None:
            yield AsyncChangeBatch(worker, work)

    async def run(self, handler: Callable[[AsyncSession, Consumed[E_co]], object]) -> None:
        """Call ``handler(session, change)`` for each change until :meth:`stop`, and await what it
        returns if that is awaitable."""
        async for batch in self:
            async with batch as session:
                for change in batch:
                    result = handler(session, change)
                    if inspect.isawaitable(result):
                        await result

    async def lag(self) -> Lag:
        """See :meth:`Consumer.lag`."""
        return await greenlet_spawn(lag_of, self._engine, self._key, self._entities)

    async def seek(self, place: Place | Position) -> None:
        """See :meth:`Consumer.seek`."""
        if self._worker is not None:
            self._worker.transactions.refuse_within_block(asyncio.current_task(), "seek")
        await greenlet_spawn(seek, self._engine, self._key, self._entities, place)
        if self._worker is not None:
            self._worker.check_soon()

    async def backfill(self, entity: Any, where: Any = None) -> None:
        """See :meth:`Consumer.backfill`."""
        if self._worker is not None:
            self._worker.transactions.refuse_within_block(asyncio.current_task(), "backfill")
        await greenlet_spawn(backfill, self._engine, self._key, self._entities, entity, where)
        if self._worker is not None:
            self._worker.check_soon()

    async def parked(self) -> list[Parked]:
        """See :meth:`Consumer.parked`."""
        return await greenlet_spawn(parked_of, self._engine, self._key, self._entities)

    async def retry_parked(self) -> int:
        """See :meth:`Consumer.retry_parked`."""
        if self._worker is not None:
            self._worker.transactions.refuse_within_block(asyncio.current_task(), "retry_parked")
        count = await greenlet_spawn(retry_parked, self._engine, self._key, self._entities)
        if self._worker is not None:
            self._worker.check_soon()
        return count
