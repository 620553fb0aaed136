"""The statements that install and remove a table's trigger function and triggers.

They run beside the program's traffic: what is in place already must cost no lock, several processes may install at once, and what is
not ours must stay. So each is one ``DO`` statement that looks before it acts, under one advisory lock; it needs no driver's help, and
runs in autocommit and in psql as well. An install that cannot work changes nothing and raises one error.

The statement looks up the table and the log by the installing role's ``search_path``, and then sets it to ``pg_catalog`` until its end:
a role that may create operators and functions in another schema must not have them run by the role that installs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from sqlalchemy import Table

from .changelog import PREFIX as LOG
from .changelog import SLOTS, LogNames, log_schema
from .channel import DEFAULT_CHANNEL, RELATION
from .columns import TriggerColumn, as_in_database, oids_of, trigger_column
from .errors import NotifyConfigError
from .parameters import OPTIONAL, REQUIRED, from_parameters, to_parameters
from .quoting import dollar_quoted, literal, quote, quote_always
from .spec import NEW_ROW, OLD_ROW, Lookup, Marking
from .template_v1 import FunctionV1
from .template_v1_log import LogSql, bell_channel
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
NOT_PARAMETERS = ("table", "resolved")
"""What a comment says beside the parameters: the table's name where the function's does not hold it, and what the server resolved."""


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
        return self._qualified(self._quoted_function)

    @property
    def _quoted_function(self) -> str:
        # SQLAlchemy's quote() takes a name with a newline at its end for one that needs no quotes, and so does its CREATE TABLE.
        return quote_always(self.function_name)

    def _qualified(self, name: str) -> str:
        return name if self.schema is None else f"{quote(self.schema)}.{name}"

    @property
    def _home(self) -> str:
        """A step that sets ``home`` to the quoted name of the schema in which the function is made: that of the table."""
        return _HOME if self.schema is None else f"home := {literal(quote(self.schema))};"

    def as_in_database(self, types: Mapping[str, int], virtual: Iterable[str]) -> TriggerSet:
        """The same for the columns as the database has them, whose types may be others than their models say.

        :param types: column name to type OID, domains replaced by what they are made of.
        :param virtual: names of the columns that PostgreSQL computes when they are read.
        """
        generated = set(virtual)
        columns = tuple(as_in_database(c, types.get(c.name), is_virtual=c.name in generated) for c in self.columns)
        return self if columns == self.columns else replace(self, columns=columns)

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
        """The function's source, with marks in place of what only the server knows."""
        return self._template.body

    def source(self, resolved: Mapping[str, str], near_log: str | None) -> str:
        """The function's source, byte for byte what ``pg_proc.prosrc`` holds once it is installed.

        :param resolved: what the installing statement put in the place of marks, where that is not what the marking says.
        :param near_log: the schema of the log that ``search_path`` gives; None if it gives none.
        """
        given = {mark: sql for mark, (sql, _) in self._template.expressions.items()}
        given |= {c.mark(row): c.of(row) for c, row in self._virtual} | dict(resolved)
        if self.marking.durable and self.marking.log_schema is None and near_log is not None:
            names = LogNames(near_log)
            given |= {LogSql.mark(name): literal(names.of(name)) for name in self._template.log.marked_literals}
            given[LogSql.SCHEMA] = quote(near_log)
        text = self.body
        for mark, sql in given.items():
            text = text.replace(mark, sql)
        return text

    @property
    def _virtual(self) -> list[tuple[TriggerColumn, str]]:
        """The columns that may be computed when they are read, and the alias by which the body reads them."""
        return [(c, self._template.row_alias) for c in self.columns if c.virtual]

    def virtual_marks(self, virtual: Mapping[str, str]) -> dict[str, str | None]:
        """What should stand in the place of each mark of a column; None for the column itself.

        :param virtual: names of the columns that PostgreSQL computes when they are read, with what from, as SQL.
        """
        return {c.mark(row): virtual.get(c.name) for c, row in self._virtual}

    @property
    def settings(self) -> dict[str, str | None]:
        """The function's own settings; None: the value that the installing role has."""
        return self._template.settings

    @property
    def is_definer(self) -> bool:
        """Whether the function runs with its owner's rights."""
        return self._template.is_definer

    @property
    def create_function(self) -> list[str]:
        """The steps that make the function: its text, what its marks stand for, and the statements."""
        settings = " ".join(
            f"SET {name} FROM CURRENT" if value is None else f"SET {name} TO {value if name == 'search_path' else literal(value)}"
            for name, value in self.settings.items()
        )
        # Who writes to the table needs no right to the log; and who may make triggers must not make one that forges changes.
        definer = "SECURITY DEFINER " if self.is_definer else ""
        made = literal(f"() RETURNS trigger LANGUAGE plpgsql {definer}{settings} AS ")
        steps = [
            f"body := {dollar_quoted(self.body, 'function')};",
            f"comment := {literal(self.comment)};",
            *self._resolve_marks(),
            f"EXECUTE pg_catalog.concat('CREATE OR REPLACE FUNCTION ', procedure, {made}, pg_catalog.quote_literal(body));",
            _COMMENT,
        ]
        if self.is_definer:
            steps.append("EXECUTE pg_catalog.concat('REVOKE EXECUTE ON FUNCTION ', procedure, '() FROM PUBLIC');")
        return steps

    def _resolve_marks(self) -> list[str]:
        """The steps that replace the marks in the variable ``body``."""
        steps = []
        if self.marking.durable and self.marking.log_schema is None:
            steps.append(_NEAR_LOG.format(mark=literal(LogSql.SCHEMA)))
            for name in self._template.log.marked_literals:
                steps.append(_NEAR_LITERAL.format(mark=literal(LogSql.mark(name)), name=literal(f".{name}")))
        if virtual := self._virtual:
            names, marks = _array(c.name for c, _ in virtual), _array(c.mark(row) for c, row in virtual)
            steps.append(_VIRTUAL.format(virtual=VIRTUAL, names=names, marks=marks, plain=_array(c.of(row) for c, row in virtual)))
        if expressions := self._template.expressions:
            end = "sa_end"
            while any(end in sql for sql, _ in expressions.values()):
                end += "_"
            columns = ", ".join(c.quoted for c in self.columns)
            steps.append(
                self._fill(
                    _RESOLVE,
                    marks=_array(expressions),
                    given=_array(sql for sql, _ in expressions.values()),
                    kinds=_array(kind for _, kind in expressions.values()),
                    end=end,
                    select=literal(f" FROM (SELECT {columns} FROM "),
                    old=literal(f") AS {OLD_ROW}, (SELECT {columns} FROM "),
                    new=literal(f") AS {NEW_ROW}"),
                )
            )
        return steps

    def create_trigger(self, operation: str, name: str | None = None) -> str:
        """A step that makes the trigger of an operation, under another name than the usual one if that is given."""
        referencing = {
            "insert": " REFERENCING NEW TABLE AS sa_new_rows",
            "update": " REFERENCING OLD TABLE AS sa_old_rows NEW TABLE AS sa_new_rows",
            "delete": " REFERENCING OLD TABLE AS sa_old_rows",
            "truncate": "",
        }[operation]
        return (
            f"EXECUTE pg_catalog.concat('CREATE OR REPLACE TRIGGER {name or TRIGGER_NAMES[operation]} AFTER {operation.upper()} ON ', "
            f"target, '{referencing} FOR EACH STATEMENT EXECUTE FUNCTION ', procedure, '()');"
        )

    @staticmethod
    def drop_trigger(operation: str) -> str:
        """A step that drops the trigger of an operation."""
        return f"EXECUTE pg_catalog.concat('DROP TRIGGER IF EXISTS {TRIGGER_NAMES[operation]} ON ', target);"

    @property
    def create(self) -> str:
        """One statement that brings function and triggers to what they should be, and locks the table only if a trigger must change.

        A trigger that somebody disabled stays disabled, unless it has to be replaced. The statement fails, and changes nothing, if the
        table, a column or something in the condition does not exist, or if another function has the name of ours."""
        return self._create([self._fill(_NO_FIT, families=literal(json.dumps(self._type_oids)))])

    @property
    def create_enabled(self) -> str:
        """The same, and triggers that do not fire are enabled. The columns' types may be others than the triggers are made for, since a
        migration, or its downgrade, may yet alter them."""
        return self._create(enabled=True)

    @property
    def _type_oids(self) -> dict[str, tuple[int, ...]]:
        """The OIDs of the types that the function's SQL fits, by column; columns whose SQL fits every type are left out."""
        return {c.name: oids for c in self.columns if (oids := oids_of(c.family))}

    def _create(self, checks: Iterable[str] = (), *, enabled: bool = False) -> str:
        given = self.marking.channel
        steps = [self._fill(_GIVE_WAY), *self.create_function, _CREATED, self._fill(_DROP_STRAY)]
        if self.marking.durable:
            steps.insert(0, _AS_IT_IS.format(slots=_array(f"{LOG}_{slot}" for slot in range(SLOTS))))
        as_it_should = f" AND tgfoid = existing AND {TRIGGER_SHAPE} = "
        # What takes the stronger lock comes first: to want it later, while writers wait for the weaker one, is a deadlock.
        for operation, trigger in sorted(TRIGGER_NAMES.items(), key=lambda item: item[0] in self.marking.operations):
            wanted = operation in self.marking.operations
            exists = _exists(trigger, as_it_should + literal(TRIGGER_SHAPES[operation]) if wanted else "")
            change = self.create_trigger(operation) if wanted else self.drop_trigger(operation)
            steps.append(f"IF {'NOT ' if wanted else ''}{exists} THEN\n  {change}\nEND IF;")
            if wanted and enabled:
                silent = _exists(trigger, " AND tgenabled NOT IN ('O', 'A')")
                enable = f"EXECUTE pg_catalog.concat('ALTER TABLE ', target, ' ENABLE TRIGGER {trigger}');"
                steps.append(f"IF {silent} THEN\n  {enable}\nEND IF;")
        channel = _BELL if self.marking.durable else _CHANNEL.format(given="NULL" if given is None else literal(given))
        return self._do([*self._checks, *checks], steps, channel)

    @property
    def _checks(self) -> list[str]:
        """Steps that fail if the table, its columns or its name for the function will not do."""
        columns = ", ".join(c.quoted for c in self.columns)
        uses = literal(f") AS {NEW_ROW} WHERE false AND ({' OR '.join(self._template.uses)})")
        query = (
            f"pg_catalog.concat({literal(f'SELECT 1 FROM (SELECT {columns} FROM ')}, target, "
            f"{literal(f') AS {OLD_ROW}, (SELECT {columns} FROM ')}, target, {uses})"
        )
        return [
            self._fill(_NO_TABLE),
            *([self._fill(_NO_LOG)] if self.marking.durable else []),
            self._fill(_NOT_OURS),
            self._fill(_NO_COLUMN, columns=_array(c.name for c in self.columns)),
            self._fill(_NO_USE, query=query),
        ]

    @property
    def drop(self) -> str:
        """One statement that removes the triggers, if the table is there, and the function, if no other table uses it."""
        drops = [f"IF {_exists(trigger)} THEN {self.drop_trigger(operation)} END IF;" for operation, trigger in TRIGGER_NAMES.items()]
        return self._do([], [self._fill(_DROP_STRAY), "\n  ".join(["IF target IS NOT NULL THEN", *drops]) + "\nEND IF;"])

    @property
    def verify_table(self) -> str:
        """One statement that fails if there is no such table."""
        return self.statement([self._fill(_NO_TABLE)])

    def _fill(self, step: str, **more: str) -> str:
        """One of the steps below, with the names of this table and its function."""
        return step.format(
            table=literal(self.qualified_table),
            function=literal(f"{self.qualified_function}()"),
            triggers=TRIGGERS,
            ours=literal(COMMENT_PREFIX),
            prefix=literal(FUNCTION_PREFIX),
            moved=literal(MOVED),
            head=literal(LogNames(self.marking.log_schema).head),
            **more,
        )

    def _do(self, checks: Iterable[str], steps: Iterable[str], channel: str = "SELECT NULL") -> str:
        """``checks`` and ``steps`` under the lock. Then the functions that triggers of this table ran before and that nothing uses any
        more, which are those of a table that was renamed or dropped, are dropped; and listeners on their channels are informed, if these
        are other ones now.

        :param channel: SQL for where the table's triggers send from now on.
        """
        return self.statement(
            [
                f"PERFORM pg_catalog.pg_advisory_xact_lock({INSTALL_LOCK});",
                *checks,
                self._fill(_FORMER),
                *steps,
                self._fill(_DROP_UNUSED),
                self._fill(_REPORT_MOVED, channel=channel),
            ]
        )

    def statement(self, steps: Iterable[str]) -> str:
        """A ``DO`` statement that runs ``steps`` with nothing but ``pg_catalog`` on its ``search_path``."""
        declared = self._fill(_DECLARED, near=literal(LOG))
        lines = "\n".join([_SAFE, self._home, self._fill(_PROCEDURE, name=literal(f".{self._quoted_function}")), *steps, _AS_BEFORE])
        return "DO " + dollar_quoted(f"\n#variable_conflict use_column\nDECLARE\n{declared}BEGIN\n{lines}\nEND\n", "sa_pgnotify")


