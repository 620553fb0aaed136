"""The feed for asyncio: like :mod:`sa_pgnotify.live.feed`, but in a task of one event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary, ref

from sqlalchemy import Engine, Table

from ..events.stream import Route
from ..listening.async_listener import AsyncListener
from ..states import State, States
from ..subscription.backoff import Backoff
from .evaluator import READING, Evaluator
from .feed import LONGEST_PAUSE, LONGEST_WAIT, delay_after, lost_errors, marked, routes_of
from .query import Query

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

__all__ = ["AsyncFeed", "async_feed_of"]


class AsyncFeed:
    """Evaluates the queries of one engine in a task, which runs while there are queries."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._lost_errors = lost_errors(engine.sync_engine)
        self._lock = asyncio.Lock()  # protects the evaluator
        self._states = States("live queries", engine.sync_engine)
        self._listener: AsyncListener | None = None
        self._tables: set[Table] = set()
        self._task: asyncio.Task[None] | None = None
        self._evaluator = Evaluator(self._routes)

    def _routes(self) -> Mapping[str, Route]:
        return routes_of(self._listener)

    async def add(self, query: Query) -> None:
        """Evaluate a query, and follow it; see :meth:`sa_pgnotify.live.feed.Feed.add`."""
        async with self._lock:
            try:
                async with self._engine.connect() as connection:
                    await connection.execution_options(**READING)
                    await connection.run_sync(self._evaluator.examine, query)
                    await self._listen(marked(query.tables))
                    await connection.run_sync(self._evaluator.add, query)
            except BaseException:
                self._evaluator.remove(query)
                await self._end_if_empty()
                raise
            if self._task is None:
                assert self._listener is not None
                run = self._run(self._listener)
                self._task = asyncio.create_task(run, name="sa_pgnotify live queries")

    async def _listen(self, tables: list[Table]) -> None:
        new = [table for table in tables if table not in self._tables]
        if self._listener is None:
            listener = AsyncListener(self._engine, *new)
            listener._passes_on_logs = False  # the evaluation reads them
            self._listener = await listener.start()
        elif new:
            await self._listener.subscribe(*new)
        self._tables.update(new)

    async def remove(self, query: Query) -> None:
        """Stop following a query. After the last one, the task and the listener end."""
        async with self._lock:
            self._evaluator.remove(query)
            await self._end_if_empty()

    async def _end_if_empty(self) -> None:
        if self._evaluator.is_empty and self._listener is not None:
            listener, task = self._listener, self._task
            self._listener, self._tables, self._task = None, set(), None
            await listener.stop()
            if task is not None and task is not asyncio.current_task():
                task.cancel()
                await asyncio.wait([task])

    # -- the task ----------------------------------------------------------------------------------

    async def _run(self, listener: AsyncListener) -> None:
        backoff = Backoff()
        try:
            while self._listener is listener:
                event = await listener.get(min(self._evaluator.due_in, LONGEST_WAIT))
                self._evaluator.note(event)
                async for noted in listener.events(timeout=0):
                    self._evaluator.note(noted)
                async with self._lock:
                    self._evaluator.remove_dropped()
                    await self._end_if_empty()
                    pause = await self._evaluate(backoff)
                await asyncio.sleep(pause)
        except Exception as error:
            self._states.report(State.FAILED, f"they end: {error!r}", error=error)
            async with self._lock:
                self._evaluator.fail(error)
                await self._end_if_empty()

    async def _evaluate(self, backoff: Backoff) -> float:
        """Evaluate what is due, and return the number of seconds to pause."""
        if self._evaluator.due_in > 0:
            return 0.0
        began = time.monotonic()
        try:
            async with self._engine.connect() as connection:
                await connection.execution_options(**READING)
                await connection.run_sync(self._evaluator.run)
        except self._lost_errors as error:
            return delay_after(error, backoff, self._states)
        backoff.settled()
        return min(time.monotonic() - began, LONGEST_PAUSE)


_feeds: WeakKeyDictionary[asyncio.AbstractEventLoop, WeakKeyDictionary[Engine, ref[AsyncFeed]]] = (
    WeakKeyDictionary()
)


def async_feed_of(engine: AsyncEngine) -> AsyncFeed:
    """Return the feed of an engine in the running event loop."""
    feeds = _feeds.setdefault(asyncio.get_running_loop(), WeakKeyDictionary())
    known = feeds.get(engine.sync_engine)
    feed = None if known is None else known()
    if feed is None:
        feed = AsyncFeed(engine)
        feeds[engine.sync_engine] = ref(feed)
    return feed
