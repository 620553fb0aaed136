"""The statements that install and remove a table's trigger function and triggers.

They run beside the program's traffic: what is in place already must not cost a lock, several
processes may install at once, and objects of other programs must stay. So each is one ``DO``
statement that looks before it acts, under one advisory lock. It needs no driver's help, and runs in
autocommit and in psql as well. An install that cannot work changes nothing and raises one error.

The statement looks up the table and the log by the installing role's ``search_path``, and then sets
it to ``pg_catalog`` until its end: otherwise a role that may create operators and functions in
another schema could have them run by the role that installs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass

from ..log.tables import PREFIX as LOG
from ..log.tables import LogNames
from ..marking.condition import NEW_ROW, OLD_ROW
from ..protocol.wire import MOVED
from ..sql import dollar_quoted, literal, quote
from . import install_steps as step
from .children import (
    REFUSE_FOREIGN_CHILDREN,
    REFUSE_HEIRS,
    collecting_kinds,
    kinds_with_heirs,
)
from .code_owners import CODE_OWNERS, OWNER_TO_BE
from .column_sql import oids_of
from .log_trust import DO_LOG_WORK, REFUSE_UNTRUSTED_LOG
from .names import ALL_TRIGGER_NAMES, COMMENT_PREFIX, FUNCTION_PREFIX, TRIGGER_SHAPES, TRIGGERS
from .names import TRIGGER_SHAPE as SHAPE
from .rights import REFUSE_LACKING_RIGHTS
from .templates.v1_log import LogSql
from .trigger_set import TriggerSet

__all__ = ["InstallStatements", "create_trigger"]

INSTALL_LOCK = int.from_bytes(hashlib.sha256(b"sa_pgnotify").digest()[:7], "big")
"""Key of the advisory lock under which processes that start at once install one after the other:
concurrent CREATE OR REPLACE FUNCTION fails with "tuple concurrently updated"."""

LOCK_SECONDS = 60
"""How long a statement waits for that lock, which any role can hold."""


@dataclass(frozen=True)
class InstallStatements:
    """The statements for one trigger set, as SQL text ready to be sent: drivers must not treat
    percent signs or colons in it as placeholders."""

    triggers: TriggerSet

    @property
    def create(self) -> str:
        """One statement that brings function and triggers to what they should be, and locks the
        table only if a trigger must change.

        A disabled trigger stays disabled, unless it has to be replaced. The statement fails, and
        changes nothing, if the table, a column or something in the condition does not exist, or if
        another function has the name of ours.
        """
        families = literal(json.dumps(self._type_oids))
        return self._create([self._fill(step.NO_FIT, families=families, base_type=step.BASE_TYPE)])

    @property
    def create_enabled(self) -> str:
        """The same, but triggers that do not fire are enabled, and the columns' types are not
        compared with those that the triggers are made for, because a migration or its downgrade may
        yet alter them."""
        return self._create(enabled=True)

    @property
    def drop(self) -> str:
        """One statement that removes the triggers, if the table exists, and the function, if no
        other table uses it."""
        drops = [
            f"IF {_exists(name)} THEN {_drop_trigger(name)} END IF;" for name in ALL_TRIGGER_NAMES
        ]
        return self._do(
            [],
            [
                self._fill(step.DROP_STRAY),
                step.OF_TABLE,
                "\n  ".join(["IF target IS NOT NULL THEN", *drops, step.UNPUBLISH]) + "\nEND IF;",
                step.DROP_CAPTURE,
            ],
        )

    @property
    def verify_table(self) -> str:
        """One statement that fails if the table does not exist."""
        return self.run([self._fill(step.NO_TABLE)])

    def run(self, steps: Iterable[str]) -> str:
        """Return a ``DO`` statement that runs ``steps`` with nothing but ``pg_catalog`` on its
        ``search_path``."""
        schema = self.triggers.function_schema
        name = literal(f".{self.triggers.quoted_function}")
        lines = "\n".join(
            [
                step.SAFE,
                step.HOME if schema is None else f"home := {literal(schema)};",
                self._fill(step.PROCEDURE, name=name),
                *steps,
                step.AS_BEFORE,
            ]
        )
        declared = self._fill(step.DECLARED, near=literal(LOG))
        return "DO " + dollar_quoted(
            f"\n#variable_conflict use_column\nDECLARE\n{declared}BEGIN\n{lines}\nEND\n",
            "sa_pgnotify",
        )

    # -- the function ------------------------------------------------------------------------------

    @property
    def create_function(self) -> list[str]:
        """The steps that make the function: its text, the SQL for its marks, and the statements."""
        triggers = self.triggers
        settings = " ".join(
            f"SET {name} FROM CURRENT"
            if value is None
            else f"SET {name} TO {value if name == 'search_path' else literal(value)}"
            for name, value in triggers.settings.items()
        )
        # A writer of the table needs no right to the log; and a role that may make triggers must
        # not be able to make one that forges changes.
        definer = "SECURITY DEFINER " if triggers.is_definer else ""
        made = literal(f"() RETURNS trigger LANGUAGE plpgsql {definer}{settings} AS ")
        steps = [
            f"body := {dollar_quoted(triggers.body, 'function')};",
            f"comment := {literal(triggers.comment)};",
            *self._resolve_marks(),
            f"EXECUTE pg_catalog.concat('CREATE OR REPLACE FUNCTION ', procedure, {made}, pg_catalog.quote_literal(body));",
            step.COMMENT,
        ]
        if triggers.is_definer:
            steps.append(
                "EXECUTE pg_catalog.concat('REVOKE EXECUTE ON FUNCTION ', procedure, '() FROM PUBLIC');"
            )
        return steps

    def _resolve_marks(self) -> list[str]:
        """Return the steps that replace the marks in the variable ``body``."""
        template, marking = self.triggers.template, self.triggers.marking
        steps = []
        if marking.durable and marking.log_schema is None:
            steps.append(step.NEAR_LOG.format(mark=literal(LogSql.SCHEMA)))
            steps += (
                step.NEAR_LITERAL.format(mark=literal(LogSql.mark(name)), name=literal(f".{name}"))
                for name in template.log.marked_literals
            )
        if virtual := self.triggers.virtual:
            steps.append(
                step.RESOLVE_VIRTUAL.format(
                    virtual=step.VIRTUAL,
                    names=_array(c.name for c, _ in virtual),
                    marks=_array(c.mark(row) for c, row in virtual),
                    plain=_array(c.of(row) for c, row in virtual),
                )
            )
        if expressions := template.expressions:
            end = "sa_end"
            while any(end in sql for sql, _ in expressions.values()):
                end += "_"
            steps.append(
                self._fill(
                    step.RESOLVE,
                    marks=_array(expressions),
                    given=_array(sql for sql, _ in expressions.values()),
                    kinds=_array(kind for _, kind in expressions.values()),
                    end=end,
                    rows=self._both_rows,
                    used=CODE_OWNERS.format(start=step.RESOLVE_USES),
                    owner=OWNER_TO_BE.format(function="existing"),
                    and_others="" if self.triggers.is_definer else step.NOT_TABLE_OWNER,
                )
            )
        return steps

    @property
    def _both_rows(self) -> str:
        """The pieces of a FROM clause, to be joined by ``concat()``, of rows as the function's
        conditions see them."""
        columns = ", ".join(c.quoted for c in self.triggers.columns)
        old, new = (
            literal(f" FROM (SELECT {columns} FROM "),
            literal(f") AS {OLD_ROW}, (SELECT {columns} FROM "),
        )
        return f"{old}, target, {new}, target, {literal(f') AS {NEW_ROW}')}"

    # -- function and triggers ---------------------------------------------------------------------

    def _create(self, checks: Iterable[str] = (), *, enabled: bool = False) -> str:
        marking = self.triggers.marking
        steps = [
            self._fill(step.GIVE_WAY),
            *self.create_function,
            step.CREATED,
            self._fill(step.DROP_STRAY),
        ]
        if marking.durable and marking.capture != "wal":
            steps.insert(0, DO_LOG_WORK.format(function="existing", schema=step.LOG_NAMESPACE))
        # The triggers that are dropped come first, because that takes the stronger lock: to want it
        # later, while writers wait for the weaker one, is a deadlock.
        wanted = self.triggers.trigger_names
        steps += (
            f"IF {_exists(name)} THEN\n  {_drop_trigger(name)}\nEND IF;"
            for name in ALL_TRIGGER_NAMES
            if name not in wanted.values()
        )
        for operation, name in wanted.items():
            steps += _have_trigger(marking.for_each, operation, name, enabled=enabled)
        steps += [step.KEPT, self._publish] if marking.capture == "wal" else [step.UNPUBLISH]
        given = "NULL" if marking.channel is None else literal(marking.channel)
        channel = step.BELL if marking.durable else step.CHANNEL.format(given=given)
        return self._do([*self._checks, *checks], steps, channel)

    @property
    def _publish(self) -> str:
        """The step that has the write-ahead log hold what is published."""
        needs_old = {"update", "delete"} & {*self.triggers.marking.operations}
        return step.PUBLISH.format(needs_old="true" if needs_old else "false")

    @property
    def _type_oids(self) -> dict[str, tuple[int, ...]]:
        """The OIDs of the types that the function's SQL fits, by column; columns whose SQL fits
        every type are left out."""
        return {c.name: oids for c in self.triggers.columns if (oids := oids_of(c.family))}

    @property
    def _checks(self) -> list[str]:
        """Steps that fail if the table, its columns, its log or an object in the way does not allow
        the triggers."""
        triggers = self.triggers
        uses = literal(f" WHERE false AND ({' OR '.join(triggers.template.uses)})")
        query = f"pg_catalog.concat('SELECT 1', {self._both_rows}, {uses})"
        table = literal(triggers.qualified_table)
        form = triggers.marking.triggered, triggers.marking.for_each
        checks = [
            self._fill(s)
            for s in (step.NO_TABLE, step.NOT_ALLOWED, step.NOT_OURS, step.NOT_TRUSTED)
        ]
        if triggers.marking.capture == "wal":
            carried = _array(c.name for c in triggers.template.carried)
            checks += [self._fill(s) for s in (step.NO_LOG, step.NO_LOGICAL_WAL, step.NO_KEY)]
            checks.append(self._fill(step.NOT_GENERATED, columns=carried))
        elif triggers.marking.durable:
            checks += [
                self._fill(step.NO_LOG),
                REFUSE_UNTRUSTED_LOG.format(function="existing", schema=step.LOG_NAMESPACE),
                REFUSE_LACKING_RIGHTS.format(
                    table=table, function="existing", schema=step.LOG_NAMESPACE
                ),
            ]
        if kinds := collecting_kinds(*form):
            checks.append(REFUSE_FOREIGN_CHILDREN.format(table="target", kinds=kinds))
        if kinds := kinds_with_heirs(*form):
            checks.append(REFUSE_HEIRS.format(table="target", kinds=kinds))
        columns = _array(c.name for c in triggers.columns)
        return [
            *checks,
            self._fill(step.NO_COLUMN, columns=columns),
            self._fill(step.NO_USE, query=query),
        ]

    def _do(self, checks: Iterable[str], steps: Iterable[str], channel: str = "SELECT NULL") -> str:
        """Return a statement that runs ``checks`` and ``steps`` under the lock.

        Then it drops the functions that triggers of this table ran before and that nothing uses any
        more, which are those of a table that was renamed or dropped; and it notifies the listeners
        on their channels if the triggers send on other ones now.

        :param channel: SQL for the channel on which the table's triggers send from now on.
        """
        return self.run(
            [
                step.TAKE_LOCK.format(key=INSTALL_LOCK, seconds=LOCK_SECONDS),
                *checks,
                self._fill(step.FORMER),
                *steps,
                self._fill(step.DROP_UNUSED),
                self._fill(step.REPORT_MOVED, channel=channel),
            ]
        )

    def _fill(self, text: str, **more: str) -> str:
        """Return a step with the names of this table and its function in it."""
        triggers = self.triggers
        return text.format(
            table=literal(triggers.qualified_table),
            function=literal(f"{triggers.qualified_function}()"),
            triggers=TRIGGERS,
            ours=literal(COMMENT_PREFIX),
            prefix=literal(FUNCTION_PREFIX),
            moved=literal(MOVED),
            head=literal(LogNames(triggers.marking.log_schema).head),
            **more,
        )


_TRANSITION_TABLES = {
    "insert": " REFERENCING NEW TABLE AS sa_new_rows",
    "update": " REFERENCING OLD TABLE AS sa_old_rows NEW TABLE AS sa_new_rows",
    "delete": " REFERENCING OLD TABLE AS sa_old_rows",
    "truncate": "",
}


def create_trigger(for_each: str, operation: str, name: str) -> str:
    """Return a step that makes the trigger of an operation."""
    if operation == "truncate":
        for_each = "statement"
    referencing = _TRANSITION_TABLES[operation] if for_each == "statement" else ""
    return (
        f"EXECUTE pg_catalog.concat('CREATE OR REPLACE TRIGGER {quote(name)} AFTER {operation.upper()} ON ', "
        f"target, '{referencing} FOR EACH {for_each.upper()} EXECUTE FUNCTION ', procedure, '()');"
    )


def _have_trigger(for_each: str, operation: str, name: str, *, enabled: bool) -> list[str]:
    """Return the steps that make a trigger unless it is there as it should be."""
    shape = literal(TRIGGER_SHAPES[for_each][operation])
    exists = _exists(name, f" AND tgfoid = existing AND {SHAPE} = {shape}")
    steps = [f"IF NOT {exists} THEN\n  {create_trigger(for_each, operation, name)}\nEND IF;"]
    if enabled:
        silent = _exists(name, " AND tgenabled NOT IN ('O', 'A')")
        enable = (
            f"EXECUTE pg_catalog.concat('ALTER TABLE ', target, ' ENABLE TRIGGER {quote(name)}');"
        )
        steps.append(f"IF {silent} THEN\n  {enable}\nEND IF;")
    return steps


def _drop_trigger(name: str) -> str:
    return f"EXECUTE pg_catalog.concat('DROP TRIGGER IF EXISTS {quote(name)} ON ', target);"


def _exists(trigger: str, condition: str = "") -> str:
    return step.TRIGGER_EXISTS.format(trigger=trigger, condition=condition)


def _array(texts: Iterable[str]) -> str:
    """Return SQL for an array of texts."""
    return f"ARRAY[{', '.join(map(literal, texts))}]::text[]"
