"""Proposals of autogenerate to drop objects that this library or another program still needs.

Alembic and its extensions compare the whole schema with one program's models, and propose to drop
everything else that no filter excludes. That concerns the functions and triggers, which
alembic_utils takes for unregistered entities, and a change log that only the tables of another
program write to.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable
from typing import Any

from alembic.operations.ops import DropTableOp, ModifyTableOps, UpgradeOps

from sa_pgnotify.log.tables import CAPTURES, PREFIX, TABLE_NAMES
from sa_pgnotify.triggers.catalog import Function

from .operations import NotifyTriggersOp

__all__ = ["keep_functions_and_triggers", "keep_used_logs"]

log = logging.getLogger("alembic.autogenerate.compare.notify_triggers")

Place = tuple[str | None, str]


def keep_functions_and_triggers(upgrade_ops: UpgradeOps, ours: Iterable[Function]) -> None:
    """Remove alembic_utils' proposals to drop trigger functions and triggers of this library, which
    have operations of their own."""
    known: set[tuple[str | None, str]] = set()
    for function in ours:
        # as alembic_utils writes names
        known.add((function.schema, f"{function.name}()".replace('"', "")))
        if function.trigger is not None:
            known.add((function.table_schema, function.trigger.replace('"', "")))

    def is_kept(op: Any) -> bool:
        target = getattr(op, "target", None)
        dropped = type(op).__name__ == "DropOp" and type(op).__module__.partition(".")[
            0
        ].startswith("alembic_utils")
        return not (
            dropped
            and (getattr(target, "schema", None), getattr(target, "signature", None)) in known
        )

    upgrade_ops.ops[:] = [op for op in upgrade_ops.ops if is_kept(op)]


def keep_used_logs(
    upgrade_ops: UpgradeOps,
    writers: Iterable[tuple[Place, str | None]],
    schema_of: Callable[[Any], str | None],
) -> None:
    """Remove the proposals to drop a change log if triggers that stay after the migration write to
    it.

    :param writers: the durable tables of the database, each with the schema of its log; a schema of
        None is the default one.
    :param schema_of: returns the schema of an operation's table in the same form.
    """
    replaced = {(schema_of(schema), table) for schema, table in _replaced(upgrade_ops.ops)}
    used = {schema: table for table, schema in writers if table not in replaced}

    def is_kept(op: Any) -> bool:
        return not (
            isinstance(op, DropTableOp | ModifyTableOps)
            and op.table_name in TABLE_NAMES
            and schema_of(op.schema) in used
            and _only_drops(op)
        )

    kept = [op for op in upgrade_ops.ops if is_kept(op)]
    if len(kept) < len(upgrade_ops.ops):
        for schema, (_, table) in used.items():
            log.info(
                "The change log%s is kept: triggers of the table %r write to it",
                f" in schema {schema!r}" if schema else "",
                table,
            )
        upgrade_ops.ops[:] = kept


def keep_captures(upgrade_ops: UpgradeOps) -> None:
    """Remove the proposal to drop the table of captures as long as its log stays: the last table that
    was captured may have triggers from now on, and the capture still has to append what was written
    before."""
    gone = {
        op.schema
        for op in upgrade_ops.ops
        if isinstance(op, DropTableOp) and op.table_name == PREFIX
    }

    def is_kept(op: Any) -> bool:
        return not (
            isinstance(op, DropTableOp) and op.table_name == CAPTURES and op.schema not in gone
        )

    upgrade_ops.ops[:] = filter(is_kept, upgrade_ops.ops)


def _replaced(ops: Collection[Any]) -> Iterable[Place]:
    """Yield the tables whose present triggers the operations drop or replace."""
    for op in ops:
        if isinstance(op, NotifyTriggersOp):
            yield op.triggers.schema, op.triggers.table
        elif isinstance(op, DropTableOp):
            yield op.schema, op.table_name
        yield from _replaced(getattr(op, "ops", ()))


def _only_drops(op: Any) -> bool:
    """Return whether all of an operation is part of dropping a table, such as the removal of its
    indexes."""
    return isinstance(op, DropTableOp) or all(
        type(part).__name__.startswith("Drop") for part in op.ops
    )
