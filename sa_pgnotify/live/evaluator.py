"""Evaluating all live queries of one engine in one snapshot.

An evaluation reads the change logs up to its own snapshot, in the transaction that runs the
statements, so that the changes match exactly what the statements see. For a table without a log,
only the changes whose events have arrived are known. Such a row is evaluated as the snapshot has
it, and other rows of the same transaction may follow in the next step.

The code is written as blocking code, as :mod:`sa_pgnotify.listening.receiver` is; asyncio programs
run it by ``run_sync()``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from math import inf
from typing import Any
from weakref import WeakValueDictionary

from sqlalchemy import Connection, Table, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import ORMExecuteState, Session

from ..errors import NotifyConfigError
from ..events.stream import LogRead, Route
from ..log.snapshots import Position, Snapshot
from ..sql import execute_on, schema_translation
from .changes import Changes, is_captured, read_captured, read_window
from .query import Query
from .refusals import check_functions, check_row_security, tables_of_policies
from .row_security import RowSecurity
from .shape import LookUpFailed, QueryFailed, Shape
from .shape_group import ShapeGroup

__all__ = ["READING", "Evaluator"]

READING = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
"""The execution options of a connection that evaluates."""

BESIDE = {"isolation_level": "AUTOCOMMIT"}
"""Those of a connection beside it, which sees what was committed since."""


class Evaluator:
    """The queries of a feed, in groups that are evaluated together, and the changes they await.

    :param routes: returns the routes of the feed's listener by their channels.
    """

    def __init__(self, routes: Callable[[], Mapping[str, Route]]) -> None:
        self._routes = routes
        self._groups: dict[Any, ShapeGroup] = {}
        self._shapes: WeakValueDictionary[Any, Shape] = WeakValueDictionary()
        self._changes = Changes()
        self._rung = False
        self._last: Snapshot | None = None  # everything was evaluated up to this one

    # -- what has changed --------------------------------------------------------------------------

    def note(self, noted: object) -> None:
        """Note an event of the listener, which does not pass on the changes of durable tables."""
        if isinstance(noted, LogRead):
            seen = self._last
            self._rung |= seen is None or not all(map(seen.has_ended, noted.transaction_ids))
        else:
            self._changes.add(noted)

    @property
    def due_in(self) -> float:
        """Seconds until :meth:`run` is due; ``math.inf`` if it is not due before an event."""
        if self._rung or self._changes:
            return 0.0
        due = min((group.refresh_at for group in self._groups.values()), default=inf)
        return max(0.0, due - time.monotonic())

    @property
    def is_empty(self) -> bool:
        """Whether there are no queries."""
        return not self._groups

    # -- queries -----------------------------------------------------------------------------------

    def examine(self, connection: Connection, query: Query) -> None:
        """Find out which tables a query reads, before the listener subscribes to them.

        :raises NotifyConfigError: if the statement cannot be followed.
        """
        group = self._groups.get(query.group_key)
        if group is not None:
            query.live, query.tables = group.live, group.tables
            return
        with connection.begin():
            _become(connection, query)
            execute = execute_on(connection)
            check_functions(query.live, execute, query.subject, refreshes=query.refreshes)
            schema_of = schema_translation(connection)
            check_row_security(query, execute, schema_of)
            query.tables |= tables_of_policies(query, execute, schema_of)

    def add(self, connection: Connection, query: Query) -> None:
        """Evaluate a query for the first time, and follow it from then on.

        The listener must already be subscribed to its tables.

        :param connection: one with the options :data:`READING`.
        :raises DBAPIError: if PostgreSQL refuses the statement.
        """
        while not self._add(connection, query):
            pass

    def _add(self, connection: Connection, query: Query) -> bool:
        """Return whether it was added; if not, try it again in another transaction."""
        with _transaction(connection) as session:
            seen = _snapshot(connection)
            group = self._groups.get(query.group_key) or self._new_group(query)
            group.add(query)
            try:
                at = self._positions(seen)(query)
                gives_all = query.resumes_at is None or self._has_changed(connection, query)
                _become(connection, query)
                group.start(session, query, at, gives_all=gives_all)
            except QueryFailed as failed:
                group.remove(query)
                if not failed.queries:
                    query.own_analysis()  # so that it is run alone, whichever shape is made for it
                    return False
                raise failed.error from None
            except BaseException:
                group.remove(query)
                raise
        self._groups[query.group_key] = group
        self._last = self._last or seen
        return True

    def _new_group(self, query: Query) -> ShapeGroup:
        # groups of different users share the statements of a shape
        shape = self._shapes.get(query.shape_key)
        if shape is None:
            shape = self._shapes[query.shape_key] = Shape(query.live)
        return ShapeGroup(shape, query.tables)

    def remove(self, query: Query) -> None:
        """Stop following a query."""
        group = self._groups.get(query.group_key)
        if group is not None and group.remove(query):
            del self._groups[query.group_key]
        if not self._groups:
            self._last = None

    def remove_dropped(self) -> None:
        """Remove the queries that their programs have dropped without stopping them."""
        for group in list(self._groups.values()):
            for query in group:
                if query.outlet.is_dropped:
                    self.remove(query)

    def fail(self, error: BaseException) -> None:
        """End all queries with an error."""
        for group in list(self._groups.values()):
            for query in group:
                query.outlet.fail(error)
                self.remove(query)

    # -- evaluating --------------------------------------------------------------------------------

    def run(self, connection: Connection) -> None:
        """Evaluate the queries that the changes concern, and put their steps into the outlets.

        :param connection: one with the options :data:`READING`.
        """
        changes, self._changes, self._rung = self._changes, Changes(), False
        try:
            while self._evaluate(connection, changes):
                pass
        except BaseException:
            # keep the changes for the next attempt
            self._changes.update(changes)
            self._rung = True
            raise

    def _evaluate(self, connection: Connection, changes: Changes) -> bool:
        """Evaluate once, and return whether to evaluate again in another transaction.

        After a query has failed, it is evaluated again without that query; after a look-up has
        failed, with the whole statements.
        """
        with _transaction(connection) as session:
            seen = self._read_logs(connection, str(self._last), changes)
            # queries of the engine's own role come first, because SET ROLE holds until the
            # transaction ends
            before: RowSecurity | None = None
            positions = self._positions(seen)
            for group in sorted(self._groups.values(), key=_has_user):
                if not group.is_concerned(changes):
                    continue
                try:
                    before = _become_for(connection, group, before)
                    group.run(session, changes, positions)
                except LookUpFailed as failed:
                    changes.add_any(failed.table)
                    return True
                except QueryFailed as failed:
                    for query in failed.queries:
                        query.outlet.fail(failed.error)
                        self.remove(query)
                    return not self.is_empty
            self._last = seen
        return False

    def _read_logs(self, connection: Connection, last: str, into: Changes) -> Snapshot:
        """Add what the logs have since an earlier snapshot, and return the present one.

        :param last: the earlier snapshot, as ``pg_snapshot`` in text form.
        """
        seen: Snapshot | None = None
        for route in () if into.everything else self._routes().values():
            if route.log is None or not route.sources:
                continue
            if is_captured(route.sources):
                seen = seen or _snapshot(connection)  # before the capture is awaited
                with connection.engine.connect().execution_options(**BESIDE) as beside:
                    read_captured(execute_on(beside), route.log, route.sources, last, into)
            else:
                seen = read_window(execute_on(connection), route.log, route.sources, last, into)
        return seen or _snapshot(connection)

    def _has_changed(self, connection: Connection, query: Query) -> bool:
        """Return whether anything may have changed since the position that a query resumes at."""
        assert query.resumes_at is not None
        if not query.tables <= self._logged():
            return True
        changes = Changes()
        self._read_logs(connection, query.resumes_at.last, changes)
        return bool(changes.within(query.tables))

    def _positions(self, seen: Snapshot) -> Callable[[Query], Position | None]:
        """Return what gives the position of a query's step: None if a table is not durable."""
        logged = self._logged()
        at = Position(str(seen))
        return lambda query: at if query.tables <= logged else None

    def _logged(self) -> set[Table]:
        """Return the tables whose changes are in a log."""
        return {
            source.table
            for route in self._routes().values()
            if route.log is not None
            for source in route.sources.values()
        }


