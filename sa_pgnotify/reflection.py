"""What is installed in the database, and how it differs from what the models say.

Read from ``pg_catalog`` in one query for all tables: the source of a function is kept there byte for byte, the facts of a trigger in
columns, so that nothing has to be created, parsed or locked to compare them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, Engine, MetaData, Table, text

from .changelog import PREFIX as LOG
from .changelog import LogNames, find_log
from .channel import DEFAULT_CHANNEL, RELATION
from .children import HINT as DETACH
from .children import collecting_kinds, foreign_children
from .install_steps import BASE_TYPE, COMMENT_PREFIX, FUNCTION_PREFIX, VIRTUAL
from .quoting import literal, quote
from .rights import lacking_rights
from .spec import marking_of
from .triggers import (
    TRIGGER_NAMES,
    TRIGGER_SHAPE,
    TRIGGER_SHAPES,
    TRIGGERS,
    TriggerSet,
    read_comment,
    trigger_set,
)

__all__ = ["Drift", "Installed", "check", "compare", "installed", "schema_translation"]


@dataclass(frozen=True, slots=True)
class Drift:
    """One difference between the models and the database.

    :ivar kind: ``"missing"`` (no table, function or trigger, or no right to write to the change log), ``"outdated"`` (made from another
        declaration, or altered by hand), ``"disabled"`` (ALTER TABLE ... DISABLE TRIGGER), ``"conflicting"`` (something in the database
        makes writes fail because of the triggers) or ``"left over"`` (ours, but no marking asks for it).
    :ivar table: the table's name, as SQLAlchemy gives it (``schema.table``).
    :ivar object: what differs, e.g. ``"trigger sa_pgnotify_insert"``.
    :ivar mend: what to do, in one sentence.
    """

    kind: Literal["missing", "outdated", "disabled", "conflicting", "left over"]
    table: str
    object: str
    mend: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.object} of {self.table}. {self.mend}"


@dataclass(frozen=True, slots=True)
class Trigger:
    """A trigger of ours.

    :ivar shape: one of ``TRIGGER_SHAPES``, if nobody altered it.
    :ivar enabled: pg_trigger.tgenabled: O(rigin), A(lways), R(eplica) or D(isabled).
    """

    name: str
    function_oid: int
    shape: str
    enabled: str

    @property
    def fires(self) -> bool:
        return self.enabled in "OA"


@dataclass(frozen=True, slots=True)
class Installed:
    """What the database has for one table.

    :ivar relation: the table's name in messages; ``channel`` the channel that the function says it sends on, else the default one;
        ``log`` the change log that it says it writes to instead, or None.
    :ivar function_oid: of the function that the triggers run, or that has its name; ``has_its_name`` tells.
    :ivar source: the function's source, or None if there is no such function; ``settings`` its SET clauses, ``comment`` its comment,
        ``is_definer`` whether it runs with its owner's rights.
    :ivar columns: their names.
    :ivar types: column name to type OID, domains replaced by what they are made of.
    :ivar virtual: names of the columns that PostgreSQL computes when they are read, with what from, as SQL.
    :ivar owner: OID of the role that owns the function; ``stranger`` its name, if it is neither a superuser nor the table's owner.
    :ivar near_log: the schema of the change log that ``search_path`` gives, or None.
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
    columns: frozenset[str]
    types: dict[str, int]
    virtual: dict[str, str]
    near_log: str | None
    owner: int | None
    stranger: str | None

    def lacks(self, wanted: TriggerSet) -> list[str]:
        """The names of the columns that the triggers would need and the table does not have."""
        return [c.name for c in wanted.columns if c.name not in self.columns]

    def fitted(self, wanted: TriggerSet) -> TriggerSet:
        """``wanted`` for the types that the columns really have."""
        return wanted.as_in_database(self.types, self.virtual)


Execute = Callable[[str], Iterable[Any]]
"""Runs SQL text that has no parameters, and gives its rows: of an SQLAlchemy connection, or of a listener's own."""


def execute_on(connection: Connection) -> Execute:
    """What runs SQL text on an SQLAlchemy connection as it stands."""
    doubles = connection.dialect.paramstyle in ("format", "pyformat")
    return lambda sql: connection.exec_driver_sql(sql.replace("%", "%%") if doubles else sql)


