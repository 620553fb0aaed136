"""Snapshots, which say which transactions had ended at a moment, and positions in the change log,
which consist of snapshots.

A position lies between two snapshots rather than at a number, because rows do not become visible in
the order of their numbers. The tables that are read together may have come there from different
snapshots.
"""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

from sqlalchemy import Connection
from sqlalchemy.orm import Session, scoped_session

from ..errors import PgNotifyError, UnreadableData
from ..sql import execute_on, literal, unscoped
from .scans import Scan, scans_from_json, scans_to_json

__all__ = ["HERE", "Position", "Snapshot", "Tables", "beginning", "together"]


class Seen(Protocol):
    """Something that a transaction has made."""

    @property
    def transaction_id(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Which transactions had ended at a moment (PostgreSQL's ``pg_snapshot``).

    ``change in snapshot`` is whether the transaction of a change is among them.

    :ivar xmin: all transactions below it had ended.
    :ivar xmax: no transaction from it on had ended.
    :ivar running: the transactions between the two that had not ended.
    """

    xmin: int
    xmax: int
    running: tuple[int, ...]

    @classmethod
    def of(cls, session: Session | scoped_session[Any] | Connection) -> Snapshot:
        """Return what the reads of a session see, so that they can be joined with the events of a
        listener.

        ::

            with Listener(engine, Order) as listener, Session(repeatable_read) as session:
                snapshot = Snapshot.of(session)
                state = {order.id: order.status for order in session.scalars(select(Order))}
                for event in listener:
                    if isinstance(event, Change) and event in snapshot:
                        continue                      # the state has it already

        Start the listener first. With an AsyncSession: ``await session.run_sync(Snapshot.of)``.

        :param session: in a transaction of the isolation level REPEATABLE READ or SERIALIZABLE, in
            which all reads see the same.
        :raises PgNotifyError: if its transaction is of another isolation level.
        """
        bind = unscoped(session)
        connection = bind.connection() if isinstance(bind, Session) else bind
        if not isinstance(connection, Connection):
            raise TypeError(
                f"Snapshot.of() takes a Session or a Connection, not {type(bind).__name__}; with an AsyncSession, await "
                "session.run_sync(Snapshot.of)"
            )
        ((text, isolation),) = execute_on(connection)(
            "SELECT pg_catalog.pg_current_snapshot()::text, pg_catalog.current_setting('transaction_isolation')"
        )
        if isolation not in ("repeatable read", "serializable"):
            raise PgNotifyError(
                f"the transaction is {isolation.upper()}, in which each statement sees another snapshot",
                "Give the session an engine with execution_options(isolation_level='REPEATABLE READ')",
            )
        return cls.parse(text)

    def __contains__(self, change: Seen) -> bool:
        """Return whether reads with this snapshot see a change."""
        return self.has_ended(change.transaction_id)

    def has_ended(self, xid: int) -> bool:
        """Return whether a transaction had ended."""
        return xid < self.xmin or (xid < self.xmax and xid not in self.running)

    @classmethod
    def parse(cls, text: str) -> Snapshot:
        """Return the snapshot that PostgreSQL writes as ``text``.

        >>> Snapshot.parse("10:14:10,12")
        Snapshot(xmin=10, xmax=14, running=(10, 12))
        """
        xmin, xmax, running = text.split(":")
        return cls(int(xmin), int(xmax), tuple(map(int, running.split(","))) if running else ())

    def __str__(self) -> str:
        return f"{self.xmin}:{self.xmax}:{','.join(map(str, self.running))}"

    @property
    def not_seen(self) -> str:
        """An SQL condition that a transaction id is not visible in this snapshot."""
        later = f"xid >= {self.xmax}"
        if not self.running:  # as usual; this is planned faster
            return later
        return f"({later} OR xid = ANY ('{{{','.join(map(str, self.running))}}}'::bigint[]))"

    @property
    def seen(self) -> str:
        """An SQL condition that a transaction id is visible in this snapshot."""
        earlier = f"xid < {self.xmax}"
        if not self.running:
            return earlier
        return f"({earlier} AND xid <> ALL ('{{{','.join(map(str, self.running))}}}'::bigint[]))"

    def until(self, xid: int) -> Snapshot:
        """Return the same snapshot, as if no transaction from ``xid`` on had ended.

        >>> str(Snapshot.parse("10:14:10,12").until(12))
        '10:12:10'
        """
        return (
            self
            if xid >= self.xmax
            else Snapshot(min(self.xmin, xid), xid, tuple(x for x in self.running if x < xid))
        )

    def both(self, other: Snapshot) -> Snapshot:
        """Return the snapshot in which a transaction has ended if it has ended in both.

        >>> str(Snapshot.parse("10:14:10,12").both(Snapshot.parse("11:13:11")))
        '10:13:10,11,12'
        """
        xmax = min(self.xmax, other.xmax)
        running = tuple(sorted(x for x in {*self.running, *other.running} if x < xmax))
        return Snapshot(min(self.xmin, other.xmin), xmax, running)


HERE = "xid < (SELECT pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text::bigint)"
"""An SQL condition that a transaction id is of this server. A restored log has ids of another
server, which would seem new for a long time."""


def beginning(removed: int) -> Snapshot:
    """Return a snapshot in which no change of the log is visible. Changes that the log has already
    removed do not count as missed.

    :param removed: the greatest transaction id among the changes that the log has removed.
    """
    return Snapshot(removed + 1, 1, ())


Tables = tuple[tuple[str, str | None], ...]
"""Tables by their names in messages, in order. Each has the snapshot from which it is read; None
stands for the position's own ``last``."""


def together(names: Iterable[str]) -> Tables:
    """Return the tables ``names``, all read from the position's own ``last``."""
    return tuple((name, None) for name in sorted(names))


@dataclass(frozen=True, slots=True)
class Position:
    """A position in the change log: everything before it has been read, nothing after it.

    :ivar last: the snapshot (PostgreSQL's text form) up to which everything was read.
    :ivar target: the snapshot up to which the log is being read; None between two windows.
    :ivar tx_end: number of the last row of the transaction that was reached; 0 if none was.
    :ivar row_id: number of the row that was reached.
    :ivar row_part: how many changes of that row lie before the position.
    :ivar tables: the tables whose changes are read from here; empty for those of whichever reader
        comes here.
    :ivar among: tables whose changes are not read from here, but count for the order of the
        transactions up to ``target``, because they were read together with the others when that
        window was opened.
    :ivar scans: how far the rows of tables have been read, for a consumer that begins with them.
    """

    last: str
    target: str | None = None
    tx_end: int = 0
    row_id: int = 0
    row_part: int = 0
    tables: Tables = ()
    among: Tables = ()
    scans: tuple[Scan, ...] = ()

    def __str__(self) -> str:
        """Return the position as a resume token: opaque, and safe in a URL."""
        before, after = self.text_around(self.tx_end, self.row_id)
        return f"{before}{self.row_part}{after}"

    def text_around(self, tx_end: int, row_id: int) -> tuple[str, str]:
        """Return what is before and after ``row_part`` in the text of the positions that have the same
        snapshots and these numbers."""
        snapshots = _snapshots_text(self.last, self.target, self.tables, self.among, self.scans)
        return f"1.{tx_end}.{row_id}.", f".{snapshots}"

    @classmethod
    def parse(cls, text: str) -> Position:
        """Return the position that ``str(position)`` wrote.

        :raises UnreadableData: if it did not, or if a newer version of sa_pgnotify did.
        """
        match = _TOKEN.fullmatch(text) if isinstance(text, str) else None
        try:
            if match is None:
                raise ValueError("it has another form")
            last, target, tables, among, scans = _snapshots_read(match[4])
        except (ValueError, TypeError, RecursionError) as error:
            raise UnreadableData(
                "Position",
                f"{str(text)[:80]!r} is not a position ({error})",
                "Give the text that str(position) returned, whole; if a newer version of sa_pgnotify wrote it, read it with that",
            ) from None
        return cls(last, target, int(match[1]), int(match[2]), int(match[3]), tables, among, scans)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the tables whose changes are read from here."""
        return tuple(name for name, _ in self.tables)

    @property
    def oldest(self) -> int:
        """The transaction id below which nothing is read from here."""
        return min(
            Snapshot.parse(since).xmin
            for since in {self.last, *(since for _, since in self.tables if since is not None)}
        )

    @property
    def unread(self) -> str:
        """An SQL condition that a row of the log belongs to a table that is read from here, and was
        not visible in the snapshot from which that table is read."""
        return self._condition(self.tables)

    @property
    def ordered(self) -> str:
        """An SQL condition that a row of the log counts for the order of what is read from here."""
        return self._condition((*self.tables, *self.among))

    def within(self, *, ordered: bool) -> str:
        """Return an SQL condition for the rows of a transaction that has :attr:`ordered` rows: that
        a row is :attr:`ordered`, or that it is :attr:`unread`."""
        tables = (*self.tables, *self.among)
        together = len({since or self.last for _, since in tables}) < 2
        return self._condition(tables if ordered else self.tables, with_id=not together)

    def _condition(self, tables: Tables, *, with_id: bool = True) -> str:
        groups: dict[str, list[str]] = {}
        for name, since in tables:
            groups.setdefault(since or self.last, []).append(literal(name))
        either = [
            f"{Snapshot.parse(since).not_seen} AND relation IN ({', '.join(names)})"
            if with_id
            else f"relation IN ({', '.join(names)})"
            for since, names in groups.items()
        ]
        return f"({' OR '.join(either) or 'relation IS NULL'})"  # NULL, as no row's is


_TOKEN = re.compile(r"1\.([0-9]{1,19})\.([0-9]{1,19})\.([0-9]{1,19})\.([A-Za-z0-9_-]+)")
_SNAPSHOT = re.compile(r"[0-9]{1,20}:[0-9]{1,20}:([0-9]{1,20}(,[0-9]{1,20})*)?")


@lru_cache(maxsize=64)  # the positions of a window differ in their numbers alone
def _snapshots_text(
    last: str, target: str | None, tables: Tables, among: Tables, scans: tuple[Scan, ...]
) -> str:
    written = json.dumps([last, target, tables, among, scans_to_json(scans)], separators=(",", ":"))
    return urlsafe_b64encode(written.encode()).decode().rstrip("=")


def _snapshots_read(text: str) -> tuple[str, str | None, Tables, Tables, tuple[Scan, ...]]:
    """
    :raises ValueError: if ``text`` is not what :func:`_snapshots_text` returns; TypeError as well.
    """
    padded = text + "=" * (-len(text) % 4)
    last, target, tables, among, scans = json.loads(urlsafe_b64decode(padded))
    _check_snapshot(last)
    if target is not None:
        _check_snapshot(target)
    return last, target, _tables_read(tables), _tables_read(among), scans_from_json(scans)


def _tables_read(given: Any) -> Tables:
    tables = tuple((name, since) for name, since in given)
    for name, since in tables:
        if not isinstance(name, str):
            raise TypeError(f"{name!r} is not a table")
        if since is not None:
            _check_snapshot(since)
    return tables


def _check_snapshot(text: Any) -> None:
    if not isinstance(text, str) or not _SNAPSHOT.fullmatch(text):
        raise ValueError(f"{text!r} is not a snapshot")
