"""Evaluating all queries that differ only in their parameters by one statement.

The values of the parameters are unnested, and the original statement is joined to them by LATERAL,
so that PostgreSQL plans it once and returns the rows of every query. (Hasura multiplexes its
subscriptions in the same way.)
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    FromClause,
    Table,
    func,
    inspect,
    literal_column,
    select,
    true,
)
from sqlalchemy.engine import IteratorResult
from sqlalchemy.engine.result import SimpleResultMetaData
from sqlalchemy.exc import DBAPIError, InvalidRequestError
from sqlalchemy.orm import Mapper, Session, aliased
from sqlalchemy.sql import visitors

from ..sql import sqlstate_of
from .arrays import array_of, array_type, is_one_of
from .frozen import frozen_row
from .query import Query
from .statement import KEY, LiveStatement

__all__ = ["Found", "LookUpFailed", "Parameters", "QueryFailed", "Shape"]

Parameters = tuple[Hashable, ...]
"""The values of a query's parameters, which distinguish it from other queries of its shape."""
Conditions = tuple[ColumnElement[bool], ...]
Found = dict[Parameters, dict[Hashable, Any]]
"""The rows of each query, by their keys."""
GIVEN = "sa_pgnotify_given"
"""The alias of the unnested parameter values."""
ENOUGH = 50
"""The fewest rows of a look-up whose duration is measured."""
MOST_IDENTITIES = 5_000
"""The most rows of a table that are looked up in one statement."""


TRANSIENT = {"40001", "40P01", "55P03"}
"""The SQLSTATEs of conflicts with other transactions: serialization_failure, deadlock_detected and
lock_not_available."""


def is_transient(error: Exception) -> bool:
    """Return whether the same statement may succeed if it is tried again."""
    if not isinstance(error, DBAPIError):
        return isinstance(error, OSError)  # asyncpg raises it
    return error.connection_invalidated or sqlstate_of(error.orig) in TRANSIENT


class QueryFailed(Exception):
    """PostgreSQL refuses a statement, or a type cannot read a value of its result.

    :ivar queries: the queries that fail; empty if one statement was run for several queries, which
        should then be tried one by one.
    """

    def __init__(self, queries: Sequence[Query], error: Exception) -> None:
        super().__init__(error)
        self.queries = queries
        self.error = error


class LookUpFailed(Exception):
    """Rows cannot be looked up by their identities.

    Any role can send a notification, so an identity in one may not be a value of the column's type.

    :ivar table: the table of the rows.
    """

    def __init__(self, table: Table) -> None:
        super().__init__(table.fullname)
        self.table = table


class Shape:
    """Evaluates the queries of one shape, and measures how long that takes.

    :param live: the statement of one of the queries.
    :ivar live: the same.
    """

    def __init__(self, live: LiveStatement) -> None:
        self.live = live
        # seconds for the whole result of one query, and for the look-up of one row; 0 if unknown
        self._whole_each = self._identity_each = 0.0
        self._names = [str(element["name"]) for element in live.statement.column_descriptions]
        self._template = _template(live)
        self._has_failed = False  # then queries are tried one by one

    def evaluate(self, session: Session, queries: Mapping[Parameters, Query]) -> Found:
        """Run the whole statement for ``queries``, and return the results.

        :raises QueryFailed: if PostgreSQL refuses it, or a value of the result cannot be read.
        """
        began = time.perf_counter()
        found = self._run(session, queries, lambda _: ())
        self._whole_each = (time.perf_counter() - began) / max(len(queries), 1)
        return found

    def look_up(
        self,
        session: Session,
        queries: Mapping[Parameters, Query],
        leaf: int,
        identities: Iterable[Any],
    ) -> Found:
        """Return the result rows of ``queries`` that come from given rows of a table.

        :param leaf: the place of the table among the leaves.
        :param identities: the identities of the rows of the table.
        :raises LookUpFailed: if PostgreSQL or the driver refuses an identity.
        """
        began = time.perf_counter()
        found: Found = {}
        every = list(identities)
        for start in range(0, len(every), MOST_IDENTITIES):

            def changed(live: LiveStatement, start: int = start) -> Conditions:
                some = every[start : start + MOST_IDENTITIES]
                return (is_one_of(live.leaves[leaf].key, some),)

            try:
                some_found = self._run(session, queries, changed)
            except QueryFailed as failed:
                self._has_failed = False
                raise LookUpFailed(self.live.leaves[leaf].table) from failed
            for values, rows in some_found.items():
                found.setdefault(values, {}).update(rows)
        if len(every) >= ENOUGH:
            each = (time.perf_counter() - began) / len(every)
            self._identity_each = (self._identity_each or each) * 0.8 + each * 0.2
        return found

    def prefers_whole(self, identities: int, queries: int) -> bool:
        """Return whether running the whole statement is likely to be faster than a look-up.

        :param identities: the number of rows to look up.
        :param queries: the number of queries to run.
        """
        if identities * self._identity_each <= self._whole_each * queries:
            return False
        self._identity_each *= 0.9  # so that a look-up is tried and measured again
        return True

    # -- SQL ---------------------------------------------------------------------------------------

    def _run(
        self,
        session: Session,
        queries: Mapping[Parameters, Query],
        where: Callable[[LiveStatement], Conditions],
    ) -> Found:
        is_own = len(queries) == 1 and all(query.is_own for query in queries.values())
        if is_own or self._template is None or self._has_failed:
            return {values: self._alone(session, query, where) for values, query in queries.items()}
        try:
            every = list(queries.values())
            statement = _multiplexed(self._template, where(self._template), every)
            rows: Found = {}
            names = list(queries)
            for number, key, row in self._keyed(_all(session, statement), numbered=True):
                rows.setdefault(names[number - 1], {})[key] = row
        except Exception as error:
            if is_transient(error):
                raise
            self._has_failed = True
            raise QueryFailed([], error) from error
        return rows

    def _alone(
        self, session: Session, query: Query, where: Callable[[LiveStatement], Conditions]
    ) -> dict[Hashable, Any]:
        try:
            live = query.own_analysis()
            found = _all(session, live.loading(*where(live)))
            return {key: row for _, key, row in self._keyed(found, numbered=False)}
        except Exception as error:
            if is_transient(error):
                raise
            self._has_failed = False  # now the others can share a statement again
            raise QueryFailed([query], error) from error

    # -- rows --------------------------------------------------------------------------------------

    def _keyed(
        self, found: Sequence[Any], *, numbered: bool
    ) -> Iterator[tuple[int, Hashable, Any]]:
        """Yield each row, as the statement returns it, after the number of its query and its key.

        :param found: rows with the values of the key's columns at the end.
        :param numbered: whether each row begins with the number of its query.
        """
        live, start = self.live, int(numbered)
        end = start + live.width
        shown = (row[start:end] for row in found)
        made: IteratorResult[Any] = IteratorResult(SimpleResultMetaData(self._names), shown)
        times: Counter[Hashable] = Counter()
        for row, values in zip(made, found):
            number = values[0] if numbered else 0
            if live.key is not None:
                yield number, live.key_of(values[end:]), row
                continue
            key = frozen_row(row)
            times[number, key] += 1
            again = times[number, key]  # the result may have equal rows
            yield number, key if again == 1 else (*key, again), row


