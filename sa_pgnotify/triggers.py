"""The statements that install and remove a table's trigger function and triggers.

It is hard because they run beside the program's traffic: what is in place already must cost no lock, several processes may install at
once, and what is not ours must stay. So each is one ``DO`` statement that looks before it acts, under one advisory lock; it needs no
driver's help, and runs in autocommit and in psql as well.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from sqlalchemy import Table

from .changelog import PREFIX as LOG
from .changelog import LogNames, log_schema
from .channel import DEFAULT_CHANNEL, RELATION
from .columns import TriggerColumn, trigger_column
from .errors import NotifyConfigError
from .parameters import OPTIONAL, REQUIRED, from_parameters, to_parameters
from .quoting import dollar_quoted, literal, quote, quote_always
from .spec import NEW_ROW, OLD_ROW, Lookup, Marking
from .template_v1 import FunctionV1
from .template_v1_log import bell_channel
from .wire import MOVED

__all__ = ["TriggerSet", "read_comment", "trigger_set"]

TEMPLATES = {1: FunctionV1}
"""What makes the function, by template version. Old ones stay: migrations name them."""
VERSION = max(TEMPLATES)
INSTALL_LOCK = int.from_bytes(hashlib.sha256(b"sa_pgnotify").digest()[:7], "big")
"""Key of the advisory lock under which processes that start at once install one after the other: concurrent
CREATE OR REPLACE FUNCTION fails with "tuple concurrently updated"."""

TRIGGER_NAMES = {operation: f"sa_pgnotify_{operation}" for operation in ("insert", "update", "delete", "truncate")}
TRIGGERS = ", ".join(literal(name) for name in TRIGGER_NAMES.values())
TRIGGER_SHAPE = "pg_catalog.concat(tgtype, ' ', tgoldtable, ' ', tgnewtable, ' ', tgqual IS NULL)"
TRIGGER_SHAPES = {
    "insert": "4  sa_new_rows t",
    "update": "16 sa_old_rows sa_new_rows t",
    "delete": "8 sa_old_rows  t",
    "truncate": "32   t",
}
"""SQL for the columns of pg_trigger that CREATE TRIGGER fills, and what they hold for ours: the bit of the operation (AFTER and FOR EACH
STATEMENT have none), the transition tables, and no WHEN."""
FUNCTION_PREFIX = "sa_pgnotify_"
COMMENT_PREFIX = "sa_pgnotify "


@dataclass(frozen=True, kw_only=True)
class TriggerSet:
    """One table's trigger function and triggers, as SQL text ready to be sent as it stands (no driver's escaping in it).

    :ivar schema: schema of table and function, or None for the one that ``search_path`` gives.
    :ivar version: the template that makes the function, a key of ``TEMPLATES``.
    :ivar function: the function's bare name, if it is not the one that goes with the table's name.
    """

    table: str
    schema: str | None
    marking: Marking
    columns: tuple[TriggerColumn, ...]
    version: int = VERSION
    function: str | None = None

    @classmethod
    def made(cls, table: str, schema: str | None, *, version: int, function: str | None = None, **parameters: Any) -> TriggerSet:
        """The one that :attr:`parameters` tell of.

        :raises NotifyConfigError: if they make no trigger, or this library does not know the template version.
        """
        if not isinstance(table, str):
            raise NotifyConfigError(repr(table), "it is no name of a table. Give text")
        if function is not None and not (isinstance(function, str) and _is_function_name(function)):
            raise NotifyConfigError(table, f"function={function!r} is no name of ours: {FUNCTION_PREFIX} and more, in at most 63 bytes")
        if type(version) is not int or version not in TEMPLATES:
            raise NotifyConfigError(
                table,
                f"its triggers are of template version {version!r}, and this sa_pgnotify knows {', '.join(map(str, TEMPLATES))}. "
                "Install the sa_pgnotify that wrote it, or a newer one",
            )
        for problem, names in (("lack", REQUIRED - parameters.keys()), ("have an unknown", parameters.keys() - REQUIRED - OPTIONAL)):
            if names:
                raise NotifyConfigError(
                    table,
                    f"the arguments of its triggers {problem} {min(names)!r}; they are {', '.join(sorted(REQUIRED))}, version, "
                    f"and optionally {', '.join(sorted(OPTIONAL))}, function",
                )
        marking, columns = from_parameters(table, **parameters)
        return cls(table=table, schema=schema, marking=marking, columns=columns, version=version, function=function)

    @classmethod
    def only_named(cls, table: str, schema: str | None, function: str | None = None) -> TriggerSet:
        """One of which nothing is known but where it is, which is enough to drop it."""
        nothing = Marking(operations=(), values=(), update_of=(), condition=None, channel=None, key=())
        return cls(table=table, schema=schema, marking=nothing, columns=(), function=function)

    @property
    def parameters(self) -> dict[str, Any]:
        """What :meth:`made` needs beside table and schema, as plain data."""
        named = {"function": self.function} if self.function else {}
        return {**to_parameters(self.marking, self.columns), **named, "version": self.version}

    def in_schemas(self, schema_of: Callable[[str | None], str | None]) -> TriggerSet:
        """The same in other schemas.

        :param schema_of: a declared schema to the schema in force (``schema_translate_map``).
        """
        marking, lookup = self.marking, self.marking.discriminator
        if isinstance(lookup, Lookup):
            marking = replace(marking, discriminator=replace(lookup, schema=schema_of(lookup.schema)))
        if marking.durable:
            marking = replace(marking, log_schema=schema_of(marking.log_schema))
        return replace(self, schema=schema_of(self.schema), marking=marking)

    @property
    def function_name(self) -> str:
        """Bare name of the function; a hash stands for the table's name where that would make more than PostgreSQL's 63 bytes."""
        name = self.function or f"{FUNCTION_PREFIX}{self.table}"
        return name if _is_function_name(name) else f"{FUNCTION_PREFIX}{hashlib.sha256(self.table.encode()).hexdigest()[:32]}"

    @property
    def qualified_table(self) -> str:
        return self._qualified(quote(self.table))

    @property
    def qualified_function(self) -> str:
        # SQLAlchemy's quote() takes a name with a newline at its end for one that needs no quotes, and so does its CREATE TABLE.
        return self._qualified(quote_always(self.function_name))

    def _qualified(self, name: str) -> str:
        return name if self.schema is None else f"{quote(self.schema)}.{name}"

    @property
    def comment(self) -> str:
        """The comment on the function: who made it, and from what, so that it can be read back."""
        said = {name: value for name, value in self.parameters.items() if name != "function"}
        if self.function_name != self.function and self.function_name != FUNCTION_PREFIX + self.table:
            said["table"] = self.table  # a hash does not tell
        return COMMENT_PREFIX + json.dumps(said, ensure_ascii=False)

    @cached_property
    def _template(self) -> FunctionV1:
        return TEMPLATES[self.version](self.marking, self.columns)

    @cached_property
    def body(self) -> str:
        """The function's source, byte for byte what ``pg_proc.prosrc`` holds once it is installed."""
        return self._template.body

    @property
    def settings(self) -> dict[str, str | None]:
        """The function's own settings; None: as whoever installs it has it."""
        return self._template.settings

    @property
    def create_function(self) -> str:
        body = dollar_quoted(self.body, "function")
        settings = " ".join(
            f"SET {name} FROM CURRENT" if value is None else f"SET {name} TO {value if name == 'search_path' else literal(value)}"
            for name, value in self.settings.items()
        )
        # Who writes to the table needs no right to the log; and who may make triggers must not make one that forges changes.
        definer = "SECURITY DEFINER " if self.marking.durable else ""
        steps = [
            f"CREATE OR REPLACE FUNCTION {self.qualified_function}() RETURNS trigger LANGUAGE plpgsql {definer}{settings} AS {body};",
            f"COMMENT ON FUNCTION {self.qualified_function}() IS {literal(self.comment)};",
        ]
        if self.marking.durable:
            steps.append(f"REVOKE EXECUTE ON FUNCTION {self.qualified_function}() FROM PUBLIC;")
            if self.settings["search_path"] is None:
                steps.append(self._fill(_SECURE_PATH, path=self._fill(_LOGS_PATH if self._template.is_qualified else _INSTALLERS_PATH)))
        return "\n".join(steps)

    def create_trigger(self, operation: str) -> str:
        referencing = {
            "insert": " REFERENCING NEW TABLE AS sa_new_rows",
            "update": " REFERENCING OLD TABLE AS sa_old_rows NEW TABLE AS sa_new_rows",
            "delete": " REFERENCING OLD TABLE AS sa_old_rows",
            "truncate": "",
        }[operation]
        return (
            f"CREATE OR REPLACE TRIGGER {TRIGGER_NAMES[operation]} AFTER {operation.upper()} ON {self.qualified_table}{referencing} "
            f"FOR EACH STATEMENT EXECUTE FUNCTION {self.qualified_function}();"
        )

    def drop_trigger(self, operation: str) -> str:
        return f"DROP TRIGGER IF EXISTS {TRIGGER_NAMES[operation]} ON {self.qualified_table};"

    @property
    def create(self) -> str:
        """One statement that brings function and triggers to what they should be, and locks the table only if a trigger must change.
        A trigger that somebody disabled stays disabled, unless it has to be replaced."""
        return self._create()

    @property
    def create_enabled(self) -> str:
        """The same, and triggers that do not fire are enabled."""
        return self._create(enabled=True)

    def _create(self, *, enabled: bool = False) -> str:
        given = self.marking.channel
        steps = [self._fill(_GIVE_WAY), self.create_function, self._fill(_DROP_STRAY)]
        if self.marking.durable:
            log = LogNames(self.marking.log_schema)
            steps[:0] = [self._fill(_NO_LOG), self._fill(_AS_IT_IS, slots=f"ARRAY[{', '.join(map(literal, log.slots))}]")]
        as_it_should = self._fill(f" AND tgfoid = {{function}}::regprocedure AND {TRIGGER_SHAPE} = ")
        # What takes the stronger lock comes first: to want it later, while writers wait for the weaker one, is a deadlock.
        for operation, trigger in sorted(TRIGGER_NAMES.items(), key=lambda item: item[0] in self.marking.operations):
            wanted = operation in self.marking.operations
            exists = self._exists(trigger, as_it_should + literal(TRIGGER_SHAPES[operation]) if wanted else "")
            change = self.create_trigger(operation) if wanted else self.drop_trigger(operation)
            steps.append(f"IF {'NOT ' if wanted else ''}{exists} THEN\n  {change}\nEND IF;")
            if wanted and enabled:
                silent = self._exists(trigger, " AND tgenabled NOT IN ('O', 'A')")
                steps.append(f"IF {silent} THEN\n  ALTER TABLE {self.qualified_table} ENABLE TRIGGER {trigger};\nEND IF;")
        if self.marking.durable:
            return self._do(steps, self._fill(_BELL))
        return self._do(steps, self._fill(_CHANNEL, given="NULL" if given is None else literal(given)))

    @property
    def drop(self) -> str:
        """One statement that removes the triggers, if the table is there, and the function, if no other table uses it."""
        there = self._fill("pg_catalog.to_regclass({table}) IS NOT NULL")
        drops = [f"IF {self._exists(trigger)} THEN {self.drop_trigger(operation)} END IF;" for operation, trigger in TRIGGER_NAMES.items()]
        return self._do([self._fill(_DROP_STRAY), "\n  ".join([f"IF {there} THEN", *drops]) + "\nEND IF;"])

    @property
    def verify_table(self) -> str:
        """One statement that fails if there is no such table."""
        return _do("", [self._fill(_NO_TABLE)])

    @property
    def verify(self) -> str:
        """One statement that fails if the table, a column or something in the condition does not exist, or if somebody else's function has
        the name of ours.

        Nothing of that would stop the triggers from being made; they would fail, and tell a gap, whenever they fire."""
        names = ", ".join(literal(c.name) for c in self.columns)
        row = f"(SELECT {', '.join(c.quoted for c in self.columns)} FROM {self.qualified_table})"
        query = f"SELECT 1 FROM {row} AS {OLD_ROW}, {row} AS {NEW_ROW} WHERE false AND ({' OR '.join(self._template.uses)})"
        return _do(
            "  absent text;\n",
            [
                self._fill(_NO_TABLE),
                *([self._fill(_NO_LOG)] if self.marking.durable else []),
                self._fill(_NOT_OURS),
                self._fill(_NO_COLUMN, columns=names),
                self._fill(_NO_USE, query=literal(query)),
            ],
        )

    def _exists(self, trigger: str, condition: str = "") -> str:
        return self._fill(_TRIGGER_EXISTS, trigger=trigger, condition=condition)

    def _fill(self, step: str, **more: str) -> str:
        """One of the steps below, with the names of this table and its function."""
        table, function = literal(self.qualified_table), literal(f"{self.qualified_function}()")
        return step.format(
            table=table,
            function=function,
            triggers=TRIGGERS,
            ours=literal(COMMENT_PREFIX),
            prefix=literal(FUNCTION_PREFIX),
            moved=literal(MOVED),
            head=literal(LogNames(self.marking.log_schema).head),
            **more,
        )

    def _do(self, steps: Iterable[str], channel: str = "SELECT NULL") -> str:
        """``steps`` under the lock. Then the functions that triggers of this table ran before and that nothing uses any more, which
        are those of a table that was renamed or dropped, are dropped; and who listens where these told is told, if that changes.

        :param channel: SQL for where the table's triggers tell from now on.
        """
        return _do(
            "  former oid[];\n  channels text[];\n  unused oid;\n  stray text;\n",
            [
                f"PERFORM pg_catalog.pg_advisory_xact_lock({INSTALL_LOCK});",
                self._fill(_FORMER),
                *steps,
                self._fill(_DROP_UNUSED),
                self._fill(_TELL_MOVED, channel=channel),
            ],
        )


