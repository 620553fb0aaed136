"""Emptying the slots of the change log: what every consumer has passed goes, and what exceeds the
limits goes too, and is reported.

A table is emptied under a lock that excludes all others, and a session that waits for such a lock
makes all behind it wait as well. So nothing waits here: a slot that is in use at this moment is
left for the next time, and the one that is being written to is left always.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..protocol.wire import US
from ..sql import Execute, literal
from .tables import SLOT_BITS, SLOTS, LogNames, LogSettings

__all__ = ["LogState", "prune"]

USUAL_SLOTS = 2
"""The one that is being filled, and the one before."""
LATE_SECONDS = 60.0
"""A consumer that has not moved for so long does not run, or is stuck."""

# The snapshots that something is read from: those of all positions, of the tables that have places
# of their own, and of those that came to a position from another place.
_PLACES = """
(SELECT name, relation, last, moved_at FROM {consumers} WHERE relation = '' OR relations <> '{{}}'
  UNION ALL SELECT c.name, c.relation, t.value, c.moved_at FROM {consumers} AS c
    CROSS JOIN LATERAL pg_catalog.json_each_text(c.relations::json) AS t WHERE t.value IS NOT NULL)
"""
# Below this, a place has read all. One at the beginning has read nothing: its xmax is 1, and its
# xmin only says what was removed before.
_XMIN = "least(pg_catalog.split_part(last, ':', 1)::bigint, pg_catalog.split_part(last, ':', 2)::bigint)"
_PRUNE = """
DO $prune$
DECLARE
  slots text[] := {slots};
  newest bigint := (SELECT coalesce(max(id), 0) FROM {rows} AS log);
  horizon bigint := (SELECT min({xmin}) FROM {places} AS places);
  slot int;
  place text;
  last_xid bigint;
  last_header text;
  size bigint;
  -- Each statement asks its own snapshot, which does not count this transaction.
  from_elsewhere text := 'FROM %s WHERE xid >= pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text::bigint
    AND xid IS DISTINCT FROM pg_catalog.pg_current_xact_id_if_assigned()::text::bigint';
  found_some boolean;
BEGIN
  IF pg_catalog.current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_transaction_state',
      MESSAGE = 'sa_pgnotify: the change log can be emptied in READ COMMITTED only',
      HINT = 'Another transaction does not see what was committed after its beginning, and would remove that unread.';
  END IF;
  -- Another one does the same, in a transaction that may be open for long, and whoever waited for it would hold locks meanwhile.
  PERFORM FROM {head} WHERE id = 0 FOR UPDATE SKIP LOCKED;
  IF NOT FOUND AND EXISTS (SELECT FROM {head} WHERE id = 0) THEN
    RETURN;
  END IF;
  -- What a restore has brought from another server, where transaction ids were further on: it would seem new when ours come there.
  FOREACH place IN ARRAY slots LOOP
    EXECUTE pg_catalog.format('SELECT EXISTS (SELECT ' || from_elsewhere || ')', place) INTO found_some;
    IF found_some THEN
      EXECUTE pg_catalog.format('DELETE ' || from_elsewhere, place);
    END IF;
  END LOOP;
  -- The oldest first: the one that comes to be written to next.
  FOR step IN 1 .. {count} - 1 LOOP
    slot := ((newest >> {bits}) + step) & ({count} - 1);
    place := slots[slot + 1];
    CONTINUE WHEN pg_catalog.pg_relation_size(place::regclass) = 0;
    EXECUTE pg_catalog.format('SELECT xid, header FROM %s ORDER BY xid DESC, id DESC LIMIT 1', place) INTO last_xid, last_header;
    size := (SELECT sum(pg_catalog.pg_total_relation_size(s::regclass)) FROM unnest(slots) AS s);
    IF last_xid < horizon OR {exceeds} THEN
      BEGIN
        EXECUTE pg_catalog.format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE NOWAIT', place);
        -- What came between the look and the lock.
        EXECUTE pg_catalog.format('SELECT xid FROM %s ORDER BY xid DESC LIMIT 1', place) INTO last_xid;
        IF last_xid < horizon OR {exceeds} THEN
          INSERT INTO {head} AS head (id, removed, lost) VALUES (0, last_xid, 0)
            ON CONFLICT (id) DO UPDATE SET removed = greatest(head.removed, excluded.removed);
          EXECUTE pg_catalog.format('TRUNCATE %s', place);
        END IF;
      EXCEPTION WHEN lock_not_available THEN
        NULL; -- somebody reads or writes it just now
      END;
    END IF;
  END LOOP;
