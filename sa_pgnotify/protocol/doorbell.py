"""When a reader of the change log looks for changes, when it sleeps, and how it never misses a
wake-up.

A writer must not send a notification with each commit, because NOTIFY makes commits wait for each
other; yet a reader that sleeps must be woken by the first change that it has not seen. So a
sleeping reader holds an advisory lock for each of its tables. Any number of readers share such a
lock, and it ends with the session of a reader that dies. After it has written, a writer tries to
take the lock of its table exclusively, and releases it at once. The writer rings, which means that
it sends a notification, only if it cannot get the lock, because a reader is asleep then.

A writer that tried the lock before the reader took it does not ring, and may not have committed
yet. But its transaction had its id before that. So a reader that has taken the locks asks for the
next transaction id, and dozes: it looks again at short intervals, until a snapshot says that all
transactions below that id have ended. Only then does it sleep. It is not enough to wait for the
transactions that a snapshot lists as running, because it does not list those that are newer than
the newest one that has ended. ``tests/protocol/test_doorbell.py`` goes through all orders in which
the steps of writers and readers can happen.

This module decides and never waits.
"""

from __future__ import annotations

from math import inf

__all__ = ["Doorbell"]

LINGER = 0.02
"""Seconds after the last change before a reader takes the locks to sleep. Under load it never
does."""
LOOK = 0.005
"""Seconds between two looks of a reader that is awake, unless there is more than one page already.
A look, and storing the position, cost the same for one change as for hundreds."""
LONGEST_DOZE = 1.0
"""The longest time, in seconds, between two looks of a reader that dozes. It is a quarter of the
time that the reader has dozed already, which bounds the delay for a long transaction."""


class Doorbell:
    """The state of one reader.

    Any role may hold a lock exclusively, and for ever. Then every writer rings, and the reader also
    looks from time to time.

    :ivar due: when to look, by the clock that is passed to the methods; ``math.inf`` while the
        reader sleeps.
    :ivar shown: whether the reader holds the locks that show that it sleeps, or dozes.
    """

    def __init__(self) -> None:
        self.due = 0.0
        self.shown = False
        self._quiet_since = inf
        self._shown_at = 0.0
        self._unsure_below = 0
        self._refused = 0  # how often in a row

    def rung(self) -> None:
        """Look now, because a writer rang, or for another reason."""
        self.due = 0.0

    def reset(self) -> None:
        """Begin again: the connection was lost, and the locks with it."""
        self.__init__()  # type: ignore[misc]

    @property
    def asleep(self) -> bool:
        """Whether only :meth:`rung` makes the reader look again."""
        return self.due == inf

    def wants_to_sleep(self, now: float) -> bool:
        """Return whether the reader should take the locks before the next look."""
        return not self.shown and now - self._quiet_since >= LINGER

    def refuse(self) -> None:
        """Note that the locks are not available: a writer holds one for a moment, or another
        session for longer."""
        self._refused += 1

    def show(self, next_id: int, now: float) -> None:
        """Note that the locks were taken: from now on, writers ring.

        :param next_id: the next transaction id, read after the locks were taken.
        """
        self.shown, self._shown_at, self._unsure_below, self._refused = True, now, next_id, 0

    def looked(self, xmin: int, now: float, *, found: bool, more: bool = False) -> bool:
        """Note the result of a look.

        :param xmin: all transactions below it had ended at the look's snapshot.
        :param found: whether there was something new.
        :param more: whether there is more than one page.
        :returns: whether the locks should be released.
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
"""A setting that is ``off`` in a session that uses two-phase commit, which does not allow NOTIFY.
Readers then find its changes at their heartbeat."""


def bell_channel(oid: str) -> str:
    """Return SQL for the channel on which writers ring.

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
    """Return SQL for the key of the advisory lock that a transaction shares until its end if it could
    not log a change.

    :param oid: SQL for the OID of the log's head.
    """
    return doorbell_key("'sa_pgnotify lost'::text", oid)
