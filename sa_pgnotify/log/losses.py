"""Changes that a trigger could not write to the change log; each reader gets a ``Gap`` for them.

A trigger that cannot write draws a number from a sequence, which moves even if the transaction is
rolled back, and can be read while the transaction is open. At that moment a program would read its
tables too early, because the change is not committed yet. So a reader reports the loss twice: when
it sees that the sequence has moved, and when every transaction that may have moved it has ended.
Only then is the new value stored as seen, so a reader that is down at that moment reports the loss
later.

There are two signs that these transactions have ended. The trigger holds a shared advisory lock
until its transaction ends, unless the server's lock table was full. And its transaction gets an id
before it draws the number, so a snapshot shows when all transactions below the next id have ended.

This module decides and never waits; it is given a function that runs SQL and the time.
"""

from __future__ import annotations

from math import inf

from ..protocol.doorbell import lost_key
from ..sql import Execute, literal
from .tables import LogNames

__all__ = ["Losses"]

LOST = "changes could not be logged: their trigger could not write to any slot of the log. See PostgreSQL's log for the reason"
CHECK_AGAIN, LONGEST_PAUSE = 0.005, 1.0
"""The fewest and the most seconds between two checks for the end of such transactions. Between these
limits, the pause is a quarter of the time since the loss."""

# age() counts from the next transaction id, in 32 bits, and does not assign one.
NEXT_ID = (
    "SELECT xmax + pg_catalog.age((xmax % 4294967296)::text::xid) FROM "
    "(SELECT pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text::bigint AS xmax OFFSET 0) AS now"
)
"""SQL for the transaction id that will be assigned next."""


class Losses:
    """Finds the changes that are missing in the log, for one reader.

    :ivar seen: the value of the sequence up to which losses were reported and their transactions
        have ended; -1 if it is unknown.
    :ivar due: when to check, by the clock whose time :meth:`check` is given; ``math.inf`` if there
        is no reason to.
    :ivar problem: why the sequence cannot be read, and how to fix that; None if it can be read.
    """

    def __init__(self, names: LogNames) -> None:
        self._sequence = literal(names.lost)
        self._free = f"{literal(names.head)}::regclass::oid"
        self._name = names.lost
        self.seen = -1
        self.due = inf
        self.problem: str | None = None
        self._pending = False
        self._reported = -1  # the value that was reported for the first time
        self._busy = False  # whether a transaction held the lock at the last check
        self._since = 0.0
        self._next_id = 0
        self._reported_problem: str | None = None

    def new_problem(self) -> str | None:
        """Return the :attr:`problem`, once; None if it was returned before, or if there is none."""
        reported, self._reported_problem = self._reported_problem, self.problem
        return self.problem if self.problem != reported else None

    def wake(self) -> None:
        """Check at the next opportunity, because there may be something new."""
        self.due = 0.0

    def value(self, execute: Execute) -> int | None:
        """Return the sequence's value; None if it cannot be read."""
        ((found,),) = execute(f"SELECT {self.sign}")
        return self._value(found)

    @property
    def sign(self) -> str:
        """SQL for a text, from which :meth:`check` sees whether there may be a loss. It may be
        computed by the statement that reads the log: a sequence moves at once, so it shows all
        losses of transactions that committed before the statement's snapshot."""
        known = f"pg_catalog.to_regclass({self._sequence})"
        may = f"pg_catalog.has_sequence_privilege({known}, 'SELECT, USAGE')"
        value = f"CASE WHEN {may} THEN coalesce(pg_catalog.pg_sequence_last_value({known}), 0) END"
        return f"pg_catalog.concat({known}::oid, ' ', {may}::int, ' ', {value})"

    def _value(self, sign: str) -> int | None:
        exists, may, value = sign.split(" ")
        effect = f"changes that a trigger could not log go unnoticed: the sequence {self._name}"
        if not exists:
            self.problem = f"{effect} does not exist. Run metadata.create_all(engine) with new tables of the log, or the migration"
        elif may != "1":
            self.problem = (
                f"{effect} may not be read by this role. Run GRANT SELECT ON SEQUENCE {self._name}"
            )
        else:
            self.problem = None
        return int(value) if value else None

    def before(self, execute: Execute) -> int:
        """Return the value of :attr:`seen` for a reader that begins now. It is one less than the
        sequence's value if a change of an open transaction may be missing."""
        value = self.value(execute)
        if value is None:
            return -1
        return value - self._is_held(execute) if value else 0

    def start(self, seen: int) -> None:
        """Begin, or begin again, with the value that was stored as seen. Losses after it are reported
        again."""
        self.seen, self._reported, self._pending, self.due = seen, seen, False, 0.0

    def _is_held(self, execute: Execute) -> bool:
        key = lost_key(self._free)
        free = f"CASE WHEN pg_catalog.pg_try_advisory_lock({key}) THEN pg_catalog.pg_advisory_unlock({key}) ELSE false END"
        ((held,),) = execute(f"SELECT (NOT {free})::int")
        return bool(held)

    def check(self, execute: Execute, now: float, sign: str | None = None) -> str | None:
        """Find out whether changes are missing.

        :param sign: the value of :attr:`sign`, if it was read with the log.
        :returns: the loss to report now, as text; None if there is none.
        """
        self.due = inf
        value = self.value(execute) if sign is None else self._value(sign)
        if value is None:
            return None
        if self.seen < 0 or value < self._reported:
            self.seen = self._reported = value  # it was unreadable until now, or was set back
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
        if xmin >= self._next_id:  # whatever role still holds the lock
            self._pending, self.seen, ended = False, self._reported, True
        else:
            self.due = now + min(LONGEST_PAUSE, max(CHECK_AGAIN, (now - self._since) / 4))
        return LOST if moved or ended else None
