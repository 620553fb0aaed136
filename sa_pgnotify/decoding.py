"""From rows of text to typed events.

A value must equal what a SELECT through the ORM gives, and that is made by two parties: the driver's typecaster for the column's
type OID, then SQLAlchemy's result processor. So each value goes through exactly those two. Which column a field belongs to is told
by name in the message's shape, never by position, so that listener and trigger may be of different ages.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from types import MappingProxyType
from typing import Any

from sqlalchemy import Column, Dialect, Table
from sqlalchemy.orm import Mapper
from sqlalchemy.orm.exc import UnmappedColumnError

from .drivers import TextReader
from .errors import UndecodableValue
from .events import Change, Deleted, Identity, Inserted, Plan, Truncated, Updated
from .wire import MASK_BITS, Rows

__all__ = ["Batch", "Source", "Undecodable"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EMPTY: Mapping[str, Any] = MappingProxyType({})
_KINDS: dict[str, type[Change]] = {"I": Inserted, "U": Updated, "D": Deleted, "T": Truncated}
_MOST_REMEMBERED = 1000
"""Shapes and masks are remembered because they recur; who forges them must not fill the memory."""
_LONGEST_SHAPE = 150_000
"""Characters; 1,600 columns with names of 63 come to less."""


class Undecodable(Exception):
    """A row of a message cannot be made an event; the listener tells it as a ``Gap``."""


@dataclass(frozen=True)
class Layout:
    """The shape of a message, read: see :mod:`sa_pgnotify.wire`."""

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
                and isinstance(types, str | None)
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


class Source:
    """A table that is listened to: its columns' decoders, and the entities that its rows belong to.

    :param mapper: the mapper furthest up of those on this table; None for Core.
    :param accepts: whether events of a mapped class are wanted.
    :param key: the names of the table's columns that are the identity, in the mapper's order.
    :param oids: column name to type OID.
    :param readers: a type's OID to what the driver makes of its texts; None for texts that stay as they are.
    :param types: stands for the columns that the trigger knew when ``oids`` was read; None if that is not known.
    """

    def __init__(
        self, table: Table, mapper: Mapper[Any] | None, accepts: Callable[[type], bool], key: tuple[str, ...], dialect: Dialect,
        oids: Mapping[str, int], readers: Mapping[int, TextReader | None], types: str | None,
    ) -> None:  # fmt: skip
        self.table = table
        self._mapper = mapper
        self._accepts = accepts
        self._key = key
        self._dialect = dialect
        self._oids = oids
        self._readers = readers
        self.types = types
        self._columns = {column.name: column for column in table.columns}
        self._layouts: dict[str, Layout] = {}
        self._plans: dict[tuple[Layout, Any], Plan] = {}
        self._masks: dict[tuple[Layout, tuple[str | None, ...]], frozenset[int]] = {}
        self._decoders: dict[str, Decoder] = {}
        self._asks: dict[Layout, Mapping[int, int]] = {}

    def with_types(self, oids: Mapping[str, int], readers: Mapping[int, TextReader | None], types: str | None) -> Source:
        """The same table, with the columns that it has by now."""
        return Source(self.table, self._mapper, self._accepts, self._key, self._dialect, oids, readers, types)

    def layout(self, shape: str) -> Layout:
        """:raises Undecodable: if ``shape`` is not one."""
        known = self._layouts.get(shape)
        if known is None:
            known = _remember(self._layouts, shape, Layout.read(shape))
        return known

    def plan(self, layout: Layout, discriminator: str | None) -> Plan:
        """:raises Undecodable: if the layout lacks a column of the identity, or the discriminator cannot be decoded."""
        known = self._plans.get((layout, discriminator))
        if known is None:
            known = _remember(self._plans, (layout, discriminator), self._make_plan(layout, self._mapper_of(layout, discriminator)))
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

    def emptied(self, layout: Layout) -> list[Plan]:
        """The plans of a TRUNCATE: of the most general class that is wanted, or of several that are wanted alone."""
        mappers = [None] if self._mapper is None else [m for m in self._mapper.self_and_descendants if self._accepts(m.class_)]
        tops = [m for m in mappers if m is None or m.inherits not in mappers]
        return [self._make_plan(layout, mapper) for mapper in tops]

    def asks(self, layout: Layout) -> Mapping[int, int]:
        """The places of the fields that only the server can read, and their types' OIDs."""
        known = self._asks.get(layout)
        if known is None:
            known = _remember(self._asks, layout, self._find_asks(layout))
        return known

    def _find_asks(self, layout: Layout) -> dict[int, int]:
        names = dict(enumerate(layout.columns[: layout.carried]))
        if layout.discriminator == layout.carried and self._mapper is not None and isinstance(self._mapper.polymorphic_on, Column):
            names[layout.carried] = self._mapper.polymorphic_on.name
        readers = {place: self._readers.get(self._oids.get(name, 0)) for place, name in names.items() if name in self._columns}
        return {place: reader.asks for place, reader in readers.items() if reader is not None and reader.asks is not None}

    def _make_plan(self, layout: Layout, mapper: Mapper[Any] | None) -> Plan:
        entity = self.table if mapper is None else mapper.class_
        names = tuple(self._attribute(mapper, name) for name in layout.columns)
        place_of = {name: place for place, name in enumerate(layout.columns[: layout.carried])}
        try:
            key = tuple(place_of[name] for name in self._key)
        except KeyError as error:
            raise Undecodable(f"{self.table.name}: the message does not carry {error}, a column of the identity") from error
        places = tuple(place for place, name in enumerate(names[: layout.carried]) if name is not None)
        attributes = tuple(name for name in names[: layout.carried] if name is not None)
        return Plan(entity, mapper, names, key, places, attributes, mapper is None or self._accepts(mapper.class_))

    def _mapper_of(self, layout: Layout, discriminator: str | None) -> Mapper[Any] | None:
        """The most specific mapper; where the discriminator names none that this program knows, the most general one."""
        if self._mapper is None or layout.discriminator is None:
            return self._mapper
        column = self._mapper.polymorphic_on
        value: Any = discriminator
        if isinstance(column, Column):
            if column.name in self._columns:
                try:
                    value = self.decoder(column.name).one(discriminator)
                except UndecodableValue as error:
                    raise Undecodable(f"{self.table.name}: {error}") from error
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

    def decoder(self, name: str) -> Decoder:
        """:raises KeyError: if the model does not have the column."""
        known = self._decoders.get(name)
        if known is None:
            column, oid = self._columns[name], self._oids.get(name, 0)
            process = column.type.dialect_impl(self._dialect).result_processor(self._dialect, oid)
            known = self._decoders[name] = Decoder(name, self._readers.get(oid), process)
        return known


