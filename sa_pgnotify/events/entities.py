"""Which entity each row of a table belongs to, and how it gets its attributes.

With single-table and joined inheritance the rows of one table belong to several classes. A column
named the discriminator says to which, and it may hold a value that this program does not know.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Column
from sqlalchemy.orm import Mapper
from sqlalchemy.orm.exc import UnmappedColumnError

from ..sql import catalog_name
from .entity_layout import EntityLayout
from .layout import Layout, Undecodable
from .table_columns import TableColumns

__all__ = ["TableEntities"]


class TableEntities:
    """The entities that the rows of a table belong to.

    :param mapper: the topmost mapper on the table; None for Core.
    :param accepts: whether events of a mapped class are wanted.
    :param key: the names of the table's columns that are the identity, in the mapper's order.
    """

    def __init__(
        self,
        columns: TableColumns,
        mapper: Mapper[Any] | None,
        accepts: Callable[[type], bool],
        key: tuple[str, ...],
    ) -> None:
        self.mapper = mapper
        self.accepts = accepts
        self.key = key
        self._columns = columns

    def of_row(self, layout: Layout, discriminator: str | None) -> EntityLayout:
        """Return the entity of a row.

        :param discriminator: the text of the row's discriminator; None if it has none.
        :raises Undecodable: if the layout lacks a column of the identity, or the discriminator
            cannot be decoded.
        """
        return self._lay_out(layout, self._mapper_of(layout, discriminator))

    def of_truncate(self, layout: Layout) -> list[EntityLayout]:
        """Return the entities that a TRUNCATE empties: the most general class that is wanted, or
        several if their common base class is not."""
        mappers = (
            [None]
            if self.mapper is None
            else [m for m in self.mapper.self_and_descendants if self.accepts(m.class_)]
        )
        tops = [m for m in mappers if m is None or m.inherits not in mappers]
        return [self._lay_out(layout, mapper) for mapper in tops]

    def discriminator_column(self) -> Column[Any] | None:
        """Return the column that tells the classes apart; None if there is none."""
        column = None if self.mapper is None else self.mapper.polymorphic_on
        return column if isinstance(column, Column) else None

    def _lay_out(self, layout: Layout, mapper: Mapper[Any] | None) -> EntityLayout:
        table = self._columns.table
        names = tuple(self._attribute(mapper, name) for name in layout.columns)
        place_of = {name: place for place, name in enumerate(layout.columns[: layout.carried])}
        try:
            key = tuple(place_of[name] for name in self.key)
        except KeyError as error:
            raise Undecodable(
                f"{table.name}: the message does not carry {error}, a column of the identity"
            ) from error
        attributes = {
            name: place for place, name in enumerate(names[: layout.carried]) if name is not None
        }
        return EntityLayout(
            entity=table if mapper is None else mapper.class_,
            mapper=mapper,
            names=names,
            key=key,
            places=tuple(attributes.values()),
            positions={name: position for position, name in enumerate(attributes)},
            accepted=mapper is None or self.accepts(mapper.class_),
            types={
                name: self._columns.of_model[column].type
                for column, name in zip(layout.columns, names)
                if name is not None
            },
        )

    def _mapper_of(self, layout: Layout, discriminator: str | None) -> Mapper[Any] | None:
        """Return the most specific mapper of a row; the topmost one if this program does not know
        the discriminator's value."""
        mapper = self.mapper
        if mapper is None or layout.discriminator is None:
            return mapper
        value: Any = discriminator
        if (column := self.discriminator_column()) is not None:
            try:
                value = self._read_discriminator(column, discriminator)
            except Exception as error:  # an Enum's, for a value that this program does not know
                raise Undecodable(f"{self._columns.table.name}: {error}") from error
        by_value = {str(k): m for k, m in mapper.polymorphic_map.items()}
        found = mapper.polymorphic_map.get(value) or by_value.get(str(value), mapper)
        return found if found.isa(mapper) else mapper

    def _read_discriminator(self, column: Column[Any], text: str | None) -> Any:
        name = catalog_name(column.name)
        if name in self._columns.of_model:
            return self._columns.decoder(name).one(text)
        # The trigger looked the text up in the root table, whose type OIDs are not known here.
        process = self._columns.processor(column, None)
        return text if process is None else process(text)

    def _attribute(self, mapper: Mapper[Any] | None, name: str) -> str | None:
        column = self._columns.of_model.get(name)
        if column is None or mapper is None:
            return None if column is None else column.key
        try:
            return mapper.get_property_by_column(column).key
        except UnmappedColumnError:
            return None
