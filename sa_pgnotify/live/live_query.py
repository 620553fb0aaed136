"""The live query for programs that block or use threads."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Engine, Select

from ..errors import PgNotifyError
from ..log.snapshots import Position
from ..subscription.engines import blocking_engine
from .bell import Bell
from .feed import Feed, feed_of
from .interface import new_query
from .outlet import Outlet
from .steps import Step

__all__ = ["LiveQuery"]


class LiveQuery:
    """The result of a SELECT, and then every change to this result.

    ::

        statement = select(Order, Customer.name).join(Customer).where(Order.status == "open")
        with LiveQuery(engine, statement) as live:
            for step in live:
                for event in step:
                    match event:
                        case Enter(key, row): ...
                        case Update(key, row, old): ...
                        case Leave(key, old): ...

    The first step has every row as an :class:`Enter`. Each later step is the difference between the
    result at one moment and the result at a later moment. Intermediate states may be skipped, but
    a step never leads to a result that did not exist, because PostgreSQL evaluates the whole
    statement in one snapshot.

    All live queries of an engine share one listening connection, and borrow one connection from the
    engine's pool during each evaluation. Queries that differ only in their parameters are evaluated
    by one statement. Entities in rows are detached from any session: attributes that the statement
    does not load cannot be read, and changes to them are not written to the database.

    :param engine: an engine of PostgreSQL with psycopg2 or psycopg.
    :param statement: a ``select()`` of entities and columns. All tables that it reads must be
        marked. If all of them are durable, no change is lost, and each step ends between two
        transactions. For other tables, the rows that one transaction changes may be split over two
        steps.
    :param old: whether events have the row as it was in the step before. If it is false, and
        ``rows`` as well, a hash of 16 bytes is kept for each row of the result in place of the row.
    :param rows: whether :attr:`Step.rows` has the whole result.
    :param refresh: the interval in seconds at which the statement is run without an event; None for
        never. With it, tables that are not marked and functions such as ``now()`` are allowed.
    :param position: the position of the last step that the program has stored; None if it has none.
        If nothing has changed since then, the first step is the next change. Otherwise the first
        step is the whole result.
    :raises NotifyConfigError: if the statement cannot be followed, if a table is not marked, if an
        option is not valid, or if the engine is an asyncio engine.
    """

    def __init__(
        self,
        engine: Engine,
        statement: Select[Any],
        *,
        old: bool = True,
        rows: bool = False,
        refresh: float | None = None,
        position: Position | None = None,
    ) -> None:
        self._engine = blocking_engine(engine, "LiveQuery", "AsyncLiveQuery")
        self._ready = Bell()
        self._stopped = False
        self._feed: Feed | None = None
        options: dict[str, Any] = {"old": old, "rows": rows, "refresh": refresh}
        self._query = new_query(
            "LiveQuery", statement, self._ready.ring, position=position, **options
        )
        self._finalizer = weakref.finalize(self, Outlet.drop, self._query.outlet)
        self._finalizer.atexit = False

    def start(self) -> Self:
        """Evaluate the statement, and follow it from then on.

        :raises NotifyConfigError: if the result of a function in the statement may change without
            an event.
        :raises TriggersMissing: if a table has no enabled triggers.
        :raises ListenUnavailable: if LISTEN is not possible; see :meth:`Listener.start`.
        :raises DBAPIError: if PostgreSQL refuses the statement or cannot be reached.
        :raises PgNotifyError: if it was started before.
        """
        if self._feed is not None:
            raise PgNotifyError("this live query was started before", "Make another one")
        self._feed = feed_of(self._engine)
        self._feed.add(self._query)
        return self

    def stop(self) -> None:
        """End every iteration, and stop following the statement.

        It may be called from any thread, from a signal handler, and twice. It waits for a running
        evaluation for at most 5 seconds; after that, the query is removed when the evaluation has
        ended.
        """
        self._stopped = True
        self._ready.ring()
        if self._feed is not None:
            self._feed.remove(self._query)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def __iter__(self) -> Iterator[Step]:
        return self.steps()

    def steps(self, timeout: float | None = None) -> Iterator[Step]:
        """Yield steps until :meth:`stop`, or until ``timeout`` seconds have passed without one.

        If the program is slow, the steps that it has not taken yet are merged into one.

        :param timeout: seconds; None to wait without a limit.
        :raises PgNotifyError: if it was not started, or was started before a fork.
        :raises DBAPIError: if PostgreSQL refuses the statement.
        :raises Exception: the error of a column type that cannot read a value of the result, or the
            error that has ended all live queries of the engine.
        """
        feed = self._feed
        if feed is None:
            raise PgNotifyError("this live query was not started", "Use it in a with statement")
        while not self._stopped:
            if not feed.is_here:
                raise PgNotifyError(
                    "this live query was started before a fork", "Start one in this process"
                )
            if not self._ready.wait(timeout):
                return
            if not self._stopped and (step := self._query.outlet.take()) is not None:
                yield step
        self._ready.ring()  # wakes another thread that iterates
