"""Whether the triggers that a reader relies on are still the ones that it found when it subscribed.

PostgreSQL sends nothing when a trigger is disabled, dropped or replaced by hand, and then the table
looks as if it did not change. So the catalog is compared at each heartbeat, by object ids and by
the row versions (``xmin``) of what may be altered in place. That also finds a trigger that was
disabled and enabled again between two heartbeats. A difference that loses no event is not reported,
such as a new version of the sa_pgnotify function, or a partition that was created empty.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..sql import Execute, literal, quote
from ..triggers.captured import captured, slot_fault, slots_of
from ..triggers.catalog import Installed, installed
from ..triggers.function_comment import parameters_in, read_comment
from ..triggers.names import TRIGGERS
from ..triggers.trigger_set import TriggerSet

__all__ = ["VERIFY_SECONDS", "State", "TriggerWatch", "states_of"]

VERIFY_SECONDS = 0.25
"""The fewest seconds between two readings of the catalog because of notifications, which any role
may send."""

# Of each table: what it is (a RENAME and a SET SCHEMA make a new version of its row type), what it
# is a partition of, its partitions and whether each was created as one, its triggers and those that
# partitions inherit from it, and its function's version.
_STATE = f"""
SELECT w.place, pg_catalog.json_build_array(c.oid::bigint, y.xmin::text,
    (SELECT i.inhparent::bigint FROM pg_catalog.pg_inherits AS i WHERE i.inhrelid = c.oid AND c.relispartition))::text,
  (SELECT pg_catalog.json_object_agg(i.inhrelid::bigint, i.xmin = p.xmin)::text
     FROM pg_catalog.pg_partition_tree(CASE c.relkind WHEN 'p' THEN c.oid END) AS tree
     JOIN pg_catalog.pg_inherits AS i ON i.inhrelid = tree.relid::oid
     JOIN pg_catalog.pg_type AS p ON p.typrelid = i.inhrelid WHERE tree.level > 0),
  (SELECT pg_catalog.json_object_agg(t.tgname,
     pg_catalog.json_build_array(t.oid::bigint, t.xmin::text, t.tgenabled, t.tgfoid::bigint, f.xmin::text))::text
     FROM pg_catalog.pg_trigger AS t JOIN pg_catalog.pg_proc AS f ON f.oid = t.tgfoid
     WHERE t.tgrelid = c.oid AND t.tgname IN ({TRIGGERS})),
  (SELECT pg_catalog.json_object_agg(pg_catalog.concat(t.tgname, ' ', t.tgrelid::bigint),
     pg_catalog.json_build_array(t.oid::bigint, t.xmin::text))::text
     FROM pg_catalog.pg_partition_tree(CASE c.relkind WHEN 'p' THEN c.oid END) AS tree
     JOIN pg_catalog.pg_trigger AS t ON t.tgrelid = tree.relid::oid AND t.tgparentid <> 0::oid WHERE t.tgname IN ({TRIGGERS}))
FROM (SELECT * FROM pg_catalog.json_to_recordset({{wanted}}::json) AS w (place int, schema text, "table" text)
  WHERE schema IS NULL OR pg_catalog.has_schema_privilege(pg_catalog.to_regnamespace(schema)::oid, 'USAGE') OFFSET 0) AS w
