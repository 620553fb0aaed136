"""Rows of text as they came in one message, and the typed events that they become when somebody takes them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count, repeat
from types import MappingProxyType
from typing import Any

from sqlalchemy import Table

from .decoding import Decoder, Source, Undecodable
from .errors import UndecodableValue
from .events import Change, Deleted, Identity, Inserted, Plan, Truncated, Updated
from .logreader import LogRow, Position
from .wire import Rows

__all__ = ["Batch"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EMPTY: Mapping[str, Any] = MappingProxyType({})
_KINDS: dict[str, type[Change]] = {"I": Inserted, "U": Updated, "D": Deleted, "T": Truncated}


class Batch:
    """Rows of one message, and what they need to become events.

    Rows come by the hundred and are alike, so they are decoded column by column, and the columns of values only when one is read.
    """

    __slots__ = (
        "_changed", "_columns", "_first", "_kind", "_known", "_layout", "_olds", "_rows", "_values", "header", "logged", "since", "source"
    )  # fmt: skip

    def __init__(self, source: Source, rows: Rows, since: float, logged: LogRow | None = None, first: int = 0) -> None:
        """
        :param since: nothing that was committed before is missing, by ``time.time()``.
        :param logged: what of the change log it was read from; ``first`` which of its rows comes first here.
        :raises Undecodable: if the message's shape cannot be read.
        """
        self.since = since
        self.source = source
        self.header = rows.header
        self.logged, self._first = logged, first
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
    def fits(self) -> bool:
        """Whether the source knows the types that the columns had when the message was sent."""
        return bool(self.source.fits(self._layout))

    def read_with(self, source: Source) -> Batch:
        """The same, decoded as ``source`` says.

        :raises Undecodable: if that knows columns of other types; where nothing tells, they are taken for the same.
        """
        if source.fits(self._layout) is False:
            raise Undecodable(f"{source.table.name}: nothing tells any more what types its columns had when this was sent")
        return Batch(source, self._rows, self.since, self.logged, self._first)

    def each(self) -> list[Batch]:
        """Each row alone."""
        rows = [Batch(self.source, row, self.since, self.logged, self._first + i) for i, row in enumerate(self._rows.each())]
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
        return Batch(self.source, self._rows.first(count), self.since, self.logged, self._first)

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
            identities = list(zip(*map(self._decoded, plan.key), strict=True))
        except (ValueError, UndecodableValue) as error:
            raise Undecodable(f"{source.table.name}: {error}") from error
        if layout.discriminator is None:
            return list(map(kind, repeat(self), repeat(plan), count(), identities)) if plan.accepted else []
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
            self._known[place] = self.source.decoder(self._layout.columns[place]).all(self._columns[place])
        return self._known[place]

    def texts(self, plan: Plan, row: int) -> list[str]:
        """The fields of a row's identity, as they came."""
        return [str(self._columns[place][row]) for place in plan.key]

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

    def position(self, row: int) -> Position | None:
        """The place in the change log behind a row; None if it was not read there."""
        return None if self.logged is None else self.logged.behind(self._first + row)

    def key(self, row: int) -> tuple[int, int] | None:
        """Which row of the change log, and which change of it, a row is; None if it was not read there."""
        return None if self.logged is None else (self.logged.row_id, self.logged.skipped + self._first + row)

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
