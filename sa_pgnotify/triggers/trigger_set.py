"""One table's triggers as plain data: the marking, the columns, the names, and the function's
source.

The same set can come from a model, from a migration's arguments or from the comment on an installed
function. :mod:`~sa_pgnotify.triggers.install_statement` makes the statements that install and
remove it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from sqlalchemy import Table

from ..log.tables import LogNames, log_schema
from ..marking.column_kinds import is_system
from ..marking.spec import Lookup, Marking
from ..sql import catalog_name, literal, quote, quote_always
from .column_sql import TriggerColumn, as_in_database, trigger_column
from .function_comment import write_comment
from .names import TRIGGER_NAMES, function_name
from .parameters import check_arguments, from_parameters, to_parameters
from .templates import NEWEST, TEMPLATES
from .templates.v1 import FunctionV1
from .templates.v1_log import LogSql

__all__ = ["TriggerSet", "trigger_set"]


@dataclass(frozen=True, kw_only=True)
class TriggerSet:
    """One table's trigger function and triggers.

    :ivar schema: schema of table and function, or None for the one that ``search_path`` gives.
    :ivar version: the template that makes the function, a key of ``TEMPLATES``.
    :ivar function: the function's bare name, if it is not the one that goes with the table's name.
    """

    table: str
    schema: str | None
    marking: Marking
    columns: tuple[TriggerColumn, ...]
    version: int = NEWEST
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
        """Return the trigger set whose :attr:`parameters` these are.

        :raises NotifyConfigError: if they make no triggers, or this library does not know the
            template version.
        """
        check_arguments(table, version=version, function=function, **parameters)
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
        """Return a trigger set of which only its place is known, which is enough to drop it."""
        nothing = Marking(
            operations=(), values=(), update_of=(), condition=None, channel=None, key=()
        )
        return cls(table=table, schema=schema, marking=nothing, columns=(), function=function)

    @property
    def parameters(self) -> dict[str, Any]:
        """What :meth:`from_parameters` needs beside table and schema, as plain data."""
        named = {"function": self.function} if self.function else {}
        return {**to_parameters(self.marking, self.columns), **named, "version": self.version}

    @property
    def comment(self) -> str:
        """The comment on the function, from which this set can be read back."""
        return write_comment(self.table, self.function, self.parameters)

    # -- where it is ---------------------------------------------------------------------------

    def in_schemas(self, schema_of: Callable[[str | None], str | None]) -> TriggerSet:
        """Return the same set in other schemas.

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
        """The bare name of the function."""
        return function_name(self.table, self.function)

    @property
    def function_schema(self) -> str | None:
        """The schema in which the function is made, as SQL; None: the one in which the server finds
        the table."""
        return None if self.schema is None else quote(self.schema)

    @property
    def quoted_function(self) -> str:
        """The bare name of the function, as SQL."""
        # SQLAlchemy's quote() takes a name with a newline at its end for one that needs no quotes,
        # and so does its CREATE TABLE.
        return quote_always(self.function_name)

    @property
    def qualified_function(self) -> str:
        """The name of the function as SQL, with its schema if that is known."""
        schema = self.function_schema
        return self.quoted_function if schema is None else f"{schema}.{self.quoted_function}"

    @property
    def qualified_table(self) -> str:
        """The name of the table as SQL, with its schema if that is known."""
        name = quote(self.table)
        return name if self.schema is None else f"{quote(self.schema)}.{name}"

    @property
    def trigger_names(self) -> dict[str, str]:
        """The names of the triggers, by the operations that are published."""
        names = TRIGGER_NAMES[self.marking.for_each]
        return {operation: names[operation] for operation in self.marking.triggered}

    # -- the function ----------------------------------------------------------------------------

    def as_in_database(self, types: Mapping[str, int], virtual: Iterable[str]) -> TriggerSet:
        """Return the set for the columns that the database has, whose types may differ from their
        models'.

        :param types: column name to type OID, domains replaced by the type under them.
        :param virtual: names of the columns that PostgreSQL computes when they are read.
        """
        generated = set(virtual)
        columns = tuple(
            as_in_database(c, types.get(c.name), is_virtual=c.name in generated)
            for c in self.columns
        )
        return self if columns == self.columns else replace(self, columns=columns)

    @cached_property
    def template(self) -> FunctionV1:
        """The template's version of the function."""
        return TEMPLATES[self.version](self.marking, self.columns, self.table)

    @cached_property
    def body(self) -> str:
        """The function's source, with marks in place of what only the server knows."""
        return self.template.body

    def source(self, resolved: Mapping[str, str], near_log: str | None) -> str:
        """Return the function's source, byte for byte what ``pg_proc.prosrc`` holds once it is
        installed.

        :param resolved: the SQL that the installing statement put in the place of marks, where it
            differs from what the marking says.
        :param near_log: the schema of the log that ``search_path`` gives; None if it gives none.
        """
        given = {mark: sql for mark, (sql, _) in self.template.expressions.items()}
        given |= {c.mark(row): c.of(row) for c, row in self.virtual} | dict(resolved)
        if self.marking.durable and self.marking.log_schema is None and near_log is not None:
            names = LogNames(near_log)
            given |= {
                LogSql.mark(name): literal(names.of(name))
                for name in self.template.log.marked_literals
            }
            given[LogSql.SCHEMA] = quote(near_log)
        text = self.body
        for mark, sql in given.items():
            text = text.replace(mark, sql)
        return text

    @property
    def virtual(self) -> list[tuple[TriggerColumn, str]]:
        """The columns that PostgreSQL may compute when they are read, each with the alias by which
        the body reads it."""
        return [(c, self.template.row_alias) for c in self.columns if c.virtual]

    def virtual_marks(self, virtual: Mapping[str, str]) -> dict[str, str | None]:
        """Return the SQL that should stand in the place of each column's mark; None for the column
        itself.

        :param virtual: names of the columns that PostgreSQL computes when they are read, each with
            its expression as SQL.
        """
        return {c.mark(row): virtual.get(c.name) for c, row in self.virtual}

    @property
    def settings(self) -> dict[str, str | None]:
        """The function's own settings; None: the value that the installing role has."""
        return self.template.settings

    @property
    def is_definer(self) -> bool:
        """Whether the function runs with its owner's rights."""
        return self.template.is_definer


def trigger_set(table: Table, marking: Marking) -> TriggerSet:
    """Return the trigger set of ``table``, marked as ``marking``, in the schemas that are
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
