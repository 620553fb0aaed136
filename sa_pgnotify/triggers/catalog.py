"""The triggers and functions that are installed in a database.

They are read from ``pg_catalog`` in one query for all tables. It keeps the source of a function byte
for byte, and the facts of a trigger in columns, so that comparing them creates, parses and locks
nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Table

from ..log.tables import PREFIX as LOG
from ..log.tables import LogNames
from ..marking.spec import marking_of
from ..protocol.channels import DEFAULT_CHANNEL, RELATION
from ..sql import Execute, literal, quote
from .captured import Captured, captured
from .function_comment import read_comment
from .install_steps import BASE_TYPE, VIRTUAL
from .names import ALL_TRIGGER_NAMES, COMMENT_PREFIX, FUNCTION_PREFIX, TRIGGER_SHAPE, TRIGGERS
from .trigger_set import TriggerSet, trigger_set

__all__ = ["Function", "Installed", "functions", "installed", "marked_sets"]


@dataclass(frozen=True, slots=True)
class Trigger:
    """One of the triggers of this library.

    :ivar shape: one of those in ``TRIGGER_SHAPES``, unless the trigger was altered by hand.
    :ivar enabled: pg_trigger.tgenabled: O(rigin), A(lways), R(eplica) or D(isabled).
    """

    name: str
    function_oid: int
    shape: str
    enabled: str

    @property
    def fires(self) -> bool:
        """Whether ordinary writes fire the trigger."""
        return self.enabled in "OA"


@dataclass(frozen=True, slots=True)
class Installed:
    """The function and the triggers that the database has for one table.

    :ivar relation: the table's name in messages; ``channel`` the channel that is named in the
        function's comment, else the default one; ``log`` the change log that is named there, or
        None.
    :ivar function_oid: of the function that the triggers run, or, without triggers, of the one that
        has the function's name; ``has_its_name`` whether it has that name.
    :ivar source: the function's source, or None if there is no such function; ``settings`` its SET
        clauses, ``comment`` its comment, ``is_definer`` whether it runs with its owner's rights.
    :ivar types: by the name of each column of the table, the OID of its type; domains replaced by the type under them.
    :ivar virtual: names of the columns that PostgreSQL computes when they are read, each with its
        expression as SQL.
    :ivar owner: OID of the role that owns the function; ``stranger`` the role's name, if it is
        neither a superuser nor the table's owner.
    :ivar near_log: the schema of the change log that ``search_path`` gives, or None.
    :ivar captured: what there is for a table with ``capture="wal"``, else None.
    """

    relation: str
    channel: str
    log: LogNames | None
    function_oid: int | None
    has_its_name: bool
    is_definer: bool
    source: str | None
    comment: str | None
    settings: dict[str, str]
    triggers: dict[str, Trigger]
    types: dict[str, int]
    virtual: dict[str, str]
    near_log: str | None
    owner: int | None
    stranger: str | None
    captured: Captured | None = None

    def lacks(self, wanted: TriggerSet) -> list[str]:
        """Return the names of the columns that the triggers would need and the table does not
        have."""
        return [c.name for c in wanted.columns if c.name not in self.types]

    def fitted(self, wanted: TriggerSet) -> TriggerSet:
        """Return ``wanted`` for the types that the columns have in the database."""
        return wanted.as_in_database(self.types, self.virtual)


# Each expression is evaluated for hundreds of tables when a listener starts, so names are looked up
# once, and what Python can take apart is sent as it is.
_INSTALLED = f"""
SELECT c.place, f.oid::bigint, (f.oid = c.named)::int, f.prosecdef::int, f.prosrc, d.description,
  pg_catalog.array_to_json(f.proconfig)::text, c.name, {DEFAULT_CHANNEL.format(name="c.name")}, t.found, a.types, a.virtual,
  (SELECT m.nspname FROM pg_catalog.pg_class AS l
    JOIN pg_catalog.pg_namespace AS m ON m.oid = l.relnamespace WHERE l.oid = pg_catalog.to_regclass({literal(LOG)})::oid),
  f.proowner::bigint, s.rolname
