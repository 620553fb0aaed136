"""``change_context``: who or what made the changes of a transaction, published with each of them.

It is a setting of the transaction (``SET LOCAL``), which the trigger reads, so it needs no column,
and a program that does not use it pays for no query. PostgreSQL forgets the setting with the
transaction, or when a savepoint is rolled back, so it is set again before the next statement. In
autocommit mode it would be forgotten at once, so there the block is refused.

No trigger reads it for tables with ``capture="wal"``. If the program has such tables, the context
is written into the write-ahead log as well, as a logical message: it comes there before the changes
that it belongs to, and it is undone with a savepoint as the setting is.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self, TypeGuard
from weakref import WeakKeyDictionary, WeakSet

from sqlalchemy import Connection, event, text
from sqlalchemy.exc import SQLAlchemyError, UnboundExecutionError
from sqlalchemy.orm import Session, scoped_session

from ..errors import NotifyConfigError
from ..sql import literal, unscoped

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_scoped_session


__all__ = ["change_context"]

_FIRST = text(
    "WITH before AS MATERIALIZED (SELECT pg_catalog.current_setting('sa_pgnotify.context', true) AS value)"
    " SELECT value, pg_catalog.set_config('sa_pgnotify.context', :context, true) FROM before"
)
# Utility statements, which take no snapshot: SET TRANSACTION may still follow.
_SET = "SET LOCAL sa_pgnotify.context = {}"
_SHOW = "SHOW sa_pgnotify.context"
_EMIT = (
    "SELECT pg_catalog.pg_logical_emit_message(true, 'sa_pgnotify.context', {}) WHERE"
    " NOT pg_catalog.pg_is_in_recovery() AND pg_catalog.current_setting('transaction_read_only') = 'off'"
)
_TAKES_NO_SNAPSHOT = re.compile(r"\s*(?:SET|SHOW|RESET|SAVEPOINT|RELEASE|LOCK)\b", re.IGNORECASE)
"""Statements that change no row, and after which SET TRANSACTION may follow."""
_BOUNDARY = re.compile(
    r"\s*(?:BEGIN|START|COMMIT|END|ROLLBACK|ABORT|PREPARE\s+TRANSACTION)\b", re.IGNORECASE
)
"""Statements before which the context cannot be set, or need not be, and after which it may be
gone."""


def change_context(
    bind: Session
    | scoped_session[Any]
    | Connection
    | AsyncSession
    | async_scoped_session[Any]
    | AsyncConnection,
    context: Mapping[str, Any],
) -> _Block:
    """Give ``context`` to every change that is made through ``bind`` until the end of the block.

    It is a context manager: ``with change_context(session, {...}):``, and ``async with`` for an
    AsyncSession or AsyncConnection. A session is flushed at the beginning and at the end of the
    block, so that pending changes fall on the right side of it. The block may hold several
    transactions and savepoints, whether they commit or roll back. Blocks may be nested: the context
    of the inner one replaces that of the outer one. With engines of other databases, such as SQLite
    in unit tests, the block does nothing.

    :param bind: the session or connection through which the changes are made.
    :param context: a mapping that ``json.dumps`` takes; events carry it as ``Change.context``.
    :raises NotifyConfigError: if ``context`` cannot be written as JSON, or is not a mapping; at the
        beginning of the block, or of a transaction in it, if the connection is in autocommit mode,
        where PostgreSQL forgets the context at once.
    """
    try:
        if not isinstance(context, Mapping):
            raise TypeError(f"{type(context).__name__} is not a mapping")
        written = json.dumps(dict(context), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise NotifyConfigError(
            "change_context",
            f"the context cannot be written as JSON: {error}",
            "Use strings, numbers, lists",
        ) from error
    given: Any = bind
    bind = given() if _is_asyncio(given, "async_scoped_session") else unscoped(given)
    if not isinstance(bind, Session | Connection) and not _is_asynchronous(bind):
        raise NotifyConfigError(
            "change_context",
            f"{type(bind).__name__} is not a session or a connection",
            "Give one of these",
        )
    return _Block(bind, written)


def _is_asynchronous(bind: Any) -> TypeGuard[AsyncSession | AsyncConnection]:
    return _is_asyncio(bind, "AsyncSession", "AsyncConnection")


def _is_asyncio(bind: Any, *names: str) -> bool:
    """Return whether ``bind`` is of one of SQLAlchemy's classes for asyncio. A program that has such
    an object has imported them; without greenlet they cannot be imported."""
    module = sys.modules.get("sqlalchemy.ext.asyncio")
    return module is not None and isinstance(bind, tuple(getattr(module, name) for name in names))


class _Block:
    """A block of changes with one context."""

    def __init__(
        self, bind: Session | Connection | AsyncSession | AsyncConnection, written: str
    ) -> None:
        self.written = written
        self._bind = bind
        self._connections: WeakSet[Connection] = WeakSet()

    def __enter__(self) -> Self:
        if not isinstance(self._bind, Session | Connection):
            raise NotifyConfigError(
                "change_context", f"{type(self._bind).__name__} is asynchronous", "Use async with"
            )
        self._begin(self._bind)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        assert isinstance(self._bind, Session | Connection)
        self._end(self._bind, kind)

    async def __aenter__(self) -> Self:
        if not _is_asynchronous(self._bind):
            raise NotifyConfigError(
                "change_context", f"{type(self._bind).__name__} is not asynchronous", "Use with"
            )
        await self._bind.run_sync(self._begin)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        assert _is_asynchronous(self._bind)
        await self._bind.run_sync(self._end, kind)

    def _begin(self, bind: Session | Connection) -> None:
        if isinstance(bind, Connection):
            self.put_on(bind)
            return
        bind.flush()  # earlier changes do not belong to the block
        try:
            for connection in _connections_of(bind):
                self.put_on(connection)
            _blocks_of(bind).append(self)
        except BaseException:
            self._take_off(failed=True)
            raise

    def _end(self, bind: Session | Connection, kind: type[BaseException] | None) -> None:
        failed = True
        try:
            if isinstance(bind, Session) and kind is None:
                bind.flush()
            failed = kind is not None
        finally:
            if isinstance(bind, Session):
                _blocks_of(bind).remove(self)
            self._take_off(failed=failed)

    def put_on(self, connection: Connection) -> None:
        """Set the context on a connection, until the block ends.

        :raises NotifyConfigError: if PostgreSQL forgets the context at once.
        """
        if connection.dialect.name == "postgresql":
            self._connections.add(connection)
            _watched(connection).enter(connection, self)

    def follow_to(self, connection: Connection) -> None:
        """Set the context on a connection before its next statement."""
        if connection.dialect.name == "postgresql":
            self._connections.add(connection)
            _watched(connection).add(self)

    def _take_off(self, *, failed: bool) -> None:
        errors = []
        for connection in list(self._connections):
            try:
                _watched(connection).leave(connection, self)
            except SQLAlchemyError as error:
                errors.append(error)
        # An error that ended the transaction ended the context too, so there was nothing to take
        # back.
        if errors and not failed:
            raise errors[0]


# -- sessions: each transaction has connections of its own -----------------------------------------

_sessions: WeakKeyDictionary[Session, list[_Block]] = WeakKeyDictionary()


def _blocks_of(session: Session) -> list[_Block]:
    """Return the blocks that a session is in, the innermost last."""
    if session not in _sessions:
        _sessions[session] = []
        event.listen(session, "after_begin", _began)
    return _sessions[session]


def _began(session: Session, _transaction: object, connection: Connection) -> None:
    for block in _sessions.get(session, ()):
        block.follow_to(connection)


def _connections_of(session: Session) -> list[Connection]:
    """Return the connections of a session's transaction, which is begun if there is none."""
    found: dict[Connection, None] = {}
    transaction = session.get_nested_transaction() or session.get_transaction()
    while transaction is not None:
        found.update(dict.fromkeys(entry[0] for entry in transaction._connections.values()))
        transaction = transaction.parent
    # A session that has engines for some classes only connects as the classes are used.
    with suppress(UnboundExecutionError):
        found[session.connection()] = None
    return list(found)


