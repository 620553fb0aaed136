"""What a declaration means for each of the tables that hold the rows of one class.

With joined inheritance an entity has a row in several tables, and a trigger sees one of them. The
root's table publishes that an entity was added or removed; the table of a class below it publishes
only the changes of its own columns.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from sqlalchemy import Column, Table
from sqlalchemy.orm import Mapper

from ..errors import NotifyConfigError
from ..sql import catalog_name
from .column_kinds import hidden
from .declarations import attributes_of
from .resolution import TableUnfit, resolve
from .spec import Lookup, Marking, NotifySpec, mark, marking_of
from .tables import log_schema_for

__all__ = ["lineage", "look_up_class", "marking_for", "root_of", "tables_of"]


def tables_of(mapper: Mapper[Any]) -> list[Table]:
    """Return the tables that hold the rows of a mapper."""
    return [t for t in mapper.tables if isinstance(t, Table)]


def root_of(mapper: Mapper[Any]) -> Mapper[Any]:
    """Return the mapper furthest up whose table holds rows of ``mapper``."""
    while mapper.inherits is not None and not mapper.concrete:
        mapper = mapper.inherits
    return mapper


def lineage(mapper: Mapper[Any]) -> list[Mapper[Any]]:
    """Return the mapper and those above it whose tables its rows are in, the one furthest up last;
    one mapper for each table."""
    found = [mapper]
    while found[-1].inherits is not None and not found[-1].concrete:
        above = found[-1].inherits
        if above.local_table is found[-1].local_table:
            found[-1] = above
        else:
            found.append(above)
    return found


def marking_for(
    table: Table, mapper: Mapper[Any], root: Mapper[Any], spec: NotifySpec
) -> Marking | None:
    """Return what ``spec`` means for one of the tables of a class; None if it asks for nothing
    there."""
    name = mapper.class_.__name__
    attributes = attributes_of(mapper, table)
    key = [_same_column(mapper, column, table) for column in root.primary_key]
    every = {name for t in tables_of(mapper) for name in attributes_of(mapper, t)}
    part = _part(spec, attributes, every)
    if table is root.local_table:
        marking = resolve(part, attributes, key, name, log_schema_for(table, spec))
        return replace(marking, discriminator=_discriminator(root, table, name))
    watched = "update" in part.operations and (part.update_of or not spec.update_of)
    operations = tuple(o for o in part.operations if (o == "update" and watched) or o == "truncate")
    if not operations:
        return None
    part = replace(part, operations=operations)
    try:
        return resolve(part, attributes, key, name, log_schema_for(table, spec))
    except NotifyConfigError as error:
        raise NotifyConfigError(
            name,
            f"its table {table.fullname!r} cannot take over the __notify__ that it inherits, since a trigger sees one table ({error})",
            f"Give {name} a __notify__ of its own",
        ) from error


def _part(spec: NotifySpec, attributes: Iterable[str], every: set[str]) -> NotifySpec:
    """Return the part of a declaration that is about one of several tables.

    :param every: the attribute names of all of the tables. A name that is not among them stays, so
        that it is refused.
    """
    mine = set(attributes)

    def cut(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name for name in names if name in mine or name not in every)

    values = spec.values if spec.values == "all" else cut(spec.values)
    return replace(spec, values=values, update_of=cut(spec.update_of))


def _same_column(mapper: Mapper[Any], column: Any, table: Table) -> Column[Any]:
    """Return the column of ``table`` that holds the same value as ``column`` of the root table."""
    return next(
        c
        for c in mapper.get_property_by_column(column).columns
        if isinstance(c, Column) and c.table is table
    )


def _discriminator(root: Mapper[Any], table: Table, name: str) -> str | None:
    """Return the name of the column of the root table that names the class of a row."""
    on = root.polymorphic_on
    if not isinstance(on, Column) or table.columns.get(on.key) is not on:
        return None
    if problem := hidden(on):
        raise TableUnfit(
            name,
            f"no event could name its class, as its polymorphic_on {on.name!r} {problem}",
            "Unmark it",
        )
    return catalog_name(on.name)


def look_up_class(mapper: Mapper[Any], root: Mapper[Any]) -> None:
    """Have the triggers of a joined child's table look up the class of a row in the root table, if
    the child has classes below it."""
    table, on = mapper.local_table, root.polymorphic_on
    if (
        mapper is root
        or not isinstance(table, Table)
        or not isinstance(root.local_table, Table)
        or not isinstance(on, Column)
    ):
        return
    marking = marking_of(table)
    if marking is None:
        return
    if marking.capture == "wal":
        raise NotifyConfigError(
            mapper.class_.__name__,
            f'with capture="wal" no event could name the class of a row of {table.fullname!r}, '
            "because the write-ahead log does not have the row of the root table beside it",
            "Leave capture out for these classes, or use single-table inheritance below it",
        )
    keys = tuple(zip(marking.key, (catalog_name(c.name) for c in root.primary_key), strict=True))
    lookup = Lookup(
        table=catalog_name(root.local_table.name),
        schema=root.local_table.schema,
        discriminator=catalog_name(on.name),
        keys=keys,
        beside=root.local_table.schema == table.schema,
    )
    mark(table, replace(marking, discriminator=lookup))
