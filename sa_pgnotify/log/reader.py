"""Reading the change log: every committed change once, and the changes of a row in their order.

Rows of the log are numbered when they are written, and become visible when they are committed. So a
reader that asks for "all rows after the last number" misses what commits late (a sixth of the
changes, or more, in our measurements). A reader that waits until nothing older can commit waits for
the longest transaction of the whole server. This reader takes the difference of two snapshots: the
rows that are visible now and were not visible in the previous snapshot. PgQ, the queue of Skytools
for which PostgreSQL got these snapshots, does the same.

Such a difference is called a window. Within it, transactions come in the order of their last
changes: a transaction that changed a row after waiting for another one's lock has a greater last
number than the other one. The changes of a transaction stay together.

This module decides and never waits; it is given a function that runs SQL.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from ..protocol.wire import RS, US
from ..sql import Execute
from .snapshots import HERE, Position, Snapshot, together
from .tables import LogNames
from .witnesses import Witnesses

__all__ = ["LogReader", "LogRow"]

PAGE = 1000
"""The most rows of the log that are read at once, unless they exceed ``PAGE_BYTES``."""
PAGE_BYTES = 8 << 20
CAPTURED = 0
"""The process id in rows that a capture has appended."""


class LogRow(NamedTuple):
    """A row of the log: one or more changes of one statement.

    :ivar tx_end: number of the last row of the transaction; equals ``row_id`` in that row.
    :ivar text: the changes, laid out as in a message.
    :ivar skipped: how many changes of the row are left out of ``text`` because they were read
        before.
    :ivar start: the position at the beginning of the row's page.
    :ivar closing: the position after the row if a window ends with it, else None.
    :ivar origin: the id of the transaction that made the changes; ``xid`` is that of the log's own
        transaction, which for captured changes is another one and has the changes of many.
    :ivar begins: whether that transaction begins with the row although the log's does not; ``ends``
        likewise.
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
    origin: int = 0
    begins: bool = False
    ends: bool = False

    @property
    def before(self) -> Position:
        """The position before the row, after the changes that are skipped."""
        return replace(self.start, tx_end=self.tx_end, row_id=self.row_id, row_part=self.skipped)

    @property
    def after(self) -> Position:
        """The position after the row."""
        return self.closing or replace(self.before, row_part=self.skipped + self.size)

    @property
    def size(self) -> int:
        """How many changes the row holds."""
        return self.text.count(RS) + 1

    def change_key(self, change: int) -> tuple[int, int]:
        """Return what identifies one of the row's changes: always the same, whenever and up to
        whichever snapshot it is read."""
        return self.row_id, self.skipped + change

    def after_change(self, change: int) -> Position:
        """Return the position after one of the row's changes, which are counted from 0."""
        return (
            self.after
            if change + 1 >= self.size
            else replace(self.before, row_part=self.skipped + change + 1)
        )


class _PageRow(NamedTuple):
    """A row of the query that reads a page.

    :ivar found: how many rows the page had before those beyond ``PAGE_BYTES`` were left out.
    :ivar bytes_before: bytes of the rows of the page before this one.
    """

    tx_end: int
    row_id: int
    xid: int
    pid: int
    relation: str
    header: str
    text: str
    found: int = 0
    bytes_before: int = 0


class _NewRow(NamedTuple):
    """A row of the query that reads everything since the last snapshot.

    :ivar snapshot: the snapshot of the query; ``removed`` as of the log's head, which may be None.
    :ivar row_id: None, as all that follows, if there is nothing new.
    :ivar text: None if the rows together exceed ``PAGE_BYTES``.
    """

    snapshot: str
    removed: int | None
    beside: str | None
    row_id: int | None = None
    xid: int = 0
    pid: int = 0
    relation: str = ""
    header: str = ""
    text: str | None = None


@dataclass(frozen=True)
class _Window:
    """What lies between two snapshots, if it is more than a page.

    :ivar until: the greatest number of a row in it.
    :ivar low: the number at which the next page begins.
    :ivar span: how many numbers the next page looks at.
    """

    target: Snapshot
    until: int
    low: int
    span: int


