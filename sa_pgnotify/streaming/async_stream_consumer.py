"""Consuming a stream in an event loop, where :mod:`sa_pgnotify.streaming.worker` runs in greenlets."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack, overload

from sqlalchemy.util import await_only, greenlet_spawn

from ..consuming.interface import Consumed
from ..drivers.waiting import LoopWaiting
from ..events.changes import E_co
from ..relay.jetstream import JetStream
from .batch import BaseStreamBatch
from .interface import BaseStreamConsumer, StreamOptions, StreamSource
from .places import ParkedMessage, StreamLag

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

__all__ = ["AsyncStreamBatch", "AsyncStreamConsumer"]

T = TypeVar("T")


class AsyncStreamBatch(BaseStreamBatch[E_co]):
    """What iterating an :class:`AsyncStreamConsumer` gives: a :class:`StreamBatch` for
    ``async with batch as session``."""

    async def __aenter__(self) -> AsyncSession:
        session: AsyncSession = self._worker.enter(self._work)
        return session

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        handled: bool = await greenlet_spawn(self._worker.finish, self._work, error)
        return handled


class AsyncStreamConsumer(BaseStreamConsumer[E_co]):
    """A :class:`StreamConsumer` for asyncio.

    ::

        async def bill(session: AsyncSession, change) -> None:
            session.add(Invoice(order_id=change.identity[0]))

        await AsyncStreamConsumer(JetStream("nats://a,b,c", stream="SHOP"), "billing", Order, session_factory=Billing).run(bill)

    The arguments are those of :class:`StreamConsumer`; ``session_factory`` creates AsyncSessions, and
    ``on_error`` is a plain function. The client of NATS runs in a thread of its own, so that a member
    whose loop is blocked keeps its leases.
    """

    @overload
    def __init__(
        self,
        stream: JetStream,
        name: str,
        entity: type[E_co],
        /,
        *,
        session_factory: Callable[[], AsyncSession],
        **options: Unpack[StreamOptions],
    ) -> None: ...

    @overload
    def __init__(
        self: AsyncStreamConsumer[Any],
        stream: JetStream,
        name: str,
        *entities: StreamSource,
        session_factory: Callable[[], AsyncSession],
        **options: Unpack[StreamOptions],
    ) -> None: ...

    def __init__(
        self,
        stream: JetStream,
        name: str,
        *entities: StreamSource,
        session_factory: Callable[[], AsyncSession],
        **options: Unpack[StreamOptions],
    ) -> None:
        super().__init__(stream, name, entities, session_factory, **options)

    async def start(self) -> Self:
        """See :meth:`StreamConsumer.start`."""
        worker = self._make_worker(LoopWaiting(asyncio.get_running_loop()), _in_thread)
        try:
            await greenlet_spawn(worker.begin)
        except BaseException:
            worker.stop()
            await greenlet_spawn(worker.end)
            self._worker = None
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
        if self._worker is not None:
            self._worker.stop()
            await greenlet_spawn(self._worker.end)

    async def __aiter__(self) -> AsyncIterator[AsyncStreamBatch[E_co]]:
        """Return batches until :meth:`stop`."""
        worker = self._started()
        while (work := await greenlet_spawn(worker.next_work)) is not None:
            yield AsyncStreamBatch(worker, work)

    async def run(self, handler: Callable[[AsyncSession, Consumed[E_co]], object]) -> None:
        """Call ``handler(session, change)`` for each change until :meth:`stop`, and await what it
        returns if that is awaitable. See :meth:`StreamConsumer.run`."""
        async with self:
            async for batch in self:
                async with batch as session:
                    for change in batch:
                        result = handler(session, change)
                        if inspect.isawaitable(result):
                            await result

    async def lag(self) -> StreamLag:
        """See :meth:`StreamConsumer.lag`."""
        return await greenlet_spawn(self._lag, _in_thread)

    async def parked(self) -> list[ParkedMessage]:
        """See :meth:`StreamConsumer.parked`."""
        return await greenlet_spawn(self._parked)


def _in_thread(function: Callable[[], T]) -> T:
    """Call a function in another thread, while the greenlet waits."""
    result: T = await_only(asyncio.to_thread(function))
    return result
