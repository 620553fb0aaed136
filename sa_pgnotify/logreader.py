"""Reading the change log: every committed change once, and those of a row in their order.

It is hard because numbers are given when a row is written and seen when it is committed: whoever asks for "all that is newer than the
last one" passes by what commits late (a sixth of the changes in our measurements, and more), and whoever waits until nothing older can
commit waits for the longest transaction of the whole server. So a reader takes the difference of two snapshots: what is visible in the
one of now and was not in the one before, as PgQ does, the queue of Skytools for which PostgreSQL got these snapshots.

Within such a window, transactions come in the order of their last changes: one that has changed a row after another one has waited for
its lock, so that its last change has a greater number than all of the other's. And the changes of a transaction stay together.

This module decides and never waits; it is given a function that runs SQL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from .changelog import LogNames
from .quoting import literal
from .wire import RS

__all__ = ["LogReader", "LogRow", "Position", "Snapshot"]

Execute = Callable[[str], Iterable[Any]]

PAGE = 1000
"""Rows of the log that are read at once, if they do not exceed so many bytes:"""
PAGE_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Which transactions had ended at a moment (PostgreSQL's ``pg_snapshot``).

    :ivar xmin: all below have ended; ``xmax``: none from here on has; ``running``: those between that had not.
    """

    xmin: int
    xmax: int
    running: tuple[int, ...]

    @classmethod
    def parse(cls, text: str) -> Snapshot:
        """
        >>> Snapshot.parse("10:14:10,12")
        Snapshot(xmin=10, xmax=14, running=(10, 12))
        """
        xmin, xmax, running = text.split(":")
        return cls(int(xmin), int(xmax), tuple(map(int, running.split(","))) if running else ())

    def __str__(self) -> str:
        return f"{self.xmin}:{self.xmax}:{','.join(map(str, self.running))}"

    @property
    def not_seen(self) -> str:
        """An SQL condition on a transaction id: it is not visible in this snapshot."""
        return f"(xid >= {self.xmax} OR xid = ANY ('{{{','.join(map(str, self.running))}}}'::bigint[]))"

    @property
    def seen(self) -> str:
        """An SQL condition on a transaction id: it is visible in this snapshot."""
        return f"(xid < {self.xmax} AND xid <> ALL ('{{{','.join(map(str, self.running))}}}'::bigint[]))"

    def until(self, xid: int) -> Snapshot:
        """The same, as if of the transactions from ``xid`` on none had ended.

        >>> str(Snapshot.parse("10:14:10,12").until(12))
        '10:12:10'
        """
        return self if xid >= self.xmax else Snapshot(min(self.xmin, xid), xid, tuple(x for x in self.running if x < xid))

    def both(self, other: Snapshot) -> Snapshot:
        """What had ended in either.

        >>> str(Snapshot.parse("10:14:10,12").both(Snapshot.parse("11:13:11")))
        '10:13:10,11,12'
        """
        xmax = min(self.xmax, other.xmax)
        running = tuple(sorted(x for x in {*self.running, *other.running} if x < xmax))
        return Snapshot(min(self.xmin, other.xmin), xmax, running)


HERE = "xid < (SELECT pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text::bigint)"
"""An SQL condition on a transaction id: it is of this server. In a restored log are those of another one, which would seem new for long."""