class LogReader:
    """Reads on from a position, a page at a time.

    :param relations: the tables whose changes are wanted, by their names in messages; None for
        those of the position.
    :ivar position: everything before it was returned.
    :ivar snapshot: the newest snapshot that was read; before the first reading, that of the
        position.
    :ivar found_beside: the text that :meth:`read` was asked for; None if it was not computed.
    :ivar lost: the greatest transaction id among the changes that the log has removed, if one of
        them may not have been read; else None.
    """

    def __init__(
        self, names: LogNames, relations: Iterable[str] | None, position: Position
    ) -> None:
        self._names = names
        self._log = names.rows
        self._removed = f"(SELECT removed FROM {names.head} WHERE id = 0)"
        self._witnesses = Witnesses(names)
        self._wanted = None if relations is None else together(relations)
        self.position = position
        self.go_to(position)

    @property
    def relations(self) -> tuple[str, ...]:
        """The tables whose changes are read. Other ones take effect at the end of a window, because
        the order within a window depends on its tables."""
        return self.position.names

    @relations.setter
    def relations(self, names: Iterable[str]) -> None:
        self._wanted = together(names)
        if self.position.target is None:
            self.position = replace(self.position, tables=self._wanted)

    def go_to(self, position: Position) -> None:
        """Read on from another position."""
        wanted = self._wanted
        self.position = (
            replace(position, tables=wanted)
            if wanted is not None and (position.target is None or not position.tables)
            else position
        )
        self.snapshot = Snapshot.parse(position.target or position.last)
        self.lost: int | None = None
        self.found_beside: str | None = None
        self._window: _Window | None = None
        self._finished = False
        self._origin = 0  # of the row that was read last

    def begin(self, execute: Execute, position: Position) -> None:
        """Read on from a position that has nothing to do with what was read before; or go on as
        before if ``execute`` raises."""
        witnesses = Witnesses(self._names)
        witnesses.note_newest(execute)
        self._witnesses = witnesses
        self.go_to(position)

    def note_newest(self, execute: Execute) -> None:
        """Find out up to which transaction id positions stay valid after a crash of the server, see
        :meth:`resume`."""
        self._witnesses.note_newest(execute)

    def resume(self, execute: Execute) -> bool:
        """Read on after a loss of the connection.

        A server that crashed reuses the ids of transactions whose records it had not written to the
        disk, and so does a standby that takes over without these records. A snapshot from before
        may say that these transactions have ended. Only the ids up to the newest one that was seen
        in the log are certain, if its row still exists. No row of a greater id was returned.

        :returns: False if the server has lost rows that were read, so that no position is certain.
        """
        if self._witnesses.are_missing(execute):
            return False
        at, newest = self.position, self._witnesses.newest
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

    def _check_removed(self, execute: Execute) -> None:
        """Find out whether rows were removed unread. Call it after the query whose rows may have
        been removed."""
        ((removed,),) = execute(f"SELECT {self._removed}")
        self._note_removed(removed)

    def _note_removed(self, removed: int | None) -> None:
        if removed is not None and removed >= self.position.oldest:
            self.lost = removed

    def read(self, execute: Execute, beside: str = "NULL") -> list[LogRow]:
        """Return the next rows, at most a page.

        :param execute: runs one statement and returns its rows; each statement sees what was
            committed before it.
        :param beside: SQL for a text that the statement which looks for new rows computes as well.
        :returns: nothing if there is nothing new; then :attr:`snapshot` was taken just now.
        """
        self.found_beside = None
        while self.position.target is not None:
            window = self._window = self._window or self._reopen(
                execute, Snapshot.parse(self.position.target)
            )
            if window.low > window.until:
                self._close(window.target)
                break
            page = self._read_page(execute, window)
            self._check_removed(execute)
            full = bool(page) and (page[0].found == PAGE or page[0].found > len(page))
            if full:  # there may be more of the transaction that it ends with
                self._window = replace(window, low=page[-1].tx_end)
            else:
                span = window.span if page else window.span * 2
                self._window = replace(window, low=window.low + window.span, span=span)
            rows = self._rows(
                page, window.target, closes=not full and self._window.low > window.until
            )
            if rows:
                return rows
        return self._open(execute, beside)

    def _open(self, execute: Execute, beside: str) -> list[LogRow]:
        """Open the window from the last snapshot to now. Most windows are small, so the same query
        reads all of it."""
        found = [
            _NewRow(*row)
            for row in execute(
                f"SELECT now.snapshot, now.removed, now.beside, l.id, l.xid, l.pid, l.relation, l.header, l.rows FROM (SELECT "
                f"pg_catalog.pg_current_snapshot()::text AS snapshot, {self._removed} AS removed, "
                f"{beside} AS beside OFFSET 0) AS now LEFT JOIN LATERAL "
                f"(SELECT id, xid, pid, relation, header, "
                f"CASE WHEN pg_catalog.sum(pg_catalog.octet_length(rows)) OVER () <= {PAGE_BYTES} THEN rows END AS rows "
                f"FROM (SELECT * FROM {self._log} AS l WHERE {self.position.unread} AND {HERE} LIMIT {PAGE + 1}) AS l) "
                "AS l ON true"
            )
        ]
        first = found[0]
        self.snapshot = target = Snapshot.parse(first.snapshot)
        self._note_removed(first.removed)
        self.found_beside = first.beside
        if first.row_id is None:
            self._close(target)
            return []
        self.position = replace(self.position, target=str(target))
        if len(found) > PAGE or first.text is None:
            return self.read(execute)  # the losses are checked after the page
        return self._rows(_in_order(found), target, closes=True)

    def _reopen(self, execute: Execute, target: Snapshot) -> _Window:
        """Return a window that is longer than a page, or was opened before."""
        at = self.position
        ((low, until),) = execute(
            f"SELECT coalesce(pg_catalog.min(id), 1), coalesce(pg_catalog.max(id), 0) "
            f"FROM {self._log} AS l WHERE {at.ordered} AND {target.seen}"
        )
        self._check_removed(execute)
        return _Window(target, until, max(low, at.tx_end), PAGE)

    def _read_page(self, execute: Execute, window: _Window) -> list[_PageRow]:
        """Return the rows of the transactions whose last changes are among the window's next
        numbers, in order, at most a page."""
        at = self.position
        # LATERAL with LIMIT makes the planner look up each transaction's rows by the index on (xid,
        # id). Its statistics are not reliable, because the tables grow and are emptied all the
        # time.
        page = execute(
            f"WITH ends AS MATERIALIZED (SELECT c.id, c.xid FROM (SELECT id, xid FROM {self._log} AS l WHERE id >= {window.low} "
            f"AND id < {window.low + window.span} AND {at.ordered} AND {window.target.seen}) AS c CROSS JOIN LATERAL "
            f"(SELECT m.id FROM {self._log} AS m WHERE m.xid = c.xid AND {at.within(ordered=True)} ORDER BY m.id DESC LIMIT 1) "
            f"AS newest WHERE newest.id = c.id) "
            f"SELECT * FROM (SELECT tx_end, id, xid, pid, relation, header, rows, pg_catalog.count(*) OVER () AS of, "
            f"pg_catalog.sum(pg_catalog.octet_length(rows)) OVER (ORDER BY tx_end, id) - pg_catalog.octet_length(rows) AS bytes "
            f"FROM (SELECT ends.id AS tx_end, t.* FROM ends CROSS JOIN LATERAL "
            f"(SELECT * FROM {self._log} AS t WHERE t.xid = ends.xid AND {at.within(ordered=False)} "
            f"AND t.id {'>' if self._finished else '>='} CASE WHEN ends.id = {at.tx_end} THEN {at.row_id} ELSE 0 END "
            f"ORDER BY t.id LIMIT {PAGE}) AS t "
            f"ORDER BY 1, 2 LIMIT {PAGE}) AS page) AS page WHERE bytes < {PAGE_BYTES} ORDER BY 1, 2"
        )
        return [_PageRow(*row) for row in page]

    def _rows(self, page: Iterable[_PageRow], target: Snapshot, *, closes: bool) -> list[LogRow]:
        """Return the rows of a page that lie after the position, and move the position after them.

        :param closes: whether the window ends with the page.
        """
        rows: list[LogRow] = []
        start, note = self.position, self._witnesses.note
        reached = start.tx_end, start.row_id
        for tx_end, row_id, xid, pid, relation, header, text, *_ in page:
            skipped = 0
            if (tx_end, row_id) <= reached:
                if (tx_end, row_id) < reached:
                    continue
                if start.row_part > text.count(RS):
                    self._finished = True  # the next page need not return it
                    self._origin = _origin(xid, pid, header)
                    continue
                skipped = start.row_part
                text = text.split(RS, skipped)[skipped]  # noqa: PLW2901
            note(row_id, xid, pid, header)
            origin = _origin(xid, pid, header)
            begins = origin not in (xid, self._origin) and not skipped
            if begins and rows and rows[-1].tx_end == tx_end:
                rows[-1] = rows[-1]._replace(ends=True)
            self._origin = origin
            row = LogRow(tx_end, row_id, xid, pid, relation, header, text, skipped, start)
            rows.append(row._replace(origin=origin, begins=begins))
        if closes:
            self._close(target)
            if rows:
                rows[-1] = rows[-1]._replace(closing=self.position)
        elif rows:
            last = rows[-1]
            if len(rows) > 1 and last.origin != last.xid and last.row_id != last.tx_end:
                # the next page shows whether its transaction ends with it
                del rows[-1]
                self._origin = rows[-1].origin
            self.position, self._finished = rows[-1].after, True
        return rows

    def _close(self, target: Snapshot) -> None:
        tables = together(self.position.names) if self._wanted is None else self._wanted
        self.position = Position(str(target), tables=tables, scans=self.position.scans)
        self._window, self._finished = None, False


def _origin(xid: int, pid: int, header: str) -> int:
    """Return the id of the transaction that made the changes of a row."""
    if pid != CAPTURED:
        return xid
    fields = header.split(US, 3)
    return int(fields[2]) if len(fields) > 3 and fields[2].isdecimal() else xid


def _in_order(found: Iterable[_NewRow]) -> list[_PageRow]:
    """Return the rows of a whole window, by the last rows of their transactions."""
    ends: dict[int, int] = {}
    for row in found:
        ends[row.xid] = max(ends.get(row.xid, 0), row.row_id or 0)
    return sorted(
        _PageRow(
            ends[row.xid],
            row.row_id or 0,
            row.xid,
            row.pid,
            row.relation,
            row.header,
            row.text or "",
        )
        for row in found
    )
