"""From rows of text to typed events.

A value must equal what a SELECT through the ORM gives, and that is made by two parties: the driver's typecaster for the column's
type OID, then SQLAlchemy's result processor. So each value goes through exactly those two. Which column a field belongs to is told
by name in the message's shape, never by position, so that listener and trigger may be of different ages.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from types import MappingProxyType
from typing import Any

from sqlalchemy import Column, Dialect, Table
from sqlalchemy.orm import Mapper
from sqlalchemy.orm.exc import UnmappedColumnError

from .errors import UndecodableValue
from .events import Change, Deleted, Identity, Inserted, Truncated, Updated
from .wire import MASK_BITS, Header, split_row

__all__ = ["Batch", "Source", "Undecodable"]

Decoder = Callable[[str | None], Any]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EMPTY: Mapping[str, Any] = MappingProxyType({})
_KINDS: dict[str, type[Change]] = {"I": Inserted, "U": Updated, "D": Deleted, "T": Truncated}
_MOST_REMEMBERED = 1000
"""Shapes and masks are remembered because they recur; who forges them must not fill the memory."""


class Undecodable(Exception):
    """A row of a message cannot be made an event; the listener tells it as a ``Gap``."""


@dataclass(frozen=True)
class Layout:
    """The shape of a message, read: see :mod:`sa_pgnotify.wire`."""

    columns: tuple[str, ...]
    carried: int
    key: int
    discriminator: int | None

    @classmethod
    def read(cls, shape: str) -> Layout:
        """:raises Undecodable: if ``shape`` is not one."""
        try:
            given = json.loads(shape)
            columns, carried, key = given["columns"], given["carried"], given["key"]
            discriminator = given.get("discriminator")
            valid = (
                all(isinstance(name, str) for name in columns)
                and 0 < key <= carried <= len(columns)
                and (discriminator is None or 0 <= discriminator <= carried)
            )
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise Undecodable(f"shape {shape[:80]!r}: {error}") from error
        if not valid:
            raise Undecodable(f"shape {shape[:80]!r} contradicts itself")
        return cls(tuple(columns), carried, key, discriminator)

    @cached_property
    def masks(self) -> int:
        """How many fields the mask of an update takes."""
        return -(-len(self.columns) // MASK_BITS)

    @cached_property
    def fields(self) -> int:
        """How many fields a row has, the masks and the old values aside."""
        return self.carried + (self.discriminator == self.carried)


@dataclass(frozen=True)
class Plan:
    """How the rows of one layout become events of one entity."""

    entity: Any
    mapper: Mapper[Any] | None
    names: tuple[str | None, ...]
    """Attribute name of each of the layout's columns; None for those that the entity lacks."""
    key: tuple[tuple[int, Decoder], ...]
    """For each column of the identity: the place of its field, and its decoder."""
    values: tuple[tuple[int, str, Decoder], ...]
    """For each carried column that the entity has: the place of its field, attribute name, decoder."""
    accepted: bool


