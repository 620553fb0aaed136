"""Checks for what makes correctly installed triggers fail, or changes the order of their events.

No comparison with the models can find these hazards, because the triggers themselves are as they
should be. The cause is around them: the owner of a function has lost a right, a foreign partition
was attached, or a trigger of the application writes to the table before the events are sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..sql import Execute, literal, quote
from ..triggers.children import HINT as DETACH
from ..triggers.children import collecting_kinds
from ..triggers.drift import foreign_children_of
from ..triggers.installation import Installation
from ..triggers.log_trust import log_faults
from ..triggers.names import TRIGGER_NAMES, TRIGGERS
from ..triggers.rights import lacking_rights
from .findings import Finding

__all__ = ["hazards"]

MERGE_SINCE = 150000
"""The server version that brought MERGE."""


def _change_log(execute: Execute, installation: Installation) -> Iterator[Finding]:
    """Report the rights that the owners of functions lack on the log, and what lets other roles run
    code with the rights of these owners."""
    names: dict[int, str] = {}
    for name, wanted in installation.sets.items():
        function = installation.found[name].function_oid
        is_captured = wanted.marking.capture == "wal"
        if wanted.marking.durable and not is_captured and function is not None:
            names[function] = name
    logs = [
        (function, installation.sets[name].marking.log_schema) for function, name in names.items()
    ]
    for faults in log_faults(execute, logs).values():
        for fault in faults:
            text = f"The change log is not as it should be: {fault.what}. {fault.effect}"
            yield Finding("problem", "triggers", text, fault.fix)
    for function, rights in lacking_rights(execute, logs).items():
        owner = f"{rights.role}, which owns the trigger function of {names[function]},"
        text = f"{owner} cannot write to the change log: it lacks {rights.lacking}."
        yield Finding("problem", "triggers", text, f"As the owner of the log, run: {rights.grants}")


def _foreign_children(execute: Execute, installation: Installation) -> Iterator[Finding]:
    names = {wanted: name for name, wanted in installation.sets.items()}
    for wanted, children in foreign_children_of(execute, names).items():
        for schema, child in children:
            text = (
                f"The foreign table {quote(schema)}.{quote(child)} is below {names[wanted]}: writes that"
                " reach it fail, because PostgreSQL cannot collect its changes for the triggers."
            )
            yield Finding("problem", "triggers", text, DETACH)


def _tables(installation: Installation, for_each: str) -> tuple[list[str], str]:
    """Return the names of the tables whose triggers run for each statement, or for each row, and
    SQL for a VALUES list of their places and OIDs."""
    sets = installation.sets
    names = sorted(name for name in sets if sets[name].marking.for_each == for_each)
    places = (
        f"({n}, pg_catalog.to_regclass({literal(sets[name].qualified_table)})::oid)"
        for n, name in enumerate(names)
    )
    return names, ", ".join(places)


def _merge(execute: Execute, installation: Installation) -> Iterator[Finding]:
    names, places = _tables(installation, "statement")
    if not names:
        return
    since = f"pg_catalog.current_setting('server_version_num')::int >= {MERGE_SINCE}"
    sql = f"SELECT w.place FROM (VALUES {places}) AS w (place, oid) JOIN pg_catalog.pg_class AS c ON c.oid = w.oid"
    partitioned = [
        names[place]
        for (place,) in execute(f"{sql} WHERE c.relkind = 'p'::\"char\" AND {since} ORDER BY 1")
    ]
    if partitioned:
        text = f"Partitioned: {', '.join(partitioned)}. If a MERGE moves rows to another partition, their events may be missing."
        fix = (
            "Move such rows by UPDATE, or give each MERGE all three actions: WHEN MATCHED AND false THEN DELETE, and the like."
            ' Or declare NotifySpec(for_each="row").'
        )
        yield Finding("note", "order", text, fix)


def _sorts_first(for_each: str) -> str:
    return " OR ".join(
        f"((t.tgtype::int & {bit}) = {bit} AND t.tgname < {literal(TRIGGER_NAMES[for_each][operation])}::name)"
        for operation, bit in (("insert", 4), ("delete", 8), ("update", 16))
    )


_RUNS_FIRST = {
    "statement": f"((t.tgtype::int & 1) = 1 OR (r.oid = w.oid AND ({_sorts_first('statement')})))",
    "row": f"((t.tgtype::int & 1) = 1 AND ({_sorts_first('row')}))",
}


def _order(execute: Execute, installation: Installation) -> Iterator[Finding]:
    """Report triggers of the application that run after the rows were written and before those of
    sa_pgnotify."""
    for for_each in _RUNS_FIRST:
        names, places = _tables(installation, for_each)
        if names:
            yield from _running_first(execute, for_each, names, places)


def _running_first(
    execute: Execute, for_each: str, names: list[str], places: str
) -> Iterator[Finding]:
    """(tgtype has the bits 1 for FOR EACH ROW, 2 for BEFORE, 64 for INSTEAD OF.)"""
    sql = f"""