def trigger_set(table: Table, marking: Marking) -> TriggerSet:
    """What makes the triggers of ``table``, marked as ``marking``, in the schemas that are declared."""
    columns = tuple(trigger_column(c) for c in table.columns if not c.system)
    lookup = marking.discriminator
    if isinstance(lookup, Lookup) and lookup.beside:
        marking = replace(marking, discriminator=replace(lookup, schema=table.schema, beside=False))
    if marking.durable:
        marking = replace(marking, log_schema=log_schema(table.metadata, marking.log_schema))
    return TriggerSet(table=table.name, schema=table.schema, marking=marking, columns=columns)


def read_comment(comment: str | None) -> dict[str, Any] | None:
    """What the comment on a function of ours says of it: the arguments of :meth:`TriggerSet.made`, and the table's name if the
    function's does not hold it. None if somebody has written another comment, or damaged ours; that of a newer template version is not
    looked into."""
    if comment is None or not comment.startswith(COMMENT_PREFIX):
        return None
    with suppress(ValueError, TypeError, NotifyConfigError):
        said = json.loads(comment[len(COMMENT_PREFIX) :])
        if type(said["version"]) is int and said["version"] not in TEMPLATES:
            return {"version": said["version"]}
        TriggerSet.made(said.get("table", ""), None, **{name: value for name, value in said.items() if name != "table"})
        return dict(said)
    return None


