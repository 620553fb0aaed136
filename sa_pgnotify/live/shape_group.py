"""Evaluating a group of queries that have the same shape, the same options and the same user."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from math import inf
from typing import Any

from sqlalchemy import Table
from sqlalchemy.orm import Session

from ..log.snapshots import Position
from .changes import Changes
from .held import HeldResult, Index
from .query import Query
from .shape import Found, Parameters, Shape

__all__ = ["ShapeGroup"]

PositionOf = Callable[[Query], Position | None]


class ShapeGroup:
    """The queries that are evaluated together, and their last results.

    :param shape: evaluates the queries.
    :param tables: the tables whose changes concern the queries.
    :ivar live: the statement of one of the queries.
    :ivar refresh_at: when the queries must be run without an event, by ``time.monotonic()``.
    """

    def __init__(self, shape: Shape, tables: frozenset[Table]) -> None:
        self.live = shape.live
        self.tables = tables
        self.refresh_at = inf
        self._shape = shape
        self._index = Index(len(shape.live.leaves))
        self._queries: dict[Parameters, list[Query]] = {}
        self._of: dict[HeldResult, Query] = {}

    def __iter__(self) -> Iterator[Query]:
        return iter([*self._of.values()])

    def add(self, query: Query) -> None:
        query.begin(self._index)
        assert query.held is not None
        self._queries.setdefault(query.parameters, []).append(query)
        self._of[query.held] = query

    def remove(self, query: Query) -> bool:
        """Stop following a query, and return whether no query is left."""
        if query.held is not None and self._of.pop(query.held, None) is not None:
            query.held.clear()
            others = [other for other in self._queries.pop(query.parameters) if other is not query]
            if others:
                self._queries[query.parameters] = others
        return not self._of

    # -- evaluating --------------------------------------------------------------------------------

    def start(
        self, session: Session, query: Query, at: Position | None, *, gives_all: bool
    ) -> None:
        """Evaluate a query for the first time.

        :param at: the position of the result; None if a table is not durable.
        :param gives_all: whether to put a step with the whole result; false if the program already
            has this result.
        :raises QueryFailed: if PostgreSQL refuses the statement.
        """
        assert query.held is not None
        found = self._shape.evaluate(session, {query.parameters: query})
        events = query.held.replace(found.get(query.parameters, {}))
        self.refresh_at = min(self.refresh_at, query.next_refresh())
        if gives_all:
            query.put(events, at, is_whole=True)

    @property
    def first(self) -> Query:
        """One of the queries."""
        return next(iter(self._of.values()))

    def is_concerned(self, changes: Changes) -> bool:
        """Return whether the queries must be evaluated."""
        return bool(changes.within(self.tables)) or self.refresh_at <= time.monotonic()

    def run(self, session: Session, changes: Changes, position_of: PositionOf) -> None:
        """Evaluate the queries, and put a step for each whose result has changed.

        :param position_of: returns the position of a query's step; None if it has none.
        :raises LookUpFailed: if changed rows cannot be looked up.
        :raises QueryFailed: if PostgreSQL refuses the statement.
        """
        changed = changes.within(self.tables)
        looked_up = self._looked_up(changed)
        queries = {parameters: queries[0] for parameters, queries in self._queries.items()}
        if looked_up is None:
            found = self._shape.evaluate(session, queries)
            self.refresh_at = self.first.next_refresh()
            for query in self:
                assert query.held is not None
                order = list(query.held.rows) if query.rows else []
                events = query.held.replace(found.get(query.parameters, {}))
                if query.rows and order != list(query.held.rows):
                    # only the order may have changed, so there may be no events
                    query.put(events, position_of(query), is_whole=False)
                else:
                    self._put(query, events, position_of)
            return
        before: dict[HeldResult, set[Hashable]] = {}
        after: Found = {}
        for leaf, identities in looked_up.items():
            for held, keys in self._index.holding(leaf, identities).items():
                before.setdefault(held, set()).update(keys)
            for parameters, rows in self._shape.look_up(session, queries, leaf, identities).items():
                after.setdefault(parameters, {}).update(rows)
        for parameters in after:
            for query in self._queries[parameters]:
                assert query.held is not None
                before.setdefault(query.held, set())
        for held, keys in before.items():
            query = self._of[held]
            self._put(query, held.differ(keys, after.get(query.parameters, {})), position_of)

    def _looked_up(
        self, changed: Mapping[Table, set[Hashable] | None]
    ) -> Mapping[int, set[Any]] | None:
        """Return the changed rows to look up, by the place of their leaf.

        None if the whole statement must be run.
        """
        live, wanted = self.live, {}
        places = {live.leaves.index(leaf): leaf for leaf in live.looked_up}
        for place, leaf in places.items():
            if rows := changed.get(leaf.table):
                wanted[place] = rows
        needs_order = live.is_ordered and any(query.rows for query in self)
        is_enough = all(
            rows is not None and any(leaf.table is table for leaf in places.values())
            for table, rows in changed.items()
        )
        if not changed or needs_order or not is_enough or self.refresh_at <= time.monotonic():
            return None
        count = sum(map(len, wanted.values()))
        return None if self._shape.prefers_whole(count, len(self._queries)) else wanted

    def _put(self, query: Query, events: list[Any], position_of: PositionOf) -> None:
        if events:
            query.put(events, position_of(query), is_whole=False)