_INSTALLED = f"""
SELECT w.place, f.oid::bigint, (f.oid = pg_catalog.to_regprocedure(w.function)::oid)::int, f.prosecdef::int, f.prosrc,
  pg_catalog.obj_description(f.oid, 'pg_proc'),
  (SELECT pg_catalog.json_object_agg(pg_catalog.lower(pg_catalog.split_part(c, '=', 1)),
       pg_catalog.substr(c, pg_catalog.strpos(c, '=') + 1))::text
     FROM pg_catalog.unnest(f.proconfig) AS c),
  r.name, {DEFAULT_CHANNEL.format(name="r.name")},
  (SELECT pg_catalog.json_agg(pg_catalog.json_build_array(t.tgname, t.tgfoid::bigint, {TRIGGER_SHAPE}, t.tgenabled))::text
     FROM pg_catalog.pg_trigger AS t
     WHERE t.tgrelid = c.oid AND t.tgparentid = 0::oid AND NOT t.tgisinternal AND (t.tgname IN ({TRIGGERS}) OR t.tgfoid = f.oid)),
  a.columns, a.types, a.virtual, (SELECT m.nspname FROM pg_catalog.pg_class AS l
    JOIN pg_catalog.pg_namespace AS m ON m.oid = l.relnamespace WHERE l.oid = pg_catalog.to_regclass({literal(LOG)})::oid),
  f.proowner::bigint, (SELECT s.rolname FROM pg_catalog.pg_roles AS s WHERE s.oid = f.proowner AND s.oid <> c.relowner AND NOT s.rolsuper)
FROM (SELECT * FROM pg_catalog.json_to_recordset({{wanted}}::json) AS w (place int, schema text, "table" text, function text)
  WHERE schema IS NULL OR pg_catalog.has_schema_privilege(pg_catalog.to_regnamespace(schema)::oid, 'USAGE') OFFSET 0) AS w
JOIN pg_catalog.pg_class AS c ON c.oid = pg_catalog.to_regclass(w."table")::oid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (SELECT {RELATION.format(schema="n.nspname", table="c.relname")} AS name) AS r
CROSS JOIN LATERAL (SELECT pg_catalog.json_agg(a.attname)::text AS columns,
     pg_catalog.json_object_agg(a.attname, {BASE_TYPE})::text AS types,
     (pg_catalog.json_object_agg(a.attname, {VIRTUAL}) FILTER (WHERE a.attgenerated = 'v'))::text AS virtual
   FROM pg_catalog.pg_attribute AS a JOIN pg_catalog.pg_type AS y ON y.oid = a.atttypid
     LEFT JOIN pg_catalog.pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
   WHERE a.attrelid = c.oid AND a.attnum > 0::int2 AND NOT a.attisdropped) AS a
LEFT JOIN pg_catalog.pg_proc AS f ON f.oid = coalesce(
  (SELECT t.tgfoid FROM pg_catalog.pg_trigger AS t WHERE t.tgrelid = c.oid AND t.tgname IN ({TRIGGERS})
     ORDER BY t.tgfoid = pg_catalog.to_regprocedure(w.function)::oid DESC NULLS LAST, t.tgname LIMIT 1),
  pg_catalog.to_regprocedure(w.function)::oid)
ORDER BY 1
"""


def installed(execute: Execute, sets: Iterable[TriggerSet]) -> dict[TriggerSet, Installed]:
    """What the database has for each of ``sets``; those whose table does not exist are left out."""
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
    result: dict[TriggerSet, Installed] = {}
    for place, function, named, definer, source, comment, settings, relation, channel, triggers, *about in execute(sql):
        columns, types, virtual, near_log, owner, stranger = about
        found = [Trigger(*given) for given in json.loads(triggers or "[]")]
        by_name = {trigger.name: trigger for trigger in found}
        said = read_comment(comment) or {}
        result[wanted[place]] = Installed(
            relation=relation,
            channel=said.get("channel") or channel,
            log=LogNames(said.get("log_schema")) if said.get("durable") else None,
            function_oid=function,
            has_its_name=bool(named),
            is_definer=bool(definer),
            source=source,
            comment=comment,
            settings=json.loads(settings or "{}"),
            triggers=by_name,
            columns=frozenset(json.loads(columns or "[]")),
            types=json.loads(types or "{}"),
            virtual=json.loads(virtual or "{}"),
            near_log=near_log,
            owner=owner,
            stranger=stranger,
        )
    return result