def _array(texts: Iterable[str]) -> str:
    """SQL for an array of texts."""
    return f"ARRAY[{', '.join(map(literal, texts))}]::text[]"


def _exists(trigger: str, condition: str = "") -> str:
    return _TRIGGER_EXISTS.format(trigger=trigger, condition=condition)


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
        TriggerSet.made(said.get("table", ""), None, **{name: value for name, value in said.items() if name not in NOT_PARAMETERS})
        return dict(said)
    return None


def _is_function_name(name: str) -> bool:
    return name.startswith(FUNCTION_PREFIX) and len(name.encode()) <= 63


_TRIGGER_EXISTS = (
    "EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = target AND tgname = '{trigger}' AND NOT tgisinternal{condition})"
)

# What is looked up by the installing role's search_path: the types have their schema, and the functions' arguments are exact.
_DECLARED = """\
  path pg_catalog.text := pg_catalog.current_setting('search_path');
  strings pg_catalog.text := pg_catalog.current_setting('standard_conforming_strings');
  target pg_catalog.regclass := pg_catalog.to_regclass({table});
  visible pg_catalog.oid := pg_catalog.to_regprocedure({function});
  existing pg_catalog.oid;
  head pg_catalog.regclass := pg_catalog.to_regclass({head});
  near_log pg_catalog.regclass := pg_catalog.to_regclass({near});
  current pg_catalog.text := pg_catalog.current_schema();
  home pg_catalog.text;
  procedure pg_catalog.text;
  former pg_catalog.oid[];
  channels pg_catalog.text[];
  unused pg_catalog.oid;
  stray pg_catalog.text;
  absent pg_catalog.text;
  body pg_catalog.text;
  comment pg_catalog.text;
  resolved pg_catalog.jsonb := '{{}}';
  probe pg_catalog.text;
  query pg_catalog.text;
  given pg_catalog.text[];
  meant pg_catalog.text;
  same pg_catalog.bool;
"""
_SAFE = """PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
PERFORM pg_catalog.set_config('standard_conforming_strings', 'on', true);"""
_HOME = """home := pg_catalog.quote_ident(coalesce((SELECT n.nspname FROM pg_catalog.pg_class AS c
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = target)::text, current));"""
_PROCEDURE = """procedure := pg_catalog.concat(home, {name});
existing := coalesce(pg_catalog.to_regprocedure(pg_catalog.concat(procedure, '()')), CASE WHEN target IS NULL THEN visible END);"""
_AS_BEFORE = """PERFORM pg_catalog.set_config('standard_conforming_strings', strings, true);
PERFORM pg_catalog.set_config('search_path', path, true);"""