def _is_function_name(name: str) -> bool:
    return name.startswith(FUNCTION_PREFIX) and len(name.encode()) <= 63


def _do(declarations: str, steps: Iterable[str]) -> str:
    declare = f"DECLARE\n{declarations}" if declarations else ""
    return "DO " + dollar_quoted(f"\n#variable_conflict use_column\n{declare}BEGIN\n" + "\n".join(steps) + "\nEND\n", "sa_pgnotify")


_TRIGGER_EXISTS = (
    "EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = {table}::regclass AND tgname = '{trigger}' AND NOT tgisinternal{condition})"
)

_NO_TABLE = """IF EXISTS (SELECT FROM pg_catalog.pg_class WHERE oid = pg_catalog.to_regclass({table}) AND relkind NOT IN ('r', 'p')) THEN
  RAISE EXCEPTION USING ERRCODE = 'wrong_object_type', MESSAGE = 'sa_pgnotify: ' || {table} || ' is not a table',
    HINT = 'Statement triggers that see the rows are for tables only: mark those that the view reads.';
END IF;
IF pg_catalog.to_regclass({table}) IS NULL THEN
  RAISE EXCEPTION USING ERRCODE = 'undefined_table', MESSAGE = 'sa_pgnotify: the table ' || {table} || ' does not exist',
    HINT = 'Create the table before its triggers, and drop its triggers before the table.';
END IF;"""

