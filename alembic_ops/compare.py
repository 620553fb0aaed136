"""The comparison of autogenerate: the triggers that the marked tables should have, against those
that the database has.

A wrong proposal is run in production. So objects of other programs are never touched, a table that
a filter leaves out keeps its triggers, and what a proposal replaces is read back from the database,
so that the downgrade restores it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

from alembic.autogenerate.api import AutogenContext
from alembic.operations.ops import (
    AlterColumnOp,
    CreateTableOp,
    DropColumnOp,
    DropTableOp,
    MigrateOperation,
    ModifyTableOps,
    UpgradeOps,
)
from sqlalchemy import MetaData, Table

from sa_pgnotify.log.tables import INFO_KEY as LOG_INFO_KEY
from sa_pgnotify.marking.spec import INFO_KEY, marking_of
from sa_pgnotify.sql import catalog_name, execute_on
from sa_pgnotify.triggers.catalog import Function, Installed, functions, installed
from sa_pgnotify.triggers.drift import compare
from sa_pgnotify.triggers.function_comment import parameters_in
from sa_pgnotify.triggers.names import ALL_TRIGGER_NAMES, FUNCTION_PREFIX
from sa_pgnotify.triggers.trigger_set import TriggerSet, trigger_set

from .beside import keep_captures, keep_functions_and_triggers, keep_used_logs
from .operations import (
    AlterNotifyTriggersOp,
    CreateNotifyTriggersOp,
    DropNotifyTriggersOp,
    InTableOrder,
    NotifyTriggersOp,
    made,
)

__all__ = ["FILTER_TYPE", "compare_schemas", "compare_table"]

log = logging.getLogger("alembic.autogenerate.compare.notify_triggers")

FILTER_TYPE: Any = "notify_triggers"
"""The ``type_`` that ``include_name`` and ``include_object`` get; the name is that of the table."""

Place = tuple[str | None, str]
"""Schema, None for the default one, and name of a table."""


@dataclass
class Database:
    """What the database has, read once for a run of autogenerate.

    :ivar wanted: the trigger sets of all marked tables; ``found`` what the database has for those
        whose table exists.
    :ivar functions: the trigger functions, by the table whose triggers run them.
    :ivar idle: those that no trigger runs; ``all`` both, once for each trigger that runs them.
    """

    wanted: dict[Place, TriggerSet]
    found: dict[TriggerSet, Installed]
    functions: dict[Place, Function]
    idle: list[Function]
    all: list[Function]


_databases: WeakKeyDictionary[AutogenContext, Database] = WeakKeyDictionary()


def _database(context: AutogenContext) -> Database:
    known = _databases.get(context)
    if known is None:
        assert context.connection is not None
        execute = execute_on(context.connection)
        sets = (
            trigger_set(t, marking)
            for t in context.sorted_tables
            if (marking := marking_of(t)) is not None
        )
        wanted = {
            (_schema(context, s.schema), s.table): replace(s, schema=_schema(context, s.schema))
            for s in sets
        }
        known = Database(wanted, installed(execute, wanted.values()), {}, [], functions(execute))
        for function in sorted(known.all, key=_stray):
            if function.table is None:
                known.idle.append(function)
            else:
                known.functions.setdefault(
                    (_schema(context, function.table_schema), function.table), function
                )
                if function.visible:  # Alembic knows its table without the schema, too
                    known.functions.setdefault((None, function.table), function)
        _databases[context] = known
    return known


def _schema(context: AutogenContext, name: str | None) -> str | None:
    """Return a schema as Alembic names it: None for the default one."""
    assert context.dialect is not None
    return (
        None if name is None or name == context.dialect.default_schema_name else catalog_name(name)
    )


def _stray(function: Function) -> tuple[bool, bool]:
    """Return a key that sorts the functions of a table, the one with the usual names first."""
    return (
        function.trigger not in ALL_TRIGGER_NAMES,
        function.name != f"{FUNCTION_PREFIX}{function.table}",
    )


def _former(place: Place, function: Function, table: Table | None) -> TriggerSet | None:
    """Return the trigger set that a function, which triggers of a table run, was made from; None if
    its comment is damaged, or if the table does not have the columns any more that it needs.

    :raises RevisionError: if its template version is not known.
    """
    if function.comment is not None:
        former = made(place[1], place[0], **parameters_in(function.comment))
        if table is None or all(c.name in table.columns for c in former.columns):
            return (
                former
                if former.function_name == function.name
                else replace(former, function=function.name)
            )
    reason = (
        "its comment is damaged"
        if function.comment is None
        else "the table lacks a column that it was made for"
    )
    log.warning("The downgrade cannot restore function %r: %s", function.name, reason)
    return None


def compare_table(
    context: AutogenContext,
    modify_ops: ModifyTableOps,
    schema: str | None,
    name: str,
    conn_table: Table | None,
    metadata_table: Table | None,
) -> None:
    """Propose an operation on the triggers of one table, if one is needed.

    Alembic calls this for the tables that are added, for those that are removed, and for those that
    both sides have.
    """
    if context.dialect is None or context.dialect.name != "postgresql":
        return
    database = _database(context)
    wanted = (
        None
        if metadata_table is None
        else database.wanted.get((_schema(context, schema), catalog_name(name)))
    )
    present = database.functions.get((schema, name))
    if (wanted is None and present is None) or not _included(
        context, FILTER_TYPE, conn_table, metadata_table
    ):
        return
    former = None if present is None else _former((schema, name), present, conn_table)
    altered = {
        op.column_name
        for op in modify_ops.ops
        if isinstance(op, AlterColumnOp) and op.modify_type is not None
    }
    op = _proposal(database, (schema, name), wanted, present, former, altered)
    if op is not None:
        what = {
            CreateNotifyTriggersOp: "added",
            AlterNotifyTriggersOp: "changed",
            DropNotifyTriggersOp: "removed",
        }[type(op)]
        log.info(
            "Detected %s notify triggers on table %r", what, f"{schema}.{name}" if schema else name
        )
        modify_ops.ops.append(op)


def _proposal(
    database: Database,
    place: Place,
    wanted: TriggerSet | None,
    present: Function | None,
    former: TriggerSet | None,
    altered: set[str],
) -> NotifyTriggersOp | None:
    """Return the operation on the triggers of a table; None if none is needed.

    :param present: the trigger function that triggers of the table run, if there is one.
    :param former: the trigger set that it was made from, if it is known.
    :param altered: names of the columns whose types the same revision alters to those of the model;
        the others stay as they are.
    """
    if wanted is None:
        schema, table = place
        return DropNotifyTriggersOp(TriggerSet.for_drop(table, schema), former)
    found = database.found.get(wanted)
    fitted = wanted
    if found is not None:
        types = {name: oid for name, oid in found.types.items() if name not in altered}
        fitted = wanted.as_in_database(types, found.virtual)
    if present is None and (found is None or (found.source is None and not found.triggers)):
        return CreateNotifyTriggersOp(fitted)
    differs = compare(wanted, found, wanted.table) or (
        found is not None and fitted != found.fitted(wanted)
    )
    return AlterNotifyTriggersOp(fitted, former or fitted) if differs else None


def _included(
    context: AutogenContext, type_: Any, conn_table: Table | None, metadata_table: Table | None
) -> bool:
    """Return whether the user's ``include_name`` and ``include_object`` include a table of the
    database, of the metadata, or of both."""
    subject = metadata_table if metadata_table is not None else conn_table
    assert subject is not None
    if conn_table is not None:
        parents: Any = {"schema_name": conn_table.schema, "table_name": conn_table.name}
        if not context.run_name_filters(conn_table.name, type_, parents):
            return False
    return context.run_object_filters(
        subject,
        subject.name,
        type_,
        metadata_table is None,
        None if subject is conn_table else conn_table,
    )


def compare_schemas(
    context: AutogenContext, upgrade_ops: UpgradeOps, schemas: Iterable[str | None]
) -> None:
    """Put the operations in order, and propose to drop the functions of tables that are gone.

    Alembic calls this once, after the comparison of all tables.
    """
    for op in upgrade_ops.ops:
        # Otherwise the marking of the table would be written into the script.
        if isinstance(op, CreateTableOp) and op.info:
            op.info = {
                key: value for key, value in op.info.items() if key not in (INFO_KEY, LOG_INFO_KEY)
            }
    if context.dialect is not None and context.dialect.name == "postgresql":
        database = _database(context)
        keep_functions_and_triggers(upgrade_ops, database.all)
        keep_used_logs(
            upgrade_ops, _writers(context, database), lambda schema: _schema(context, schema)
        )
        keep_captures(upgrade_ops)
        _put_in_order(context, upgrade_ops)
        upgrade_ops.ops.extend(_left_over(context, set(schemas)))


def _writers(context: AutogenContext, database: Database) -> Iterator[tuple[Place, str | None]]:
    """Yield the tables whose triggers write to a change log, each with that log's schema."""
    for function in database.all:
        if function.table is not None and (function.comment or {}).get("durable"):
            place = (_schema(context, function.table_schema), function.table)
            yield place, _schema(context, (function.comment or {}).get("log_schema"))