END
$prune$
"""


# A transaction id without its epoch is 32 bits long; what runs now is of the epoch of now.
_STATE = """
SELECT (SELECT sum(s) FROM unnest(ARRAY[{sizes}]) AS s)::bigint, {filled}, c.name,
  coalesce(pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() - c.moved_at), 0)::float8,
  (SELECT pg_catalog.format('process %s of %s (%s)', pid, usename, state) FROM pg_catalog.pg_stat_activity
   WHERE backend_xid IS NOT NULL AND pid <> pg_catalog.pg_backend_pid()
     AND backend_xid::text::bigint = c.xmin & 4294967295 ORDER BY xact_start LIMIT 1), coalesce(c.relation, '')
FROM (SELECT) AS one LEFT JOIN LATERAL (
  SELECT name, relation, {xmin} AS xmin, moved_at FROM {places} AS places ORDER BY 3, 4 LIMIT 1) AS c ON true
"""


@dataclass(frozen=True, slots=True)
class LogState:
    """What the change log comes to.

    :ivar size: bytes of all slots, with their indexes.
    :ivar filled: how many slots hold changes.
    :ivar hindmost: name of the consumer that holds up the removal, None if there is no consumer;
        ``seconds`` since it last moved.
    :ivar holder: what the transaction that holds up the removal is, if it is one: process id, user
        and state.
    :ivar table: the schema and name of the table that has a place of its own under that name, and
        is not read; None if it is the consumer.
    """

    size: int
    filled: int
    hindmost: str | None
    seconds: float
    holder: str | None
    table: str | None = None

    @property
    def is_held_up(self) -> bool:
        """Whether more is kept than what is being written, and somebody is to blame."""
        return self.filled > USUAL_SLOTS and (
            self.hindmost is None or self.holder is not None or self.seconds > LATE_SECONDS
        )

    def __str__(self) -> str:
        text = f"the change log takes {self.size / 1e6:.0f} MB"
        if self.holder is not None:
            return f"{text}: {self.holder} has been open for long, and holds up the removal of what was read. End it"
        if self.hindmost is None:
            return f"{text}, and nobody consumes it: run a Consumer, or take durable=True away"
        if self.table is not None:
            return (
                f"{text}: {self.table} has not been read under the name {self.hindmost!r} for {self.seconds:.0f} s, and holds up the "
                f"removal. Run a version of that consumer which reads it, or forget(engine, metadata, {self.hindmost!r}, {self.table!r})"
            )
        if self.seconds <= LATE_SECONDS:
            return f"{text}; its hindmost consumer is {self.hindmost!r}"
        return (
            f"{text}: the consumer {self.hindmost!r} has not moved for {self.seconds:.0f} s, and holds up the removal. "
            "Run it, or forget() it"
        )


def prune(execute: Execute, names: LogNames, settings: LogSettings) -> LogState:
    """Empty the slots that may be emptied, and return what is left.

    :raises Exception: the driver's own, if the role may not empty them: it needs TRUNCATE on the
        slots, and INSERT and UPDATE on the head.
    """
    exceeds = []
    if settings.max_size is not None:
        exceeds.append(f"size > {settings.max_size}")
    if settings.max_age is not None:
        made = f"nullif(pg_catalog.split_part(last_header, {literal(US)}, 4), '')::bigint"
        exceeds.append(
            f"{made} < (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) - {settings.max_age.total_seconds()}) * 1000000"
        )
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
    """What the change log comes to now."""
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