# After ALTER TABLE ... RENAME, the triggers of that table run the function that the new table of the old name needs.
_GIVE_WAY = """IF EXISTS (SELECT FROM pg_catalog.pg_trigger
    WHERE tgfoid = pg_catalog.to_regprocedure({function}) AND tgrelid <> {table}::regclass) THEN
  EXECUTE pg_catalog.format('ALTER FUNCTION %s RENAME TO %I', pg_catalog.to_regprocedure({function}),
    pg_catalog.concat({prefix}, pg_catalog.to_regprocedure({function})::oid));
END IF;"""

_DROP_STRAY = """FOR stray IN SELECT tgname FROM pg_catalog.pg_trigger WHERE tgrelid = pg_catalog.to_regclass({table})
    AND tgfoid = pg_catalog.to_regprocedure({function}) AND tgname NOT IN ({triggers})
    AND pg_catalog.starts_with(pg_catalog.obj_description(tgfoid, 'pg_proc'), {ours}) LOOP
  EXECUTE pg_catalog.format('DROP TRIGGER %I ON %s', stray, {table}::regclass);
END LOOP;"""

_NOT_OURS = """IF EXISTS (SELECT FROM pg_catalog.pg_proc AS f WHERE f.oid = pg_catalog.to_regprocedure({function})
    AND NOT pg_catalog.starts_with(coalesce(pg_catalog.obj_description(f.oid, 'pg_proc'), ''), {ours})
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgfoid = f.oid AND tgname IN ({triggers}))) THEN
  RAISE EXCEPTION USING ERRCODE = 'duplicate_function', MESSAGE = 'sa_pgnotify: the function ' || {function} || ' is not ours',
    HINT = 'Ours for this table needs its name: rename the other one.';
END IF;"""

