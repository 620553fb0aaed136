"""Which of several processes that run a consumer of one name works.

The one that holds an advisory lock works, because such a lock goes with its session, needs no open
transaction, and is free for the next one at once. But every role may take an advisory lock, and a
session whose client is gone holds its locks until the server notices. So the lock's key is a random
number in the consumer's row, and a holder counts only if its role may move the position and it is
not a session that this process has given up. If it does not count, the key is replaced, and the
others follow. Whatever becomes of the lock, two that work at once take nothing twice: the row of
the position, which is locked and compared within each batch, sees to that.

This module decides and never waits; it is given a function that runs SQL.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from ..sql import Execute, literal
from .positions import ConsumerTable

__all__ = ["Claim", "Holder", "lock_holder"]

FORMER = 16
"""Sessions of its own that a consumer remembers as given up."""
# Which role a session works as is not shown, only the one that it began as: so those count, too,
# that it may become.
_MAY_WORK = (
    "EXISTS (SELECT FROM pg_catalog.pg_roles AS r WHERE pg_catalog.pg_has_role(a.usesysid, r.oid, 'MEMBER') "
    "AND pg_catalog.has_table_privilege(r.oid, {table}::regclass, 'UPDATE'))"
)
_WHO = "coalesce(a.usename::text, ''), coalesce(a.application_name, ''), coalesce(a.state, '')"


@dataclass(frozen=True, slots=True)
class Holder:
    """A session that is in the way.

    :ivar pid: of its server process; the others are empty if this role may not see them.
    """

    pid: int
    user: str = ""
    application: str = ""
    state: str = ""

    def __str__(self) -> str:
        named = ", ".join(part for part in (self.user, self.application, self.state) if part)
        return f"process {self.pid} of the server" + (f" ({named})" if named else "")


class Claim:
    """The claim of one process to work under a name.

    :ivar number: the key of the lock that it holds; None while it does not work.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._former: deque[int] = deque(maxlen=FORMER)
        self._pid = 0

    def connected(self, execute: Execute) -> None:
        """There is a new connection: what the one before holds counts no more."""
        if self._pid:
            self._former.append(self._pid)
        ((self._pid,),) = execute("SELECT pg_catalog.pg_backend_pid()")
        if self._pid in self._former:
            self._former.remove(self._pid)
        self.number = None

    def take(self, execute: Execute, table: ConsumerTable) -> Holder | None:
        """Try to be the one that works.

        :returns: None if it is, or else the session that does, with the process id 0 if there is
            none any more.
        """
        for _ in range(2):
            for number, mine in execute(
                f"SELECT lock, pg_catalog.pg_try_advisory_lock(lock)::int FROM {table.names.consumers} WHERE {table.key.condition}"
            ):
                if mine:
                    self.number = int(number)
                    return None
                holders = self._holders(execute, table, number)
                if counting := [
                    holder
                    for holder, counts in holders
                    if counts and holder.pid not in self._former
                ]:
                    return counting[0]
                if not holders or not table.replace_lock(execute, number):
                    return Holder(0)
        return Holder(0)

    def give_up(self, execute: Execute) -> None:
        """Another one has replaced the key, and works."""
        number, self.number = self.number, None
        if number is not None:
            execute(f"SELECT pg_catalog.pg_advisory_unlock({number})::int")

    def _holders(
        self, execute: Execute, table: ConsumerTable, number: int
    ) -> list[tuple[Holder, bool]]:
        may = _MAY_WORK.format(table=literal(table.names.consumers))
        return [
            (Holder(pid, user, application, state), bool(counts))
            for pid, user, application, state, counts in execute(
                f"SELECT l.pid, {_WHO}, coalesce(l.mode = 'ExclusiveLock' AND {may}, false)::int FROM pg_catalog.pg_locks AS l "
                "LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid "
                "WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 "
                "AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()) "
                f"AND l.classid::bigint = {number >> 32} AND l.objid::bigint = {number & 0xFFFFFFFF}"
            )
        ]


def lock_holder(execute: Execute, table: ConsumerTable) -> Holder | None:
    """The session whose transaction has locked the position; None if it is not known."""
    row = f"SELECT xmax FROM {table.names.consumers} WHERE {table.key.condition}"
    found = execute(
        f"SELECT l.pid, {_WHO} FROM ({row}) AS c JOIN pg_catalog.pg_locks AS l ON l.locktype = 'transactionid' AND l.granted "
        "AND l.transactionid = c.xmax LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid "
        "WHERE l.pid <> pg_catalog.pg_backend_pid() LIMIT 1"
    )
    for pid, user, application, state in found:
        return Holder(pid, user, application, state)
    return None
