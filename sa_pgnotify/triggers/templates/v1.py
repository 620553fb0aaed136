"""The trigger functions of template version 1: what they read, and what they send.

The trigger runs inside the user's write: whatever the names, types, sizes and number of rows, that
write must not fail, and should cost little more. So there is one trigger for each operation. For
each statement, it reads the statement's transition tables in one set-based query; one row, the most
usual number, is composed without a query, as in a trigger for each row. The SQL is static (dynamic
SQL costs seven times as much a row), with exception blocks that turn an error into a *failed*
message; the listener turns that into a ``Gap``.

A function's ``search_path`` holds nothing but ``pg_catalog``, so that a role that may create
operators and functions elsewhere cannot have them run. Names in other schemas are qualified; where
only the server knows the schema (the log's, or that of a condition's functions), the body holds a
mark, which the installing statement replaces.

Migrations name this version: once released, its SQL stays as it is, and with it the SQL that it
takes from :mod:`~sa_pgnotify.triggers.column_sql`, :mod:`sa_pgnotify.protocol.channels` and
:mod:`sa_pgnotify.sql`, and the triggers' definitions in
:mod:`~sa_pgnotify.triggers.install_statement`. A better one is version 2, in modules of its own;
``tests/migrations/template_v1.sql`` records this one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from ...marking.condition import NEW_ROW, OLD_ROW
from ...marking.spec import Lookup, Marking
from ...protocol.settings import FIXED_SETTINGS
from ...sql import quote
from ..column_sql import FAMILIES, TriggerColumn, escaped
from .v1_each_row import OF_MARKED_TABLE, EachRow
from .v1_log import LogSql, log_body
from .v1_names import CONTEXT, relation_of
from .v1_pairs import gather_pairs
from .v1_rows import CLASS_MARK, CONDITION_MARK, RowSql, joined
from .v1_send import send_body

__all__ = ["FunctionV1"]

_NOT_CALLED = "BEGIN RETURN NULL; END"
"""The function of a table whose changes are captured from the write-ahead log. Nothing calls it; its
comment says what is published, as that of any other table's function does."""


