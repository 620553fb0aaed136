"""Rows of the log that prove, after a reconnect, that the server has lost nothing that was read.

A server that crashed while ``synchronous_commit`` was off, and a standby that took over without the
last records, lose transactions that were committed and read, and give their ids to others. A reader
cannot see that from snapshots. So it remembers rows that it has seen, and checks that they are
still there.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from ..protocol.wire import US
from ..sql import Execute, literal
from .snapshots import HERE
from .tables import LogNames

__all__ = ["Witnesses"]

RECENT = 1000
"""Transactions read last whose rows are looked up after a loss of the connection. A server that
crashes, or a standby that takes over, loses the last commits, in the order of their records. A
commit becomes visible after a later one only while its session waits for the disk or for a standby,
and each session waits for one: so the last one that was read is among as many as there are
sessions."""


class _Witness(NamedTuple):
    """A row of the log that was seen.

    :ivar made: microseconds since 1970, as text; empty if the row does not say it.
    """

    row_id: int
    xid: int
    pid: int
    made: str


class Witnesses:
    """The rows that one reader remembers."""

    def __init__(self, names: LogNames) -> None:
        self._log = names.rows
        self._head = names.head
        self.forget()

    def forget(self) -> None:
        """Forget all rows, because reading goes on from a place that has nothing to do with
        them."""
        self._newest: _Witness | None = None
        self._recent: deque[_Witness] = deque(maxlen=RECENT)
        self._removed = 0  # the greatest transaction id that the log had removed then

    @property
    def newest(self) -> int:
        """The greatest transaction id that is known to have committed; 0 if none is."""
        return max(self._removed, 0 if self._newest is None else self._newest.xid)

    def note(self, row_id: int, xid: int, pid: int, header: str) -> None:
        """Remember a row that was read; of each transaction, the first one."""
        if not self._recent or self._recent[-1].xid != xid:
            made = header.split(US, 4)[3] if header[1:2] == US else ""
            self._recent.append(_Witness(row_id, xid, pid, made))
            self._note_newest(self._recent[-1])

    def note_newest(self, execute: Execute) -> None:
        """Remember the newest row of the log, so that :attr:`newest` is that of now."""
        newest = f"SELECT id, xid, pid, {_made('header')} FROM {self._log} AS l WHERE {HERE} ORDER BY xid DESC, id DESC LIMIT 1"
        for found in execute(newest):
            self._note_newest(_Witness(*found))
        self._removed = max(self._removed, self._ask_removed(execute))

    def _note_newest(self, witness: _Witness) -> None:
        if self._newest is None or witness.xid > self._newest.xid:
            self._newest = witness

    def _ask_removed(self, execute: Execute) -> int:
        ((removed,),) = execute(
            f"SELECT coalesce((SELECT removed FROM {self._head} WHERE id = 0), 0)"
        )
        return int(removed)

    def are_missing(self, execute: Execute) -> bool:
        """Return whether the server has lost a row that was seen."""
        removed = self._ask_removed(execute)
        seen = {
            witness.row_id: witness
            for witness in (self._newest, *self._recent)
            if witness is not None
        }
        if not seen or removed < self._removed:
            return removed < self._removed
        rows = ", ".join(
            f"({w.row_id}::bigint, {w.xid}::bigint, {w.pid}, {literal(w.made)})"
            for w in seen.values()
        )
        # With LATERAL and LIMIT, each row is looked up by the primary key. Rows that retention has
        # removed were not lost by the server.
        lacking = (
            f"SELECT 1 FROM (VALUES {rows}) AS w (id, xid, pid, made) LEFT JOIN LATERAL (SELECT true AS there FROM {self._log} AS l "
            f"WHERE l.id = w.id AND l.xid = w.xid AND l.pid = w.pid AND {_made('l.header')} = w.made LIMIT 1) AS found ON true "
            f"WHERE there IS NULL AND w.xid > {removed} LIMIT 1"
        )
        return bool(list(execute(lacking)))


def _made(header: str) -> str:
    """Return SQL for when a row was made, in microseconds, given SQL for its header. The SQL gives
    an empty text if the header does not say it."""
    return f"CASE WHEN {header} LIKE '_' || {literal(US)} || '%' THEN pg_catalog.split_part({header}, {literal(US)}, 4) ELSE '' END"
