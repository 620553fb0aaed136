"""Marking classes and tables, and the hooks that install the triggers with the tables.

Classes come about in many ways (declarative, dataclasses, imperative, reflected late, inherited three ways); what they share is that
a mapper is constructed at the end, so that is where the marker acts. It leaves plain data in ``Table.info``, which survives pickling
and ``Table.to_metadata()``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

from sqlalchemy import Column, Connection, MetaData, Table, event
from sqlalchemy.orm import Mapper
from sqlalchemy.orm.exc import UnmappedColumnError
from sqlalchemy.sql.ddl import SchemaDropper, SchemaGenerator

from .changelog import ChangeLog, find_log, log_of
from .ddl import CreateNotifyTriggers, DropNotifyTriggers
from .errors import NotifyConfigError
from .logusers import refuse_to_drop_a_shared_log
from .reflection import Installed, compare, execute_on, installed, marked_sets, schema_translation
from .spec import INFO_KEY, Lookup, Marking, NotifySpec, marking_of, resolve
from .triggers import TriggerSet

logger = logging.getLogger("sa_pgnotify")

__all__ = ["NotifyOnChange", "general_mapper", "notify_on_change"]


class NotifyOnChange:
    """Mixin for mapped classes whose changes are to be told; before or after ``Base``, or on an abstract base for all below it.

    ``__notify__ = NotifySpec(...)`` on the class gives options, ``__notify__ = None`` opts it out.
    """

    __notify__: ClassVar[NotifySpec | None] = NotifySpec()


def notify_on_change(table: Table, spec: NotifySpec = NotifySpec()) -> Table:  # noqa: B008 (frozen)
    """Mark a Core table (or the table of a class that cannot take a mixin); its columns' keys serve as attribute names.

    :returns: ``table``.
    :raises NotifyConfigError: if the declaration cannot work on this table, or the table is marked otherwise already.
    """
    if not isinstance(table, Table):
        raise NotifyConfigError(repr(table), "it is no Table. For a mapped class, give its __table__")
    if not isinstance(spec, NotifySpec):
        raise NotifyConfigError(table.fullname, f"{spec!r} is no NotifySpec. Write NotifySpec(...)")
    _refuse_temporary(table)
    key = tuple(c.name for c in table.primary_key)
    marking = resolve(spec, {c.key: c for c in table.columns}, key, table.fullname, _log_schema(table, spec))
    known = marking_of(table)
    if known is not None and known != marking:
        raise _already_marked(table)
    table.info[INFO_KEY] = marking
    return table


def _log_schema(table: Table, spec: NotifySpec) -> str | None:
    """The schema of the change log that ``table`` needs, which is made here; None if it needs none."""
    return log_of(table.metadata).names.schema if spec.durable else None


def _refuse_temporary(table: Table) -> None:
    if any(word in {"TEMPORARY", "TEMP"} for prefix in table._prefixes for word in prefix.upper().split()):
        raise NotifyConfigError(table.fullname, "the table is temporary: no other session sees it. Unmark it")


# -- mapped classes ---------------------------------------------------------------------------------------------------

_declared: WeakKeyDictionary[Table, tuple[type, NotifySpec]] = WeakKeyDictionary()
"""Who marked a table first, and how; tells an inherited declaration from a contradicting one."""
_general_mappers: WeakKeyDictionary[Table, Mapper[Any]] = WeakKeyDictionary()


def general_mapper(table: Table) -> Mapper[Any] | None:
    """The mapper furthest up of those whose rows are in ``table``, if a marked class uses the table."""
    return _general_mappers.get(table)


def tables_of(mapper: Mapper[Any]) -> list[Table]:
    """The tables that hold the rows of a mapper."""
    return [t for t in mapper.tables if isinstance(t, Table)]


@event.listens_for(NotifyOnChange, "after_mapper_constructed", propagate=True)
def _mark(mapper: Mapper[Any], class_: type[NotifyOnChange]) -> None:
    spec = class_.__notify__
    if spec is None:
        return
    if not isinstance(spec, NotifySpec):
        raise NotifyConfigError(class_.__name__, f"__notify__ is {spec!r}; it must be a NotifySpec or None")
    if not isinstance(mapper.local_table, Table):
        if mapper.concrete or mapper.with_polymorphic or mapper.local_table is None:
            return  # an AbstractConcreteBase: its tables are those of the classes below it
        raise NotifyConfigError(
            class_.__name__, "it maps a join or a query, which no trigger can watch. Mark the tables with notify_on_change()"
        )
    root = mapper
    while root.inherits is not None and not root.concrete:
        root = root.inherits
    lineage = _lineage(mapper)
    for ancestor in lineage:
        if isinstance(ancestor.local_table, Table):
            _general_mappers.setdefault(ancestor.local_table, ancestor)
            _mark_table(mapper, root, ancestor.local_table, class_, spec)
    for ancestor in lineage:
        if ancestor is not mapper:
            _look_up_class(ancestor, root)


def _lineage(mapper: Mapper[Any]) -> list[Mapper[Any]]:
    """The mapper and those above it whose tables its rows are in, the one furthest up last; one mapper for each table."""
    found = [mapper]
    while found[-1].inherits is not None and not found[-1].concrete:
        above = found[-1].inherits
        if above.local_table is found[-1].local_table:
            found[-1] = above
        else:
            found.append(above)
    return found


def _mark_table(mapper: Mapper[Any], root: Mapper[Any], table: Table, class_: type, spec: NotifySpec) -> None:
    known = _declared.get(table)
    if known is not None:
        by, other = known
        if other != spec and not (table is not mapper.local_table and issubclass(class_, by)):
            raise NotifyConfigError(
                class_.__name__,
                f"{by.__name__} marked the table {table.fullname!r}, which they share, with other options. "
                f"Give both the same __notify__, or mark only the class above them (None opts {class_.__name__} out)",
            )
        if marking_of(table) is not None:
            return
    _refuse_temporary(table)
    marked_by_hand = marking_of(table)
    attributes = _attributes(mapper, table)
    key = tuple(_local(mapper, column, table).name for column in root.primary_key)
    part = _part(spec, attributes, {name for t in tables_of(mapper) for name in _attributes(mapper, t)})
    _declared[table] = (class_, spec)
    if table is root.local_table:
        marking = resolve(part, attributes, key, class_.__name__, _log_schema(table, spec))
        on = root.polymorphic_on
        if isinstance(on, Column) and table.columns.get(on.key) is on:
            marking = replace(marking, discriminator=on.name)
    else:
        # The root's row tells that an entity came or went; this table tells only what happens to its own columns.
        watched = "update" in part.operations and (part.update_of or not spec.update_of)
        operations = tuple(o for o in part.operations if (o == "update" and watched) or o == "truncate")
        if not operations:
            return
        try:
            marking = resolve(replace(part, operations=operations), attributes, key, class_.__name__, _log_schema(table, spec))
        except NotifyConfigError as error:
            raise NotifyConfigError(
                class_.__name__,
                f"its table {table.fullname!r} cannot take over the __notify__ that it inherits, since a trigger sees one table ({error}). "
                f"Give {class_.__name__} a __notify__ of its own",
            ) from error
    if marked_by_hand is not None and replace(marked_by_hand, discriminator=marking.discriminator) != marking:
        raise _already_marked(table)
    table.info[INFO_KEY] = marking


def _already_marked(table: Table) -> NotifyConfigError:
    return NotifyConfigError(table.fullname, "the table is already marked, with other options. Mark it once")


def _attributes(mapper: Mapper[Any], table: Table) -> dict[str, Column[Any]]:
    """The columns of a table by attribute name. (``mapper.column_attrs`` would configure all mappers, and it is too early for that:
    a relationship may name a class that is yet to come.)"""
    found = {}
    for column in table.columns:
        with suppress(UnmappedColumnError):
            found[mapper.get_property_by_column(column).key] = column
    return found


def _part(spec: NotifySpec, attributes: Iterable[str], every: set[str]) -> NotifySpec:
    """The part of a declaration that is about one of several tables; names that no table has stay, to be refused."""
    mine = set(attributes)

    def cut(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name for name in names if name in mine or name not in every)

    return replace(spec, values=spec.values if spec.values == "all" else cut(spec.values), update_of=cut(spec.update_of))


def _local(mapper: Mapper[Any], column: Any, table: Table) -> Column[Any]:
    """The column of ``table`` that holds the same value as ``column`` of the root table."""
    return next(c for c in mapper.get_property_by_column(column).columns if isinstance(c, Column) and c.table is table)


def _look_up_class(mapper: Mapper[Any], root: Mapper[Any]) -> None:
    """Rows of a joined child's table that has classes below it: which class, is to be read in the root table."""
    table, on = mapper.local_table, root.polymorphic_on
    if mapper is root or not isinstance(table, Table) or not isinstance(root.local_table, Table) or not isinstance(on, Column):
        return
    marking = marking_of(table)
    if marking is None:
        return
    keys = tuple(zip(marking.key, (c.name for c in root.primary_key), strict=True))
    beside = root.local_table.schema == table.schema
    lookup = Lookup(table=root.local_table.name, schema=root.local_table.schema, discriminator=on.name, keys=keys, beside=beside)
    table.info[INFO_KEY] = replace(marking, discriminator=lookup)


