"""The classes and columns of a program's models, found by the names in an envelope."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import MetaData, Table, inspect
from sqlalchemy.orm import Mapper, registry

from ..errors import UnreadableData
from ..marking.declarations import marked_classes
from .entity_layout import EntityLayout

__all__ = ["ModelSource", "column_layout", "entity_named"]

ModelSource = MetaData | type[Any]
"""A MetaData, or a declarative base."""


def entity_named(
    table_name: str, name: str, models: ModelSource
) -> tuple[Table, Mapper[Any] | None]:
    """Return a table and the mapper of one of its classes; None for Core.

    :param table_name: as ``Table.fullname`` gives it.
    :param name: of the class; that of the table for Core.
    :raises UnreadableData: if the models do not have them.
    :raises TypeError: if ``models`` is something else.
    """
    metadata = models if isinstance(models, MetaData) else getattr(models, "metadata", None)
    if not isinstance(metadata, MetaData):
        raise TypeError(f"{models!r} is neither a MetaData nor a declarative base")
    table = metadata.tables.get(table_name)
    if table is None:
        raise UnreadableData(
            "event.table",
            f"{table_name!r} is not in the MetaData, which has: {_listed(metadata.tables)}",
            "Give the MetaData or declarative base of the models that the event is of",
        )
    mappers = list(dict.fromkeys(_mappers(table, models)))
    for mapper in mappers:
        if mapper.class_.__name__ == name:
            return table, mapper
    if name == table.fullname:
        return table, None
    known = ", ".join(sorted({mapper.class_.__name__ for mapper in mappers}))
    raise UnreadableData(
        "event.entity",
        f"no class {name!r} is mapped to the table {table_name!r}"
        + (f", only {known}" if known else ""),
        "Import the module that maps it, and give its declarative base; or read the event with the models that it was written with",
    )


def _mappers(table: Table, models: ModelSource) -> Iterator[Mapper[Any]]:
    """Yield the mappers of the classes whose rows may be in a table, some of them repeatedly."""
    found: list[Mapper[Any]] = []
    for class_ in marked_classes(table):
        mapper: Mapper[Any] | None = inspect(class_, raiseerr=False)
        if mapper is not None:
            found.append(mapper)
    mappers_of = getattr(models, "registry", None)
    if isinstance(mappers_of, registry):
        mappers_of.configure()
        found += [mapper for mapper in mappers_of.mappers if table in mapper.tables]
    for mapper in found:
        mapper.registry.configure()
        yield from mapper.self_and_descendants


def column_layout(table: Table, mapper: Mapper[Any] | None) -> EntityLayout:
    """Return the layout of an entity, whose columns are all that it maps."""
    if mapper is None:
        types = {column.key: column.type for column in table.columns}
        keys = [column.key for column in table.primary_key]
    else:
        types = {attribute.key: attribute.columns[0].type for attribute in mapper.column_attrs}
        keys = [mapper.get_property_by_column(column).key for column in mapper.primary_key]
    names = tuple(types)
    places = {name: place for place, name in enumerate(names)}
    return EntityLayout(
        entity=table if mapper is None else mapper.class_,
        mapper=mapper,
        names=names,
        key=tuple(places[key] for key in keys),
        places=tuple(places.values()),
        positions=places,
        accepted=True,
        types=types,
    )


def _listed(names: Any) -> str:
    shown = sorted(names)
    return ", ".join(shown[:20]) + (", ..." if len(shown) > 20 else "")
