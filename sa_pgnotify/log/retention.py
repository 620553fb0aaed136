"""Emptying the slots of the change log: changes are removed when every consumer has passed them, or
when they exceed the limits. The second case is reported as a loss.

TRUNCATE needs a lock that excludes all other sessions, and a session that waits for such a lock
makes all sessions behind it wait. So nothing waits here. A slot that is in use at the moment is left
for the next time, and the slot that is being written to is always left.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..protocol.wire import US
from ..sql import Execute, literal
from .tables import SLOT_BITS, SLOTS, LogNames, LogSettings

__all__ = ["LogState", "prune"]

USUAL_SLOTS = 2
"""How many slots hold changes in normal operation: the one that is being filled, and the one
before."""
LATE_SECONDS = 60.0
"""Seconds. A consumer that has not moved for this long is not running, or is stuck."""

# The snapshots from which changes are read: those of all positions, of the tables that have places
# of their own, and of the tables that came to a position from another place.
_PLACES = """
(SELECT name, relation, last, moved_at FROM {consumers} WHERE relation = '' OR relations <> '{{}}'
  UNION ALL SELECT c.name, c.relation, t.value, c.moved_at FROM {consumers} AS c
    CROSS JOIN LATERAL pg_catalog.json_each_text(c.relations::json) AS t WHERE t.value IS NOT NULL)
"""
# Below this transaction id, everything has been read from a place. From a place at the beginning,
# nothing has: its xmax is 1, and its xmin only says what was removed before.
_XMIN = "least(pg_catalog.split_part(last, ':', 1)::bigint, pg_catalog.split_part(last, ':', 2)::bigint)"
_PRUNE = """
DO $prune$
DECLARE
  slots text[] := {slots};
  newest bigint := (SELECT coalesce(pg_catalog.max(id), 0) FROM {rows} AS log);
  horizon bigint := (SELECT pg_catalog.min({xmin}) FROM {places} AS places);
  slot int;
  place text;
  last_xid bigint;
  last_header text;
  size bigint;
  -- Each statement has its own snapshot, which does not include this transaction.
  from_elsewhere text := 'FROM %s WHERE xid >= pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text::bigint
    AND xid IS DISTINCT FROM pg_catalog.pg_current_xact_id_if_assigned()::text::bigint';
  found_some boolean;
BEGIN
  IF pg_catalog.current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_transaction_state',
      MESSAGE = 'sa_pgnotify: the change log can be emptied in READ COMMITTED only',
      HINT = 'Another transaction does not see what was committed after its beginning, and would remove that unread.';
  END IF;
  -- If another session empties the log, its transaction may stay open for long, and a session that waited for it would hold locks.
  PERFORM FROM {head} WHERE id = 0 FOR UPDATE SKIP LOCKED;
  IF NOT FOUND AND EXISTS (SELECT FROM {head} WHERE id = 0) THEN
    RETURN;
  END IF;
  -- Rows that were restored from a server with greater transaction ids would seem new once this server's ids get there.
  FOREACH place IN ARRAY slots LOOP
    EXECUTE pg_catalog.format('SELECT EXISTS (SELECT ' || from_elsewhere || ')', place) INTO found_some;
    IF found_some THEN
      EXECUTE pg_catalog.format('DELETE ' || from_elsewhere, place);
    END IF;
  END LOOP;
  -- The oldest slot first, because it is the one that will be written to next.
  FOR step IN 1 .. {count} - 1 LOOP
    slot := ((newest >> {bits}) + step) & ({count} - 1)::bigint;
    place := slots[slot + 1];
    CONTINUE WHEN pg_catalog.pg_relation_size(place::regclass) = 0;
    EXECUTE pg_catalog.format('SELECT xid, header FROM %s ORDER BY xid DESC, id DESC LIMIT 1', place) INTO last_xid, last_header;
    size := (SELECT pg_catalog.sum(pg_catalog.pg_total_relation_size(s::regclass)) FROM pg_catalog.unnest(slots) AS s);
    IF last_xid < horizon OR {exceeds} THEN
      BEGIN
        EXECUTE pg_catalog.format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE NOWAIT', place);
        -- Rows may have come before the lock was taken.
        EXECUTE pg_catalog.format('SELECT xid FROM %s ORDER BY xid DESC LIMIT 1', place) INTO last_xid;
        IF last_xid < horizon OR {exceeds} THEN
          INSERT INTO {head} AS head (id, removed, lost) VALUES (0, last_xid, 0)
            ON CONFLICT (id) DO UPDATE SET removed = greatest(head.removed, excluded.removed);
          EXECUTE pg_catalog.format('TRUNCATE %s', place);
        END IF;
      EXCEPTION WHEN lock_not_available THEN
        NULL; -- another session is reading or writing it
      END;
    END IF;
  END LOOP;