def compare(wanted: TriggerSet, found: Installed | None, table_name: str) -> list[Drift]:
    """How what is installed for a table differs from what its marking asks for."""
    create = "Run metadata.create_all(engine), or the migration that installs the triggers."
    if found is None:  # or in a schema that this role may not use, where it sees no table
        grant = "" if wanted.schema is None else f" If it is there, GRANT USAGE ON SCHEMA {quote(wanted.schema)} TO this role."
        return [Drift("missing", table_name, "the table", create + grant)]
    lacking = found.lacks(wanted)
    if lacking:  # create_all leaves such a table alone
        columns = ", ".join(f"column {name}" for name in lacking)
        create = f"First add {columns}, which the table lacks, by a migration; the triggers follow it."
    wanted = found.fitted(wanted)
    mend = "Add it, by a migration; the triggers follow it."
    drifts = [Drift("outdated", table_name, f"column {name}", mend) for name in lacking]
    if found.source is None:
        drifts.append(Drift("missing", table_name, f"function {wanted.function_name}", create))
    elif not found.has_its_name or not _is_as_wanted(wanted, found):
        drifts.append(Drift("outdated", table_name, f"function {wanted.function_name}", create))
    if found.stranger is not None:
        fix = f"It could replace the function by code that runs as the writers. ALTER FUNCTION ... OWNER TO the owner of {table_name}."
        drifts.append(Drift("conflicting", table_name, f"the role {found.stranger}, which owns function {wanted.function_name}", fix))
    for operation, name in TRIGGER_NAMES.items():
        trigger = found.triggers.get(name)
        if operation not in wanted.marking.operations:
            if trigger is not None:
                drifts.append(Drift("left over", table_name, f"trigger {name}", create))
        elif trigger is None:
            drifts.append(Drift("missing", table_name, f"trigger {name}", create))
        elif trigger.shape != TRIGGER_SHAPES[operation] or trigger.function_oid != found.function_oid:
            drifts.append(Drift("outdated", table_name, f"trigger {name}", create))
        elif not trigger.fires:
            drifts.append(Drift("disabled", table_name, f"trigger {name}", f"ALTER TABLE {wanted.qualified_table} ENABLE TRIGGER {name}."))
    drifts.extend(Drift("left over", table_name, f"trigger {name}", create) for name in found.triggers.keys() - TRIGGER_NAMES.values())
    return drifts


def _is_as_wanted(wanted: TriggerSet, found: Installed) -> bool:
    """Whether the function is what it should be; a setting of None stands for any value."""
    said = read_comment(found.comment) or {}
    resolved = said.pop("resolved", {})
    if (said, found.is_definer) != (read_comment(wanted.comment), wanted.is_definer):
        return False
    if wanted.source(resolved, found.near_log) != found.source:
        return False
    if any(resolved.get(mark) != sql for mark, sql in wanted.virtual_marks(found.virtual).items()):
        return False
    settings = wanted.settings
    return settings.keys() == found.settings.keys() and all(v is None or v == found.settings[n] for n, v in settings.items())


@dataclass(frozen=True, slots=True)
class Function:
    """A trigger function of ours, and one of the triggers that run it. It is known by its comment, or by that trigger's name and its own.

    :ivar said: what its comment says, as :func:`~sa_pgnotify.triggers.read_comment` gives it; None if that is damaged or lost.
    :ivar table_schema: where the trigger is; it, ``table``, ``trigger`` and ``visible`` are None if there is none.
    :ivar visible: whether ``search_path`` finds the table without its schema.
    """

    schema: str
    name: str
    said: dict[str, Any] | None
    table_schema: str | None
    table: str | None
    trigger: str | None
    visible: bool | None


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
    """All trigger functions of ours in the database, once for each trigger that runs them."""
    rows = (Function(schema, name, read_comment(comment), *trigger) for schema, name, comment, *trigger in execute(_FUNCTIONS))
    return [f for f in rows if f.said is not None or f.trigger in TRIGGER_NAMES.values()]


def check(bind: Engine | Connection, metadata: MetaData | Sequence[MetaData]) -> list[Drift]:
    """Return what is missing, outdated, disabled, conflicting or left over in the database; an empty list if it is as the models say.

    It reads ``pg_catalog`` and changes nothing. Triggers of tables that are not in ``metadata`` are another program's, and not reported.

    :param bind: engine or connection; its ``schema_translate_map`` is honoured.
    :param metadata: of the models; several if the database is shared by several declarative bases.
    """
    if isinstance(bind, Engine):
        with bind.connect() as connection:
            return check(connection, metadata)
    if bind.dialect.name != "postgresql":
        return []
    every = [metadata] if isinstance(metadata, MetaData) else list(metadata)
    schema_of = schema_translation(bind)
    execute = execute_on(bind)
    marked = [(t, wanted) for one in every for t, wanted in marked_sets(one.tables.values(), schema_of).items()]
    found = installed(execute, (wanted for _, wanted in marked))
    drifts = [d for table, wanted in marked for d in compare(wanted, found.get(wanted), table.fullname)]
    drifts += (d for one in every if _has_durable(one) for d in _missing_log(bind, one, schema_of))
    names = {wanted: table.fullname for table, wanted in marked if wanted in found}
    drifts += _lacking_rights(execute, names, found)
    drifts += _foreign_children(execute, names)
    default: str = bind.execute(text("SELECT pg_catalog.current_schema()")).scalar() or "public"
    known = {(wanted.schema or default, wanted.function_name) for _, wanted in marked}
    tables = {(schema_of(t.schema) or default, t.name) for one in every for t in one.tables.values()}
    return [*dict.fromkeys(drifts), *_left_over(execute, known, tables)]