@dataclass(frozen=True)
class FunctionV1:
    """The function of one table, as SQL text that is sent as it stands: drivers must not treat
    percent signs or colons in it as placeholders.

    :ivar columns: those of the table, in its order.
    :ivar table: its name when the triggers are made.
    """

    marking: Marking
    columns: tuple[TriggerColumn, ...]
    table: str

    @property
    def body(self) -> str:
        """The function's source, byte for byte what ``pg_proc.prosrc`` holds once the marks are
        replaced."""
        if self.marking.capture == "wal":
            return _NOT_CALLED
        branches = self._each_row.branches if self._is_for_each_row else self._branches
        chosen = "".join(
            f"  {'ELSIF' if index else 'IF'} TG_OP = '{operation.upper()}' THEN\n{branches[operation]}\n"
            for index, operation in enumerate(self.marking.operations)
        )
        declared = self._each_row.declared
        marked = OF_MARKED_TABLE if self._is_for_each_row else ""
        if self.marking.durable:
            relation = marked + relation_of(self.table, with_channel=False)
            return log_body(relation, CONTEXT, chosen, self.log, declared)
        relation = relation_of(self.table, with_channel=self.marking.channel is None)
        return send_body(self.marking.channel, marked, relation + CONTEXT, chosen, declared)

    @property
    def carried(self) -> tuple[TriggerColumn, ...]:
        """The columns whose values travel."""
        return self._rows.carried

    @cached_property
    def _rows(self) -> RowSql:
        return RowSql(self.marking, self.columns)

    @property
    def _is_for_each_row(self) -> bool:
        return self.marking.for_each == "row"

    @cached_property
    def _each_row(self) -> EachRow:
        return EachRow(self._rows, is_collected=not self._is_for_each_row)

    @property
    def row_alias(self) -> str:
        """The alias of a transition table's rows, which is not the name of a column."""
        return self._rows.alias

    @property
    def log(self) -> LogSql:
        """The log's names in the body."""
        return LogSql(self.marking.log_schema)

    @property
    def expressions(self) -> dict[str, tuple[str, str]]:
        """The marks that the installing statement resolves: for each, the SQL over the two rows
        that it stands for, and its type."""
        found = {}
        if self.marking.condition is not None:
            # On lines of its own, as it may end in a comment.
            found[CONDITION_MARK] = (f"({self.marking.condition}\n      )", "bool")
        if isinstance(self.marking.discriminator, Lookup):
            for row in (NEW_ROW, OLD_ROW):
                sql = _looked_up(self.marking.discriminator, row)
                found[CLASS_MARK.format(row=row)] = (sql, "text")
        return found

    @property
    def uses(self) -> list[str]:
        """SQL conditions over the two rows, which PostgreSQL refuses if the function would fail on
        their table."""
        return [c.differs(OLD_ROW, NEW_ROW) for c in self.columns]

    @property
    def settings(self) -> dict[str, str | None]:
        """The function's own settings, so that the writer's session cannot change an event; None:
        the value that the installing role has. Each costs time in each call.
        """
        # A condition may make a text of any column.
        if self.marking.capture == "wal":
            return {"search_path": "pg_catalog, pg_temp"}
        written = self._rows.carried if self.marking.condition is None else self.columns
        needed = {setting for c in written for setting in FAMILIES[c.family].settings}
        fixed: dict[str, str | None] = {
            name: value for name, value in FIXED_SETTINGS.items() if name in needed
        }
        if "update" in self.marking.triggered and not self._is_for_each_row:
            # The planner estimates the pairs as the square of the rows, and would compile for that.
            fixed["jit"] = "off"
        if self.expressions:
            fixed["standard_conforming_strings"] = "on"
        return fixed | {"search_path": "pg_catalog, pg_temp"}

    @property
    def is_definer(self) -> bool:
        """Whether the function runs with its owner's rights: to write to the log, or to read the
        table in which the class is looked up."""
        is_captured = self.marking.capture == "wal"
        return not is_captured and (
            self.marking.durable or isinstance(self.marking.discriminator, Lookup)
        )

    # -- the branches, for each statement ----------------------------------------------------------

    @property
    def _branches(self) -> dict[str, str]:
        """The statements of each operation.

        The message of a statement that changed one row, the most usual one, is composed without a
        query over the transition tables, which would cost it more than the write itself.
        """
        one = self._each_row.branches
        many = {
            "insert": ("sa_new_rows", self._single("INSERT", "sa_new_rows", NEW_ROW, OLD_ROW)),
            "update": ("sa_new_rows", gather_pairs(self._rows)),
            "delete": ("sa_old_rows", self._single("DELETE", "sa_old_rows", OLD_ROW, NEW_ROW)),
        }
        return {"truncate": one["truncate"]} | {
            operation: f"    IF NOT EXISTS (SELECT FROM {rows} OFFSET 1) THEN\n{one[operation]}\n    ELSE\n"
            f"{gather}\n    IF {self._rows.none} THEN RETURN NULL; END IF;\n    END IF;"
            for operation, (rows, gather) in many.items()
        }

    def _single(self, operation: str, rows: str, row: str, absent: str) -> str:
        """Return the query of an operation that knows one row of each change."""
        source = f"{self._rows.source(rows)} AS {row}"
        if self._rows.condition:
            # The absent row: NULLs of the right types, without asking for a privilege on the table.
            source += f" LEFT JOIN {rows} AS {absent} ON false\n      WHERE {self._rows.condition}"
        carried = self._rows.carried
        looked_up = self._rows.looked_up(row)
        fields = [c.text(c.of(row)) for c in carried] + looked_up
        values = [] if looked_up else [c.of(row) for c in carried]
        return self._rows.gather(operation, source, joined(fields, null_if_null=values))


def _looked_up(lookup: Lookup, row: str) -> str:
    """Return SQL for the discriminator of a row of a child's table."""
    root = (
        quote(lookup.table)
        if lookup.schema is None
        else f"{quote(lookup.schema)}.{quote(lookup.table)}"
    )
    match = " AND ".join(
        f"root.{quote(theirs)} = {row}.{quote(ours)}" for ours, theirs in lookup.keys
    )
    name = f"root.{quote(lookup.discriminator)}"
    return (
        f"(SELECT {escaped(f'pg_catalog.concat({name})', name)} FROM {root} AS root WHERE {match})"
    )
