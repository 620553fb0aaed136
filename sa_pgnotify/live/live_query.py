"""The live query for programs with threads."""

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
    """The result of a SELECT, and then each difference of it.

    ::

        statement = select(Order, Customer.name).join(Customer).where(Order.status == "open")
        with LiveQuery(engine, statement) as live:
            for step in live:
                for event in step:
                    match event:
                        case Enter(key, row): ...
                        case Update(key, row, old): ...
                        case Leave(key, old): ...

    The first step has every row as an :class:`Enter`. Each later one takes the result at one moment
    to that at a later moment: states between them may be skipped, and a result that never was is
    never given. PostgreSQL evaluates the statement, in one snapshot for all of it.

    All live queries of an engine share one listening connection, and one connection of the
    engine's pool for the time of each evaluation. Queries that differ only in their parameters are
    evaluated by one statement. Entities in rows belong to no session: attributes that the statement
    does not load cannot be read, and nothing is written back.

    :param engine: an engine of PostgreSQL and psycopg2 or psycopg.
    :param statement: a ``select()`` of entities and columns. All tables that it reads must be
        marked. If all are durable, no change is lost, and each step ends between two transactions;
        of other tables, the rows of a transaction may come in two steps.
    :param old: whether events have the row as it was. Without, 16 bytes are held for each row of
        the result, in place of the row.
    :param rows: whether :attr:`Step.rows` has the whole result.
    :param refresh: seconds after which the statement is run without an event. It is needed, and
        then allowed, for tables that are not marked and functions such as ``now()``.
    :param position: the position of the last step that the program has; then nothing is given
        until something changes. What changes comes as a whole result.
    :raises NotifyConfigError: if the statement cannot be followed, if a table is not marked, or if
        the engine is an asyncio engine.
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

        :raises NotifyConfigError: if a function in the statement has another result without an
            event.
        :raises TriggersMissing: if a table has no enabled triggers.
        :raises ListenUnavailable: as :meth:`Listener.start`.
        :raises PgNotifyError: if it was started before.
        """
        if self._feed is not None:
            raise PgNotifyError("this live query was started before", "Make another one")
        self._feed = feed_of(self._engine)
        self._feed.add(self._query)
        return self

    def stop(self) -> None:
        """End every iteration, and follow the statement no longer.

        Safe from any thread, from a signal handler, and twice. If an evaluation takes long, the
        statement is followed until that has ended.
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

        If the program is slow, the steps that it has not taken are merged into one.

        :raises PgNotifyError: if it was not started, or was started before a fork.
        :raises DBAPIError: if PostgreSQL refuses the statement.
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
        self._ready.ring()  # for another thread that iterates
