"""The columns of a table: their types, and how their texts are decoded.

A listener and a trigger may be of different versions. So a column is found by its name in the
message's shape, never by its position, and its type is compared with the type that the trigger
knew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn

from sqlalchemy import Column, Dialect, Table

from ..drivers import TextReader
from ..sql import catalog_name
from .column_decoder import ColumnDecoder
from .layout import Layout

__all__ = ["TableColumns"]


class TableColumns:
    """The columns of a table as the database has them.

    :param oids: the type OID of each column, by name.
    :param readers: what the driver makes of the texts of a type, by OID; None for texts that stay
        as they are.
    :param types: the letter of each column's type family, by name, as the trigger knew it when
        ``oids`` was read; None if it is not known.
    :ivar of_model: the columns of the model, by their names in the database.
    """

    def __init__(
        self,
        table: Table,
        dialect: Dialect,
        oids: Mapping[str, int],
        readers: Mapping[int, TextReader | None],
        types: Mapping[str, str] | None,
    ) -> None:
        self.table = table
        self.dialect = dialect
        self.of_model = {catalog_name(column.name): column for column in table.columns}
        self._oids = oids
        self._readers = readers
        self._types = types
        self._decoders: dict[str, ColumnDecoder] = {}

    def decoder(self, name: str) -> ColumnDecoder:
        """Return the decoder of a column.

        :raises KeyError: if the model does not have the column.
        """
        known = self._decoders.get(name)
        if known is None:
            column, oid = self.of_model[name], self._oids.get(name, 0)
            known = self._decoders[name] = ColumnDecoder(
                self.table.fullname, name, self._readers.get(oid), self.processor(column, oid)
            )
        return known

    def processor(self, column: Column[Any], oid: int | None) -> Callable[[Any], Any] | None:
        """Return what SQLAlchemy makes of the driver's values of a column; None if it leaves them
        as they are."""
        try:
            return column.type.dialect_impl(self.dialect).result_processor(self.dialect, oid)
        except Exception as error:
            # a Numeric raises it for a column that does not hold numbers; so does each SELECT

            def refuse(_: Any, refused: Exception = error) -> NoReturn:
                raise refused.with_traceback(None)

            return refuse

    def matches_types(self, layout: Layout) -> bool | None:
        """Return whether the columns of a layout that the model has are of the types known here;
        None if that cannot be known."""
        if layout.types is None:
            return True
        if self._types is None:
            return None
        return all(
            self._types.get(name) == code
            for name, code in zip(layout.columns, layout.types)
            if name in self.of_model
        )

    def server_read(self, names: Iterable[tuple[int, str]]) -> dict[int, int]:
        """Return those of the columns that only the server can read, as their type OIDs by index.

        :param names: the index of each field, and the name of its column.
        """
        readers = {
            place: self._readers.get(self._oids.get(name, 0))
            for place, name in names
            if name in self.of_model
        }
        return {
            place: reader.server_read_oid
            for place, reader in readers.items()
            if reader is not None and reader.server_read_oid is not None
        }
