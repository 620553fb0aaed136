"""Noticing changes that a trigger could not write into the change log, so that each reader gets a
``Gap`` for them.

Such a trigger draws from a sequence, which counts even if the transaction is rolled back and can be
read while it is open. That is too early to read a table again, because the change is not committed
yet. So a reader reports the loss twice: when it sees that the sequence has moved, and when every
transaction has ended that may have moved it. Only then is the new value stored as seen, so that a
reader that is down at that moment reports it later.

When they have ended is known in two ways. The trigger shares an advisory lock up to its
transaction's end; but where the server's lock table is full it has none. Its transaction has its id
before that, though, and a snapshot says when all below the next id have ended.

This module decides and never waits; it is given a function that runs SQL and the time.
"""

from __future__ import annotations

from math import inf

from ..protocol.doorbell import lost_key
from ..sql import Execute, literal
from .tables import LogNames

__all__ = ["Losses"]

LOST = "changes could not be logged: their trigger could write into no slot of the log. See PostgreSQL's log for the reason"
LOOK, LONGEST_DOZE = 0.005, 1.0
"""Seconds between two looks for the end of such transactions: a quarter of the time that this has
taken already, within these."""

# What PostgreSQL tells without giving one away: it counts ages from there, in 32 bits.
NEXT_ID = (
    "SELECT xmax + pg_catalog.age((xmax % 4294967296)::text::xid) FROM "
    "(SELECT pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text::bigint AS xmax OFFSET 0) AS now"
)
"""SQL for the transaction id that will be given next."""


class Losses:
    """What one reader knows of the changes that are missing in the log.

    :ivar seen: the sequence's value up to which they were reported and their transactions have
        ended; -1 if it is not known yet.
    :ivar due: when to look, by the clock that its methods are given; ``math.inf`` if there is no
        reason to.
    :ivar problem: why the sequence cannot be read, with the way to change that; None if it can.
    """

    def __init__(self, names: LogNames) -> None:
        self._sequence = literal(names.lost)
        self._free = f"{literal(names.head)}::regclass::oid"
        self._name = names.lost
        self.seen = -1
        self.due = inf
        self.problem: str | None = None
        self._pending = False
        self._reported = -1  # the value of which the first report was made
        self._busy = False  # whether some transaction held the lock when it was looked for last
        self._since = 0.0
        self._next_id = 0
        self._reported_problem: str | None = None

    def new_problem(self) -> str | None:
        """The :attr:`problem`, once."""
        told, self._reported_problem = self._reported_problem, self.problem
        return self.problem if self.problem != told else None

    def wake(self) -> None:
        """There may be something new."""
        self.due = 0.0

    def value(self, execute: Execute) -> int | None:
        """The sequence's value; None if it cannot be read."""
        known = f"pg_catalog.to_regclass({self._sequence})"
        ((exists, may, value),) = execute(
            f"SELECT ({known} IS NOT NULL)::int, pg_catalog.has_sequence_privilege({known}, 'SELECT, USAGE')::int, "
            f"CASE WHEN pg_catalog.has_sequence_privilege({known}, 'SELECT, USAGE') "
            f"THEN coalesce(pg_catalog.pg_sequence_last_value({known}), 0) END"
        )
        said = f"changes that a trigger could not log go unnoticed: the sequence {self._name}"
        if not exists:
            self.problem = f"{said} does not exist. Run metadata.create_all(engine) with new tables of the log, or the migration"
        elif not may:
            self.problem = (
                f"{said} may not be read by this role. Run GRANT SELECT ON SEQUENCE {self._name}"
            )
        else:
            self.problem = None
        return None if value is None else int(value)

    def before(self, execute: Execute) -> int:
        """The value that a reader that begins now has seen: one less if the change of a transaction
        that is open may be missing."""
        value = self.value(execute)
        return -1 if value is None else value - self._is_held(execute) if value else 0

    def start(self, seen: int) -> None:
        """A reader begins, or comes back, that has seen so much; what it has reported since may
        have been forgotten."""
        self.seen, self._reported, self._pending, self.due = seen, seen, False, 0.0

    def _is_held(self, execute: Execute) -> bool:
        key = lost_key(self._free)
        free = f"CASE WHEN pg_catalog.pg_try_advisory_lock({key}) THEN pg_catalog.pg_advisory_unlock({key}) ELSE false END"
        ((held,),) = execute(f"SELECT (NOT {free})::int")
        return bool(held)

    def check(self, execute: Execute, now: float) -> str | None:
        """See what is missing.

        :returns: what should be reported now, if anything.
        """
        self.due = inf
        value = self.value(execute)
        if value is None:
            return None
        if self.seen < 0 or value < self._reported:
            self.seen = self._reported = value  # it could not be read until now, or was set back
        moved = value > self._reported
        if moved:
            ((next_id,),) = execute(NEXT_ID)
            self._next_id = int(next_id)
            self._reported = value
            if not self._pending:
                self._pending, self._since = True, now
        if not self._pending:
            return None
        held = self._is_held(execute)
        ((xmin,),) = execute(
            "SELECT pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())::text::bigint"
        )
        ended, self._busy = self._busy and not held, held
        if xmin >= self._next_id:  # also if some role holds the lock for ever
            self._pending, self.seen, ended = False, self._reported, True
        else:
            self.due = now + min(LONGEST_DOZE, max(LOOK, (now - self._since) / 4))
        return LOST if moved or ended else None