_NO_TABLE = """IF EXISTS (SELECT FROM pg_catalog.pg_class WHERE oid = target AND relkind NOT IN ('r', 'p')) THEN
  RAISE EXCEPTION USING ERRCODE = 'wrong_object_type', MESSAGE = 'sa_pgnotify: ' || {table} || ' is not a table',
    HINT = 'Statement triggers that see the rows are for tables only: mark those that the view reads.';
END IF;
IF target IS NULL THEN
  RAISE EXCEPTION USING ERRCODE = 'undefined_table', MESSAGE = 'sa_pgnotify: the table ' || {table} || ' does not exist',
    HINT = 'Create the table before its triggers, and drop its triggers before the table.';
END IF;"""

# After ALTER TABLE ... RENAME, the triggers of that table run the function that the new table of the old name needs.
_GIVE_WAY = """IF EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgfoid = existing AND tgrelid <> target) THEN
  EXECUTE pg_catalog.format('ALTER FUNCTION %s RENAME TO %I', existing::regprocedure, pg_catalog.concat({prefix}, existing));
END IF;"""
_CREATED = "existing := pg_catalog.to_regprocedure(pg_catalog.concat(procedure, '()'));"

_DROP_STRAY = """FOR stray IN SELECT tgname FROM pg_catalog.pg_trigger WHERE tgrelid = target
    AND tgfoid = existing AND tgname NOT IN ({triggers})
    AND pg_catalog.starts_with(pg_catalog.obj_description(tgfoid, 'pg_proc'), {ours}) LOOP
  EXECUTE pg_catalog.format('DROP TRIGGER %I ON %s', stray, target);
END LOOP;"""