class Source:
    """A table that is listened to: its columns' decoders, and the entities that its rows belong to.

    :param mapper: the mapper furthest up of those on this table; None for Core.
    :param accepts: whether events of a mapped class are wanted.
    :param key: the names of the table's columns that are the identity, in the mapper's order.
    :param decoder: a column's type OID to what the driver makes of its text; None for a text that stays as it is.
    :param oids: column name to type OID.
    """

    def __init__(
        self, table: Table, mapper: Mapper[Any] | None, accepts: Callable[[type], bool], key: tuple[str, ...], dialect: Dialect,
        oids: Mapping[str, int], decoder: Callable[[int], Callable[[str], Any] | None],
    ) -> None:  # fmt: skip
        self.table = table
        self._mapper = mapper
        self._accepts = accepts
        self._key = key
        self._dialect = dialect
        self._oids = oids
        self._driver_decoder = decoder
        self._columns = {column.name: column for column in table.columns}
        self._layouts: dict[str, Layout] = {}
        self._plans: dict[tuple[Layout, Any], Plan] = {}
        self._masks: dict[tuple[Layout, tuple[str | None, ...]], frozenset[int]] = {}
        self._decoders: dict[str, Decoder] = {}

    def layout(self, shape: str) -> Layout:
        """:raises Undecodable: if ``shape`` is not one."""
        known = self._layouts.get(shape)
        if known is None:
            known = _remember(self._layouts, shape, Layout.read(shape))
        return known

    def plan(self, layout: Layout, discriminator: str | None) -> Plan:
        """:raises Undecodable: if the layout lacks a column of the identity."""
        known = self._plans.get((layout, discriminator))
        if known is None:
            known = _remember(self._plans, (layout, discriminator), self._make_plan(layout, discriminator))
        return known

    def changed(self, layout: Layout, masks: tuple[str | None, ...]) -> frozenset[int]:
        """The places of the columns that an update changed.

        :raises Undecodable: if the masks are not numbers, or too large ones.
        """
        known = self._masks.get((layout, masks))
        if known is None:
            try:
                bits = sum(int(mask or "") << (MASK_BITS * i) for i, mask in enumerate(masks))
            except ValueError as error:
                raise Undecodable(f"masks {masks!r}: {error}") from error
            if not 0 < bits < 1 << len(layout.columns):
                raise Undecodable(f"masks {masks!r} of {len(layout.columns)} columns")
            known = _remember(self._masks, (layout, masks), frozenset(i for i in range(len(layout.columns)) if bits >> i & 1))
        return known

    def _make_plan(self, layout: Layout, discriminator: str | None) -> Plan:
        mapper = self._mapper_of(layout, discriminator)
        entity = self.table if mapper is None else mapper.class_
        names = tuple(self._attribute(mapper, name) for name in layout.columns)
        places = {name: place for place, name in enumerate(layout.columns[: layout.carried])}
        try:
            key = tuple((places[name], self._decoder(name)) for name in self._key)
        except KeyError as error:
            raise Undecodable(f"{self.table.name}: the message does not carry {error}, a column of the identity") from error
        values = tuple((i, name, self._decoder(layout.columns[i])) for i, name in enumerate(names[: layout.carried]) if name is not None)
        return Plan(entity, mapper, names, key, values, mapper is None or self._accepts(mapper.class_))

    def _mapper_of(self, layout: Layout, discriminator: str | None) -> Mapper[Any] | None:
        """The most specific mapper; where the discriminator names none that this program knows, the most general one."""
        if self._mapper is None or layout.discriminator is None:
            return self._mapper
        column = self._mapper.polymorphic_on
        value: Any = discriminator
        if isinstance(column, Column):
            if column.name in self._columns:
                value = self._decoder(column.name)(discriminator)
            else:  # a text looked up in the root table, whose type OIDs this source does not know
                process = column.type.dialect_impl(self._dialect).result_processor(self._dialect, None)
                value = discriminator if process is None else process(discriminator)
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

    def _decoder(self, name: str) -> Decoder:
        """:raises KeyError: if neither the model nor the database has the column."""
        known = self._decoders.get(name)
        if known is None:
            column, oid = self._columns[name], self._oids.get(name, 0)
            read = self._driver_decoder(oid)
            process = column.type.dialect_impl(self._dialect).result_processor(self._dialect, oid)
            known = self._decoders[name] = _composed(name, read, process)
        return known


def _composed(name: str, read: Callable[[str], Any] | None, process: Callable[[Any], Any] | None) -> Decoder:
    def decode(text: str | None) -> Any:
        try:
            value = text if read is None or text is None else read(text)
            return value if process is None else process(value)
        except Exception as error:  # a TypeDecorator may raise anything
            raise UndecodableValue(name, text) from error

    return decode


def _remember(memory: dict[Any, Any], key: Any, value: Any) -> Any:
    if len(memory) >= _MOST_REMEMBERED:
        memory.clear()
    memory[key] = value
    return value


