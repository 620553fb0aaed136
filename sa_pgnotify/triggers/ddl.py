"""The DDL elements: install and remove the triggers of one table.

``create_all`` and ``drop_all`` run them. By hand::

    connection.execute(CreateNotifyTriggers(Order.__table__))
    connection.execute(DropNotifyTriggers(Order.__table__))

Each compiles to one ``DO`` statement, which works with every driver, in autocommit, and in psql.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Table
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import ExecutableDDLElement
from sqlalchemy.sql.compiler import DDLCompiler

from ..errors import NotifyConfigError
from ..marking.spec import marking_of
from ..sql import sqlstate_of
from .install_statement import InstallStatements
from .trigger_set import TriggerSet, trigger_set

__all__ = ["CreateNotifyTriggers", "DropNotifyTriggers"]


ERROR_CHARACTERS = 60
"""How much of a statement is shown in an error: it has thousands of characters, none of which the
user wrote."""


_WRONG_OBJECT_TYPE = "42809"


class TriggerStatement(ExecutableDDLElement):
    """One of the :class:`~sa_pgnotify.triggers.install_statement.InstallStatements`, in the schemas
    that the connection is translated to.

    :param statement: the name of the attribute that holds its text, such as ``"create"``.
    """

    inherit_cache = False

    def __init__(self, triggers: TriggerSet, statement: str) -> None:
        self.triggers = triggers
        self.statement = statement

    def _execute_on_connection(
        self, connection: Any, distilled_params: Any, execution_options: Any
    ) -> Any:
        try:
            return super()._execute_on_connection(connection, distilled_params, execution_options)  # type: ignore[no-untyped-call]
        except DBAPIError as error:
            if sqlstate_of(error.orig) == _WRONG_OBJECT_TYPE:
                what = str(error.orig).partition("\n")[0]
                raise NotifyConfigError(
                    self.triggers.table,
                    f"no triggers can be installed, as PostgreSQL says: {what}",
                    "Mark the tables that it reads",
                ) from error
            error.statement = (
                f"{(error.statement or '')[:ERROR_CHARACTERS]} ... ({type(self).__name__})"
            )
            raise

    def sql(self, schema_of: Callable[[str | None], str | None] = lambda schema: schema) -> str:
        """Return the text that PostgreSQL reads."""
        statements = InstallStatements(self.triggers.in_schemas(schema_of))
        text: str = getattr(statements, self.statement)
        return text


class CreateNotifyTriggers(TriggerStatement):
    """Install or replace the trigger function of a table, and the triggers.

    The semantics are those of both ``OR REPLACE`` and ``IF NOT EXISTS``: the function is always
    replaced, which locks no table; a trigger is created only where it is missing or runs another
    function, and only then is the table locked (SHARE ROW EXCLUSIVE: reads go on, writes wait). A
    disabled trigger stays disabled, unless it has to be replaced. The trigger of an operation that
    is no longer published is dropped (ACCESS EXCLUSIVE).

    :param table: a marked table.
    :raises NotifyConfigError: if the table is not marked.
    """

    def __init__(self, table: Table) -> None:
        super().__init__(_marked(table), "create")


class DropNotifyTriggers(TriggerStatement):
    """Drop the triggers, if the table exists (ACCESS EXCLUSIVE), and the function, unless the
    triggers of another table use it.

    The semantics are those of ``IF EXISTS``.

    :param table: a marked table.
    :raises NotifyConfigError: if the table is not marked.
    """

    def __init__(self, table: Table) -> None:
        super().__init__(_marked(table), "drop")


def _marked(table: Table) -> TriggerSet:
    marking = marking_of(table)
    if marking is None:
        raise NotifyConfigError(
            table.fullname,
            "the table is not marked",
            "Use NotifyOnChange on its class, or notify_on_change(table)",
        )
    return trigger_set(table, marking)


@compiles(TriggerStatement, "postgresql")
@compiles(CreateNotifyTriggers, "postgresql")
@compiles(DropNotifyTriggers, "postgresql")
def _compile(element: TriggerStatement, compiler: DDLCompiler, **_: Any) -> str:
    translations = compiler.schema_translate_map or {}
    sql = element.sql(lambda schema: translations.get(schema, schema))
    # Drivers of these styles take a percent sign for a placeholder.
    return sql.replace("%", "%%") if compiler.dialect.paramstyle in ("format", "pyformat") else sql