FROM (SELECT w.place, w.named, c.oid, c.relowner, {RELATION.format(schema="n.nspname", table="c.relname")} AS name
  FROM (SELECT place, pg_catalog.to_regclass("table")::oid AS oid, pg_catalog.to_regprocedure(function)::oid AS named
    FROM (SELECT * FROM pg_catalog.json_to_recordset({{wanted}}::json) AS w (place int, schema text, "table" text, function text)
      WHERE schema IS NULL OR pg_catalog.has_schema_privilege(pg_catalog.to_regnamespace(schema)::oid, 'USAGE') OFFSET 0) AS w
    OFFSET 0) AS w
  JOIN pg_catalog.pg_class AS c ON c.oid = w.oid
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace OFFSET 0) AS c
CROSS JOIN LATERAL (SELECT pg_catalog.json_object_agg(a.attname, {BASE_TYPE})::text AS types,
     (pg_catalog.json_object_agg(a.attname, {VIRTUAL}) FILTER (WHERE a.attgenerated = 'v'))::text AS virtual
   FROM pg_catalog.pg_attribute AS a JOIN pg_catalog.pg_type AS y ON y.oid = a.atttypid
     LEFT JOIN pg_catalog.pg_attrdef AS d ON a.attgenerated = 'v' AND d.adrelid = a.attrelid AND d.adnum = a.attnum
   WHERE a.attrelid = c.oid AND a.attnum > 0::int2 AND NOT a.attisdropped) AS a
CROSS JOIN LATERAL (SELECT coalesce(
  (SELECT t.tgfoid FROM pg_catalog.pg_trigger AS t WHERE t.tgrelid = c.oid AND t.tgname IN ({TRIGGERS})
     ORDER BY t.tgfoid = c.named DESC NULLS LAST, t.tgname LIMIT 1), c.named) AS oid OFFSET 0) AS g
LEFT JOIN pg_catalog.pg_proc AS f ON f.oid = g.oid
CROSS JOIN LATERAL (SELECT
    pg_catalog.json_agg(pg_catalog.json_build_array(t.tgname, t.tgfoid::bigint, {TRIGGER_SHAPE}, t.tgenabled))::text AS found
  FROM pg_catalog.pg_trigger AS t
  WHERE t.tgrelid = c.oid AND t.tgparentid = 0::oid AND NOT t.tgisinternal AND (t.tgname IN ({TRIGGERS}) OR t.tgfoid = f.oid)) AS t