_NOT_OURS = """IF EXISTS (SELECT FROM pg_catalog.pg_proc AS f WHERE f.oid = existing
    AND NOT pg_catalog.starts_with(coalesce(pg_catalog.obj_description(f.oid, 'pg_proc'), ''), {ours})
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgfoid = f.oid AND tgname IN ({triggers}))) THEN
  RAISE EXCEPTION USING ERRCODE = 'duplicate_function', MESSAGE = 'sa_pgnotify: the function ' || {function} || ' is not ours',
    HINT = 'Ours for this table needs its name: rename the other one.';
END IF;"""

_NO_LOG = """IF head IS NULL THEN
  RAISE EXCEPTION USING ERRCODE = 'undefined_table', MESSAGE = 'sa_pgnotify: the change log ' || {head} || ' does not exist',
    HINT = 'Durable changes are written there. Create all tables of the MetaData, or those of its ChangeLog, before the triggers.';
END IF;"""

# What SQLAlchemy's tables cannot say: texts are stored as they are, on the row's own page if it has room, for to compress them takes
# longer than to write them.
_AS_IT_IS = """FOR stray IN SELECT s.oid::regclass FROM pg_catalog.pg_class AS h JOIN pg_catalog.pg_class AS s USING (relnamespace)
    JOIN pg_catalog.pg_attribute AS a ON a.attrelid = s.oid
    WHERE h.oid = head AND s.relname = ANY ({slots}) AND a.attname = 'rows' AND a.attstorage <> 'e' LOOP
  EXECUTE pg_catalog.format('ALTER TABLE %s ALTER COLUMN rows SET STORAGE EXTERNAL, SET (toast_tuple_target = 8160)', stray);
END LOOP;"""