def _has_durable(metadata: MetaData) -> bool:
    return any((marking := marking_of(t)) is not None and marking.durable for t in metadata.tables.values())


def _missing_log(connection: Connection, metadata: MetaData, schema_of: Callable[[str | None], str | None]) -> list[Drift]:
    """The tables of the change log that do not exist."""
    log = find_log(metadata)
    names = {} if log is None else {t.fullname: LogNames(schema_of(t.schema)).of(t.name) for t in log.tables}
    sql = text("SELECT pg_catalog.to_regclass(:name)::oid::bigint")
    absent = (name for name, quoted in names.items() if connection.execute(sql, {"name": quoted}).scalar() is None)
    return [Drift("missing", name, "the table", "Run metadata.create_all(engine), or the migration that makes it.") for name in absent]


def _lacking_rights(execute: Execute, names: dict[TriggerSet, str], found: dict[TriggerSet, Installed]) -> Iterator[Drift]:
    """What the owners of the functions of durable tables may not do with the log."""
    functions = {function: w for w in names if w.marking.durable and (function := found[w].function_oid) is not None}
    lacking = lacking_rights(execute, ((function, w.marking.log_schema) for function, w in functions.items()))
    for function, rights in lacking.items():
        mend = f"{rights.role} owns the trigger function and lacks {rights.lacking}. As the owner of the log, run: {rights.grants}"
        yield Drift("missing", names[functions[function]], f"rights of the role {rights.role} on the change log", mend)


def _foreign_children(execute: Execute, names: dict[TriggerSet, str]) -> Iterator[Drift]:
    """The foreign tables below tables whose triggers collect the rows of all that is below them."""
    for wanted, children in foreign_children_of(execute, names).items():
        for schema, name in children:
            mend = f"PostgreSQL cannot collect its changes for the triggers, and writes that reach it fail. {DETACH}"
            yield Drift("conflicting", names[wanted], f"the foreign table {quote(schema)}.{quote(name)} below the triggers", mend)


def foreign_children_of(execute: Execute, sets: Iterable[TriggerSet]) -> dict[TriggerSet, list[tuple[str, str]]]:
    """Return the foreign tables below the tables of ``sets`` that make writes fail, by schema and name."""
    asked = [(s, kinds) for s in sets if (kinds := collecting_kinds(s.marking.operations))]
    found = foreign_children(execute, ((literal(s.qualified_table), kinds) for s, kinds in asked))
    return {asked[place][0]: children for place, children in found.items()}


def _left_over(execute: Execute, known: set[tuple[str, str]], tables: set[tuple[str, str]]) -> list[Drift]:
    """Functions of ours that work for tables of the metadata, and that no marking asks for.

    :param known: schema and name of the functions that are asked for; ``tables`` schema and name of all tables of the metadata.
    """
    drifts: dict[tuple[str, str], Drift] = {}
    for f in functions(execute):
        named_after = (f.said or {}).get("table") or f.name.removeprefix(FUNCTION_PREFIX)
        place = (f.table_schema, f.table) if f.table else (f.schema, named_after)
        if (f.schema, f.name) not in known and place in tables:
            mend = f'DROP FUNCTION "{f.schema}"."{f.name}"() CASCADE, unless another program marks the table: then check its MetaData too.'
            table = f"{f.table_schema}.{f.table}" if f.table else f.schema
            drifts[f.schema, f.name] = Drift("left over", table, f"function {f.name}", mend)
    return list(drifts.values())


def marked_sets(tables: Iterable[Table], schema_of: Callable[[str | None], str | None]) -> dict[Table, TriggerSet]:
    """The trigger sets of the marked ones among ``tables``."""
    return {t: trigger_set(t, marking).in_schemas(schema_of) for t in tables if (marking := marking_of(t)) is not None}


def schema_translation(bind: Any) -> Callable[[str | None], str | None]:
    """A declared schema to the schema in force on an engine or connection (``schema_translate_map``)."""
    translations = bind.get_execution_options().get("schema_translate_map") or {}
    return lambda schema: translations.get(schema, schema)
