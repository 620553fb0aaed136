"""The operations that a revision calls: ``op.create_notify_triggers``,
``op.alter_notify_triggers``, ``op.drop_notify_triggers``.

A revision must do in five years what it does today, and cannot import the application's models,
which will have changed. So an operation names everything that the trigger's SQL is made of, as
plain data, and the version of the template that makes it.
"""

from __future__ import annotations

from typing import Any

from alembic.operations import BatchOperations, MigrateOperation, Operations
from alembic.operations.batch import BatchOperationsImpl
from alembic.operations.ops import OpContainer
from alembic.util import CommandError

from sa_pgnotify.errors import NotifyConfigError
from sa_pgnotify.triggers.ddl import TriggerStatement
from sa_pgnotify.triggers.trigger_set import TriggerSet

__all__ = [
    "AddToPublicationOp",
    "AlterNotifyTriggersOp",
    "CreateNotifyTriggersOp",
    "DropNotifyTriggersOp",
    "InTableOrder",
    "LostNotifyTriggersOp",
    "NotifyTriggersOp",
    "RemoveFromPublicationOp",
    "RevisionError",
    "made",
    "run",
]


CAPTURED = {"durable": True, "capture": "wal"}
"""The parameters that ``op.add_to_publication`` stands for."""


class NotifyTriggersOp(MigrateOperation):
    """Base of the operations on one table's triggers.

    :ivar triggers: the trigger set that the operation installs or removes.
    :ivar statements: the names of the statements that are run, in this order.
    """

    triggers: TriggerSet
    statements: tuple[str, ...] = ("create_enabled",)


class CreateNotifyTriggersOp(NotifyTriggersOp):
    """Install a table's trigger function and triggers."""

    def __init__(self, triggers: TriggerSet) -> None:
        self.triggers = triggers

    def reverse(self) -> DropNotifyTriggersOp:
        return DropNotifyTriggersOp(
            TriggerSet.for_drop(self.triggers.table, self.triggers.schema), self.triggers
        )

    def to_diff_tuple(self) -> tuple[Any, ...]:
        return (
            "add_notify_triggers",
            self.triggers.schema,
            self.triggers.table,
            self.triggers.parameters,
        )

    @classmethod
    def create_notify_triggers(
        cls,
        operations: Operations,
        /,
        table_name: str,
        *,
        version: int,
        schema: str | None = None,
        **parameters: Any,
    ) -> None:
        """Install the trigger function and the triggers of a table, or replace those that it has.

        Replacing the function locks nothing. Creating or enabling a trigger locks the table for
        writers (SHARE ROW EXCLUSIVE); dropping the trigger of an operation that is no longer
        published locks it for readers too (ACCESS EXCLUSIVE). Both happen only where needed.

        :param version: the template that makes the function; autogenerate writes the newest.
        :param columns: dict of all columns of the table: name to family of its type (``"integer"``,
            ``"text"``, ``"other"``, ...).
        :param key: names of the columns of the identity, in order.
        :param operations: those that are published; all four by default.
        :param values: names of the columns whose values travel, or ``"all"``.
        :param update_of: names of columns; an UPDATE is published only if one of them changed.
        :param condition: SQL text over ``new_row`` and ``old_row``; a change is published when it
            is true.
        :param channel: the channel, if it is not the table's own.
        :param discriminator: the column that names the mapped class, or the place of that column
            (dict of table, schema, column, key).
        :param durable: whether changes go into the change log, whose tables must exist;
            ``log_schema`` is its schema.
        :param for_each: ``"statement"`` (by default) or ``"row"``: what the triggers run for.
        :param virtual: list of the columns that PostgreSQL may compute when they are read
            (GENERATED ALWAYS AS ... VIRTUAL).
        :param function: the function's name, if it is not the one that goes with the table's.
        :raises RevisionError: (a NotifyConfigError) if the arguments contradict each other, or the
            template version is not known.
        :raises sqlalchemy.exc.DBAPIError: if the table, or a column of it, does not exist.
        """
        operations.invoke(cls(made(table_name, schema, version=version, **parameters)))

    @classmethod
    def batch_create_notify_triggers(
        cls, operations: BatchOperations, /, *, version: int, **parameters: Any
    ) -> None:
        """Install the triggers of the batch's table; see :meth:`create_notify_triggers`."""
        table, schema = _batch_table(operations)
        operations.invoke(cls(made(table, schema, version=version, **parameters)))