SELECT w.place, t.tgname::text, (t.tgtype::int & 1)::int FROM (VALUES {places}) AS w (place, oid)
CROSS JOIN LATERAL (
  WITH RECURSIVE tree (oid) AS (
    SELECT w.oid UNION SELECT i.inhrelid FROM tree JOIN pg_catalog.pg_inherits AS i ON i.inhparent = tree.oid)
  SELECT tree.oid FROM tree) AS r
JOIN pg_catalog.pg_trigger AS t ON t.tgrelid = r.oid
WHERE NOT t.tgisinternal AND t.tgparentid = 0::oid AND t.tgenabled IN ('O', 'A') AND t.tgname NOT IN ({TRIGGERS})
  AND NOT (t.tgdeferrable AND t.tginitdeferred) AND (t.tgtype::int & 66) = 0
  AND {_RUNS_FIRST[for_each]}
GROUP BY 1, 2, 3 ORDER BY 1, 2
"""
    for place, trigger, each_row in list(execute(sql)):
        level = "ROW" if each_row else "STATEMENT"
        text = (
            f"The FOR EACH {level} trigger {trigger} of {names[place]} runs before those of sa_pgnotify."
            f" If it writes to {names[place]}, the events of those writes come before the events of"
            " the statement that fired it."
        )
        fix = (
            "make it BEFORE and set NEW, or a constraint trigger DEFERRABLE INITIALLY DEFERRED"
            if each_row
            else "rename it, so that it sorts behind sa_pgnotify_update"
        )
        yield Finding("note", "order", text, f"If so, {fix}.")


def _temporary_files(execute: Execute, installation: Installation) -> Iterator[Finding]:
    if not any(
        collecting_kinds(wanted.marking.triggered, wanted.marking.for_each)
        for wanted in installation.sets.values()
    ):
        return
    sql = """
SELECT 'this role', pg_catalog.current_setting('temp_file_limit')
UNION ALL
SELECT pg_catalog.concat('the role ' || r.rolname::text, CASE WHEN r.oid IS NULL THEN 'all roles' END),
  pg_catalog.substr(c.setting, 17)
FROM pg_catalog.pg_db_role_setting AS s
LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = s.setrole
LEFT JOIN pg_catalog.pg_database AS d ON d.oid = s.setdatabase
CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig) AS c (setting)
WHERE pg_catalog.starts_with(c.setting, 'temp_file_limit=')
  AND (s.setdatabase = 0::oid OR d.datname = pg_catalog.current_database())
"""
    limits = [f"{limit} for {role}" for role, limit in execute(sql) if limit != "-1"]
    if limits:
        text = (
            f"temp_file_limit is {', '.join(limits)}. The triggers keep the rows of a statement until"
            " its end, so statements that change more rows than fit fail."
        )
        fix = "Raise it for roles that write much at once, or let them write fewer rows in a statement."
        yield Finding("note", "limits", text, fix)


HAZARDS: tuple[Callable[[Execute, Installation], Iterator[Finding]], ...] = (
    _change_log,
    _foreign_children,
    _merge,
    _order,
    _temporary_files,
)
"""In the order in which they are reported."""


def hazards(execute: Execute, installation: Installation) -> Iterator[Finding]:
    """Report hazards of the tables that have triggers; query nothing if there are none."""
    if installation.sets:
        for examine in HAZARDS:
            yield from examine(execute, installation)