class Decoder:
    """Makes values of the texts of a column: what the driver makes of a text, and what SQLAlchemy makes of that.

    :param read: the driver's part; None if the text stays as it is.
    :param process: SQLAlchemy's part; it sees NULL as well. None if there is nothing to do.
    """

    def __init__(self, name: str, read: TextReader | None, process: Callable[[Any], Any] | None) -> None:
        self._name = name
        self._read = read
        self._process = process

    def all(self, texts: list[str | None]) -> Sequence[Any]:
        """:raises UndecodableValue: for the first text that is not in the type's form."""
        values: Any = texts
        try:
            if self._read is not None:
                if None in texts:
                    return [self.one(text) for text in texts]
                values = self._read.all(values)
            return values if self._process is None else [self._process(value) for value in values]
        except Exception:  # a TypeDecorator may raise anything; which text it was, one() tells
            return [self.one(text) for text in texts]

    def one(self, text: str | None) -> Any:
        """:raises UndecodableValue: if the text is not in the type's form."""
        try:
            value = text if self._read is None or text is None else self._read.one(text)
            return value if self._process is None else self._process(value)
        except Exception as error:  # a TypeDecorator may raise anything
            raise UndecodableValue(self._name, text) from error


def _remember(memory: dict[Any, Any], key: Any, value: Any) -> Any:
    if len(memory) >= _MOST_REMEMBERED:
        memory.clear()
    memory[key] = value
    return value


