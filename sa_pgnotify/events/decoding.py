"""How the messages of a table are decoded, found once for each of their shapes.

What is found is remembered, because nearly all messages of a table have one shape. The memory is
bounded, because anybody can send messages of ever new shapes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Dialect, Table
from sqlalchemy.orm import Mapper

from ..caching import BoundedMemory
from ..drivers import TextReader
from ..sql import catalog_name
from .entities import TableEntities
from .entity_layout import EntityLayout
from .layout import Layout
from .table_columns import TableColumns

__all__ = ["TableDecoder"]

_MOST_REMEMBERED = 500_000
"""How many characters and columns of shapes, classes and masks a table's decoder remembers. Each of
them takes at most 100 bytes of memory. The shapes of the widest table take two thirds of it."""
_OVERHEAD = 50


class TableDecoder:
    """Decodes the messages of a table that is listened to.

    :param mapper: the topmost mapper on the table; None for Core.
    :param accepts: whether events of a mapped class are wanted.
    :param key: the names of the table's columns that are the identity, in the mapper's order.
    :param oids: the type OID of each column, by name.
    :param readers: what the driver makes of the texts of a type, by OID; None for texts that stay
        as they are.
    :param types: the letter of each column's type family, by name, as the trigger knew it when
        ``oids`` was read; None if it is not known.
    :ivar mapper: as given, and so are ``accepts`` and ``key``.
    :ivar decoder: returns the decoder of a column, by name; :exc:`KeyError` if the model lacks it.
    """

    def __init__(
        self, table: Table, mapper: Mapper[Any] | None, accepts: Callable[[type], bool], key: tuple[str, ...], dialect: Dialect,
        oids: Mapping[str, int], readers: Mapping[int, TextReader | None], types: Mapping[str, str] | None,
    ) -> None:  # fmt: skip
        self.table = table
        self._columns = TableColumns(table, dialect, oids, readers, types)
        self._entities = TableEntities(self._columns, mapper, accepts, key)
        self.decoder = self._columns.decoder
        self.mapper, self.accepts, self.key = mapper, accepts, key
        self._memory = memory = BoundedMemory(_MOST_REMEMBERED, _OVERHEAD)
        # Each kind of answer has its own dict, so that a message costs one look-up for each
        # question.
        self._layouts: dict[str, Layout] = memory.new_dict()
        self._entity_layouts: dict[tuple[Layout, str | None], EntityLayout] = memory.new_dict()
        self._masks: dict[tuple[Layout, tuple[str | None, ...]], frozenset[int]] = memory.new_dict()
        self._server_read: dict[Layout, Mapping[int, int]] = memory.new_dict()
        self._matches: dict[Layout, bool | None] = memory.new_dict()
        self._simple: dict[str, bool] = memory.new_dict()

    def with_types(
        self,
        oids: Mapping[str, int],
        readers: Mapping[int, TextReader | None],
        types: Mapping[str, str] | None,
    ) -> TableDecoder:
        """Return a decoder of the same table with columns that were read again."""
        dialect = self._columns.dialect
        return TableDecoder(
            self.table, self.mapper, self.accepts, self.key, dialect, oids, readers, types
        )

    def layout(self, shape: str) -> Layout:
        """Return the layout of a shape.

        :raises Undecodable: if ``shape`` is not a valid shape.
        """
        known = self._layouts.get(shape)
        if known is None:
            known = self._memory.put(self._layouts, shape, Layout.read(shape), len(shape))
        return known

    def matches_types(self, layout: Layout) -> bool | None:
        """Return whether the columns of a layout that the model has are of the types that this
        decoder knows; None if that cannot be known."""
        try:
            return self._matches[layout]
        except KeyError:
            found = self._columns.matches_types(layout)
            return self._memory.put(self._matches, layout, found)

    def is_simple(self, shape: str) -> bool:
        """Return whether messages of a shape can be decoded without asking the server: their types
        match, and no field is one of :meth:`server_read_fields`.

        :raises Undecodable: as :meth:`layout`.
        """
        known = self._simple.get(shape)
        if known is None:
            layout = self.layout(shape)
            found = self.matches_types(layout) is True and not self.server_read_fields(layout)
            known = self._memory.put(self._simple, shape, found)
        return known

    def server_read_fields(self, layout: Layout) -> Mapping[int, int]:
        """Return the fields that only the server can read, as their type OIDs by index."""
        known = self._server_read.get(layout)
        if known is None:
            names = list(enumerate(layout.columns[: layout.carried]))
            column = self._entities.discriminator_column()
            if layout.discriminator == layout.carried and column is not None:
                names.append((layout.carried, catalog_name(column.name)))
            found = self._columns.server_read(names)
            known = self._memory.put(self._server_read, layout, found, layout.carried)
        return known

    def entity_layout(self, layout: Layout, discriminator: str | None) -> EntityLayout:
        """Return the entity of a row.

        :param discriminator: the text of the row's discriminator; None if it has none.
        :raises Undecodable: if the layout lacks a column of the identity, or the discriminator
            cannot be decoded.
        """
        known = self._entity_layouts.get((layout, discriminator))
        if known is None:
            known = self._memory.put(
                self._entity_layouts,
                (layout, discriminator),
                self._entities.of_row(layout, discriminator),
                len(layout.columns) + len(discriminator or ""),
            )
        return known

    def truncated(self, layout: Layout) -> list[EntityLayout]:
        """Return the entities that a TRUNCATE empties."""
        return self._entities.of_truncate(layout)

    def changed(self, layout: Layout, masks: tuple[str | None, ...]) -> frozenset[int]:
        """Return the indexes of the columns that an update changed.

        :raises Undecodable: if the masks are not numbers, or are out of range.
        """
        known = self._masks.get((layout, masks))
        if known is None:
            known = self._memory.put(
                self._masks,
                (layout, masks),
                layout.changed_columns(masks),
                len(layout.columns),
            )
        return known
