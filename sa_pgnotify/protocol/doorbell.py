"""When a reader of the change log looks, when it sleeps, and what it takes not to miss a wake-up.

It is hard because whoever writes must not send a notification with each commit (NOTIFY makes
commits wait for each other), and whoever sleeps must be told of the first change that it has not
seen. So a sleeper shows that it sleeps, by an advisory lock for each of its tables, which any
number of sleepers share, and which is gone when one of them dies; a writer, after it has written,
tries to take that of its table alone, gives it back at once, and rings only if it could not have
it.

A writer that looked before the lock was taken does not ring, and may not have committed yet. But
then its transaction had its id before that. So the sleeper, once it has the lock, asks which id
comes next, dozes, and looks again after short whiles, until a snapshot says that all below have
ended; only then it sleeps soundly. It is not enough to wait for those that a snapshot names as
running: it does not name those that are newer than the newest that has ended.
``tests/protocol/test_doorbell.py`` goes through all orders in which the steps of writers and readers can
fall.

This module decides and never waits.
"""

from __future__ import annotations

from math import inf

__all__ = ["Doorbell"]

LINGER = 0.02
"""Seconds that a reader looks on after the last change before it shows that it sleeps: under load
it then never does."""
LOOK = 0.005
"""Seconds between two looks of a reader that is awake, unless there is more already than is read at
once: to look, and to store the position, costs the same for one change as for hundreds."""
LONGEST_DOZE = 1.0
"""Seconds; it dozes a quarter of the time that it has dozed already, so that it comes at most that
much late for a long transaction."""


class Doorbell:
    """The state of one reader.

    :ivar due: when to look, by the clock that its methods are given; ``math.inf`` while it sleeps
        soundly.
    :ivar shown: whether it shows that it sleeps, and so must take it back.

    Any role may hold the lock exclusively, and for ever. Then every writer rings, and the reader
    looks from time to time as well.
    """

    def __init__(self) -> None:
        self.due = 0.0
        self.shown = False
        self._quiet_since = inf
        self._shown_at = 0.0
        self._unsure_below = 0
        self._refused = 0  # how often in a row

    def rung(self) -> None:
        """Somebody rang, or there is another reason to look now."""
        self.due = 0.0

    def reset(self) -> None:
        """The connection is gone, and with it the lock."""
        self.__init__()  # type: ignore[misc]

    @property
    def asleep(self) -> bool:
        return self.due == inf

    def wants_to_sleep(self, now: float) -> bool:
        """Whether to show, before the next look, that it sleeps."""
        return not self.shown and now - self._quiet_since >= LINGER

    def refuse(self) -> None:
        """The lock cannot be had now: a writer has it for a moment, or another session for
        longer."""
        self._refused += 1

    def show(self, next_id: int, now: float) -> None:
        """It shows that it sleeps: from now on, whoever writes rings.

        :param next_id: the transaction id that was to be given next, asked for after the lock was
            taken.
        """
        self.shown, self._shown_at, self._unsure_below, self._refused = True, now, next_id, 0

    def looked(self, xmin: int, now: float, *, found: bool, more: bool = False) -> bool:
        """It has looked.

        :param xmin: all transactions below had ended at the look's snapshot.
        :param found: whether there was something new; ``more`` whether that was not all.
        :returns: whether to take back that it sleeps.
        """
        if found:
            self._quiet_since, self.due, self._refused = inf, 0.0 if more else now + LOOK, 0
            awoken, self.shown = self.shown, False
            return awoken
        self._quiet_since = min(self._quiet_since, now)
        if not self.shown:
            self.due = now + min(LONGEST_DOZE, LOOK * 2 ** min(self._refused, 10))
            return False
        sure = xmin >= self._unsure_below
        self.due = inf if sure else now + min(LONGEST_DOZE, max(LOOK, (now - self._shown_at) / 4))
        return False


DOORBELL_OFF = "sa_pgnotify.doorbell"
"""A setting; ``off`` in a session that uses two-phase commit, which NOTIFY forbids: readers then
find its changes at their heartbeat."""


def bell_channel(oid: str) -> str:
    """SQL for the channel on which sleeping readers are rung, given SQL for the OID of the log's
    head."""
    return f"pg_catalog.concat('sa_pgnotify_log_', {oid})"


def doorbell_key(relation: str, oid: str) -> str:
    """SQL for the key of the advisory lock that a sleeping reader holds for each table that it
    reads.

    :param relation: SQL for the table's name in messages; ``oid`` for the OID of the log's head.
    """
    return f'pg_catalog.hashtextextended({relation} COLLATE "C", {oid}::bigint)'


def lost_key(oid: str) -> str:
    """SQL for the key of the advisory lock that a transaction shares up to its end when it could
    not log a change.

    :param oid: SQL for the OID of the log's head.
    """
    return doorbell_key("'sa_pgnotify lost'::text", oid)