END
$prune$
"""


# backend_xid is 32 bits long, without the epoch. A transaction that is running is of the current one.
_STATE = """
SELECT (SELECT pg_catalog.sum(s) FROM pg_catalog.unnest(ARRAY[{sizes}]) AS s)::bigint, {filled}, c.name,
  coalesce(pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() - c.moved_at), 0)::float8,
  (SELECT pg_catalog.format('process %s of %s (%s)', pid, usename, state) FROM pg_catalog.pg_stat_activity
   WHERE backend_xid IS NOT NULL AND pid <> pg_catalog.pg_backend_pid()
     AND backend_xid::text::bigint = c.xmin & 4294967295 ORDER BY xact_start LIMIT 1), coalesce(c.relation, '')
FROM (SELECT) AS one LEFT JOIN LATERAL (
  SELECT name, relation, {xmin} AS xmin, moved_at FROM {places} AS places ORDER BY 3, 4 LIMIT 1) AS c ON true
"""


@dataclass(frozen=True, slots=True)
class LogState:
    """How large the change log is, and what keeps it from being emptied.

    :ivar size: bytes of all slots, with their indexes.
    :ivar filled: how many slots hold changes.
    :ivar hindmost: name of the consumer that is furthest behind; None if no consumer is known.
    :ivar seconds: seconds since that consumer last moved.
    :ivar holder: process id, user and state of the transaction that keeps changes from being
        removed; None if no transaction does.
    :ivar table: the schema and name of the table that is furthest behind, if it has a place of its
        own under that name; None if it is the consumer itself.
    """

    size: int
    filled: int
    hindmost: str | None
    seconds: float
    holder: str | None
    table: str | None = None

    @property
    def is_held_up(self) -> bool:
        """Whether more slots are filled than in normal operation, for a reason that an operator
        should fix."""
        return self.filled > USUAL_SLOTS and (
            self.hindmost is None or self.holder is not None or self.seconds > LATE_SECONDS
        )

    def __str__(self) -> str:
        text = f"the change log takes {self.size / 1e6:.0f} MB"
        if self.holder is not None:
            return f"{text}: the transaction of {self.holder} has been open for long, and holds up the removal of what was read. End it"
        if self.hindmost is None:
            return f"{text}, and nobody consumes it: run a Consumer, or remove durable=True from its tables"
        if self.table is not None:
            return (
                f"{text}: {self.table} has not been read under the name {self.hindmost!r} for {self.seconds:.0f} s, and holds up the "
                f"removal. Run a version of that consumer which reads it, or forget(engine, metadata, {self.hindmost!r}, {self.table!r})"
            )
        if self.seconds <= LATE_SECONDS:
            return f"{text}; its hindmost consumer is {self.hindmost!r}"
        return (
            f"{text}: the consumer {self.hindmost!r} has not moved for {self.seconds:.0f} s, and holds up the removal. "
            f"Run it, or, if it will not come back, sa-pgnotify forget {self.hindmost}"
        )


def prune(execute: Execute, names: LogNames, settings: LogSettings) -> LogState:
    """Empty the slots that may be emptied, and return the state of the log.

    :raises Exception: the driver's error if the role may not empty them. It needs TRUNCATE on the
        slots, and INSERT and UPDATE on the head.
    """
    exceeds = []
    if settings.max_size is not None:
        exceeds.append(f"size > {settings.max_size}")
    if settings.max_age is not None:
        made = f"nullif(pg_catalog.split_part(last_header, {literal(US)}, 4), '')::bigint"
        now = "pg_catalog.date_part('epoch', pg_catalog.clock_timestamp())"
        oldest = f"({now} - {settings.max_age.total_seconds()}::float8) * 1000000::float8"
        exceeds.append(f"{made}::float8 < {oldest}")
    execute(
        _PRUNE.format(
            slots=f"ARRAY[{', '.join(map(literal, names.slots))}]",
            rows=names.rows,
            places=_PLACES.format(consumers=names.consumers),
            xmin=_XMIN,
            head=names.head,
            count=SLOTS,
            bits=SLOT_BITS,
            exceeds=f"({' OR '.join(exceeds) or 'false'})",
        )
    )
    return state(execute, names)


def state(execute: Execute, names: LogNames) -> LogState:
    """Return how large the log is now, and what keeps it from being emptied."""
    sizes = ", ".join(
        f"pg_catalog.pg_total_relation_size({literal(slot)}::regclass)" for slot in names.slots
    )
    filled = " + ".join(
        f"(pg_catalog.pg_relation_size({literal(slot)}::regclass) > 0)::int" for slot in names.slots
    )
    places = _PLACES.format(consumers=names.consumers)
    ((size, slots, name, seconds, holder, table),) = execute(
        _STATE.format(sizes=sizes, filled=filled, places=places, xmin=_XMIN)
    )
    return LogState(int(size), int(slots), name, float(seconds), holder, table or None)