class AlterNotifyTriggersOp(NotifyTriggersOp):
    """Bring a table's trigger function and triggers from one state to another, or back to the state
    that they should have.

    :ivar former: the trigger set that is replaced; None if it is not known, and then the operation
        cannot be reversed.
    """

    def __init__(self, triggers: TriggerSet, former: TriggerSet | None = None) -> None:
        self.triggers = triggers
        self.former = former

    def reverse(self) -> AlterNotifyTriggersOp:
        """Return the operation that restores the former triggers.

        :raises ValueError: if these are not known.
        """
        if self.former is None:
            raise ValueError(
                "operation is not reversible; the triggers that it replaces are not known"
            )
        return AlterNotifyTriggersOp(self.former, self.triggers)

    def to_diff_tuple(self) -> tuple[Any, ...]:
        former = self.former.parameters if self.former else None
        return (
            "modify_notify_triggers",
            self.triggers.schema,
            self.triggers.table,
            former,
            self.triggers.parameters,
        )

    @classmethod
    def alter_notify_triggers(
        cls,
        operations: Operations,
        /,
        table_name: str,
        *,
        version: int,
        schema: str | None = None,
        **parameters: Any,
    ) -> None:
        """Bring the trigger function and the triggers of a table to the state that the arguments
        describe, whatever their present state.

        Arguments, locks and errors are those of ``create_notify_triggers``.
        """
        operations.invoke(cls(made(table_name, schema, version=version, **parameters)))

    @classmethod
    def batch_alter_notify_triggers(
        cls, operations: BatchOperations, /, *, version: int, **parameters: Any
    ) -> None:
        """Alter the triggers of the batch's table; see :meth:`alter_notify_triggers`."""
        table, schema = _batch_table(operations)
        operations.invoke(cls(made(table, schema, version=version, **parameters)))


class DropNotifyTriggersOp(NotifyTriggersOp):
    """Remove a table's triggers and trigger function.

    :ivar triggers: the place of the triggers, which is all that is needed.
    :ivar former: the trigger set that is removed; None if it is not known, or if its table is gone.
    :ivar if_exists: whether the table may have been dropped, and only its function left.
    """

    def __init__(
        self, triggers: TriggerSet, former: TriggerSet | None = None, *, if_exists: bool = False
    ) -> None:
        self.triggers = triggers
        self.former = former
        self.if_exists = if_exists
        self.statements = ("drop",) if if_exists else ("verify_table", "drop")

    def reverse(self) -> MigrateOperation:
        return (
            LostNotifyTriggersOp(self)
            if self.former is None
            else CreateNotifyTriggersOp(self.former)
        )

    def to_diff_tuple(self) -> tuple[Any, ...]:
        return (
            "remove_notify_triggers",
            self.triggers.schema,
            self.triggers.table,
            self.former and self.former.parameters,
        )

    @classmethod
    def drop_notify_triggers(
        cls,
        operations: Operations,
        /,
        table_name: str,
        *,
        schema: str | None = None,
        if_exists: bool = False,
        function: str | None = None,
    ) -> None:
        """Remove the triggers of a table (ACCESS EXCLUSIVE) and their function, if they exist.

        :param function: the function's name, if it is not the one that goes with the table's.
        :param if_exists: do not fail if the table does not exist, and drop the function that a
            table of this name left.
        :raises sqlalchemy.exc.DBAPIError: if the table does not exist.
        """
        operations.invoke(
            cls(TriggerSet.for_drop(table_name, schema, function), if_exists=if_exists)
        )

    @classmethod
    def batch_drop_notify_triggers(cls, operations: BatchOperations, /) -> None:
        """Remove the triggers of the batch's table; see :meth:`drop_notify_triggers`."""
        operations.invoke(cls(TriggerSet.for_drop(*_batch_table(operations))))