_NO_COLUMN = """SELECT pg_catalog.string_agg(pg_catalog.quote_ident(name), ', ') INTO absent FROM pg_catalog.unnest({columns}) AS name
  WHERE name NOT IN (SELECT attname FROM pg_catalog.pg_attribute WHERE attrelid = target AND attnum > 0 AND NOT attisdropped);
IF absent IS NOT NULL THEN
  RAISE EXCEPTION USING ERRCODE = 'undefined_column', MESSAGE = 'sa_pgnotify: the table ' || {table} || ' has no column ' || absent,
    HINT = 'Add columns before the triggers that read them, and drop columns after.';
END IF;"""

_NO_FIT = """SELECT pg_catalog.string_agg(pg_catalog.format('column %I is of type %s', a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod)),
    ', ') INTO absent FROM pg_catalog.jsonb_each({families}::jsonb) AS f JOIN pg_catalog.pg_attribute AS a ON a.attname = f.key
  WHERE a.attrelid = target AND NOT f.value @> pg_catalog.to_jsonb((WITH RECURSIVE b (oid, base) AS (
      SELECT y.oid, y.typbasetype FROM pg_catalog.pg_type AS y WHERE y.oid = a.atttypid
      UNION ALL SELECT y.oid, y.typbasetype FROM b JOIN pg_catalog.pg_type AS y ON y.oid = b.base)
    SELECT b.oid::bigint FROM b WHERE b.base = 0));
IF absent IS NOT NULL THEN
  RAISE EXCEPTION USING ERRCODE = 'datatype_mismatch', MESSAGE = 'sa_pgnotify: triggers of ' || {table} || ' would fail: ' || absent
      || ', and the model says otherwise',
    HINT = 'Declare the types that the columns have, or install by metadata.create_all(engine), which looks them up.';
END IF;"""

