"""The statements that install and remove a table's trigger function and triggers.

They run beside the program's traffic: what is in place already must cost no lock, several processes
may install at once, and what is not ours must stay. So each is one ``DO`` statement that looks
before it acts, under one advisory lock; it needs no driver's help, and runs in autocommit and in
psql as well. An install that cannot work changes nothing and raises one error.

The statement looks up the table and the log by the installing role's ``search_path``, and then sets
it to ``pg_catalog`` until its end: a role that may create operators and functions in another schema
must not have them run by the role that installs.
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

from ..errors import NotifyConfigError
from ..log.tables import ID_SEQUENCE, LOST_SEQUENCE, SLOT_NAMES, LogNames, log_schema
from ..log.tables import PREFIX as LOG
from ..marking.column_kinds import is_system
from ..marking.spec import NEW_ROW, OLD_ROW, Lookup, Marking
from ..protocol.wire import MOVED
from ..sql import catalog_name, dollar_quoted, literal, quote, quote_always
from .children import REFUSE_FOREIGN_CHILDREN, collecting_kinds
from .column_sql import TriggerColumn, as_in_database, oids_of, trigger_column
from .install_steps import (
    AS_BEFORE,
    AS_IT_IS,
    BASE_TYPE,
    BELL,
    CHANNEL,
    COMMENT,
    COMMENT_PREFIX,
    CREATED,
    DECLARED,
    DROP_STRAY,
    DROP_UNUSED,
    FORMER,
    FUNCTION_PREFIX,
    GIVE_WAY,
    HOME,
    LOG_NAMESPACE,
    LOG_NOT_TRUSTED,
    NEAR_LITERAL,
    NEAR_LOG,
    NO_COLUMN,
    NO_FIT,
    NO_LOG,
    NO_TABLE,
    NO_USE,
    NOT_OURS,
    NOT_TRUSTED,
    PROCEDURE,
    REPORT_MOVED,
    RESOLVE,
    RESOLVE_VIRTUAL,
    SAFE,
    TAKE_LOCK,
    TRIGGER_EXISTS,
    VIRTUAL,
)
from .parameters import OPTIONAL, REQUIRED, from_parameters, to_parameters
from .rights import REFUSE_LACKING_RIGHTS
from .templates.v1 import FunctionV1
from .templates.v1_log import LogSql

__all__ = ["TriggerSet", "read_comment", "trigger_set"]

TEMPLATES = {1: FunctionV1}
"""What makes the function, by template version. Old ones stay: migrations name them."""
VERSION = max(TEMPLATES)
INSTALL_LOCK = int.from_bytes(hashlib.sha256(b"sa_pgnotify").digest()[:7], "big")
"""Key of the advisory lock under which processes that start at once install one after the other:
concurrent CREATE OR REPLACE FUNCTION fails with "tuple concurrently updated"."""

LOCK_SECONDS = 60
"""How long a statement waits for that lock, which any role can hold."""

TRIGGER_NAMES = {
    operation: f"sa_pgnotify_{operation}"
    for operation in ("insert", "update", "delete", "truncate")
}
TRIGGERS = ", ".join(literal(name) for name in TRIGGER_NAMES.values())
TRIGGER_SHAPE = "pg_catalog.concat(tgtype, ' ', tgoldtable, ' ', tgnewtable, ' ', tgqual IS NULL)"
TRIGGER_SHAPES = {
    "insert": "4  sa_new_rows t",
    "update": "16 sa_old_rows sa_new_rows t",
    "delete": "8 sa_old_rows  t",
    "truncate": "32   t",
}
"""SQL for the columns of pg_trigger that CREATE TRIGGER fills, and what they hold for ours: the bit
of the operation (AFTER and FOR EACH STATEMENT have none), the transition tables, and no WHEN."""
LOG_RELATIONS = (LOG, *SLOT_NAMES, ID_SEQUENCE, LOST_SEQUENCE)
"""What a trigger function writes to."""
NOT_PARAMETERS = ("table", "resolved")
"""What a comment says beside the parameters: the table's name where the function's does not hold
it, and what the server resolved."""


@dataclass(frozen=True, kw_only=True)
class TriggerSet:
    """One table's trigger function and triggers, as SQL text ready to be sent as it stands (no
    driver's escaping in it).

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
    def from_parameters(
        cls,
        table: str,
        schema: str | None,
        *,
        version: int,
        function: str | None = None,
        **parameters: Any,
    ) -> TriggerSet:
        """The one that :attr:`parameters` tell of.

        :raises NotifyConfigError: if they make no trigger, or this library does not know the
            template version.
        """
        if not isinstance(table, str):
            raise NotifyConfigError(repr(table), "it is no name of a table. Give text")
        if function is not None and not (isinstance(function, str) and _is_function_name(function)):
            raise NotifyConfigError(
                table,
                f"function={function!r} is no name of ours: {FUNCTION_PREFIX} and more, in at most 63 bytes",
            )
        if type(version) is not int or version not in TEMPLATES:
            raise NotifyConfigError(
                table,
                f"its triggers are of template version {version!r}, and this sa_pgnotify knows {', '.join(map(str, TEMPLATES))}. "
                "Install the sa_pgnotify that wrote it, or a newer one",
            )
        for problem, names in (
            ("lack", REQUIRED - parameters.keys()),
            ("have an unknown", parameters.keys() - REQUIRED - OPTIONAL),
        ):
            if names:
                raise NotifyConfigError(
                    table,
                    f"the arguments of its triggers {problem} {min(names)!r}; they are {', '.join(sorted(REQUIRED))}, version, "
                    f"and optionally {', '.join(sorted(OPTIONAL))}, function",
                )
        marking, columns = from_parameters(table, **parameters)
        return cls(
            table=table,
            schema=schema,
            marking=marking,
            columns=columns,
            version=version,
            function=function,
        )

    @classmethod
    def for_drop(cls, table: str, schema: str | None, function: str | None = None) -> TriggerSet:
        """One of which nothing is known but where it is, which is enough to drop it."""
        nothing = Marking(
            operations=(), values=(), update_of=(), condition=None, channel=None, key=()
        )
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

        def in_force(schema: str | None) -> str | None:
            found = schema_of(schema)
            return None if found is None else catalog_name(found)

        marking, lookup = self.marking, self.marking.discriminator
        if isinstance(lookup, Lookup):
            marking = replace(
                marking, discriminator=replace(lookup, schema=in_force(lookup.schema))
            )
        if marking.durable:
            marking = replace(marking, log_schema=in_force(marking.log_schema))
        return replace(self, schema=in_force(self.schema), marking=marking)

    @property
    def function_name(self) -> str:
        """Bare name of the function; a hash stands for the table's name where that would make more
        than PostgreSQL's 63 bytes."""
        name = self.function or f"{FUNCTION_PREFIX}{self.table}"
        return (
            name
            if _is_function_name(name)
            else f"{FUNCTION_PREFIX}{hashlib.sha256(self.table.encode()).hexdigest()[:32]}"
        )

    @property
    def qualified_table(self) -> str:
        return self._qualified(quote(self.table))

    @property
    def qualified_function(self) -> str:
        return self._qualified(self._quoted_function)

    @property
    def _quoted_function(self) -> str:
        # SQLAlchemy's quote() takes a name with a newline at its end for one that needs no quotes,
        # and so does its CREATE TABLE.
        return quote_always(self.function_name)

    def _qualified(self, name: str) -> str:
        return name if self.schema is None else f"{quote(self.schema)}.{name}"

    @property
    def _home(self) -> str:
        """A step that sets ``home`` to the quoted name of the schema in which the function is made:
        that of the table."""
        return HOME if self.schema is None else f"home := {literal(quote(self.schema))};"

    def as_in_database(self, types: Mapping[str, int], virtual: Iterable[str]) -> TriggerSet:
        """The same for the columns as the database has them, whose types may be others than their
        models say.

        :param types: column name to type OID, domains replaced by what they are made of.
        :param virtual: names of the columns that PostgreSQL computes when they are read.
        """
        generated = set(virtual)
        columns = tuple(
            as_in_database(c, types.get(c.name), is_virtual=c.name in generated)
            for c in self.columns
        )
        return self if columns == self.columns else replace(self, columns=columns)

    @property
    def comment(self) -> str:
        """The comment on the function: who made it, and from what, so that it can be read back."""
        said = {name: value for name, value in self.parameters.items() if name != "function"}
        if (
            self.function_name != self.function
            and self.function_name != FUNCTION_PREFIX + self.table
        ):
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

        :param resolved: what the installing statement put in the place of marks, where that is not
            what the marking says.
        :param near_log: the schema of the log that ``search_path`` gives; None if it gives none.
        """
        given = {mark: sql for mark, (sql, _) in self._template.expressions.items()}
        given |= {c.mark(row): c.of(row) for c, row in self._virtual} | dict(resolved)
        if self.marking.durable and self.marking.log_schema is None and near_log is not None:
            names = LogNames(near_log)
            given |= {
                LogSql.mark(name): literal(names.of(name))
                for name in self._template.log.marked_literals
            }
            given[LogSql.SCHEMA] = quote(near_log)
        text = self.body
        for mark, sql in given.items():
            text = text.replace(mark, sql)
        return text

    @property
    def _virtual(self) -> list[tuple[TriggerColumn, str]]:
        """The columns that may be computed when they are read, and the alias by which the body
        reads them."""
        return [(c, self._template.row_alias) for c in self.columns if c.virtual]

    def virtual_marks(self, virtual: Mapping[str, str]) -> dict[str, str | None]:
        """What should stand in the place of each mark of a column; None for the column itself.

        :param virtual: names of the columns that PostgreSQL computes when they are read, with what
            from, as SQL.
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
        """The steps that make the function: its text, what its marks stand for, and the
        statements."""
        settings = " ".join(
            f"SET {name} FROM CURRENT"
            if value is None
            else f"SET {name} TO {value if name == 'search_path' else literal(value)}"
            for name, value in self.settings.items()
        )
        # Who writes to the table needs no right to the log; and who may make triggers must not make
        # one that forges changes.
        definer = "SECURITY DEFINER " if self.is_definer else ""
        made = literal(f"() RETURNS trigger LANGUAGE plpgsql {definer}{settings} AS ")
        steps = [
            f"body := {dollar_quoted(self.body, 'function')};",
            f"comment := {literal(self.comment)};",
            *self._resolve_marks(),
            f"EXECUTE pg_catalog.concat('CREATE OR REPLACE FUNCTION ', procedure, {made}, pg_catalog.quote_literal(body));",
            COMMENT,
        ]
        if self.is_definer:
            steps.append(
                "EXECUTE pg_catalog.concat('REVOKE EXECUTE ON FUNCTION ', procedure, '() FROM PUBLIC');"
            )
        return steps

    def _resolve_marks(self) -> list[str]:
        """The steps that replace the marks in the variable ``body``."""
        steps = []
        if self.marking.durable and self.marking.log_schema is None:
            steps.append(NEAR_LOG.format(mark=literal(LogSql.SCHEMA)))
            steps += (
                NEAR_LITERAL.format(mark=literal(LogSql.mark(name)), name=literal(f".{name}"))
                for name in self._template.log.marked_literals
            )
        if virtual := self._virtual:
            names, marks = (
                _array(c.name for c, _ in virtual),
                _array(c.mark(row) for c, row in virtual),
            )
            steps.append(
                RESOLVE_VIRTUAL.format(
                    virtual=VIRTUAL,
                    names=names,
                    marks=marks,
                    plain=_array(c.of(row) for c, row in virtual),
                )
            )
        if expressions := self._template.expressions:
            end = "sa_end"
            while any(end in sql for sql, _ in expressions.values()):
                end += "_"
            steps.append(
                self._fill(
                    RESOLVE,
                    marks=_array(expressions),
                    given=_array(sql for sql, _ in expressions.values()),
                    kinds=_array(kind for _, kind in expressions.values()),
                    end=end,
                    rows=self._both_rows,
                )
            )
        return steps

    @property
    def _both_rows(self) -> str:
        """The pieces of a FROM clause, to be joined by ``concat()``, of rows as the function's
        conditions see them."""
        columns = ", ".join(c.quoted for c in self.columns)
        old, new = (
            literal(f" FROM (SELECT {columns} FROM "),
            literal(f") AS {OLD_ROW}, (SELECT {columns} FROM "),
        )
        return f"{old}, target, {new}, target, {literal(f') AS {NEW_ROW}')}"

    def create_trigger(self, operation: str, name: str | None = None) -> str:
        """A step that makes the trigger of an operation, under another name than the usual one if
        that is given."""
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
        """One statement that brings function and triggers to what they should be, and locks the
        table only if a trigger must change.

        A trigger that somebody disabled stays disabled, unless it has to be replaced. The statement
        fails, and changes nothing, if the table, a column or something in the condition does not
        exist, or if another function has the name of ours."""
        return self._create(
            [self._fill(NO_FIT, families=literal(json.dumps(self._type_oids)), base_type=BASE_TYPE)]
        )

    @property
    def create_enabled(self) -> str:
        """The same, and triggers that do not fire are enabled. The columns' types may be others
        than the triggers are made for, since a migration, or its downgrade, may yet alter them."""
        return self._create(enabled=True)

    @property
    def _type_oids(self) -> dict[str, tuple[int, ...]]:
        """The OIDs of the types that the function's SQL fits, by column; columns whose SQL fits
        every type are left out."""
        return {c.name: oids for c in self.columns if (oids := oids_of(c.family))}

    def _create(self, checks: Iterable[str] = (), *, enabled: bool = False) -> str:
        given = self.marking.channel
        steps = [self._fill(GIVE_WAY), *self.create_function, CREATED, self._fill(DROP_STRAY)]
        if self.marking.durable:
            steps.insert(0, AS_IT_IS.format(slots=_array(SLOT_NAMES)))
        as_it_should = f" AND tgfoid = existing AND {TRIGGER_SHAPE} = "
        # What takes the stronger lock comes first: to want it later, while writers wait for the
        # weaker one, is a deadlock.
        for operation, trigger in sorted(
            TRIGGER_NAMES.items(), key=lambda item: item[0] in self.marking.operations
        ):
            wanted = operation in self.marking.operations
            exists = _exists(
                trigger, as_it_should + literal(TRIGGER_SHAPES[operation]) if wanted else ""
            )
            change = self.create_trigger(operation) if wanted else self.drop_trigger(operation)
            steps.append(f"IF {'NOT ' if wanted else ''}{exists} THEN\n  {change}\nEND IF;")
            if wanted and enabled:
                silent = _exists(trigger, " AND tgenabled NOT IN ('O', 'A')")
                enable = f"EXECUTE pg_catalog.concat('ALTER TABLE ', target, ' ENABLE TRIGGER {trigger}');"
                steps.append(f"IF {silent} THEN\n  {enable}\nEND IF;")
        channel = (
            BELL
            if self.marking.durable
            else CHANNEL.format(given="NULL" if given is None else literal(given))
        )
        return self._do([*self._checks, *checks], steps, channel)

    @property
    def _checks(self) -> list[str]:
        """Steps that fail if the table, its columns or its name for the function will not do."""
        uses = literal(f" WHERE false AND ({' OR '.join(self._template.uses)})")
        query = f"pg_catalog.concat('SELECT 1', {self._both_rows}, {uses})"
        table, kinds = literal(self.qualified_table), collecting_kinds(self.marking.operations)
        rights = REFUSE_LACKING_RIGHTS.format(
            table=table, function="existing", schema=LOG_NAMESPACE
        )
        return [
            self._fill(NO_TABLE),
            self._fill(NOT_OURS),
            self._fill(NOT_TRUSTED),
            *(
                [
                    self._fill(NO_LOG),
                    self._fill(LOG_NOT_TRUSTED, names=_array(LOG_RELATIONS)),
                    rights,
                ]
                if self.marking.durable
                else []
            ),
            *([REFUSE_FOREIGN_CHILDREN.format(table="target", kinds=kinds)] if kinds else []),
            self._fill(NO_COLUMN, columns=_array(c.name for c in self.columns)),
            self._fill(NO_USE, query=query),
        ]

    @property
    def drop(self) -> str:
        """One statement that removes the triggers, if the table is there, and the function, if no
        other table uses it."""
        drops = [
            f"IF {_exists(trigger)} THEN {self.drop_trigger(operation)} END IF;"
            for operation, trigger in TRIGGER_NAMES.items()
        ]
        return self._do(
            [],
            [
                self._fill(DROP_STRAY),
                "\n  ".join(["IF target IS NOT NULL THEN", *drops]) + "\nEND IF;",
            ],
        )

    @property
    def verify_table(self) -> str:
        """One statement that fails if there is no such table."""
        return self.statement([self._fill(NO_TABLE)])

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
        """``checks`` and ``steps`` under the lock. Then the functions that triggers of this table
        ran before and that nothing uses any more, which are those of a table that was renamed or
        dropped, are dropped; and listeners on their channels are informed, if these are other ones
        now.

        :param channel: SQL for where the table's triggers send from now on.
        """
        return self.statement(
            [
                TAKE_LOCK.format(key=INSTALL_LOCK, seconds=LOCK_SECONDS),
                *checks,
                self._fill(FORMER),
                *steps,
                self._fill(DROP_UNUSED),
                self._fill(REPORT_MOVED, channel=channel),
            ]
        )

    def statement(self, steps: Iterable[str]) -> str:
        """A ``DO`` statement that runs ``steps`` with nothing but ``pg_catalog`` on its
        ``search_path``."""
        declared = self._fill(DECLARED, near=literal(LOG))
        lines = "\n".join(
            [
                SAFE,
                self._home,
                self._fill(PROCEDURE, name=literal(f".{self._quoted_function}")),
                *steps,
                AS_BEFORE,
            ]
        )
        return "DO " + dollar_quoted(
            f"\n#variable_conflict use_column\nDECLARE\n{declared}BEGIN\n{lines}\nEND\n",
            "sa_pgnotify",
        )


