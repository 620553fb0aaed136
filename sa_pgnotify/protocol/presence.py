"""How a trigger finds out whether anybody listens, so that a table without listeners costs its
writers next to nothing.

NOTIFY makes commits wait for each other, even if nobody listens. But a listener that comes before
the writer has committed must not miss what the writer did not send. So a listener holds an advisory
lock named *present* for each of its channels. Any number of listeners share the lock, and it is
released with their sessions. A writer tries to take the exclusive lock and gives it back at once.
If it gets the lock, nobody listens. Then it takes another lock, *untold*, which it shares with
other writers until its transaction ends, looks once more, and sends nothing.

A listener takes *present* first, and then looks which transactions hold *untold*: they looked
before it came, and no later transaction takes that lock. Most of them have committed a moment
later, before the listener has started. The listener does not wait for one that takes longer, but
publishes a ``Gap`` when it has ended. The writer's second look makes this safe: a writer that sees
nobody by then holds *untold* already, so every listener that comes later sees it.
``tests/protocol/test_presence.py`` goes through all orders of these steps.

Any role may take these locks and keep them. So a transaction is looked up once and then followed by
its id: a session that wrote nothing has no id, a lock that is held forever does not hide the end of
another transaction, and a transaction that was PREPAREd is found even after a crash.

This module decides and never waits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from math import inf

from ..sql import Execute, literal
from .channels import HASHED

__all__ = ["PRESENT", "UNTOLD", "Presence", "door", "holders", "nobody_listens"]


def _lock_class(name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"sa_pgnotify {name}".encode()).digest()[:4], "big") >> 1


PRESENT, UNTOLD = _lock_class("present"), _lock_class("untold")
"""The first keys of the advisory locks. The second key holds the channel's bucket and the writer's
door."""
ROOM = _lock_class("room")
"""The first key of an advisory lock that a writer takes and gives back to find out whether the
server's lock table has room for one more; the second is its process id."""
BUCKETS, DOORS = 8, 8
"""How many values the two parts of the second key have.

Channels of one bucket share their listeners, so a trigger may send on a channel without listeners.
Writers of one bucket are spread over its doors by their process ids; two writers at one door that
look in the same instant may take each other for a listener. A listener holds the locks of all doors
of its channels' buckets, and those of all buckets for a channel whose bucket its name does not
show. These are 64 locks at most, however many its tables, which is what PostgreSQL has room for
for each connection (max_locks_per_transaction)."""
LOOK, LONGEST_DOZE = 0.005, 1.0
"""The least and most seconds between two looks at open transactions. Between them, it is a quarter of
the time that the newest of the transactions has taken already."""
LOCK_SECONDS = 3.0
"""How long to wait for *present*. Writers hold it for microseconds, but any role may hold it for
longer."""


def door(channel: str | None) -> str:
    """Return SQL for the second key of a trigger's locks: the bucket of its channel and the door of
    its session.

    The bucket is found by the table's name, which a trigger has at hand; hashing the channel's name
    would cost more than all the rest.

    :param channel: the channel on which the trigger sends; None for its table's default channel.
    """
    table = "TG_TABLE_NAME" if channel is None else literal(_table(channel))
    return f"{_bucket(table)} + (pg_catalog.pg_backend_pid() & {DOORS - 1})"


def _bucket(table: str) -> str:
    return f"(pg_catalog.hashname({table}) & {(BUCKETS - 1) * DOORS})"


def _table(channel: str) -> str:
    """Return the name of the table whose default channel this is; for another channel, all or a part
    of its own name."""
    if channel.startswith('"'):
        return channel.partition('"."')[2][:-1]
    return channel.rpartition(".")[2]


def _is_certain(channel: str) -> bool:
    """Return whether a channel's name shows the name of its table. Some are hashed; in others a
    quote is doubled, or a space replaces another character."""
    return not channel.startswith(HASHED) and not set(_table(channel)) & {'"', " "}


def nobody_listens(door: str) -> str:
    """Return an SQL condition for the trigger: true if nobody listens, and if a listener that comes
    now sees that this transaction sends nothing.

    If somebody listens, COMMIT needs a lock to deliver the notification, and fails if the server's
    lock table is full. So the condition raises ``out_of_memory`` then, while the trigger can still
    do without.

    :param door: SQL for the second key, as :func:`door` returns it.
    """
    exclusive = f"pg_catalog.pg_try_advisory_lock({PRESENT}, {door})"
    given_back = f"pg_catalog.pg_advisory_unlock({PRESENT}, {door})"
    untold = f"pg_catalog.pg_try_advisory_xact_lock_shared({UNTOLD}, {door})"
    room = f"{ROOM}, pg_catalog.pg_backend_pid()"
    some = f"pg_catalog.pg_try_advisory_lock({room}) AND NOT pg_catalog.pg_advisory_unlock({room})"
    return (
        f"(CASE WHEN {exclusive} AND {given_back} AND {untold} AND {exclusive} THEN {given_back} "
        f"ELSE {some} END)"
    )


