"""What a table's texts mean: which columns they are of, and how each is read.

A value must equal what a SELECT through the ORM gives, and that is made by two parties: the
driver's typecaster for the column's type OID, then SQLAlchemy's result processor. So each value
goes through exactly those two. Which column a field belongs to is told by name in the message's
shape, never by position, so that listener and trigger may be of different ages.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NoReturn, TypeVar

from sqlalchemy import Column, Dialect, Table
from sqlalchemy.orm import Mapper
from sqlalchemy.orm.exc import UnmappedColumnError

from ..drivers import TextReader
from ..errors import UndecodableValue
from ..protocol.wire import MASK_BITS
from ..sql import catalog_name
from .changes import EntityLayout

__all__ = ["Decoder", "Layout", "TableDecoder", "Undecodable", "Unread"]

_MOST_COLUMNS = 1600
"""As many as a table of PostgreSQL may have."""
_LONGEST_SHAPE = 150_000
"""Characters; that of a table of as many columns, with names of 63 bytes, is shorter."""
_MOST_REMEMBERED = 500_000
"""How much a source remembers of the shapes, classes and masks that it has seen: characters and
columns, of each of which at most 100 bytes are held. The shapes of the widest table come to two
thirds of it; forged ones are forgotten when they reach it."""
_OVERHEAD = 50
_LONGEST_MASK = len(str((1 << MASK_BITS) - 1))
K = TypeVar("K")
V = TypeVar("V")


class Undecodable(Exception):
    """A row of a message cannot be made an event; the listener tells it as a ``Gap``."""


@dataclass(frozen=True, eq=False)
class Layout:
    """The shape of a message, read: see :mod:`sa_pgnotify.protocol.wire`. Equal ones are one, since
    a source remembers them by their text, so that what is remembered of each is found without
    comparing its columns."""

    columns: tuple[str, ...]
    carried: int
    key: int
    discriminator: int | None
    types: str | None = None

    @classmethod
    def read(cls, shape: str) -> Layout:
        """:raises Undecodable: if ``shape`` is not one."""
        if len(shape) > _LONGEST_SHAPE:
            raise Undecodable(f"a shape of {len(shape)} characters")
        try:
            given = json.loads(shape)
            columns, carried, key = given["columns"], given["carried"], given["key"]
            discriminator, types = given.get("discriminator"), given.get("types")
            valid = (
                all(isinstance(name, str) for name in columns)
                and len(set(columns)) == len(columns) <= _MOST_COLUMNS
                and (types is None or (isinstance(types, str) and len(types) == carried))
                and all(type(number) is int for number in (key, carried, discriminator or 0))
                and 0 < key <= carried <= len(columns)
                and (discriminator is None or 0 <= discriminator <= carried)
            )
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise Undecodable(f"shape {shape[:80]!r}: {error}") from error
        if not valid:
            raise Undecodable(f"shape {shape[:80]!r} contradicts itself")
        return cls(tuple(columns), carried, key, discriminator, types)

    @cached_property
    def masks(self) -> int:
        """How many fields the mask of an update takes."""
        return -(-len(self.columns) // MASK_BITS)

    @cached_property
    def fields(self) -> int:
        """How many fields a row has, the masks and the old values aside."""
        return self.carried + (self.discriminator == self.carried)


class TableDecoder:
    """A table that is listened to: its columns' decoders, and the entities that its rows belong to.

    :param mapper: the mapper furthest up of those on this table; None for Core.
    :param accepts: whether events of a mapped class are wanted.
    :param key: the names of the table's columns that are the identity, in the mapper's order.
    :param oids: column name to type OID.
    :param readers: a type's OID to what the driver makes of its texts; None for texts that stay as
        they are.
    :param types: column name to the letter of its type's family, as the trigger knew them when
        ``oids`` was read; None if that is not known.
    """

    def __init__(
        self, table: Table, mapper: Mapper[Any] | None, accepts: Callable[[type], bool], key: tuple[str, ...], dialect: Dialect,
        oids: Mapping[str, int], readers: Mapping[int, TextReader | None], types: Mapping[str, str] | None,
    ) -> None:  # fmt: skip
        self.table = table
        self._mapper = mapper
        self._accepts = accepts
        self._key = key
        self._dialect = dialect
        self._oids = oids
        self._readers = readers
        self._types = types
        self._columns = {catalog_name(column.name): column for column in table.columns}
        self._layouts: dict[str, Layout] = {}
        self._plans: dict[tuple[Layout, Any], EntityLayout] = {}
        self._masks: dict[tuple[Layout, tuple[str | None, ...]], frozenset[int]] = {}
        self._decoders: dict[str, Decoder] = {}
        self._server_read: dict[Layout, Mapping[int, int]] = {}
        self._matches: dict[Layout, bool | None] = {}
        self._simple: dict[str, bool] = {}
        self._remembered = 0

    def with_types(
        self,
        oids: Mapping[str, int],
        readers: Mapping[int, TextReader | None],
        types: Mapping[str, str] | None,
    ) -> TableDecoder:
        """The same table, with the columns that it has by now."""
        return TableDecoder(
            self.table, self._mapper, self._accepts, self._key, self._dialect, oids, readers, types
        )

    def _remember(self, memory: dict[K, V], key: K, value: V, size: int = 0) -> V:
        """Put ``value`` into ``memory`` and return it; where too much is remembered, forget all
        else, because messages can be forged.

        :param size: how many characters and columns it holds.
        """
        size += _OVERHEAD
        if size > _MOST_REMEMBERED:
            return value
        self._remembered += size
        if self._remembered > _MOST_REMEMBERED:
            memories: tuple[dict[Any, Any], ...] = (
                self._layouts,
                self._plans,
                self._masks,
                self._server_read,
                self._matches,
                self._simple,
            )
            for known in memories:
                known.clear()
            self._remembered = size
        memory[key] = value
        return value

    def matches_types(self, layout: Layout) -> bool | None:
        """Whether the columns of a layout that the model has are of the types that this source
        knows; None if nothing tells."""
        try:
            return self._matches[layout]
        except KeyError:
            return self._remember(self._matches, layout, self._find_matches_types(layout))

    def _find_matches_types(self, layout: Layout) -> bool | None:
        if layout.types is None:
            return True
        if self._types is None:
            return None
        return all(
            self._types.get(name) == code
            for name, code in zip(layout.columns, layout.types)
            if name in self._columns
        )

    def is_simple(self, shape: str) -> bool:
        """Whether a shape's layout :meth:`matches_types`, and no field of it of :meth:`server_read_fields`.

        :raises Undecodable: as :meth:`layout`.
        """
        known = self._simple.get(shape)
        if known is None:
            layout = self.layout(shape)
            known = self._remember(
                self._simple,
                shape,
                self.matches_types(layout) is True and not self.server_read_fields(layout),
            )
        return bool(known)

    def layout(self, shape: str) -> Layout:
        """:raises Undecodable: if ``shape`` is not one."""
        known = self._layouts.get(shape)
        if known is None:
            known = self._remember(self._layouts, shape, Layout.read(shape), len(shape))
        return known

    def plan(self, layout: Layout, discriminator: str | None) -> EntityLayout:
        """:raises Undecodable: if the layout lacks a column of the identity, or the discriminator
        cannot be decoded."""
        known = self._plans.get((layout, discriminator))
        if known is None:
            made = self._make_plan(layout, self._mapper_of(layout, discriminator))
            known = self._remember(
                self._plans,
                (layout, discriminator),
                made,
                len(layout.columns) + len(discriminator or ""),
            )
        return known

    def changed(self, layout: Layout, masks: tuple[str | None, ...]) -> frozenset[int]:
        """The places of the columns that an update changed.

        :raises Undecodable: if the masks are not numbers, or too large ones.
        """
        known = self._masks.get((layout, masks))
        if known is None:
            width = len(layout.columns)
            if not all(
                mask is not None and mask.isdecimal() and len(mask) <= _LONGEST_MASK
                for mask in masks
            ):
                raise Undecodable(f"masks {masks!r}")
            bits = sum(int(mask or "") << (MASK_BITS * i) for i, mask in enumerate(masks))
            if not 0 < bits < 1 << width:
                raise Undecodable(f"masks {masks!r} of {width} columns")
            known = self._remember(
                self._masks,
                (layout, masks),
                frozenset(i for i in range(width) if bits >> i & 1),
                width,
            )
        return known

    def emptied(self, layout: Layout) -> list[EntityLayout]:
        """The plans of a TRUNCATE: of the most general class that is wanted, or of several that are
        wanted alone."""
        mappers = (
            [None]
            if self._mapper is None
            else [m for m in self._mapper.self_and_descendants if self._accepts(m.class_)]
        )
        tops = [m for m in mappers if m is None or m.inherits not in mappers]
        return [self._make_plan(layout, mapper) for mapper in tops]

    def server_read_fields(self, layout: Layout) -> Mapping[int, int]:
        """The places of the fields that only the server can read, and their types' OIDs."""
        known = self._server_read.get(layout)
        if known is None:
            known = self._remember(
                self._server_read, layout, self._find_server_read_fields(layout), layout.carried
            )
        return known

    def _find_server_read_fields(self, layout: Layout) -> dict[int, int]:
        names = dict(enumerate(layout.columns[: layout.carried]))
        if (
            layout.discriminator == layout.carried
            and self._mapper is not None
            and isinstance(self._mapper.polymorphic_on, Column)
        ):
            names[layout.carried] = catalog_name(self._mapper.polymorphic_on.name)
        readers = {
            place: self._readers.get(self._oids.get(name, 0))
            for place, name in names.items()
            if name in self._columns
        }
        return {
            place: reader.asks
            for place, reader in readers.items()
            if reader is not None and reader.asks is not None
        }

    def _make_plan(self, layout: Layout, mapper: Mapper[Any] | None) -> EntityLayout:
        entity = self.table if mapper is None else mapper.class_
        names = tuple(self._attribute(mapper, name) for name in layout.columns)
        place_of = {name: place for place, name in enumerate(layout.columns[: layout.carried])}
        try:
            key = tuple(place_of[name] for name in self._key)
        except KeyError as error:
            raise Undecodable(
                f"{self.table.name}: the message does not carry {error}, a column of the identity"
            ) from error
        attributes = {
            name: place for place, name in enumerate(names[: layout.carried]) if name is not None
        }
        positions = {name: position for position, name in enumerate(attributes)}
        accepted = mapper is None or self._accepts(mapper.class_)
        return EntityLayout(
            entity, mapper, names, key, tuple(attributes.values()), positions, accepted
        )

    def _mapper_of(self, layout: Layout, discriminator: str | None) -> Mapper[Any] | None:
        """The most specific mapper; where the discriminator names none that this program knows, the
        most general one."""
        if self._mapper is None or layout.discriminator is None:
            return self._mapper
        column = self._mapper.polymorphic_on
        value: Any = discriminator
        if isinstance(column, Column):
            if (name := catalog_name(column.name)) in self._columns:
                try:
                    value = self.decoder(name).one(discriminator)
                except UndecodableValue as error:
                    raise Undecodable(f"{self.table.name}: {error}") from error
            else:  # a text looked up in the root table, whose type OIDs this source does not know
                process = self._processor(column, None)
                try:
                    value = discriminator if process is None else process(discriminator)
                except Exception as error:  # an Enum's, for a value that this program does not know
                    raise Undecodable(f"{self.table.name}: {error}") from error
        by_value = {str(k): m for k, m in self._mapper.polymorphic_map.items()}
        found = self._mapper.polymorphic_map.get(value) or by_value.get(str(value), self._mapper)
        return found if found.isa(self._mapper) else self._mapper

    def _attribute(self, mapper: Mapper[Any] | None, name: str) -> str | None:
        column = self._columns.get(name)
        if column is None or mapper is None:
            return None if column is None else column.key
        try:
            return mapper.get_property_by_column(column).key
        except UnmappedColumnError:
            return None

    def _processor(self, column: Column[Any], oid: int | None) -> Callable[[Any], Any] | None:
        """Return what SQLAlchemy makes of the driver's values of a column; None if it leaves them
        as they are."""
        try:
            return column.type.dialect_impl(self._dialect).result_processor(self._dialect, oid)
        except Exception as error:
            # a Numeric's, for a column that holds no numbers, and then of each SELECT

            def refuse(_: Any, refused: Exception = error) -> NoReturn:
                raise refused.with_traceback(None)

            return refuse

    def decoder(self, name: str) -> Decoder:
        """:raises KeyError: if the model does not have the column."""
        known = self._decoders.get(name)
        if known is None:
            column, oid = self._columns[name], self._oids.get(name, 0)
            known = self._decoders[name] = Decoder(
                self.table.fullname, name, self._readers.get(oid), self._processor(column, oid)
            )
        return known