def _array(texts: Iterable[str]) -> str:
    """SQL for an array of texts."""
    return f"ARRAY[{', '.join(map(literal, texts))}]::text[]"


def _exists(trigger: str, condition: str = "") -> str:
    return TRIGGER_EXISTS.format(trigger=trigger, condition=condition)


def trigger_set(table: Table, marking: Marking) -> TriggerSet:
    """What makes the triggers of ``table``, marked as ``marking``, in the schemas that are
    declared."""
    columns = tuple(
        trigger_column(c)
        for c in table.columns
        if not is_system(c) and catalog_name(c.name) not in marking.unmapped
    )
    lookup = marking.discriminator
    if isinstance(lookup, Lookup) and lookup.beside:
        marking = replace(marking, discriminator=replace(lookup, schema=table.schema, beside=False))
    if marking.durable:
        marking = replace(marking, log_schema=log_schema(table.metadata, marking.log_schema))
    return TriggerSet(
        table=catalog_name(table.name), schema=table.schema, marking=marking, columns=columns
    )


def read_comment(comment: str | None) -> dict[str, Any] | None:
    """What the comment on a function of ours says of it: the arguments of :meth:`TriggerSet.made`,
    and the table's name if the function's does not hold it. None if somebody has written another
    comment, or damaged ours; that of a newer template version is not looked into."""
    if comment is None or not comment.startswith(COMMENT_PREFIX):
        return None
    with suppress(ValueError, TypeError, KeyError, AttributeError, NotifyConfigError):
        said = json.loads(comment[len(COMMENT_PREFIX) :])
        if type(said["version"]) is int and said["version"] not in TEMPLATES:
            return {"version": said["version"]}
        TriggerSet.from_parameters(
            said.get("table", ""),
            None,
            **{name: value for name, value in said.items() if name not in NOT_PARAMETERS},
        )
        return dict(said)
    return None


def _is_function_name(name: str) -> bool:
    return name.startswith(FUNCTION_PREFIX) and len(name.encode()) <= 63