# Only what is not there: types and new values of an enum may yet change, in this revision or, when it is undone, after this step.
_NO_USE = """BEGIN
  EXECUTE {query};
EXCEPTION WHEN syntax_error OR undefined_column OR undefined_table OR grouping_error THEN
  RAISE EXCEPTION USING ERRCODE = SQLSTATE, MESSAGE = 'sa_pgnotify: triggers of ' || {table} || ' would fail: ' || SQLERRM,
    HINT = 'The columns do not fit the table as it is now.';
WHEN datatype_mismatch OR undefined_function OR unsafe_new_enum_value_usage OR invalid_text_representation THEN
  NULL;
END;"""

_LOG_SCHEMA = """(SELECT pg_catalog.quote_ident(n.nspname) FROM pg_catalog.pg_class AS c
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = head)"""
_NEAR_LOG = f"body := pg_catalog.replace(body, {{mark}}, {_LOG_SCHEMA});"
_NEAR_LITERAL = f"body := pg_catalog.replace(body, {{mark}}, pg_catalog.quote_literal(pg_catalog.concat({_LOG_SCHEMA}, {{name}})));"

# A virtual generated column is NULL in a transition table: it is computed from the table's own expression.
VIRTUAL = (
    "pg_catalog.format('((%s)::%s)', pg_catalog.pg_get_expr(d.adbin, d.adrelid), pg_catalog.format_type(a.atttypid, a.atttypmod))"
)
"""SQL for the value of a virtual generated column, given its rows ``a`` of pg_attribute and ``d`` of pg_attrdef."""
_VIRTUAL = """FOR place IN 1 .. pg_catalog.cardinality({names}) LOOP
  meant := (SELECT {virtual}
    FROM pg_catalog.pg_attribute AS a JOIN pg_catalog.pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attrelid = target AND a.attname = ({names})[place] AND a.attgenerated = 'v');
  body := pg_catalog.replace(body, ({marks})[place], coalesce(meant, ({plain})[place]));
  IF meant IS NOT NULL THEN
    resolved := resolved || pg_catalog.jsonb_build_object(({marks})[place], meant);
  END IF;
END LOOP;"""

# The names in a condition mean what they mean to the role that installs it, now and later: PostgreSQL binds them in the body of an SQL
# function, and writes them with their schemas where pg_catalog alone would not find the same.
_RESOLVE = """given := {given};
FOR place IN 1 .. pg_catalog.cardinality(given) LOOP
  probe := pg_catalog.concat(home, '.', pg_catalog.quote_ident(pg_catalog.concat({prefix}, pg_catalog.gen_random_uuid())), '()');
  query := pg_catalog.concat('FUNCTION ', probe, ' RETURNS pg_catalog.', ({kinds})[place], ' LANGUAGE sql BEGIN ATOMIC SELECT ',
    given[place], ' AS {end}', {select}, target, {old}, target, {new}, '; END');
  BEGIN
    PERFORM pg_catalog.set_config('search_path', path, true);
    EXECUTE pg_catalog.concat('CREATE ', query);
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    absent := (SELECT pg_catalog.string_agg(DISTINCT pg_catalog.format('%s, which belongs to %I',
        pg_catalog.pg_describe_object(d.refclassid, d.refobjid, 0), r.rolname), ', ')
      FROM pg_catalog.pg_depend AS d LEFT JOIN pg_catalog.pg_operator AS o ON d.refclassid = 'pg_operator'::regclass AND o.oid = d.refobjid
      JOIN pg_catalog.pg_proc AS f ON f.oid = CASE WHEN d.refclassid = 'pg_proc'::regclass THEN d.refobjid ELSE o.oprcode END
      JOIN pg_catalog.pg_roles AS r ON r.oid IN (f.proowner, o.oprowner)
      WHERE d.classid = 'pg_proc'::regclass AND d.objid = pg_catalog.to_regprocedure(probe)
        AND NOT r.rolsuper AND r.rolname <> current_user);
    IF absent IS NOT NULL THEN
      RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
        MESSAGE = 'sa_pgnotify: triggers of ' || {table} || ' would run ' || absent,
        HINT = 'That role could change what it does. Cast the operands so that what pg_catalog has fits exactly, or let a superuser '
          'or the role that installs the triggers own it.';
    END IF;
    meant := pg_catalog.pg_get_function_sqlbody(pg_catalog.to_regprocedure(probe));
    BEGIN
      EXECUTE pg_catalog.concat('CREATE OR REPLACE ', query);
      same := pg_catalog.pg_get_function_sqlbody(pg_catalog.to_regprocedure(probe)) = meant;
    EXCEPTION WHEN OTHERS THEN
      same := false;
    END;
    IF NOT same THEN
      given[place] := pg_catalog.substr(meant, pg_catalog.strpos(meant, 'SELECT ') + 7,
        pg_catalog.strpos(meant, ' AS {end}') - pg_catalog.strpos(meant, 'SELECT ') - 7);
      resolved := resolved || pg_catalog.jsonb_build_object(({marks})[place], given[place]);
    END IF;
    EXECUTE pg_catalog.concat('DROP FUNCTION ', probe);
    -- Whether the role that installs, with whose rights the function runs, may read what it reads.
    EXECUTE pg_catalog.concat('SELECT ', given[place], {select}, target, {old}, target, {new}, ' WHERE false');
  EXCEPTION WHEN syntax_error OR undefined_column OR undefined_table OR grouping_error THEN
    RAISE EXCEPTION USING ERRCODE = SQLSTATE, MESSAGE = 'sa_pgnotify: triggers of ' || {table} || ' would fail: ' || SQLERRM,
      HINT = 'The condition does not fit the table as it is now.';
  WHEN datatype_mismatch OR undefined_function OR unsafe_new_enum_value_usage OR invalid_text_representation
      OR invalid_function_definition THEN
    NULL; -- as for the columns, above
  END;
  body := pg_catalog.replace(body, ({marks})[place], given[place]);
END LOOP;"""