# -- create_all and drop_all ------------------------------------------------------------------------------------------


@event.listens_for(MetaData, "after_create")
def _created_all(metadata: MetaData, connection: Any, _ddl_runner: Any, **_: Any) -> None:
    # Migrations run other runners: they install triggers by operations of their own, frozen at the time of writing.
    if isinstance(_ddl_runner, SchemaGenerator):
        _install(connection, _ddl_runner.tables or metadata.tables.values(), with_log=_ddl_runner.tables is None)


@event.listens_for(Table, "after_create")
def _created(table: Table, connection: Any, _ddl_runner: Any, _is_metadata_operation: bool = False, **_: Any) -> None:
    if isinstance(_ddl_runner, SchemaGenerator) and not _is_metadata_operation:
        _install(connection, [table], with_log=False)


@event.listens_for(MetaData, "before_drop")
def _drops_all(metadata: MetaData, connection: Any, _ddl_runner: Any, **_: Any) -> None:
    if isinstance(_ddl_runner, SchemaDropper):
        tables = list(_ddl_runner.tables or metadata.tables.values())
        if isinstance(connection, Connection) and connection.dialect.name == "postgresql":
            refuse_to_drop_a_shared_log(connection, metadata, tables, schema_translation(connection))
        # While their log is there, so that its listeners can be notified.
        _remove(connection, [t for t in tables if _durable(t)])