class Decoder:
    """Makes values of the texts of a column: what the driver makes of a text, and what SQLAlchemy
    makes of that.

    :param read: the driver's part; None if the text stays as it is.
    :param process: SQLAlchemy's part; it sees NULL as well. None if there is nothing to do.
    :ivar column: the column's name.
    """

    def __init__(
        self, table: str, column: str, read: TextReader | None, process: Callable[[Any], Any] | None
    ) -> None:
        self.column = column
        self._table = table
        self._read = read
        self._process = process

    def all(self, texts: list[str | None]) -> Sequence[Any]:
        """Return the values of all texts, decoded together, or one by one if that fails.

        :raises UndecodableValue: for the first text that is not in the type's form.
        """
        values: Any = texts
        try:
            if self._read is not None:
                values = (
                    self._read.all(values)
                    if None not in texts
                    else self._between_nulls(self._read, texts)
                )
            return values if self._process is None else list(map(self._process, values))
        except Exception:  # a TypeDecorator may raise anything
            return [self.one(text) for text in texts]

    @staticmethod
    def _between_nulls(read: TextReader, texts: list[str | None]) -> list[Any]:
        values = iter(read.all([text for text in texts if text is not None]))
        return [None if text is None else next(values) for text in texts]

    def each(self, texts: list[str | None]) -> list[Any]:
        """Return the values of all texts, and an :class:`Unread` in the place of one that is not in
        the type's form."""
        values: list[Any] = []
        for text in texts:
            try:
                values.append(self.value(text))
            except Exception:
                # a TypeDecorator may raise anything, and does again when the value is asked for
                values.append(Unread(self, text))
        return values

    def one(self, text: str | None, subject: str = "", attribute: str = "") -> Any:
        """Return the value of a text.

        :param subject: what an error names, and the ``attribute``; the table and the column if they
            are not given.
        :raises UndecodableValue: if the text is not in the type's form.
        """
        try:
            return self.value(text)
        except Exception as error:  # a TypeDecorator may raise anything
            said = None if text is None else str(text)
            raise UndecodableValue(
                subject or self._table, attribute or self.column, self.column, said, error
            ) from error

    def value(self, text: str | None) -> Any:
        """Return the value of a text.

        :raises Exception: whatever the driver or the type raises if the text is not in the type's
            form.
        """
        value = text if self._read is None or text is None else self._read.one(text)
        return value if self._process is None else self._process(value)


class Unread:
    """Stands for a value that cannot be decoded. Two are equal if their texts are."""

    __slots__ = ("decoder", "text")

    def __init__(self, decoder: Decoder, text: str | None) -> None:
        self.decoder = decoder
        self.text = text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Unread) and self.text == other.text

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<undecodable {self.text!r}>"