JOIN pg_catalog.pg_class AS c ON c.oid = pg_catalog.to_regclass(w."table")::oid
JOIN pg_catalog.pg_type AS y ON y.oid = c.reltype
"""


@dataclass(frozen=True, slots=True)
class State:
    """One table in the catalog.

    :ivar table: its OID, the version of its row type, and the OID of the table that it is a
        partition of.
    :ivar partitions: by OID, whether each was created as a partition; ``triggers`` by name,
        ``inherited`` by name and partition.
    :ivar captured: of a table with ``capture="wal"``, whether its publication has it, whose REPLICA
        IDENTITY is not FULL, and whether its slot is there.
    """

    table: list[Any]
    partitions: dict[str, bool]
    triggers: dict[str, list[Any]]
    inherited: dict[str, list[Any]]
    captured: tuple[Any, ...] = ()


class TriggerWatch:
    """The triggers that one reader relies on, and how they have changed."""

    def __init__(self) -> None:
        self._found: dict[TriggerSet, tuple[State | None, Installed | None]] = {}

    def rely_on(
        self,
        states: Mapping[TriggerSet, State],
        found: Mapping[TriggerSet, Installed],
        sets: Iterable[TriggerSet],
    ) -> None:
        """Rely on ``sets`` as they were found.

        :param states: the result of :func:`states_of`, taken before ``found`` was read.
        """
        self._found = {triggers: (states.get(triggers), found.get(triggers)) for triggers in sets}

    def changes(self, execute: Execute) -> str:
        """Return a description of what may have lost events since :meth:`rely_on`; empty if nothing
        did."""
        states = states_of(execute, self._found)
        altered = []
        replaced = []
        for triggers, (before, known) in self._found.items():
            now = states.get(triggers)
            if now == before:
                continue
            if why := _difference(before, now, triggers.trigger_names.values()):
                altered.append(f"{triggers.qualified_table}: {why}")
            else:
                replaced.append((triggers, known, now))
        there = installed(execute, [triggers for triggers, _, _ in replaced]) if replaced else {}
        for triggers, known, now in replaced:
            found = there.get(triggers)
            if _works_alike(triggers, known, found):
                self._found[triggers] = now, found
            else:
                altered.append(
                    f"{triggers.qualified_table}: function {triggers.function_name} was replaced"
                )
        return "; ".join(altered)


def states_of(execute: Execute, sets: Iterable[TriggerSet]) -> dict[TriggerSet, State]:
    """Return the catalog state of each table that exists, in one query."""
    wanted = list(sets)
    if not wanted:
        return {}
    asked = [
        {
            "place": i,
            "schema": None if s.schema is None else quote(s.schema),
            "table": s.qualified_table,
        }
        for i, s in enumerate(wanted)
    ]
    sql = _STATE.format(wanted=literal(json.dumps(asked, ensure_ascii=False)))
    states = {
        wanted[place]: State(json.loads(table), *(json.loads(o or "{}") for o in objects))
        for place, table, *objects in execute(sql)
    }
    slots = slots_of(execute, states)
    for triggers, there in captured(execute, states).items():
        at = there.is_published, there.not_full, slot_fault(slots[triggers]) is None
        states[triggers] = replace(states[triggers], captured=at)
    return states


def _difference(before: State | None, now: State | None, names: Iterable[str]) -> str:
    """Return which change of the table loses events; empty if nothing or only the function has
    changed.

    :param names: of the triggers.
    """
    if before is None or now is None:
        return "the table is gone" if now is None else "the table exists again"
    if before.table != now.table:
        return "it is another table, or was renamed, moved, attached to a partitioned table or detached"
    if before.captured != now.captured:
        return (
            "its publication, its REPLICA IDENTITY or its replication slot was altered or dropped"
        )
    for name in names:
        was, is_ = before.triggers.get(name), now.triggers.get(name)
        if (was and was[:4]) != (is_ and is_[:4]):  # without the function's version
            return (
                f"trigger {name} was {'dropped' if is_ is None else 'altered, disabled or created'}"
            )
    if gone := before.partitions.keys() - now.partitions.keys():
        return f"{len(gone)} partitions were detached or dropped"
    if any(not born for oid, born in now.partitions.items() if oid not in before.partitions):
        return "a table was attached as a partition"
    for key, was in before.inherited.items():
        if now.inherited.get(key) != was:
            return (
                f"trigger {key.partition(' ')[0]} of a partition was altered, disabled or dropped"
            )
    return ""


def _works_alike(triggers: TriggerSet, known: Installed | None, found: Installed | None) -> bool:
    """Return whether the new function serves a listener as the previous one did: it is the same, or
    another version of the sa_pgnotify function."""
    if known is None or found is None or (known.channel, known.log) != (found.channel, found.log):
        return known is found
    if known.owner != found.owner and found.is_definer:
        return False  # it is not known whether the new owner may write to the log
    if (known.source, known.settings, known.is_definer) == (
        found.source,
        found.settings,
        found.is_definer,
    ):
        return True
    said = read_comment(found.comment) or {}
    resolved = said.get("resolved", {})
    if known.source == found.source or "columns" not in said:
        return False
    made = TriggerSet.from_parameters(triggers.table, triggers.schema, **parameters_in(said))
    return (made.source(resolved, found.near_log), made.is_definer) == (
        found.source,
        found.is_definer,
    )