_NO_LOG = """IF pg_catalog.to_regclass({head}) IS NULL THEN
  RAISE EXCEPTION USING ERRCODE = 'undefined_table', MESSAGE = 'sa_pgnotify: the change log ' || {head} || ' does not exist',
    HINT = 'Durable changes are written there. Create all tables of the MetaData, or those of its ChangeLog, before the triggers.';
END IF;"""

# What SQLAlchemy's tables cannot say: texts are stored as they are, on the row's own page if it has room, for to compress them takes
# longer than to write them.
_AS_IT_IS = """FOR stray IN SELECT slot FROM unnest({slots}) AS slot JOIN pg_catalog.pg_attribute AS a ON attrelid = slot::regclass
    WHERE attname = 'rows' AND attstorage <> 'e' LOOP
  EXECUTE pg_catalog.format('ALTER TABLE %s ALTER COLUMN rows SET STORAGE EXTERNAL, SET (toast_tuple_target = 8160)', stray);
END LOOP;"""

# Of a function that runs with its owner's rights, the temporary tables of whoever calls it come last.
_SECURE_PATH = "EXECUTE pg_catalog.format('ALTER FUNCTION %s SET search_path TO %s', {function}, {path});"
_LOGS_PATH = """(SELECT pg_catalog.concat('pg_catalog, ', pg_catalog.quote_ident(n.nspname), ', pg_temp') FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = {head}::regclass)"""
_INSTALLERS_PATH = "pg_catalog.concat(nullif(pg_catalog.current_setting('search_path'), '') || ', ', 'pg_temp')"

_NO_COLUMN = """SELECT pg_catalog.string_agg(pg_catalog.quote_ident(name), ', ') INTO absent FROM unnest(ARRAY[{columns}]::text[]) AS name
  WHERE name NOT IN (SELECT attname FROM pg_catalog.pg_attribute
    WHERE attrelid = {table}::regclass AND attnum > 0 AND NOT attisdropped);
IF absent IS NOT NULL THEN
  RAISE EXCEPTION USING ERRCODE = 'undefined_column', MESSAGE = 'sa_pgnotify: the table ' || {table} || ' has no column ' || absent,
    HINT = 'Add columns before the triggers that read them, and drop columns after.';
END IF;"""

