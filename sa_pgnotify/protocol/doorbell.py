"""When a reader of the change log looks for changes, when it sleeps, and how it misses no wake-up.

Writers cannot send a notification with each commit, because NOTIFY makes commits wait for each
other. But a reader that sleeps must be woken by the first change that it has not seen. So a reader
shows that it sleeps by an advisory lock for each of its tables. Any number of readers share the
lock, and it is released when one of them dies. A writer, after it has written, tries to take the
exclusive lock of its table and gives it back at once. The writer sends a wake-up (it *rings*) only
if it cannot get the lock, which means that a reader is asleep.

A writer that tried before the lock was taken does not ring, and may not have committed yet. But
then its transaction got its id before that. So the reader, once it has the lock, asks which id
comes next, dozes, and looks again at short intervals, until a snapshot says that all transactions
with lower ids have ended. Only then it sleeps soundly. It is not enough to wait for the
transactions that a snapshot names as running: a snapshot does not name those that are newer than
the newest one that has ended. ``tests/protocol/test_doorbell.py`` goes through all orders of the
steps of writers and readers.

This module decides and never waits.
"""

from __future__ import annotations

from math import inf

__all__ = ["Doorbell"]

LINGER = 0.02
"""Seconds that a reader keeps looking after the last change, before it shows that it sleeps. Under load
it never gets there."""
SOON, LOOK = 0.001, 0.005
"""The least and the most seconds between two looks of a reader that is awake, unless there is
already more than it reads at once. If changes are few, they are delivered soon. If there are many,
or none for a while, it looks seldom, because looking and storing the position cost the same for one
change as for hundreds."""
FEW = 20
"""The most rows of the log that a look may find for the next look to follow soon."""
LONGEST_DOZE = 1.0
"""Seconds. Each doze lasts a quarter of the time that it has dozed already, so that it notices a long
transaction at most that much late."""


class Doorbell:
    """The state of one reader.

    Any role may hold the lock exclusively, and forever. Then every writer rings, and the reader
    looks from time to time as well.

    :ivar due: when to look, by the clock that is passed to its methods; ``math.inf`` while the
        reader sleeps soundly.
    :ivar shown: whether the reader shows that it sleeps, and so has to take that back.
    """

    def __init__(self) -> None:
        self.due = 0.0
        self.shown = False
        self._quiet_since = inf
        self._shown_at = 0.0
        self._unsure_below = 0
        self._refused = 0  # how often in a row

    def rung(self) -> None:
        """Note that a writer rang, or that there is another reason to look now."""
        self.due = 0.0

    @property
    def asleep(self) -> bool:
        """Whether the reader sleeps soundly."""
        return self.due == inf

    def wants_to_sleep(self, now: float) -> bool:
        """Return whether the reader should show that it sleeps, before the next look."""
        return not self.shown and now - self._quiet_since >= LINGER

    def refuse(self) -> None:
        """Note that the lock is not available now: a writer holds it for a moment, or another
        session for longer."""
        self._refused += 1

    def show(self, next_id: int, now: float) -> None:
        """Note that the reader shows that it sleeps: from now on every writer rings.

        :param next_id: the next transaction id, asked for after the lock was taken.
        """
        self.shown, self._shown_at, self._unsure_below, self._refused = True, now, next_id, 0

    def looked(
        self, xmin: int, now: float, *, found: int, more: bool = False, took: float = 0.0
    ) -> bool:
        """Note that the reader has looked.

        :param xmin: all transactions with lower ids had ended at the snapshot of the look.
        :param found: how many rows were new.
        :param more: whether there is more that was not read.
        :param took: seconds that the look took. The next one is at least as far away, so that a
            server that is slow is not asked all the time.
        :returns: whether to take back that the reader sleeps.
        """
        if found:
            pause = min(LOOK, max(SOON, took)) if found <= FEW else LOOK
            self._quiet_since, self.due, self._refused = inf, 0.0 if more else now + pause, 0
            awoken, self.shown = self.shown, False
            return awoken
        self._quiet_since = min(self._quiet_since, now)
        if not self.shown:
            if self._refused:
                self.due = now + min(LONGEST_DOZE, LOOK * 2 ** min(self._refused, 10))
            else:
                self.due = now + min(LOOK, max(SOON, took, now - self._quiet_since))
            return False
        sure = xmin >= self._unsure_below
        self.due = inf if sure else now + min(LONGEST_DOZE, max(LOOK, (now - self._shown_at) / 4))
        return False


DOORBELL_OFF = "sa_pgnotify.doorbell"
"""A setting. It is ``off`` in a session that uses two-phase commit, which PostgreSQL refuses after
NOTIFY; readers then find its changes at their heartbeat."""


def bell_channel(oid: str) -> str:
    """Return SQL for the channel on which writers wake sleeping readers.

    :param oid: SQL for the OID of the log's head.
    """
    return f"pg_catalog.concat('sa_pgnotify_log_', {oid})"


def doorbell_key(relation: str, oid: str) -> str:
    """Return SQL for the key of the advisory lock that a sleeping reader holds for each table that
    it reads.

    :param relation: SQL for the table's name in messages.
    :param oid: SQL for the OID of the log's head.
    """
    return f'pg_catalog.hashtextextended({relation} COLLATE "C", {oid}::bigint)'


def lost_key(oid: str) -> str:
    """Return SQL for the key of the advisory lock that a transaction which could not log a change
    shares until it ends.

    :param oid: SQL for the OID of the log's head.
    """
    return doorbell_key("'sa_pgnotify lost'::text", oid)
