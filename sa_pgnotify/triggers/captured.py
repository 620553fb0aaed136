"""Whether the database captures the changes of tables with ``capture="wal"``: the publication, the
REPLICA IDENTITY, and the slot.

They take the place of triggers. Like triggers, they may be altered by hand at any time, and
PostgreSQL does not report it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from ..log.captures import PUBLICATION, Slot, find_slot
from ..log.tables import PREFIX, LogNames
from ..sql import Execute, literal
from .trigger_set import TriggerSet

__all__ = ["Captured", "capture_faults", "captured", "slot_fault", "slots_of"]


@dataclass(frozen=True, slots=True)
class Captured:
    """What the database has for the capture of one table.

    :ivar oid: of the table.
    :ivar publication: the name of the log's publication; empty without a log.
    :ivar is_published: whether the publication has the table.
    :ivar by_root: whether the publication has the changes of partitions as those of their root.
    :ivar not_full: the table, or its partitions, whose REPLICA IDENTITY is not FULL, as SQL.
    """

    oid: int
    publication: str
    is_published: bool
    by_root: bool
    not_full: tuple[str, ...]


_CAPTURED = f"""
SELECT w.place, c.oid::bigint, coalesce(l.publication, ''), (r.oid IS NOT NULL)::int, coalesce(p.pubviaroot, false)::int,
  (SELECT pg_catalog.json_agg(x.oid::regclass::text)::text FROM pg_catalog.pg_class AS x
    WHERE x.relkind IN ('r', 'p') AND x.relreplident <> 'f'
      AND (x.oid = c.oid OR x.oid IN (SELECT t.relid::oid FROM pg_catalog.pg_partition_tree(c.oid::regclass) AS t)))
FROM pg_catalog.json_to_recordset({{wanted}}::json) AS w (place int, "table" text, head text)
JOIN pg_catalog.pg_class AS c ON c.oid = pg_catalog.to_regclass(w."table")::oid
LEFT JOIN LATERAL (SELECT {PUBLICATION.format(schema="n.nspname")} AS publication FROM pg_catalog.pg_class AS h
  JOIN pg_catalog.pg_namespace AS n ON n.oid = h.relnamespace WHERE h.oid = pg_catalog.to_regclass(w.head)::oid) AS l ON true
LEFT JOIN pg_catalog.pg_publication AS p ON p.pubname = l.publication
LEFT JOIN pg_catalog.pg_publication_rel AS r ON r.prpubid = p.oid AND r.prrelid = c.oid
"""


def captured(execute: Execute, sets: Iterable[TriggerSet]) -> dict[TriggerSet, Captured]:
    """Return what the database has for those of ``sets`` that are captured and exist."""
    wanted = [s for s in sets if s.marking.capture == "wal"]
    if not wanted:
        return {}
    asked = [
        {
            "place": place,
            "table": s.qualified_table,
            "head": LogNames(s.marking.log_schema).of(PREFIX),
        }
        for place, s in enumerate(wanted)
    ]
    sql = _CAPTURED.format(wanted=literal(json.dumps(asked, ensure_ascii=False)))
    return {
        wanted[place]: Captured(
            oid, publication, bool(published), bool(by_root), tuple(json.loads(not_full or "[]"))
        )
        for place, oid, publication, published, by_root, not_full in execute(sql)
    }


def capture_faults(
    wanted: TriggerSet, found: Captured
) -> Iterator[tuple[Literal["missing", "outdated"], str]]:
    """Yield each fault of the capture of a table, as a kind of drift and the object."""
    publication = f"the publication {found.publication}"
    if not found.is_published:
        yield "missing", publication
    elif not found.by_root:
        yield "outdated", f"publish_via_partition_root of {publication}"
    if {"update", "delete"} & {*wanted.marking.operations}:
        for name in found.not_full:
            yield "outdated", f"REPLICA IDENTITY FULL of {name}"


def slots_of(execute: Execute, sets: Iterable[TriggerSet]) -> Mapping[TriggerSet, Slot | None]:
    """Return the slot that the capture of each set reads; those with triggers are left out."""
    found: dict[str | None, Slot | None] = {}
    wanted = [s for s in sets if s.marking.capture == "wal"]
    for schema in {s.marking.log_schema for s in wanted}:
        found[schema] = find_slot(execute, LogNames(schema))
    return {s: found[s.marking.log_schema] for s in wanted}


def slot_fault(slot: Slot | None) -> tuple[str, str] | None:
    """Return what is wrong with a slot, as an object of a drift and its fix; None if nothing is."""
    run = "Run sa-pgnotify capture, or a Capture in a program."
    if slot is None or not slot.exists:
        name = "a capture" if slot is None else f"the replication slot {slot.name}"
        return name, f"No capture has run yet, so that changes are not kept. {run}"
    if slot.is_lost:
        why = "The server has removed WAL that was not captured"
        anew = f"{run} It makes the slot anew and reports the loss; raise max_slot_wal_keep_size."
        return f"the replication slot {slot.name}", f"{why}. {anew}"
    return None