class Presence:
    """The presence that one connection of a listener shows, and the transactions that it follows.

    :ivar due: when to look, by the clock that is passed to its methods; ``math.inf`` if there is
        nothing to look for.
    """

    def __init__(self) -> None:
        self.due = inf
        self._shown: set[str] = set()
        self._new: set[int] = set()  # the second keys that were taken since the last look
        # transactions that wrote and sent nothing, and since when they are known
        self._open: dict[int, float] = {}
        # those of them that were open when start() or subscribe() returned
        self._late: set[int] = set()
        self._ended_since: float | None = None

    @property
    def is_in_doubt(self) -> bool:
        """Whether a transaction may be open that wrote and sent nothing. Then look before anything
        is delivered, so that the Gap comes before the events of later transactions."""
        return bool(self._new or self._open)

    @property
    def has_new(self) -> bool:
        """Whether there may be such a transaction that was not yet open when start() or subscribe()
        last returned."""
        return bool(self._new or self._open.keys() - self._late)

    def show_on(self, execute: Execute, channels: Iterable[str], now: float) -> None:
        """Make writers send on these channels from now on, and on no others. :meth:`look` must be
        called next."""
        wanted = set(channels)
        new, old, self._shown = wanted - self._shown, self._shown - wanted, wanted
        self._each("unlock", execute, old)
        if new:
            self._new |= self._each("lock", execute, new)
            self.due = now

    @staticmethod
    def _each(action: str, execute: Execute, channels: Collection[str]) -> set[int]:
        tables = [literal(_table(channel)) for channel in channels if _is_certain(channel)]
        others = sum(not _is_certain(channel) for channel in channels)
        if not tables and not others:
            return set()
        buckets = (
            f"SELECT {_bucket('name')} FROM pg_catalog.unnest(ARRAY[{', '.join(tables)}]::pg_catalog.name[]) AS name UNION ALL "
            f"SELECT bucket * {DOORS} FROM pg_catalog.generate_series(0, {BUCKETS - 1}) AS bucket, "
            f"pg_catalog.generate_series(1, {others})"
        )
        places = (
            f"SELECT bucket + door AS place FROM ({buckets}) AS b (bucket), "
            f"pg_catalog.generate_series(0, {DOORS - 1}) AS door OFFSET 0"
        )
        # of this statement's transaction
        limit = f"SELECT pg_catalog.set_config('lock_timeout', '{LOCK_SECONDS * 1000:.0f}', true)"
        rows = execute(
            f"WITH t AS MATERIALIZED ({limit}), p AS MATERIALIZED ({places}) "
            f"SELECT place, pg_catalog.pg_advisory_{action}_shared({PRESENT}, place)::text FROM t, p"
        )
        return {row[0] for row in rows}

    def wait_no_longer(self) -> None:
        """Note that start() or subscribe() returns now, whichever transactions are open."""
        self._late |= self._open.keys()

    def look(self, execute: Execute, now: float) -> None:
        """Find out which transactions are open, and which have ended."""
        if self._new:
            self._open = dict.fromkeys(_writers(execute, self._new), now) | self._open
            self._new.clear()
        if self._open:
            # By the snapshot and not by the locks, which are released a moment later: by then, later
            # transactions may have been seen.
            ids = f"pg_catalog.unnest(ARRAY[{', '.join(map(str, self._open))}]::bigint[]) AS id"
            visible = "pg_catalog.pg_visible_in_snapshot(id::text::pg_catalog.xid8, pg_catalog.pg_current_snapshot())"
            for (ended,) in execute(f"SELECT id FROM {ids} WHERE {visible}"):
                since = self._open.pop(ended)
                if ended in self._late:
                    self._late.remove(ended)
                    self._ended_since = min(since, self._ended_since or inf)
        self.due = (
            now + min(LONGEST_DOZE, max(LOOK, (now - max(self._open.values())) / 4))
            if self._open
            else inf
        )

    def take_ended(self) -> float | None:
        """Return since when transactions were followed that have ended and for which no Gap was
        published; None if there are none."""
        since, self._ended_since = self._ended_since, None
        return since


def _writers(execute: Execute, places: Iterable[int]) -> list[int]:
    """Return the ids of the open transactions that hold *untold* with the second keys ``places``.

    A transaction that was PREPAREd has no process, but a virtual id like the others. A transaction
    that wrote has an id of its own, and locks it. The lowest id is that of the transaction, the
    others are those of its savepoints.
    """
    # xid has 32 bits, and may be lower or higher than xmax
    ahead = "(xid - xmax % 4294967296 + 6442450944) % 4294967296 - 2147483648"
    rows = execute(f"""
WITH locks AS MATERIALIZED (SELECT * FROM pg_catalog.pg_locks WHERE granted AND locktype IN ('advisory', 'transactionid')),
  writers AS (SELECT virtualtransaction FROM locks WHERE classid::bigint = {UNTOLD} AND objsubid = 2
    AND objid::bigint IN ({", ".join(map(str, sorted(places)))})
    AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())),
  ids AS (SELECT virtualtransaction, transactionid::text::bigint AS xid,
      pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text::bigint AS xmax
    FROM locks WHERE locktype = 'transactionid' AND mode = 'ExclusiveLock' AND virtualtransaction IN (SELECT * FROM writers))
SELECT pg_catalog.min(xmax + {ahead}) FROM ids GROUP BY virtualtransaction""")
    return [row[0] for row in rows]


def holders(execute: Execute) -> str:
    """Return the sessions that hold *present* exclusively and so keep listeners from taking it, in
    words; an empty text if there are none."""
    rows = execute(f"""
SELECT DISTINCT l.pid, coalesce(a.usename::text, '')
FROM pg_catalog.pg_locks AS l LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.classid::bigint = {PRESENT} AND l.objsubid = 2 AND l.mode = 'ExclusiveLock' AND l.granted
  AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
ORDER BY 1 LIMIT 5""")
    return ", ".join(
        "a prepared transaction" if pid is None else f"process {pid} (user {user})"
        for pid, user in rows
    )
