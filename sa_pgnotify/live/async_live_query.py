"""The live query for asyncio programs."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from sqlalchemy import Select

from ..errors import PgNotifyError
from ..log.snapshots import Position
from ..subscription.engines import asyncio_engine
from .async_feed import AsyncFeed, async_feed_of
from .interface import new_query
from .outlet import Outlet
from .steps import Step

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

__all__ = ["AsyncLiveQuery"]


class AsyncLiveQuery:
    """The result of a SELECT, and then every change to it: :class:`LiveQuery` for asyncio.

    ::

        async with AsyncLiveQuery(async_engine, select(Order).where(Order.status == "open")) as live:
            async for step in live:
                ...

    All methods must be called in the event loop in which it was started. All live queries of an
    engine in one event loop share a listening connection.

    :param engine: an asyncio engine of PostgreSQL.
    :param statement: see :class:`LiveQuery`, as for all other parameters.
    :raises NotifyConfigError: if the statement cannot be followed, if a table is not marked, if an
        option is not valid, or if the engine is not an ``AsyncEngine``.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        statement: Select[Any],
        *,
        old: bool = True,
        rows: bool = False,
        refresh: float | None = None,
        position: Position | None = None,
    ) -> None:
        asyncio_engine(engine, "AsyncLiveQuery", "LiveQuery")
        self._engine = engine
        self._ready = asyncio.Event()
        self._stopped = False
        self._feed: AsyncFeed | None = None
        options: dict[str, Any] = {"old": old, "rows": rows, "refresh": refresh}
        ready = self._ready.set
        self._query = new_query("AsyncLiveQuery", statement, ready, position=position, **options)
        self._finalizer = weakref.finalize(self, Outlet.drop, self._query.outlet)
        self._finalizer.atexit = False

    async def start(self) -> Self:
        """Evaluate the statement, and follow it from then on.

        :raises Exception: the errors of :meth:`LiveQuery.start`.
        """
        if self._feed is not None:
            raise PgNotifyError("this live query was started before", "Make another one")
        self._feed = async_feed_of(self._engine)
        await self._feed.add(self._query)
        return self

    async def stop(self) -> None:
        """End every iteration, and stop following the statement. It may be called twice."""
        self._stopped = True
        self._ready.set()
        if self._feed is not None:
            await self._feed.remove(self._query)

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    def __aiter__(self) -> AsyncIterator[Step]:
        return self.steps()

    # the timeout is of each wait, not of the whole iteration
    async def steps(self, timeout: float | None = None) -> AsyncIterator[Step]:  # noqa: ASYNC109
        """Yield steps until :meth:`stop`, or until ``timeout`` seconds have passed without one.

        :param timeout: seconds; None to wait without a limit.
        :raises PgNotifyError: if it was not started.
        :raises DBAPIError: if PostgreSQL refuses the statement.
        :raises Exception: the error of a column type that cannot read a value of the result, or the
            error that has ended all live queries of the engine.
        """
        if self._feed is None:
            raise PgNotifyError(
                "this live query was not started", "Use it in an async with statement"
            )
        while not self._stopped:
            try:
                async with asyncio.timeout(timeout):
                    await self._ready.wait()
            except TimeoutError:
                return
            self._ready.clear()
            if not self._stopped and (step := self._query.outlet.take()) is not None:
                yield step