@event.listens_for(MetaData, "after_drop")
def _dropped_all(metadata: MetaData, connection: Any, _ddl_runner: Any, **_: Any) -> None:
    if isinstance(_ddl_runner, SchemaDropper):
        _remove(connection, _ddl_runner.tables or metadata.tables.values())


@event.listens_for(Table, "after_drop")
def _dropped(table: Table, connection: Any, _ddl_runner: Any, _is_metadata_operation: bool = False, **_: Any) -> None:
    if isinstance(_ddl_runner, SchemaDropper) and not _is_metadata_operation:
        _remove(connection, [table])


def _install(connection: Any, tables: Iterable[Table], *, with_log: bool) -> None:
    """Install what is missing or outdated; when all is in place, one query and no lock.

    :param with_log: whether the tables of the change log were among those that were created, or that were there.
    """
    marked = _marked(connection, tables)
    statements = {table: CreateNotifyTriggers(table) for table in marked}
    if isinstance(connection, Connection) and marked:
        sets = marked_sets(marked, schema_translation(connection))
        found = installed(execute_on(connection), sets.values())
        marked = [t for t, wanted in sets.items() if _can_be_mended(t, wanted, found.get(wanted))]
        for table, statement in statements.items():
            if (there := found.get(sets[table])) is not None:
                statement.triggers = there.fitted(statement.triggers)
    for metadata, schema in {t.metadata: marking.log_schema for t in marked if (marking := _durable(t)) is not None}.items():
        log = find_log(metadata)
        if log is None or not with_log:  # a table that was copied into another MetaData comes without one
            metadata.create_all(connection, (log or ChangeLog(metadata, schema=schema)).tables)
    for table in marked:
        connection.execute(statements[table])


def _can_be_mended(table: Table, wanted: TriggerSet, found: Installed | None) -> bool:
    """Whether the table's triggers are not what they should be, and the table has what they need to be so."""
    if found is not None and (absent := found.lacks(wanted)):
        names = ", ".join(f"column {name}" for name in absent)
        logger.warning("%s lacks %s: its triggers are left as they are, for they could not read that", table.fullname, names)
        return False
    return any(drift.kind != "disabled" for drift in compare(wanted, found, table.fullname))


def _remove(connection: Any, tables: Iterable[Table]) -> None:
    for table in _marked(connection, tables):
        connection.execute(DropNotifyTriggers(table))


def _durable(table: Table) -> Marking | None:
    """The marking of a table whose changes go into a log."""
    marking = marking_of(table)
    return marking if marking is not None and marking.durable else None


def _marked(connection: Any, tables: Iterable[Table]) -> list[Table]:
    return [t for t in tables if marking_of(t) is not None] if connection.dialect.name == "postgresql" else []