# Only what is not there: types and new values of an enum may yet change, in this revision or, when it is undone, after this step.
_NO_USE = """BEGIN
  EXECUTE {query};
EXCEPTION WHEN syntax_error OR undefined_column OR undefined_table OR grouping_error THEN
  RAISE EXCEPTION USING ERRCODE = SQLSTATE, MESSAGE = 'sa_pgnotify: triggers of ' || {table} || ' would fail: ' || SQLERRM,
    HINT = 'The condition, or the columns, do not fit the table as it is now.';
WHEN datatype_mismatch OR undefined_function OR unsafe_new_enum_value_usage OR invalid_text_representation THEN
  NULL;
END;"""


def _channel(given: str, schema: str, table: str) -> str:
    """SQL for the channel of triggers: the given one, which may be NULL, or that of a table."""
    return f"coalesce({given}, {DEFAULT_CHANNEL.format(name=RELATION.format(schema=schema, table=table))})"


_CHANNEL = f"""SELECT {_channel("{given}", "n.nspname", "c.relname")} FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = {{table}}::regclass"""

_BELL = f"SELECT {bell_channel('{head}::regclass::oid')}"

_NAMED_AFTER = f"coalesce(said.it ->> 'table', substr(f.proname, {len(FUNCTION_PREFIX) + 1}))"
_LOG_OF_COMMENT = f"pg_catalog.concat(pg_catalog.quote_ident(said.it ->> 'log_schema') || '.', '{LOG}')"
# A function is named after its table, as it was called then; its comment tells what its name cannot.
_FORMER = f"""former := ARRAY(SELECT tgfoid FROM pg_catalog.pg_trigger
  WHERE tgrelid = pg_catalog.to_regclass({{table}}) AND tgname IN ({{triggers}}) AND NOT tgisinternal
  UNION SELECT f.oid FROM pg_catalog.pg_proc AS f WHERE f.oid = pg_catalog.to_regprocedure({{function}})
    AND pg_catalog.starts_with(pg_catalog.obj_description(f.oid, 'pg_proc'), {{ours}}));
BEGIN
  channels := ARRAY(SELECT CASE WHEN (said.it ->> 'durable')::boolean
      THEN {bell_channel(f"pg_catalog.to_regclass({_LOG_OF_COMMENT})::oid")}
      ELSE {_channel("said.it ->> 'channel'", "n.nspname", _NAMED_AFTER)} END
    FROM pg_catalog.pg_proc AS f JOIN pg_catalog.pg_namespace AS n ON n.oid = f.pronamespace
    CROSS JOIN LATERAL (SELECT substr(pg_catalog.obj_description(f.oid, 'pg_proc'), {len(COMMENT_PREFIX) + 1})::json AS it) AS said
    WHERE f.oid = ANY (former) AND pg_catalog.starts_with(pg_catalog.obj_description(f.oid, 'pg_proc'), {{ours}}));
EXCEPTION WHEN data_exception THEN
  channels := ARRAY[]::text[]; -- a comment is damaged
END;"""

_DROP_UNUSED = """FOREACH unused IN ARRAY former LOOP
  IF EXISTS (SELECT FROM pg_catalog.pg_proc AS f WHERE f.oid = unused AND pg_catalog.starts_with(f.proname, {prefix}))
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgfoid = unused) THEN
    EXECUTE pg_catalog.concat('DROP FUNCTION ', unused::regprocedure);
  END IF;
END LOOP;"""

_TELL_MOVED = """BEGIN
  PERFORM pg_catalog.pg_notify(channel, {moved}) FROM unnest(channels) AS channel WHERE channel IS DISTINCT FROM ({channel});
EXCEPTION WHEN insufficient_privilege THEN
  RAISE WARNING 'sa_pgnotify: listeners are not told that triggers changed, since pg_notify() is not allowed: start them anew';
END;"""