def beginning(removed: int) -> Snapshot:
    """A snapshot in which no change of the log is visible, and none is missed that had been removed by then.

    :param removed: the greatest transaction id among the changes that the log has removed.
    """
    return Snapshot(removed + 1, 1, ())


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the change log: all before it has been read, nothing after it.

    :ivar last: the snapshot (PostgreSQL's text form) up to which all was read.
    :ivar target: the one up to which it is being read; None between two.
    :ivar tx_end: number of the last row of the log of the transaction that was reached; 0 if none was.
    :ivar row_id: number of the row that was reached.
    :ivar row_part: how many changes of that row lie before the place.
    """

    last: str
    target: str | None = None
    tx_end: int = 0
    row_id: int = 0
    row_part: int = 0


class LogRow(NamedTuple):
    """A row of the log: one or more changes of one statement.

    :ivar tx_end: number of the last row of the transaction, which is ``row_id`` if this is it.
    :ivar text: the changes, laid out as in a message; ``skipped`` how many of them are left out here, since they were read before.
    :ivar start: where the page that it was read in begins; ``closing`` the place behind the row, if a window ends with it.
    :ivar relations: the tables among whose changes its places are places.
    """

    tx_end: int
    row_id: int
    xid: int
    pid: int
    relation: str
    header: str
    text: str
    skipped: int
    start: Position
    closing: Position | None = None
    relations: tuple[str, ...] = ()

    @property
    def before(self) -> Position:
        """The place before it, behind what is skipped."""
        return Position(self.start.last, self.start.target, self.tx_end, self.row_id, self.skipped)

    @property
    def after(self) -> Position:
        """The place behind it."""
        return self.closing or replace(self.before, row_part=self.skipped + self.size)

    @property
    def size(self) -> int:
        """How many changes it holds."""
        return self.text.count(RS) + 1

    def behind(self, change: int) -> Position:
        """The place behind one of its changes, which are counted from 0."""
        return self.after if change + 1 >= self.size else replace(self.before, row_part=self.skipped + change + 1)


@dataclass(frozen=True)
class _Window:
    """What lies between two snapshots, if it is more than a page.

    :ivar until: the greatest number in it; ``low`` where the next page begins; ``span`` how many numbers that looks at.
    """

    target: Snapshot
    until: int
    low: int
    span: int


class LogReader:
    """Reads on from a position, a page at a time.

    :param relations: the tables whose changes are wanted, by their names in messages.
    :ivar position: all before it was given out.
    :ivar snapshot: the newest that was read; before the first reading, the one of the position.
    :ivar lost: the greatest transaction id among the changes that the log has removed, once that may be one that was not read.
    """

    def __init__(self, names: LogNames, relations: Iterable[str], position: Position) -> None:
        self._log = names.rows
        self._removed = f"(SELECT removed FROM {names.head} WHERE id = 0)"
        self._asked = tuple(sorted(relations))
        self.lost: int | None = None
        self._newest: int | None = None
        self.go_to(position)

    @property
    def relations(self) -> tuple[str, ...]:
        """The tables whose changes are read. Others are taken over at the end of a window: within one, the order depends on them."""
        return self._relations

    @relations.setter
    def relations(self, names: Iterable[str]) -> None:
        self._asked = tuple(sorted(names))
        if self.position.target is None:
            self._take(self._asked)

    def _take(self, relations: tuple[str, ...]) -> None:
        self._relations = relations
        self._wanted = f"relation IN ({', '.join(map(literal, relations))})" if relations else "relation IS NULL"

    def go_to(self, position: Position, relations: tuple[str, ...] | None = None) -> None:
        """Read on from another place.

        :param relations: the tables among whose changes it is a place, if they may be others.
        """
        self.position = position
        self.snapshot = Snapshot.parse(position.target or position.last)
        self._window: _Window | None = None
        self._finished = False
        self._take(self._asked if position.target is None or relations is None else relations)

    def _ask_removed(self, execute: Execute) -> None:
        """To be asked after what it may have been removed from."""
        ((removed,),) = execute(f"SELECT {self._removed}")
        self._note(removed)

    def look_around(self, execute: Execute) -> None:
        """Find out how far transaction ids are certain: see :meth:`resume`."""
        ((newest,),) = execute(f"SELECT coalesce(max(xid), 0) FROM {self._log} AS l WHERE {HERE}")
        self._newest = max(newest, self._newest or 0)

    def resume(self, execute: Execute) -> None:
        """Read on after a loss of the connection.

        A server that crashed gives the ids of transactions anew that had not yet written anything to the disk, while our snapshots may
        say that these have ended. Certain are those up to the newest that was seen in the log; of the others nothing was given out.
        """
        at = self.position
        if self._newest is None:
            return
        ((now,),) = execute("SELECT pg_catalog.pg_current_snapshot()::text")
        target = None if at.target is None else str(Snapshot.parse(at.target).both(Snapshot.parse(now)))
        self.go_to(replace(at, last=str(Snapshot.parse(at.last).until(self._newest + 1)), target=target))

    def _note(self, removed: int | None) -> None:
        if removed is not None and removed >= Snapshot.parse(self.position.last).xmin:
            self.lost = removed

    def read(self, execute: Execute) -> list[LogRow]:
        """The next rows, at most a page; none if there is nothing new.

        :param execute: runs one statement and gives its rows; each statement sees what was committed before it.
        :returns: rows; if none, :attr:`snapshot` was taken just now.
        """
        while self.position.target is not None:
            window = self._window = self._window or self._reopened(execute, Snapshot.parse(self.position.target))
            if window.low > window.until:
                self._close(window.target)
                break
            found = self._page(execute, window)
            self._ask_removed(execute)
            full = bool(found) and (found[0][7] == PAGE or found[0][7] > len(found))
            if full:  # there may be more of the transaction that it ends with
                self._window = replace(window, low=found[-1][0])
            else:
                self._window = replace(window, low=window.low + window.span, span=window.span if found else window.span * 2)
            rows = self._rows(found, window.target, closes=not full and self._window.low > window.until)
            if rows:
                return rows
        return self._open(execute)

    def _open(self, execute: Execute) -> list[LogRow]:
        """A window from the last snapshot up to now: most are small, and are read at once."""
        last = Snapshot.parse(self.position.last)
        found = list(
            execute(
                f"SELECT now.snapshot, now.removed, l.id, l.xid, l.pid, l.relation, l.header, l.rows FROM (SELECT "
                f"pg_catalog.pg_current_snapshot()::text AS snapshot, {self._removed} AS removed) AS now LEFT JOIN LATERAL "
                f"(SELECT id, xid, pid, relation, header, CASE WHEN sum(octet_length(rows)) OVER () <= {PAGE_BYTES} THEN rows END AS rows "
                f"FROM (SELECT * FROM {self._log} AS l WHERE {last.not_seen} AND {HERE} AND {self._wanted} LIMIT {PAGE + 1}) AS l) "
                "AS l ON true"
            )
        )
        self.snapshot = target = Snapshot.parse(found[0][0])
        self._note(found[0][1])
        if found[0][2] is None:
            self._close(target)
            return []
        self.position = Position(self.position.last, str(target))
        if len(found) > PAGE or found[0][7] is None:
            return self.read(execute)
        ends: dict[int, int] = {}
        for row in found:
            ends[row[3]] = max(ends.get(row[3], 0), row[2])
        return self._rows(sorted((ends[row[3]], *row[2:]) for row in found), target, closes=True)

    def _reopened(self, execute: Execute, target: Snapshot) -> _Window:
        """A window that is longer than a page, or was begun before."""
        ((low, until),) = execute(f"SELECT coalesce(min(id), 1), coalesce(max(id), 0) FROM {self._log} AS l WHERE {self._within(target)}")
        self._ask_removed(execute)
        return _Window(target, until, max(low, self.position.tx_end), PAGE)

    def _within(self, target: Snapshot) -> str:
        """An SQL condition on a row of the log: it is wanted, and within the window up to ``target``."""
        return f"{Snapshot.parse(self.position.last).not_seen} AND {target.seen} AND {self._wanted}"

    def _page(self, execute: Execute, window: _Window) -> list[tuple[Any, ...]]:
        """The rows of the transactions whose last changes are among the next numbers, in order, at most a page."""
        at = self.position
        # Each transaction's last row and all of its rows are looked up by the index on (xid, id), whatever the planner believes of
        # tables that grow and are emptied all the time: a LATERAL with a LIMIT leaves it no other way.
        return list(
            execute(
                f"WITH ends AS MATERIALIZED (SELECT c.id, c.xid FROM (SELECT id, xid FROM {self._log} AS l WHERE id >= {window.low} "
                f"AND id < {window.low + window.span} AND {self._within(window.target)}) AS c CROSS JOIN LATERAL "
                f"(SELECT m.id FROM {self._log} AS m WHERE m.xid = c.xid AND m.{self._wanted} ORDER BY m.id DESC LIMIT 1) AS newest "
                f"WHERE newest.id = c.id) "
                f"SELECT * FROM (SELECT tx_end, id, xid, pid, relation, header, rows, count(*) OVER () AS of, sum(octet_length(rows)) OVER "
                f"(ORDER BY tx_end, id) - octet_length(rows) AS bytes FROM (SELECT ends.id AS tx_end, t.* FROM ends CROSS JOIN LATERAL "
                f"(SELECT * FROM {self._log} AS t WHERE t.xid = ends.xid AND t.{self._wanted} "
                f"AND t.id {'>' if self._finished else '>='} CASE WHEN ends.id = {at.tx_end} THEN {at.row_id} ELSE 0 END "
                f"ORDER BY t.id LIMIT {PAGE}) AS t "
                f"ORDER BY 1, 2 LIMIT {PAGE}) AS page) AS page WHERE bytes < {PAGE_BYTES} ORDER BY 1, 2"
            )
        )

    def _rows(self, found: Iterable[tuple[Any, ...]], target: Snapshot, *, closes: bool) -> list[LogRow]:
        """What was found behind the position, which moves behind it.

        :param closes: whether the window ends with it.
        """
        rows: list[LogRow] = []
        start = self.position
        for tx_end, row_id, xid, pid, relation, header, text, *_ in found:
            skipped = 0
            if (tx_end, row_id) < (start.tx_end, start.row_id):
                continue
            if (tx_end, row_id) == (start.tx_end, start.row_id):
                if start.row_part > text.count(RS):
                    self._finished = True  # it need not come again
                    continue
                skipped = start.row_part
                text = text.split(RS, skipped)[skipped]  # noqa: PLW2901
            self._newest = max(xid, self._newest or 0)
            rows.append(LogRow(tx_end, row_id, xid, pid, relation, header, text, skipped, start, None, self._relations))
        if closes:
            self._close(target)
            if rows:
                rows[-1] = rows[-1]._replace(closing=self.position)
        elif rows:
            self.position, self._finished = rows[-1].after, True
        return rows

    def _close(self, target: Snapshot) -> None:
        self.position, self._window, self._finished = Position(str(target)), None, False
        self._take(self._asked)
