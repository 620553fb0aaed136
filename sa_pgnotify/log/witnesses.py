"""Rows of the log that prove, after a reconnect, that the server has lost nothing that was read.

If a server crashes while ``synchronous_commit`` is off, or if a standby takes over without the last
records, transactions that were committed and read are lost, and their ids are used again. A reader
cannot see that from snapshots. So it remembers rows that it has seen, and checks that they still
exist.
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
"""How many of the transactions that were read last are checked after a loss of the connection. A
server that crashes, or a standby that takes over, loses the last commits in the order of their
records. Commits may become visible in another order, but only while their sessions wait for the
disk or for a standby, and each session waits for one commit. So it is enough to check as many
transactions as there may be sessions."""


class _Witness(NamedTuple):
    """A row of the log that was seen.

    :ivar made: when the row was made: microseconds since 1970, as text; empty if it is unknown.
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
        """Remember the newest row of the log, so that :attr:`newest` is up to date."""
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
        # removed do not count as lost.
        lacking = (
            f"SELECT 1 FROM (VALUES {rows}) AS w (id, xid, pid, made) LEFT JOIN LATERAL (SELECT true AS there FROM {self._log} AS l "
            f"WHERE l.id = w.id AND l.xid = w.xid AND l.pid = w.pid AND {_made('l.header')} = w.made LIMIT 1) AS found ON true "
            f"WHERE there IS NULL AND w.xid > {removed} LIMIT 1"
        )
        return bool(list(execute(lacking)))


def _made(header: str) -> str:
    """Return SQL for the time at which a row was made, given SQL for its header: microseconds since
    1970, as text, which is empty if the header has no time."""
    return f"CASE WHEN {header} LIKE '_' || {literal(US)} || '%' THEN pg_catalog.split_part({header}, {literal(US)}, 4) ELSE '' END"