class AddToPublicationOp(CreateNotifyTriggersOp):
    """Have the changes of a table captured from the write-ahead log, without triggers."""

    @classmethod
    def add_to_publication(
        cls,
        operations: Operations,
        /,
        table_name: str,
        *,
        version: int,
        schema: str | None = None,
        **parameters: Any,
    ) -> None:
        """Add a table to the publication of its change log, which is made if necessary, and set its
        REPLICA IDENTITY to FULL if updates or deletions are published.

        Both lock the table for a moment (SHARE UPDATE EXCLUSIVE and ACCESS EXCLUSIVE). The
        arguments are those of ``create_notify_triggers``, without ``durable``. The replication slot
        is made by the first capture that runs, because PostgreSQL makes none in a transaction that
        has written.

        :raises RevisionError: if the arguments contradict each other.
        :raises sqlalchemy.exc.DBAPIError: if the table cannot be captured.
        """
        parameters |= CAPTURED
        triggers = made(table_name, schema, version=version, **parameters)
        operations.invoke(CreateNotifyTriggersOp(triggers))


class RemoveFromPublicationOp(DropNotifyTriggersOp):
    """Capture a table no longer."""

    @classmethod
    def remove_from_publication(
        cls,
        operations: Operations,
        /,
        table_name: str,
        *,
        schema: str | None = None,
        if_exists: bool = False,
        function: str | None = None,
    ) -> None:
        """Remove a table from the publication, and set its REPLICA IDENTITY to DEFAULT unless another
        publication has the table (ACCESS EXCLUSIVE). If it was the last one, the publication and
        the replication slot are dropped; stop the capture before.

        Changes that were not captured yet are lost. Arguments and errors are those of
        ``drop_notify_triggers``.
        """
        triggers = TriggerSet.for_drop(table_name, schema, function)
        operations.invoke(DropNotifyTriggersOp(triggers, if_exists=if_exists))


class LostNotifyTriggersOp(MigrateOperation):
    """The downgrade of removed triggers whose definition is not known: it does nothing, and a
    comment in the revision says so."""

    def __init__(self, removal: DropNotifyTriggersOp) -> None:
        self.removal = removal

    def reverse(self) -> DropNotifyTriggersOp:
        return self.removal


class InTableOrder(OpContainer):
    """Operations on the triggers of several tables.

    They are in the order in which a unit of work writes to the tables, in the upgrade and in the
    downgrade, so that locks are taken in the same order.
    """

    def reverse(self) -> InTableOrder:
        return InTableOrder([op.reverse() for op in self.ops])


class RevisionError(NotifyConfigError, CommandError):
    """The arguments of an operation cannot work, or their template version is not known.

    ``alembic`` prints the error in one line.
    """


def made(table: str, schema: str | None, **parameters: Any) -> TriggerSet:
    """Return the trigger set of an operation's arguments.

    :raises RevisionError: if ``parameters`` make no triggers.
    """
    try:
        return TriggerSet.from_parameters(table, schema, **parameters)
    except NotifyConfigError as error:
        raise RevisionError(error.subject, error.problem, error.fix) from error


def _batch_table(operations: BatchOperations) -> tuple[str, str | None]:
    assert isinstance(operations.impl, BatchOperationsImpl)
    return operations.impl.table_name, operations.impl.schema


def run(operations: Operations | BatchOperations, op: NotifyTriggersOp) -> None:
    """Run an operation: at once, at its place in a batch, or into the script of ``--sql``.

    On other dialects than PostgreSQL's it does nothing, like the marker.

    :raises alembic.util.CommandError: in a batch that recreates the table.
    """
    context = operations.migration_context
    if context.dialect.name != "postgresql":
        return
    for name in op.statements:
        statement = TriggerStatement(op.triggers, name)
        # Not execute() for a script: it turns tabs into spaces, and a name or a literal may hold
        # one.
        method, argument = (
            ("static_output", f"{statement.sql()};") if context.as_sql else ("execute", statement)
        )
        if isinstance(operations.impl, BatchOperationsImpl):
            if operations.impl.recreate == "always":
                raise CommandError(
                    f"The triggers of {op.triggers.table!r} would be lost: recreate='always' makes a new table when the batch ends. "
                    "Call the operation on op, after the batch"
                )
            # This is how the batch's own operations, such as add_column(), take their place.
            operations.impl.batch.append((method, (argument,), {}))
        else:
            getattr(operations.impl, method)(argument)