_COMMENT = """IF resolved <> '{}' THEN
  comment := pg_catalog.concat(pg_catalog.left(comment, -1), ', "resolved": ', resolved, '}');
END IF;
EXECUTE pg_catalog.concat('COMMENT ON FUNCTION ', procedure, '() IS ', pg_catalog.quote_literal(comment));"""


def _channel(given: str, schema: str, table: str) -> str:
    """SQL for the channel of triggers: the given one, which may be NULL, or that of a table."""
    return f"coalesce({given}, {DEFAULT_CHANNEL.format(name=RELATION.format(schema=schema, table=table))})"


_CHANNEL = f"""SELECT {_channel("{given}", "n.nspname", "c.relname")} FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = target"""

_BELL = f"SELECT {bell_channel('head::oid')}"

_NAMED_AFTER = f"coalesce(said.it ->> 'table', substr(f.proname, {len(FUNCTION_PREFIX) + 1}))"
_LOG_OF_COMMENT = (
    "CASE WHEN said.it ->> 'log_schema' IS NULL THEN near_log "
    f"ELSE pg_catalog.to_regclass(pg_catalog.quote_ident(said.it ->> 'log_schema') || '.{LOG}') END"
)
# A function is named after its table, as it was called then; its comment tells what its name cannot.
_FORMER = f"""former := ARRAY(SELECT tgfoid FROM pg_catalog.pg_trigger
  WHERE tgrelid = target AND tgname IN ({{triggers}}) AND NOT tgisinternal
  UNION SELECT f.oid FROM pg_catalog.pg_proc AS f WHERE f.oid = existing
    AND pg_catalog.starts_with(pg_catalog.obj_description(f.oid, 'pg_proc'), {{ours}}));
BEGIN
  channels := ARRAY(SELECT CASE WHEN (said.it ->> 'durable')::boolean
      THEN {bell_channel(f"({_LOG_OF_COMMENT})::oid")}
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

_REPORT_MOVED = """BEGIN
  PERFORM pg_catalog.pg_notify(channel, {moved}) FROM pg_catalog.unnest(channels) AS channel WHERE channel IS DISTINCT FROM ({channel});
EXCEPTION WHEN insufficient_privilege THEN
  RAISE WARNING 'sa_pgnotify: running listeners do not hear that triggers changed, since pg_notify() is not allowed: restart them';
END;"""