class Batch:
    """Rows of one message, and what they need to become events."""

    __slots__ = ("_kind", "_layout", "header", "rows", "source")

    def __init__(self, source: Source, header: Header, rows: list[str]) -> None:
        """:raises Undecodable: if the message's shape cannot be read."""
        self.source = source
        self.header = header
        self.rows = rows
        self._layout = source.layout(header.shape)
        self._kind = _KINDS[header.operation]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[str]:
        return iter(self.rows)

    def first(self, count: int) -> Batch:
        """The first ``count`` rows of this one."""
        return Batch(self.source, self.header, self.rows[:count])

    def event(self, row: str) -> Change | None:
        """The event of a row; None if it belongs to an entity that nobody asked for.

        :raises Undecodable: if the row is not of its message's shape, or its identity cannot be decoded."""
        layout, source, kind = self._layout, self.source, self._kind
        if kind is Truncated:
            return Truncated(DecodedRow(self, source.plan(layout, None), [], None, frozenset()))
        fields = split_row(row)
        changed: frozenset[int] = frozenset()
        expected = layout.fields
        if kind is Updated:
            masks = layout.masks
            changed = source.changed(layout, tuple(fields[:masks]))
            fields = fields[masks:]
            expected += sum(place < layout.carried for place in changed)
        if len(fields) != expected:
            raise Undecodable(f"{source.table.name}: a row of {len(fields)} fields where {expected} were announced")
        discriminator = None if layout.discriminator is None else fields[layout.discriminator]
        plan = source.plan(layout, discriminator)
        if not plan.accepted:
            return None
        try:
            identity = tuple([decode(fields[place]) for place, decode in plan.key])
        except UndecodableValue as error:
            raise Undecodable(f"{source.table.name}: {error}") from error
        return kind(DecodedRow(self, plan, fields, identity, changed))

    @property
    def occurred_at(self) -> datetime:
        return _EPOCH + timedelta(microseconds=self.header.microseconds)

    @property
    def context(self) -> Mapping[str, Any]:
        if not self.header.context:
            return _EMPTY
        try:
            given = json.loads(self.header.context)
        except (ValueError, RecursionError):
            return _EMPTY  # somebody set the variable by hand; change_context() refuses such
        return MappingProxyType(given) if isinstance(given, dict) else _EMPTY


class DecodedRow:
    """One row with its plan: decodes values when asked."""

    __slots__ = ("_batch", "_changed", "_fields", "_plan", "identity")

    def __init__(self, batch: Batch, plan: Plan, fields: list[str | None], identity: Identity | None, changed: frozenset[int]) -> None:
        self._batch = batch
        self._plan = plan
        self._fields = fields
        self._changed = changed
        self.identity = identity

    @property
    def entity(self) -> Any:
        return self._plan.entity

    @property
    def mapper(self) -> Mapper[Any] | None:
        return self._plan.mapper

    @property
    def table(self) -> Table:
        return self._batch.source.table

    @property
    def transaction_id(self) -> int:
        return self._batch.header.transaction_id

    @property
    def occurred_at(self) -> datetime:
        return self._batch.occurred_at

    @property
    def backend_pid(self) -> int:
        return self._batch.header.pid

    @property
    def context(self) -> Mapping[str, Any]:
        return self._batch.context

    @property
    def changed(self) -> frozenset[str]:
        names = self._plan.names
        return frozenset([name for place in self._changed if (name := names[place]) is not None])

    def values(self) -> dict[str, Any]:
        fields = self._fields
        return {name: decode(fields[place]) for place, name, decode in self._plan.values}

    def old_values(self) -> dict[str, Any]:
        old = self._old_fields()
        fields = self._fields
        return {name: decode(old[place] if place in old else fields[place]) for place, name, decode in self._plan.values}

    def _old_fields(self) -> dict[int, str | None]:
        """The fields that follow the new ones: old values of the carried columns that changed, in order."""
        layout = self._batch._layout
        places = [place for place in sorted(self._changed) if place < layout.carried]
        return dict(zip(places, self._fields[layout.fields :], strict=True))

    @property
    def previous_identity(self) -> Identity | None:
        key = self._plan.key
        if not any(place in self._changed for place, _ in key):
            return None
        old = self._old_fields()
        return tuple(decode(old.get(place, self._fields[place])) for place, decode in key)