LEFT JOIN pg_catalog.pg_description AS d ON d.objoid = f.oid AND d.classoid = 'pg_catalog.pg_proc'::regclass::oid AND d.objsubid = 0
LEFT JOIN pg_catalog.pg_roles AS s ON s.oid = f.proowner AND s.oid <> c.relowner AND NOT s.rolsuper
ORDER BY 1
"""


def installed(execute: Execute, sets: Iterable[TriggerSet]) -> dict[TriggerSet, Installed]:
    """Return what the database has for each of ``sets``; those whose table does not exist are left
    out."""
    wanted = list(sets)
    asked = [
        {
            "place": i,
            "schema": None if s.schema is None else quote(s.schema),
            "table": s.qualified_table,
            "function": s.qualified_function + "()",
        }
        for i, s in enumerate(wanted)
    ]
    sql = _INSTALLED.format(wanted=literal(json.dumps(asked, ensure_ascii=False)))
    found = {wanted[place]: _installed(*row) for place, *row in execute(sql)}
    for triggers, capture in captured(execute, found).items():
        found[triggers] = replace(found[triggers], captured=capture)
    return found


def _installed(
    function: int | None,
    named: int | None,
    definer: int | None,
    source: str | None,
    comment: str | None,
    settings: str | None,
    relation: str,
    channel: str,
    triggers: str | None,
    types: str | None,
    virtual: str | None,
    near_log: str | None,
    owner: int | None,
    stranger: str | None,
) -> Installed:
    """Return what a row of the query says of a table."""
    noted = read_comment(comment) or {}
    found = [Trigger(*facts) for facts in json.loads(triggers or "[]")]
    return Installed(
        relation=relation,
        channel=noted.get("channel") or channel,
        log=LogNames(noted.get("log_schema")) if noted.get("durable") else None,
        function_oid=function,
        has_its_name=bool(named),
        is_definer=bool(definer),
        source=source,
        comment=comment,
        settings=_settings(settings),
        triggers={trigger.name: trigger for trigger in found},
        types=json.loads(types or "{}"),
        virtual=json.loads(virtual or "{}"),
        near_log=near_log,
        owner=owner,
        stranger=stranger,
    )


def _settings(clauses: str | None) -> dict[str, str]:
    """Return the SET clauses of a function, as ``proconfig`` has them, by their names in lower
    case."""
    parts = (clause.partition("=") for clause in json.loads(clauses or "[]"))
    return {name.lower(): value for name, _, value in parts}


@dataclass(frozen=True, slots=True)
class Function:
    """A trigger function of this library, and one of the triggers that run it. It is recognized by
    its comment, or by that trigger's name and its own.

    :ivar comment: the content of its comment, from
        :func:`~sa_pgnotify.triggers.function_comment.read_comment`; None if it is damaged or lost.
    :ivar table_schema: the schema of the trigger's table; it, ``table``, ``trigger`` and
        ``visible`` are None if no trigger runs the function.
    :ivar visible: whether ``search_path`` finds the table without its schema.
    """

    schema: str
    name: str
    comment: dict[str, Any] | None
    table_schema: str | None
    table: str | None
    trigger: str | None
    visible: bool | None

    @property
    def is_of_captured_table(self) -> bool:
        """Whether no trigger runs it, and its comment says that the changes of its table are
        captured."""
        return self.trigger is None and (self.comment or {}).get("capture") == "wal"


_FUNCTIONS = f"""
SELECT n.nspname, f.proname, d.description, m.nspname, c.relname, t.tgname, pg_catalog.pg_table_is_visible(c.oid)
FROM pg_catalog.pg_proc AS f
JOIN pg_catalog.pg_namespace AS n ON n.oid = f.pronamespace
LEFT JOIN pg_catalog.pg_description AS d ON d.objoid = f.oid AND d.classoid = 'pg_catalog.pg_proc'::regclass::oid AND d.objsubid = 0
LEFT JOIN pg_catalog.pg_trigger AS t ON t.tgfoid = f.oid AND t.tgparentid = 0::oid
LEFT JOIN pg_catalog.pg_class AS c ON c.oid = t.tgrelid
LEFT JOIN pg_catalog.pg_namespace AS m ON m.oid = c.relnamespace
WHERE pg_catalog.starts_with(f.proname::text, {literal(FUNCTION_PREFIX)})
  AND (pg_catalog.starts_with(d.description, {literal(COMMENT_PREFIX)}) OR t.tgname IN ({TRIGGERS}))
ORDER BY 1, 2, 6
"""


def functions(execute: Execute) -> list[Function]:
    """Return all trigger functions of this library in the database, once for each trigger that runs
    them; and those of captured tables, which none runs, once each."""
    rows = (
        Function(schema, name, read_comment(comment), *trigger)
        for schema, name, comment, *trigger in execute(_FUNCTIONS)
    )
    found = [f for f in rows if f.comment is not None or f.trigger in ALL_TRIGGER_NAMES]
    return [_of_captured_table(execute, f) if f.is_of_captured_table else f for f in found]


def _of_captured_table(execute: Execute, function: Function) -> Function:
    """Return the function with its table, if that exists."""
    named = (function.comment or {}).get("table") or function.name.removeprefix(FUNCTION_PREFIX)
    name = literal(f"{quote(function.schema)}.{quote(named)}")
    rows = execute(
        f"SELECT pg_catalog.pg_table_is_visible(c.oid) FROM pg_catalog.pg_class AS c"
        f" WHERE c.oid = pg_catalog.to_regclass({name})::oid AND c.relkind IN ('r', 'p')"
    )
    for (visible,) in rows:
        return replace(function, table_schema=function.schema, table=named, visible=visible)
    return function


def marked_sets(
    tables: Iterable[Table], schema_of: Callable[[str | None], str | None]
) -> dict[Table, TriggerSet]:
    """Return the trigger sets of the marked ones among ``tables``."""
    return {
        t: trigger_set(t, marking).in_schemas(schema_of)
        for t in tables
        if (marking := marking_of(t)) is not None
    }
