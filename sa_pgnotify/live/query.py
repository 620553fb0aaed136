"""One statement that is followed, and where its steps go."""

from __future__ import annotations

import time
from collections.abc import Hashable
from math import inf
from typing import Any

from sqlalchemy import Select, Table

from ..log.snapshots import Position
from .arrays import is_exact
from .held import HeldResult, Index
from .outlet import Outlet
from .row_security import RowSecurity
from .statement import LiveStatement, shape_of, values_of
from .steps import RowEvent, Step

__all__ = ["Query"]


class Query:
    """One live query, as a feed follows it.

    :param statement: the SELECT.
    :param live: the analysis of it, or of another statement of its shape.
    :param old: whether events have the row as it was in the step before.
    :param rows: whether steps have all rows of the result.
    :param refresh: the interval in seconds at which the statement is run without an event; None for
        never.
    :param resumes_at: the position of the last step that the program has; None if it has none.
    :param seen_by: the row-level security and the user that the statement is evaluated as; None for
        the role of the engine.
    :ivar subject: the name that error messages begin with.
    :ivar live: the analysis; the statement that it was made of may have other parameters.
    :ivar outlet: receives the steps.
    :ivar bound: the statement's parameters.
    :ivar parameters: their values, frozen.
    :ivar tables: the tables that the statement reads, and those that row-level security reads.
    :ivar shape_key: equal for queries that differ only in their parameters.
    :ivar group_key: equal for queries of one shape that are evaluated together.
    :ivar held: the last result; None before :meth:`begin`.
    """

    def __init__(
        self,
        subject: str,
        statement: Select[Any],
        live: LiveStatement,
        outlet: Outlet,
        *,
        old: bool = True,
        rows: bool = False,
        refresh: float | None = None,
        resumes_at: Position | None = None,
        seen_by: tuple[RowSecurity, str] | None = None,
    ) -> None:
        self.subject = subject
        self.statement = statement
        self.outlet = outlet
        self.rows = rows
        self.resumes_at = resumes_at
        _, self.bound = shape_of(statement)
        self.parameters = values_of(self.bound)
        self.seen_by = seen_by
        self.tables: frozenset[Table] = live.tables
        fits = all(is_exact(p.effective_value, p.type) for p in self.bound)
        self.live = live
        if not fits:
            self.own_analysis()
        self.shape_key: Hashable = live.shape if fits else object()
        self.group_key: Hashable = (self.shape_key, old, rows, refresh, seen_by)
        self._refresh = refresh
        self._old = old
        self.held: HeldResult | None = None

    @property
    def is_own(self) -> bool:
        """Whether :attr:`live` has the parameters of this query."""
        return self.parameters == self.live.values

    def own_analysis(self) -> LiveStatement:
        """Return the analysis of this statement, and use it from then on.

        Making it takes milliseconds, and 10 kB of memory.
        """
        if not self.is_own:
            own = LiveStatement(self.statement, self.subject)
            own.classify_as(self.live)
            self.live = own
        return self.live

    @property
    def refreshes(self) -> bool:
        return self._refresh is not None

    def begin(self, index: Index) -> None:
        self.held = HeldResult(index, old=self._old or self.rows)

    def next_refresh(self) -> float:
        """Return when a statement that is run now must be run again, by ``time.monotonic()``."""
        return inf if self._refresh is None else time.monotonic() + self._refresh

    def put(self, events: list[RowEvent], at: Position | None, *, is_whole: bool) -> None:
        """Put a step into the outlet.

        :param at: the position of the step; None if a table is not durable.
        """
        assert self.held is not None
        rows = dict(self.held.rows) if self.rows else None
        self.outlet.put(Step(events, at, is_whole, rows))
