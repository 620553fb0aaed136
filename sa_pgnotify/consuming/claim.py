"""Which process works if several run a consumer of one name.

The process that holds an advisory lock works. Such a lock ends with its session, needs no open
transaction, and is free for the next process at once. But every role may take an advisory lock, and
a session whose client is gone holds its locks until the server notices. So the lock's key is a
random number in the consumer's row, and a holder counts only if its role may move the position, and
if it is not a session that this process has lost. If the holder does not count, the key is
replaced, and the other processes follow. Even if two processes work at once, they process nothing
twice, because each batch locks and compares the position.

This module decides and never waits; it is given a function that runs SQL.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from ..sql import Execute, literal
from .positions import ConsumerTable

__all__ = ["Claim", "Holder", "lock_holder"]

REMEMBERED = 16
"""How many lost sessions of its own a consumer remembers."""
# PostgreSQL does not show which role a session works as, only the role that it began as. So the
# roles that it may become count as well.
_MAY_WORK = (
    "EXISTS (SELECT FROM pg_catalog.pg_roles AS r WHERE pg_catalog.pg_has_role(a.usesysid, r.oid, 'MEMBER') "
    "AND pg_catalog.has_table_privilege(r.oid, {table}::regclass, 'UPDATE'))"
)
_HOLDER = "coalesce(a.usename::text, ''), coalesce(a.application_name, ''), coalesce(a.state, '')"


@dataclass(frozen=True, slots=True)
class Holder:
    """A session that holds a lock.

    :ivar pid: process id of its server process; 0 if the session is gone.
    :ivar user: the role that it logged in as. Empty if this role may not see it, and so are
        ``application`` and ``state``.
    """

    pid: int
    user: str = ""
    application: str = ""
    state: str = ""

    def __str__(self) -> str:
        named = ", ".join(part for part in (self.user, self.application, self.state) if part)
        return f"session with PID {self.pid}" + (f" ({named})" if named else "")


class Claim:
    """The claim of one process to work under a name.

    :ivar held_key: the key of the lock that the process holds; None if it holds none.
    """

    def __init__(self) -> None:
        self.held_key: int | None = None
        self._lost_pids: deque[int] = deque(maxlen=REMEMBERED)
        self._pid = 0

    def reconnected(self, execute: Execute) -> None:
        """Note that there is a new connection. A lock that the previous one may still hold no
        longer counts."""
        if self._pid:
            self._lost_pids.append(self._pid)
        ((self._pid,),) = execute("SELECT pg_catalog.pg_backend_pid()")
        if self._pid in self._lost_pids:
            self._lost_pids.remove(self._pid)
        self.held_key = None

    def take(self, execute: Execute, table: ConsumerTable) -> Holder | None:
        """Try to take the lock.

        :returns: None if this process has it, else the session that holds it; with the process id 0
            if that session has ended meanwhile.
        """
        for _ in range(2):
            for key, taken in execute(
                f"SELECT lock, pg_catalog.pg_try_advisory_lock(lock)::int FROM {table.names.consumers} WHERE {table.key.condition}"
            ):
                if taken:
                    self.held_key = int(key)
                    return None
                holders = self._holders(execute, table, key)
                if counting := [
                    holder
                    for holder, counts in holders
                    if counts and holder.pid not in self._lost_pids
                ]:
                    return counting[0]
                if not holders or not table.replace_lock(execute, key):
                    return Holder(0)
        return Holder(0)

    def release(self, execute: Execute) -> None:
        """Release the lock, because another process has replaced the key and works."""
        key, self.held_key = self.held_key, None
        if key is not None:
            execute(f"SELECT pg_catalog.pg_advisory_unlock({key})::int")

    def _holders(
        self, execute: Execute, table: ConsumerTable, key: int
    ) -> list[tuple[Holder, bool]]:
        may = _MAY_WORK.format(table=literal(table.names.consumers))
        return [
            (Holder(pid, user, application, state), bool(counts))
            for pid, user, application, state, counts in execute(
                f"SELECT l.pid, {_HOLDER}, coalesce(l.mode = 'ExclusiveLock' AND {may}, false)::int FROM pg_catalog.pg_locks AS l "
                "LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid "
                "WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 "
                "AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()) "
                f"AND l.classid::bigint = {key >> 32} AND l.objid::bigint = {key & 0xFFFFFFFF}"
            )
        ]


def lock_holder(execute: Execute, table: ConsumerTable) -> Holder | None:
    """Return the session whose transaction has locked the position; None if it is unknown."""
    row = f"SELECT xmax FROM {table.names.consumers} WHERE {table.key.condition}"
    found = execute(
        f"SELECT l.pid, {_HOLDER} FROM ({row}) AS c JOIN pg_catalog.pg_locks AS l ON l.locktype = 'transactionid' AND l.granted "
        "AND l.transactionid = c.xmax LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid "
        "WHERE l.pid <> pg_catalog.pg_backend_pid() LIMIT 1"
    )
    for pid, user, application, state in found:
        return Holder(pid, user, application, state)
    return None