class Batch:
    """Rows of one message, and what they need to become events.

    Rows come by the hundred and are alike, so they are decoded column by column, and the columns of values only when one is read.
    """

    __slots__ = ("_changed", "_columns", "_kind", "_known", "_layout", "_olds", "_rows", "_values", "header", "since", "source")

    def __init__(self, source: Source, rows: Rows, since: float) -> None:
        """
        :param since: nothing that was committed before is missing, by ``time.time()``.
        :raises Undecodable: if the message's shape cannot be read.
        """
        self.since = since
        self.source = source
        self.header = rows.header
        self._rows = rows
        self._layout = source.layout(rows.header.shape)
        self._kind = _KINDS[rows.header.operation]
        self._columns: list[list[str | None]] = []
        self._known: dict[int, Sequence[Any]] = {}
        self._changed: list[frozenset[int]] = []
        self._olds: list[list[str | None]] = []
        self._values: dict[Plan, list[tuple[Any, ...]] | None] = {}

    def __len__(self) -> int:
        return self._rows.size

    @property
    def types(self) -> str | None:
        """Stands for the columns that the trigger knew when it sent the message."""
        return self._layout.types

    def read_with(self, source: Source) -> Batch:
        """The same, decoded as ``source`` says.

        :raises Undecodable: if that was made for columns of other types; where nothing tells, they are taken for the same.
        """
        if source.types not in (None, self.types):
            raise Undecodable(f"{source.table.name}: nothing tells any more what types its columns had when this was sent")
        return Batch(source, self._rows, self.since)

    def each(self) -> list[Batch]:
        """Each row alone."""
        rows = [Batch(self.source, row, self.since) for row in self._rows.each()]
        if self._columns:  # which may have been read already
            for place, row in enumerate(rows):
                row._columns = [column[place : place + 1] for column in self._columns]
                row._changed, row._olds = self._changed[place : place + 1], self._olds[place : place + 1]
        return rows

    @property
    def asks(self) -> bool:
        """Whether there is something to read that only the server can."""
        return self._kind is not Truncated and bool(self.source.asks(self._layout))

    def answered(self, read: Callable[[Mapping[int, list[str]]], Mapping[int, list[str]]]) -> list[Batch]:
        """The same with all read that only the server can read; row by row, if the rows are not of one shape.

        :param read: as :meth:`sa_pgnotify.drivers.ListenConnection.read`.
        """
        asks = self.source.asks(self._layout)
        try:
            self._split()
        except (ValueError, Undecodable):  # which events() will tell
            return [self] if len(self) == 1 else [answered for row in self.each() for answered in row.answered(read)]
        fields = [(self._columns[place], row, oid) for place, oid in asks.items() for row in range(len(self))]
        for row, changed in enumerate(self._changed):
            olds = [place for place in sorted(changed) if place < self._layout.carried]
            fields += [(self._olds[row], i, asks[place]) for i, place in enumerate(olds) if place in asks]
        wanted: dict[int, list[str]] = {}
        fields = [(column, row, oid) for column, row, oid in fields if column[row] is not None]
        for column, row, oid in fields:
            wanted.setdefault(oid, []).append(str(column[row]))
        answers = {oid: iter(texts) for oid, texts in read(wanted).items()}
        for column, row, oid in fields:
            column[row] = next(answers[oid])
        return [self]

    def first(self, count: int) -> Batch:
        """The first ``count`` rows."""
        return Batch(self.source, self._rows.first(count), self.since)

    def events(self) -> list[Change]:
        """The events of all rows, but for those of entities that nobody asked for.

        :raises Undecodable: if a row is not of its message's shape, or its identity cannot be decoded.
        """
        source, layout, kind = self.source, self._layout, self._kind
        if kind is Truncated:
            return [Truncated(self, plan, 0, None) for plan in source.emptied(layout)]
        plan = source.plan(layout, None)
        try:
            self._split()
            identities = list(zip(*[self._decoded(place) for place in plan.key], strict=True))
        except (ValueError, UndecodableValue) as error:
            raise Undecodable(f"{source.table.name}: {error}") from error
        if layout.discriminator is None:
            return [kind(self, plan, row, identity) for row, identity in enumerate(identities)] if plan.accepted else []
        plans = [source.plan(layout, discriminator) for discriminator in self._columns[layout.discriminator]]
        return [kind(self, plan, row, identities[row]) for row, plan in enumerate(plans) if plan.accepted]

    def _split(self) -> None:
        """
        :raises ValueError: if a row is not of the message's shape.
        """
        if not self._columns:
            self._columns = self._updated() if self._kind is Updated else self._rows.columns(self._layout.fields)

    def _updated(self) -> list[list[str | None]]:
        """The columns of updates, their masks taken from before and the old values from behind them.

        :raises ValueError: if a row has not as many fields as its mask says.
        """
        layout, source = self._layout, self.source
        start, stop = layout.masks, layout.masks + layout.fields
        rows = self._rows.split()
        self._changed, self._olds = [], []
        for row in rows:
            changed = source.changed(layout, tuple(row[:start]))
            if len(row) != stop + sum(place < layout.carried for place in changed):
                raise ValueError(f"a row of {len(row)} fields, and a mask that announces others")
            self._changed.append(changed)
            self._olds.append(row[stop:])
        return [list(column) for column in zip(*[row[start:stop] for row in rows], strict=True)]

    def _decoder(self, place: int) -> Decoder:
        return self.source.decoder(self._layout.columns[place])

    def _decoded(self, place: int) -> Sequence[Any]:
        """The values of a column; those of the identity are wanted twice."""
        if place not in self._known:
            self._known[place] = self._decoder(place).all(self._columns[place])
        return self._known[place]

    def values(self, plan: Plan, row: int) -> dict[str, Any]:
        """The values of a row by attribute name; of an update, those after it."""
        if plan not in self._values:
            try:
                self._values[plan] = list(zip(*[self._decoded(place) for place in plan.places], strict=True))
            except UndecodableValue:
                self._values[plan] = None
        known = self._values[plan]
        if known is None:  # some row's cannot be decoded, so each row's are decoded alone
            return {name: self._decoder(place).one(self._columns[place][row]) for place, name in zip(plan.places, plan.attributes)}
        return dict(zip(plan.attributes, known[row]))

    def old_values(self, plan: Plan, row: int) -> dict[str, Any]:
        """The values of a row before an update by attribute name."""
        old = self._old_fields(row)
        values = self.values(plan, row)
        values.update({n: self._decoder(place).one(old[place]) for place, n in zip(plan.places, plan.attributes) if place in old})
        return values

    def _old_fields(self, row: int) -> dict[int, str | None]:
        """What follows the new values: the old ones of the carried columns that changed, in order."""
        carried = self._layout.carried
        return dict(zip([place for place in sorted(self._changed[row]) if place < carried], self._olds[row], strict=True))

    def changed(self, plan: Plan, row: int) -> frozenset[str]:
        """Names of the attributes that an update changed."""
        names = plan.names
        return frozenset([name for place in self._changed[row] if (name := names[place]) is not None])

    def previous_identity(self, plan: Plan, row: int) -> Identity | None:
        """The identity before an update; None if it is the same."""
        if self._changed[row].isdisjoint(plan.key):
            return None
        old = self._old_fields(row)
        return tuple(self._decoder(place).one(old.get(place, self._columns[place][row])) for place in plan.key)

    @property
    def table(self) -> Table:
        return self.source.table

    @property
    def transaction_id(self) -> int:
        return self.header.transaction_id

    @property
    def backend_pid(self) -> int:
        return self.header.pid

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
