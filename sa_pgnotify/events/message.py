"""Rows of text as they came in one message, and the typed events that they become when somebody
takes them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from itertools import count, repeat
from types import MappingProxyType
from typing import Any

from sqlalchemy import Table

from ..errors import UndecodableValue
from ..log.reader import LogRow
from ..log.snapshots import Position
from ..protocol.wire import Rows
from .changes import (
    Change,
    Deleted,
    EntityLayout,
    Identity,
    Inserted,
    Truncated,
    Updated,
)
from .decoding import TableDecoder, Undecodable
from .values import Fields

__all__ = ["Message"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EMPTY: Mapping[str, Any] = MappingProxyType({})
_Columns = dict[int, list[str | None]]
_KINDS: dict[str, type[Change]] = {"I": Inserted, "U": Updated, "D": Deleted, "T": Truncated}


class Message:
    """Rows of one message, and what they need to become events."""

    __slots__ = (
        "_changed", "_contexts", "_first", "_is_split", "_kind", "_layout", "_names", "_rows", "header", "logged", "new", "old", "since",
        "source"
    )  # fmt: skip
    new: Fields
    """What the rows hold; of an update, after it. Both are split when one of them is asked for."""
    old: Fields

    def __init__(
        self,
        source: TableDecoder,
        rows: Rows,
        since: float,
        logged: LogRow | None = None,
        first: int = 0,
    ) -> None:
        """
        :param since: nothing that was committed before is missing, by ``time.time()``.
        :param logged: what of the change log it was read from; ``first`` which of its rows comes
            first here.
        :raises Undecodable: if the message's shape cannot be read.
        """
        self.since = since
        self.source = source
        self.header = rows.header
        self.logged, self._first = logged, first
        self._rows = rows
        self._layout = source.layout(rows.header.shape)
        self._kind = _KINDS[rows.header.operation]
        self._is_split = False
        self._contexts: list[Mapping[str, Any]] = []
        self._changed: list[frozenset[int]] = []
        self._names: dict[tuple[EntityLayout, frozenset[int]], frozenset[str]] = {}

    def __len__(self) -> int:
        return self._rows.size

    @property
    def matches_types(self) -> bool:
        """Whether the source knows the types that the columns had when the message was sent."""
        return bool(self.source.matches_types(self._layout))

    def read_with(self, source: TableDecoder) -> Message:
        """The same, decoded as ``source`` says.

        :raises Undecodable: if that knows columns of other types; where nothing tells, they are
            taken for the same.
        """
        if source.matches_types(self._layout) is False:
            raise Undecodable(
                f"{source.table.name}: nothing tells any more what types its columns had when this was sent"
            )
        return Message(source, self._rows, self.since, self.logged, self._first)

    def each(self) -> list[Message]:
        """Each row alone."""
        rows = [
            Message(self.source, row, self.since, self.logged, self._first + i)
            for i, row in enumerate(self._rows.each())
        ]
        for row in rows:
            row._contexts = self._contexts
        if self._is_split:
            for place, row in enumerate(rows):
                row.new = self.new.alone(place)
                row.old = self.old.alone(place, row.new)
                row._is_split = True
                row._changed = self._changed[place : place + 1]
        return rows

    @property
    def has_server_read_fields(self) -> bool:
        """Whether there is something to read that only the server can."""
        return self._kind is not Truncated and bool(self.source.server_read_fields(self._layout))

    def resolve_on_server(
        self, read: Callable[[Mapping[int, list[str]]], Mapping[int, list[str]]]
    ) -> list[Message]:
        """The same with all read that only the server can read; row by row, if the rows are not of
        one shape.

        :param read: as :meth:`sa_pgnotify.drivers.ListenConnection.read`.
        """
        asks = self.source.server_read_fields(self._layout)
        try:
            self._split()
        except (ValueError, Undecodable):  # which events() will tell
            return (
                [self]
                if len(self) == 1
                else [resolved for row in self.each() for resolved in row.resolve_on_server(read)]
            )
        held = [
            (columns[place], oid)
            for columns in (self.new.columns, self.old.columns)
            for place, oid in asks.items()
            if place in columns
        ]
        fields = [
            (column, row, oid)
            for column, oid in held
            for row in range(len(self))
            if column[row] is not None
        ]
        wanted: dict[int, list[str]] = {}
        for column, row, oid in fields:
            wanted.setdefault(oid, []).append(str(column[row]))
        answers = {oid: iter(texts) for oid, texts in read(wanted).items()}
        for column, row, oid in fields:
            column[row] = next(answers[oid])
        return [self]

    def first(self, count: int) -> Message:
        """The first ``count`` rows."""
        return Message(self.source, self._rows.first(count), self.since, self.logged, self._first)

    def events(self) -> list[Change]:
        """The events of all rows, but for those of entities that nobody asked for.

        :raises Undecodable: if a row is not of its message's shape, or its identity cannot be
            decoded.
        """
        source, layout, kind = self.source, self._layout, self._kind
        if kind is Truncated:
            return [Truncated(self, plan, 0, None) for plan in source.emptied(layout)]
        plan = source.plan(layout, None)
        try:
            if self._rows.size == 1 and layout.discriminator is None and not self._is_split:
                identity = self._only_identity(plan)
                return [kind(self, plan, 0, identity)] if plan.accepted else []
            self._split()
            identities = list(zip(*map(self.new.decoded, plan.key), strict=True))
        except (ValueError, UndecodableValue) as error:
            raise Undecodable(f"{source.table.name}: {error}") from error
        if layout.discriminator is None:
            return (
                list(map(kind, repeat(self), repeat(plan), count(), identities))
                if plan.accepted
                else []
            )
        plans = [
            source.plan(layout, discriminator)
            for discriminator in self.new.columns[layout.discriminator]
        ]
        return [
            kind(self, plan, row, identities[row])
            for row, plan in enumerate(plans)
            if plan.accepted
        ]

    def _only_identity(self, plan: EntityLayout) -> Identity:
        """The identity of the one row that there is: an event that comes alone is waited for, so
        the rest is split when it is asked for.

        :raises ValueError: if it is not of the message's shape.
        """
        layout, source = self._layout, self.source
        (fields,) = self._rows.split()
        start, width = 0, layout.fields
        if self._kind is Updated:
            start = layout.masks
            changed = source.changed(layout, tuple(fields[:start]))
            width += start + sum([place < layout.carried for place in changed])
            self._changed = [changed]
        if len(fields) != width:
            raise ValueError(f"{len(fields)} fields in a row of {width}")
        return tuple(
            [source.decoder(layout.columns[place]).one(fields[start + place]) for place in plan.key]
        )

    def __getattr__(self, name: str) -> Fields:
        """What is not there before the rows are split."""
        if name not in ("new", "old"):
            raise AttributeError(name)
        self._split()
        return self.new if name == "new" else self.old

    def _split(self) -> None:
        """
        :raises ValueError: if a row is not of the message's shape.
        """
        if self._is_split:
            return
        new, old = (
            self._updated()
            if self._kind is Updated
            else (dict(enumerate(self._rows.columns(self._layout.fields))), {})
        )
        self.new = Fields(self.source.decoder, self._layout.columns, new)
        self.old = Fields(self.source.decoder, self._layout.columns, old, self.new)
        self._is_split = True

    def _updated(self) -> tuple[_Columns, _Columns]:
        """The columns of updates, those before them behind: of these there are those that changed
        in some row.

        :raises ValueError: if a row has not as many fields as its mask says.
        """
        return self._updated_alike() or self._updated_each()

    def _updated_alike(self) -> tuple[_Columns, _Columns] | None:
        """The same if all rows have changed the same columns, as those of most statements have;
        None if they have not."""
        layout, size = self._layout, len(self)
        masks = self._rows.masks(layout.masks)
        changed = self.source.changed(layout, masks)
        before = [place for place in sorted(changed) if place < layout.carried]
        try:
            columns = self._rows.columns(layout.masks + layout.fields + len(before))
        except ValueError:
            return None
        # If each has the first one's mask where the next row would begin, each begins there.
        if any(column != [mask] * size for mask, column in zip(masks, columns)):
            return None
        self._changed = [changed] * size
        new, old = (
            columns[layout.masks : layout.masks + layout.fields],
            columns[layout.masks + layout.fields :],
        )
        return dict(enumerate(new)), dict(zip(before, old))

    def _updated_each(self) -> tuple[_Columns, _Columns]:
        layout, source = self._layout, self.source
        start, stop = layout.masks, layout.masks + layout.fields
        rows = self._rows.split()
        changes = [source.changed(layout, tuple(row[:start])) for row in rows]
        new = dict(enumerate(map(list, zip(*[row[start:stop] for row in rows]))))
        old: _Columns = {}
        for number, (row, changed) in enumerate(zip(rows, changes)):
            before = [place for place in sorted(changed) if place < layout.carried]
            if len(row) != stop + len(before):
                raise ValueError(f"a row of {len(row)} fields, and a mask that announces others")
            for place, text in zip(before, row[stop:]):
                if place not in old:
                    old[place] = new[place].copy()
                old[place][number] = text
        self._changed = changes
        return new, old

    def texts(self, plan: EntityLayout, row: int) -> list[str]:
        """The fields of a row's identity, as they came."""
        return [str(self.new.columns[place][row]) for place in plan.key]

    def changed(self, plan: EntityLayout, row: int) -> frozenset[str]:
        """Names of the attributes that an update changed."""
        known = self._names.get(key := (plan, self._changed[row]))
        if known is None:
            named = frozenset([name for place in key[1] if (name := plan.names[place]) is not None])
            known = self._names[key] = named
        return known

    def previous_identity(self, plan: EntityLayout, row: int) -> Identity | None:
        """The identity before an update; None if it is the same."""
        if self._changed[row].isdisjoint(plan.key):
            return None
        return tuple([self.old.value(plan, place, row) for place in plan.key])

    def position(self, row: int) -> Position | None:
        """The place in the change log behind a row; None if it was not read there."""
        return None if self.logged is None else self.logged.after_change(self._first + row)

    def key(self, row: int) -> tuple[int, int] | None:
        """Which row of the change log, and which change of it, a row is; None if it was not read
        there."""
        return (
            None
            if self.logged is None
            else (self.logged.row_id, self.logged.skipped + self._first + row)
        )

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
        # read once for all rows, because there may be many of them, and much of it
        if not self._contexts:
            self._contexts.append(self._read_context())
        return self._contexts[0]

    def _read_context(self) -> Mapping[str, Any]:
        try:
            given = json.loads(self.header.context)
        except (ValueError, RecursionError):
            return _EMPTY  # somebody set the variable by hand; change_context() refuses such
        return MappingProxyType(given) if isinstance(given, dict) else _EMPTY