def _put_in_order(context: AutogenContext, upgrade_ops: UpgradeOps) -> None:
    """Put what is created, added and altered first, then the triggers, which may read other tables
    than their own, and last what is dropped."""
    gone = {(op.schema, op.table_name) for op in upgrade_ops.ops if isinstance(op, DropTableOp)}

    def stage(op: MigrateOperation, *, of_table_gone: bool = False) -> int:
        if isinstance(op, NotifyTriggersOp):
            return 1
        return 2 if of_table_gone or isinstance(op, DropColumnOp | DropTableOp) else 0

    stages: list[list[Any]] = [[], [], []]
    for op in upgrade_ops.ops:
        if not isinstance(op, ModifyTableOps):
            stages[stage(op)].append(op)
            continue
        of_table_gone = (op.schema, op.table_name) in gone
        for number, found in enumerate(stages):
            if parts := [
                part for part in op.ops if stage(part, of_table_gone=of_table_gone) == number
            ]:
                found.append(ModifyTableOps(op.table_name, parts, schema=op.schema))
    before, triggers, after = stages
    if triggers:
        order = {
            (_schema(context, t.schema), catalog_name(t.name)): number
            for number, t in enumerate(context.sorted_tables)
        }
        triggers.sort(key=lambda op: order.get((op.schema, op.table_name), len(order)))
        upgrade_ops.ops[:] = [*before, InTableOrder(triggers), *after]


def _left_over(context: AutogenContext, schemas: set[str | None]) -> Iterator[DropNotifyTriggersOp]:
    """Yield operations that drop the functions of tables that were dropped by hand."""
    database = _database(context)
    kept = {(wanted.schema, wanted.function_name) for wanted in database.wanted.values()}
    for function in database.idle:
        schema = _schema(context, function.schema)
        if schema not in schemas or (schema, function.name) in kept:
            continue
        name = (function.comment or {}).get("table") or function.name.removeprefix(FUNCTION_PREFIX)
        gone = Table(name, MetaData(), schema=schema)
        if all(_included(context, type_, gone, None) for type_ in ("table", FILTER_TYPE)):
            log.info("Detected a notify trigger function that no trigger runs, %r", function.name)
            triggers = TriggerSet.for_drop(name, schema)
            if triggers.function_name != function.name:
                triggers = TriggerSet.for_drop(name, schema, function.name)
            yield DropNotifyTriggersOp(triggers, if_exists=True)
