"""Reading the change log: every committed change once, and those of a row in their order.

Rows of the log are numbered when they are written and become visible when they are committed. A
reader that asks for "all rows newer than the last one" therefore misses what commits late (a sixth
of the changes in our measurements, and more), and one that waits until nothing older can commit
waits for the longest transaction of the whole server. So a reader takes the difference of two
snapshots: what is visible in the one of now and was not in the one before, as PgQ does, the queue
of Skytools for which PostgreSQL got these snapshots.

Within such a window, transactions come in the order of their last changes: one that has changed a
row after another one has waited for its lock, so that its last change has a greater number than all
of the other's. And the changes of a transaction stay together.

This module decides and never waits; it is given a function that runs SQL.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from ..protocol.wire import RS, US
from ..sql import Execute, literal
from .snapshots import HERE, Position, Snapshot, Tables
from .tables import LogNames

__all__ = ["LogReader", "LogRow"]

PAGE = 1000
"""Rows of the log that are read at once, if they do not exceed so many bytes:"""
PAGE_BYTES = 8 << 20
WITNESSES = 1000
"""Transactions read last that are looked up after a loss of the connection. A server that crashes,
or a standby that takes over, loses the last commits, in the order of their records. A commit
becomes visible after a later one only while its session waits for the disk or for a standby, and
each session waits for one: so the last one that was read is among as many as there are sessions."""


class LogRow(NamedTuple):
    """A row of the log: one or more changes of one statement.

    :ivar tx_end: number of the last row of the transaction, which is ``row_id`` if this is it.
    :ivar text: the changes, laid out as in a message; ``skipped`` how many of them are left out
        here, since they were read before.
    :ivar start: where the page that it was read in begins; ``closing`` the place behind the row, if
        a window ends with it.
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

    @property
    def before(self) -> Position:
        """The place before it, behind what is skipped."""
        return replace(self.start, tx_end=self.tx_end, row_id=self.row_id, row_part=self.skipped)

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
        return (
            self.after
            if change + 1 >= self.size
            else replace(self.before, row_part=self.skipped + change + 1)
        )


class _Witness(NamedTuple):
    """A row of the log that was seen: it is there as long as the server has lost nothing that was
    committed before.

    :ivar made: microseconds since 1970, as text; empty if the row does not say it.
    """

    row_id: int
    xid: int
    pid: int
    made: str


@dataclass(frozen=True)
class _Window:
    """What lies between two snapshots, if it is more than a page.

    :ivar until: the greatest number in it; ``low`` where the next page begins; ``span`` how many
        numbers that looks at.
    """

    target: Snapshot
    until: int
    low: int
    span: int