def _all(session: Session, statement: Any) -> Sequence[Any]:
    """Return the rows of a statement, with new entities.

    Entities that another statement has loaded may have other attributes.
    """
    try:
        return session.execute(statement).all()
    finally:
        session.expunge_all()


def _template(live: LiveStatement) -> LiveStatement | None:
    """Return the statement with columns of :data:`GIVEN` in place of its parameters.

    None if the queries of the shape cannot share a statement: a parameter cannot be sent in an
    array, an element of the SELECT cannot be found in a subquery, or the statement has options.
    """
    parameters = live.parameters
    if (
        not parameters
        or live.statement._with_options
        or any(p.expanding or p.literal_execute or array_type(p.type) is None for p in parameters)
    ):
        return None
    # as text, because a column would add its table to the FROM clause of each subquery
    columns = {
        p.key: literal_column(f"{GIVEN}.p{place}", p.type) for place, p in enumerate(parameters)
    }

    def replaced(element: Any, **_: Any) -> Any:
        return columns.get(element.key) if isinstance(element, BindParameter) else None

    template = LiveStatement(visitors.replacement_traverse(live.statement, {}, replaced))
    template.classify_as(live)
    mappers = Counter(
        mapper.base_mapper
        for description in live.statement.column_descriptions
        if (mapper := _mapper_of(description["expr"])) is not None
    )
    if template.compiled.has_parameters or Counter(template.compiled.tables) != Counter(
        live.compiled.tables
    ):
        return None  # the ORM keeps parts of the statement where they cannot be replaced
    try:
        elements = _elements(template, template.keyed().lateral())
    except InvalidRequestError:  # two columns have the same name
        return None
    is_clear = max(mappers.values(), default=1) == 1
    return template if is_clear and not any(element is None for element in elements) else None


def _multiplexed(template: LiveStatement, where: Conditions, queries: Sequence[Query]) -> Any:
    """Return a SELECT of the rows of all queries, each row after the number of its query.

    Numbers begin with 1.
    """
    arrays = []
    for place, parameter in enumerate(queries[0].bound):
        of = array_type(parameter.type)
        assert of is not None
        arrays.append(array_of([q.bound[place].effective_value for q in queries], of))
    names = [f"p{place}" for place in range(len(arrays))]
    given = func.unnest(*arrays).table_valued(*names, with_ordinality="number")
    given = given.render_derived(name=GIVEN)
    rows = template.keyed(*where).lateral("live")
    keys = [column for column in rows.c if str(column.key).startswith(KEY)]
    columns = [given.c.number, *_elements(template, rows), *keys]
    return select(*columns).select_from(given.join(rows, true()))


def _elements(template: LiveStatement, rows: FromClause) -> list[Any]:
    """Return the elements of a statement as elements of ``rows``, a subquery of this statement.

    None for an element that is not found there.
    """
    return [
        _element(description["expr"], rows)
        for description in template.statement.column_descriptions
    ]


def _element(element: Any, rows: FromClause) -> Any:
    mapper = _mapper_of(element)
    if mapper is not None:
        return aliased(mapper.class_, rows)
    column = element.__clause_element__() if hasattr(element, "__clause_element__") else element
    is_column = hasattr(column, "proxy_set")  # a composite() is several columns
    return rows.corresponding_column(column) if is_column else None


def _mapper_of(element: Any) -> Mapper[Any] | None:
    """Return the mapper of an element that is a whole entity; None for a column."""
    found: Any = inspect(element, raiseerr=False)
    is_entity = getattr(found, "is_mapper", False) or getattr(found, "is_aliased_class", False)
    return found.mapper if is_entity else None