# -- connections -----------------------------------------------------------------------------------


class _WatchedConnection:
    """A connection on which the context of blocks is kept set.

    PostgreSQL forgets the setting with a transaction; when a savepoint is rolled back, it restores
    the value from before the savepoint.
    """

    def __init__(self) -> None:
        self._blocks: list[_Block] = []
        self._before = ""
        self._is_stale = False
        self._emitted = ""

    def enter(self, connection: Connection, block: _Block) -> None:
        if self._blocks:
            self._blocks.append(block)
            self._set(connection)
            return
        self._before = connection.execute(_FIRST, {"context": block.written}).scalar() or ""
        self._verify(connection, block)
        self._blocks.append(block)

    def add(self, block: _Block) -> None:
        if block not in self._blocks:
            self._blocks.append(block)
            self._is_stale = True

    def leave(self, connection: Connection, block: _Block) -> None:
        if block in self._blocks:
            self._blocks.remove(block)
            self._is_stale = True
            if not connection.closed and connection.in_transaction():
                self._set(connection)

    def _set(self, connection: Connection) -> None:
        self._is_stale = False
        try:
            sql = _SET.format(literal(self._blocks[-1].written if self._blocks else self._before))
            doubles = connection.dialect.paramstyle in ("format", "pyformat")
            connection.exec_driver_sql(sql.replace("%", "%%") if doubles else sql)
        except BaseException:
            self._is_stale = True
            raise

    @staticmethod
    def _verify(connection: Connection, block: _Block) -> None:
        if connection.exec_driver_sql(_SHOW).scalar() != block.written:
            raise NotifyConfigError(
                "change_context",
                "PostgreSQL forgets the context at once, since the connection is in autocommit mode",
                "Make the changes in a "
                "transaction: engine.begin(), or an isolation_level other than AUTOCOMMIT",
            )

    def _emit(self, connection: Connection) -> None:
        """Write the context into the write-ahead log, unless that has it for this transaction."""
        context = self._blocks[-1].written if self._blocks else self._before
        if context != self._emitted:
            self._emitted = context
            sql = _EMIT.format(literal(context))
            doubles = connection.dialect.paramstyle in ("format", "pyformat")
            connection.exec_driver_sql(sql.replace("%", "%%") if doubles else sql)

    # -- events of the connection --

    def begins(self, *_: object) -> None:
        self._is_stale = bool(self._blocks)
        self._emitted = ""

    def executes(self, connection: Connection, _cursor: object, statement: str, *_: object) -> None:
        if _BOUNDARY.match(statement):
            self._is_stale = True
            self._emitted = _UNKNOWN
            return
        if self._is_stale:
            self._set(connection)
            if self._blocks:
                self._verify(connection, self._blocks[-1])
        if captured_tables and not _TAKES_NO_SNAPSHOT.match(statement):
            self._emit(connection)


captured_tables: set[str] = set()
"""The names of the tables with ``capture="wal"`` that this program has declared."""
_UNKNOWN = "?"

_all_watched: WeakKeyDictionary[Connection, _WatchedConnection] = WeakKeyDictionary()


def _watched(connection: Connection) -> _WatchedConnection:
    known = _all_watched.get(connection)
    if known is None:
        known = _all_watched[connection] = _WatchedConnection()
        event.listen(connection, "begin", known.begins)
        event.listen(connection, "begin_twophase", known.begins)
        event.listen(connection, "before_cursor_execute", known.executes)
    return known