class _Session(Session):
    """A session that refuses to load relationships by further statements."""


@event.listens_for(_Session, "do_orm_execute")
def _refuse_relationships(state: ORMExecuteState) -> None:
    if state.is_relationship_load:
        raise NotifyConfigError(
            "LiveQuery",
            "the statement loads a relationship by another SELECT, whose changes would be missed",
            "Add the other entity to select() and join it, and add .options(lazyload('*'))",
        )


@contextmanager
def _transaction(connection: Connection) -> Iterator[Session]:
    """Yield a session whose statements all see one snapshot."""
    with connection.begin(), _Session(connection, autoflush=False) as session:
        yield session
        session.expunge_all()


def _snapshot(connection: Connection) -> Snapshot:
    """Return the snapshot that the statements of the transaction see."""
    ((text,),) = execute_on(connection)("SELECT pg_catalog.pg_current_snapshot()::text")
    return Snapshot.parse(text)


def _become(connection: Connection, query: Query) -> None:
    """Set the role and the user that a query is evaluated as, if it has them."""
    if query.seen_by is not None:
        security, user = query.seen_by
        security.apply(connection, user)


def _has_user(group: ShapeGroup) -> bool:
    return group.first.seen_by is not None


def _become_for(
    connection: Connection, group: ShapeGroup, before: RowSecurity | None
) -> RowSecurity | None:
    """Set the role and the user of a group, and return its row-level security; None if it has none.

    :param before: the row-level security of the previous group. If it is another one, its setting
        is cleared, because the policies of this group must not see that user.
    :raises QueryFailed: if PostgreSQL refuses the role.
    """
    if group.first.seen_by is None:
        return None
    security, _ = group.first.seen_by
    try:
        if before is not None and before != security:
            before.leave(connection)
        _become(connection, group.first)
    except DBAPIError as error:
        if error.connection_invalidated:
            raise
        raise QueryFailed([*group], error) from error
    return security