class LogReader:
    """Reads on from a position, a page at a time.

    :param relations: the tables whose changes are wanted, by their names in messages; None for
        those of the position.
    :ivar position: all before it was given out.
    :ivar snapshot: the newest that was read; before the first reading, the one of the position.
    :ivar lost: the greatest transaction id among the changes that the log has removed, once that
        may be one that was not read.
    """

    def __init__(
        self, names: LogNames, relations: Iterable[str] | None, position: Position
    ) -> None:
        self._log = names.rows
        self._removed = f"(SELECT removed FROM {names.head} WHERE id = 0)"
        self.position = position
        self._asked = None if relations is None else _together(relations)
        self._forget_witnesses()
        self.go_to(position)

    def _forget_witnesses(self) -> None:
        self._newest: _Witness | None = None
        self._seen: deque[_Witness] = deque(maxlen=WITNESSES)
        self._emptied = 0  # what the log had removed then

    @property
    def relations(self) -> tuple[str, ...]:
        """The tables whose changes are read. Others are taken over at the end of a window: within
        one, the order depends on them."""
        return self.position.names

    @relations.setter
    def relations(self, names: Iterable[str]) -> None:
        self._asked = _together(names)
        if self.position.target is None:
            self.position = replace(self.position, tables=self._asked)

    def go_to(self, position: Position) -> None:
        """Read on from another place."""
        wanted = self._asked is not None and (position.target is None or not position.tables)
        self.position = (
            replace(position, tables=self._asked)
            if wanted and self._asked is not None
            else position
        )
        self.snapshot = Snapshot.parse(position.target or position.last)
        self.lost: int | None = None
        self._window: _Window | None = None
        self._finished = False

    def _ask_removed(self, execute: Execute) -> None:
        """To be asked after what it may have been removed from."""
        ((removed,),) = execute(f"SELECT {self._removed}")
        self._note(removed)

    def begin(self, execute: Execute, position: Position) -> None:
        """Read on from a place that has nothing to do with what was read before."""
        self._forget_witnesses()
        self.go_to(position)
        self.look_around(execute)

    def look_around(self, execute: Execute) -> None:
        """Find out how far transaction ids are certain: see :meth:`resume`."""
        newest = f"SELECT id, xid, pid, {_made('header')} FROM {self._log} AS l WHERE {HERE} ORDER BY xid DESC, id DESC LIMIT 1"
        for found in execute(newest):
            self._saw(_Witness(*found))
        ((removed,),) = execute(f"SELECT coalesce({self._removed}, 0)")
        self._emptied = max(self._emptied, removed)

    def _saw(self, witness: _Witness) -> None:
        if self._newest is None or witness.xid > self._newest.xid:
            self._newest = witness

    def resume(self, execute: Execute) -> bool:
        """Read on after a loss of the connection.

        A server that crashed gives the ids of transactions anew whose records it had not yet
        written to the disk, and so does a standby that takes over without them, while our snapshots
        may say that these have ended. Certain are those up to the newest that was seen in the log,
        if that is still there; of the others nothing was given out.

        :returns: False if the server has lost what was read, so that no place is certain.
        """
        if self._lacks_witnesses(execute):
            return False
        at, newest = (
            self.position,
            max(self._emptied, 0 if self._newest is None else self._newest.xid),
        )
        ((now,),) = execute("SELECT pg_catalog.pg_current_snapshot()::text")

        def certain(snapshot: str) -> str:
            return str(Snapshot.parse(snapshot).until(newest + 1))

        tables = tuple(
            (name, None if since is None else certain(since)) for name, since in at.tables
        )
        target = (
            None if at.target is None else str(Snapshot.parse(at.target).both(Snapshot.parse(now)))
        )
        self.go_to(replace(at, last=certain(at.last), target=target, tables=tables))
        return True

    def _lacks_witnesses(self, execute: Execute) -> bool:
        ((removed,),) = execute(f"SELECT coalesce({self._removed}, 0)")
        seen = {
            witness.row_id: witness
            for witness in (self._newest, *self._seen)
            if witness is not None
        }
        if not seen or removed < self._emptied:
            return bool(removed < self._emptied)
        rows = ", ".join(
            f"({w.row_id}::bigint, {w.xid}::bigint, {w.pid}, {literal(w.made)})"
            for w in seen.values()
        )
        # With LATERAL and LIMIT, each row is looked up by the primary key. What retention removed
        # was there, and went after it.
        lacking = (
            f"SELECT 1 FROM (VALUES {rows}) AS w (id, xid, pid, made) LEFT JOIN LATERAL (SELECT true AS there FROM {self._log} AS l "
            f"WHERE l.id = w.id AND l.xid = w.xid AND l.pid = w.pid AND {_made('l.header')} = w.made LIMIT 1) AS found ON true "
            f"WHERE there IS NULL AND w.xid > {removed} LIMIT 1"
        )
        return bool(list(execute(lacking)))

    def _note(self, removed: int | None) -> None:
        if removed is not None and removed >= self.position.oldest:
            self.lost = removed

    def read(self, execute: Execute) -> list[LogRow]:
        """The next rows, at most a page; none if there is nothing new.

        :param execute: runs one statement and gives its rows; each statement sees what was
            committed before it.
        :returns: rows; if none, :attr:`snapshot` was taken just now.
        """
        while self.position.target is not None:
            window = self._window = self._window or self._reopened(
                execute, Snapshot.parse(self.position.target)
            )
            if window.low > window.until:
                self._close(window.target)
                break
            found = self._page(execute, window)
            self._ask_removed(execute)
            full = bool(found) and (found[0][7] == PAGE or found[0][7] > len(found))
            if full:  # there may be more of the transaction that it ends with
                self._window = replace(window, low=found[-1][0])
            else:
                self._window = replace(
                    window,
                    low=window.low + window.span,
                    span=window.span if found else window.span * 2,
                )
            rows = self._rows(
                found, window.target, closes=not full and self._window.low > window.until
            )
            if rows:
                return rows
        return self._open(execute)

    def _open(self, execute: Execute) -> list[LogRow]:
        """A window from the last snapshot up to now: most are small, and are read at once."""
        found = list(
            execute(
                f"SELECT now.snapshot, now.removed, l.id, l.xid, l.pid, l.relation, l.header, l.rows FROM (SELECT "
                f"pg_catalog.pg_current_snapshot()::text AS snapshot, {self._removed} AS removed) AS now LEFT JOIN LATERAL "
                f"(SELECT id, xid, pid, relation, header, CASE WHEN sum(octet_length(rows)) OVER () <= {PAGE_BYTES} THEN rows END AS rows "
                f"FROM (SELECT * FROM {self._log} AS l WHERE {self.position.unread} AND {HERE} LIMIT {PAGE + 1}) AS l) "
                "AS l ON true"
            )
        )
        self.snapshot = target = Snapshot.parse(found[0][0])
        self._note(found[0][1])
        if found[0][2] is None:
            self._close(target)
            return []
        self.position = replace(self.position, target=str(target))
        if len(found) > PAGE or found[0][7] is None:
            return self.read(execute)
        ends: dict[int, int] = {}
        for row in found:
            ends[row[3]] = max(ends.get(row[3], 0), row[2])
        return self._rows(sorted((ends[row[3]], *row[2:]) for row in found), target, closes=True)

    def _reopened(self, execute: Execute, target: Snapshot) -> _Window:
        """A window that is longer than a page, or was begun before."""
        at = self.position
        ((low, until),) = execute(
            f"SELECT coalesce(min(id), 1), coalesce(max(id), 0) FROM {self._log} AS l WHERE {at.ordered} AND {target.seen}"
        )
        self._ask_removed(execute)
        return _Window(target, until, max(low, at.tx_end), PAGE)

    def _page(self, execute: Execute, window: _Window) -> list[tuple[Any, ...]]:
        """The rows of the transactions whose last changes are among the next numbers, in order, at
        most a page."""
        at = self.position
        # Each transaction's last row and all of its rows are looked up by the index on (xid, id),
        # whatever the planner believes of tables that grow and are emptied all the time: a LATERAL
        # with a LIMIT leaves it no other way.
        return list(
            execute(
                f"WITH ends AS MATERIALIZED (SELECT c.id, c.xid FROM (SELECT id, xid FROM {self._log} AS l WHERE id >= {window.low} "
                f"AND id < {window.low + window.span} AND {at.ordered} AND {window.target.seen}) AS c CROSS JOIN LATERAL "
                f"(SELECT m.id FROM {self._log} AS m WHERE m.xid = c.xid AND {at.within(ordered=True)} ORDER BY m.id DESC LIMIT 1) "
                f"AS newest WHERE newest.id = c.id) "
                f"SELECT * FROM (SELECT tx_end, id, xid, pid, relation, header, rows, count(*) OVER () AS of, sum(octet_length(rows)) OVER "
                f"(ORDER BY tx_end, id) - octet_length(rows) AS bytes FROM (SELECT ends.id AS tx_end, t.* FROM ends CROSS JOIN LATERAL "
                f"(SELECT * FROM {self._log} AS t WHERE t.xid = ends.xid AND {at.within(ordered=False)} "
                f"AND t.id {'>' if self._finished else '>='} CASE WHEN ends.id = {at.tx_end} THEN {at.row_id} ELSE 0 END "
                f"ORDER BY t.id LIMIT {PAGE}) AS t "
                f"ORDER BY 1, 2 LIMIT {PAGE}) AS page) AS page WHERE bytes < {PAGE_BYTES} ORDER BY 1, 2"
            )
        )

    def _rows(
        self, found: Iterable[tuple[Any, ...]], target: Snapshot, *, closes: bool
    ) -> list[LogRow]:
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
            if not self._seen or self._seen[-1].xid != xid:
                self._seen.append(
                    _Witness(row_id, xid, pid, header.split(US, 4)[3] if header[1:2] == US else "")
                )
                self._saw(self._seen[-1])
            rows.append(LogRow(tx_end, row_id, xid, pid, relation, header, text, skipped, start))
        if closes:
            self._close(target)
            if rows:
                rows[-1] = rows[-1]._replace(closing=self.position)
        elif rows:
            self.position, self._finished = rows[-1].after, True
        return rows

    def _close(self, target: Snapshot) -> None:
        tables = _together(self.position.names) if self._asked is None else self._asked
        self.position, self._window, self._finished = (
            Position(str(target), tables=tables),
            None,
            False,
        )


def _together(names: Iterable[str]) -> Tables:
    """Tables that are read from one place."""
    return tuple((name, None) for name in sorted(names))


def _made(header: str) -> str:
    """SQL for when a row was made, in microseconds, given SQL for its header; empty if that does
    not say it."""
    return f"CASE WHEN {header} LIKE '_' || {literal(US)} || '%' THEN pg_catalog.split_part({header}, {literal(US)}, 4) ELSE '' END"
