"""The rows of one message, and the typed events that they become when a program takes them."""

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
from ..protocol.wire import EXISTING, Rows
from .changes import Change, Deleted, Existing, Identity, Inserted, Truncated, Updated
from .decoding import TableDecoder
from .entity_layout import EntityLayout
from .json_texts import envelope_texts
from .layout import Undecodable
from .update_rows import split_updates
from .values import Fields

__all__ = ["Message"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EMPTY: Mapping[str, Any] = MappingProxyType({})
_KINDS: dict[str, type[Change]] = {
    "I": Inserted,
    "U": Updated,
    "D": Deleted,
    "T": Truncated,
    EXISTING: Existing,
}


class Message:
    """The rows of one message, and what is needed to make events of them.

    :ivar since: nothing that was committed before this moment is missing, by ``time.time()``.
    :ivar logged: the row of the change log that the message was read from; None if it came by
        NOTIFY.
    :ivar new: the fields of the rows; of an update, those after it. They are split when they are
        first read, and so are those of ``old``.
    :ivar old: the fields of the rows before an update.
    """

    __slots__ = (
        "_changed", "_contexts", "_first", "_is_split", "_kind", "_layout", "_names", "_rows", "_texts", "header", "logged", "new",
        "old", "since", "source"
    )  # fmt: skip
    new: Fields
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
        :param first: the index of the first of the rows: in ``logged``, or among the rows of the
            transaction that came by NOTIFY.
        :raises Undecodable: if the shape of the message cannot be read.
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
        self._texts: dict[EntityLayout, list[str | None]] = {}

    def __len__(self) -> int:
        return self._rows.size

    @property
    def matches_types(self) -> bool:
        """Whether the source knows the types that the columns had when the message was sent."""
        return bool(self.source.matches_types(self._layout))

    def read_with(self, source: TableDecoder) -> Message:
        """Return the same message, decoded by ``source``.

        :raises Undecodable: if the columns of ``source`` have other types. If the types cannot be
            compared, they are assumed to be the same.
        """
        if source.matches_types(self._layout) is False:
            raise Undecodable(
                f"{source.table.name}: the types that its columns had when this was sent are not known any more"
            )
        return Message(source, self._rows, self.since, self.logged, self._first)

    def each(self) -> list[Message]:
        """Return each row as a message of its own."""
        messages = [
            Message(self.source, row, self.since, self.logged, self._first + i)
            for i, row in enumerate(self._rows.each())
        ]
        for message in messages:
            message._contexts = self._contexts
        if self._is_split:
            for i, message in enumerate(messages):
                message.new = self.new.of_row(i)
                message.old = self.old.of_row(i, message.new)
                message._is_split = True
                message._changed = self._changed[i : i + 1]
        return messages

    def first(self, count: int) -> Message:
        """Return the first ``count`` rows."""
        return Message(self.source, self._rows.first(count), self.since, self.logged, self._first)

    @property
    def has_server_read_fields(self) -> bool:
        """Whether there are fields that only the server can read."""
        return self._kind is not Truncated and bool(self.source.server_read_fields(self._layout))

    def resolve_on_server(
        self, read: Callable[[Mapping[int, list[str]]], Mapping[int, list[str]]]
    ) -> list[Message]:
        """Read the fields that only the server can read.

        :param read: :meth:`sa_pgnotify.drivers.ListenConnection.read`.
        :returns: this message; or one message for each row, if the rows are not all of one shape.
        """
        server_read = self.source.server_read_fields(self._layout)
        try:
            self._split()
        except (ValueError, Undecodable):  # events() raises it again
            rows = self.each() if len(self) > 1 else []
            return [resolved for row in rows for resolved in row.resolve_on_server(read)] or [self]
        fields = [
            (columns[place], row, oid)
            for columns in (self.new.columns, self.old.columns)
            for place, oid in server_read.items()
            if place in columns
            for row in range(len(self))
            if columns[place][row] is not None
        ]
        wanted: dict[int, list[str]] = {}
        for column, row, oid in fields:
            wanted.setdefault(oid, []).append(str(column[row]))
        answers = {oid: iter(texts) for oid, texts in read(wanted).items()}
        for column, row, oid in fields:
            column[row] = next(answers[oid])
        return [self]

    def events(self) -> list[Change]:
        """Return the events of all rows, without those of entities that are not wanted.

        :raises Undecodable: if a row is not of the message's shape, or its identity cannot be
            decoded.
        """
        source, layout, kind = self.source, self._layout, self._kind
        if kind is Truncated:
            return [Truncated(self, entity, 0, None) for entity in source.truncated(layout)]
        entity = source.entity_layout(layout, None)
        try:
            if self._rows.size == 1 and layout.discriminator is None and not self._is_split:
                identity = self._only_identity(entity)
                return [kind(self, entity, 0, identity)] if entity.accepted else []
            identities = self._identities(entity)
        except (ValueError, UndecodableValue) as error:
            raise Undecodable(f"{source.table.name}: {error}") from error
        if layout.discriminator is None:
            return (
                list(map(kind, repeat(self), repeat(entity), count(), identities))
                if entity.accepted
                else []
            )
        entities = [
            source.entity_layout(layout, discriminator)
            for discriminator in self.new.columns[layout.discriminator]
        ]
        return [
            kind(self, entity, row, identities[row])
            for row, entity in enumerate(entities)
            if entity.accepted
        ]

    def identities(self) -> list[Identity] | None:
        """Return the identities of all rows, and those that updates have replaced.

        None for a TRUNCATE.

        :raises Undecodable: as :meth:`events`.
        """
        if self._kind is Truncated:
            return None
        entity = self.source.entity_layout(self._layout, None)
        try:
            identities = self._identities(entity)
            before = [self.previous_identity(entity, row) for row in range(len(self._changed))]
        except (ValueError, UndecodableValue) as error:
            raise Undecodable(f"{self.source.table.name}: {error}") from error
        return identities + [identity for identity in before if identity is not None]

    def _identities(self, entity: EntityLayout) -> list[Identity]:
        """Return the identity of each row.

        :raises ValueError: if a row is not of the message's shape.
        """
        self._split()
        return list(zip(*map(self.new.decoded, entity.key), strict=True))

    def _only_identity(self, entity: EntityLayout) -> Identity:
        """Return the identity of the only row, without splitting the other fields. This is faster,
        and a program waits for an event that comes alone.

        :raises ValueError: if the row is not of the message's shape.
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
        names, decoder = layout.columns, source.decoder
        return tuple([decoder(names[place]).one(fields[start + place]) for place in entity.key])

    def __getattr__(self, name: str) -> Fields:
        """Split the rows when ``new`` or ``old`` is first read."""
        if name not in ("new", "old"):
            raise AttributeError(name)
        self._split()
        return self.new if name == "new" else self.old

    def _split(self) -> None:
        """Split the rows into fields.

        :raises ValueError: if a row is not of the message's shape.
        """
        if self._is_split:
            return
        layout, source = self._layout, self.source
        if self._kind is Updated:
            self._changed, new, old = split_updates(self._rows, layout, source.changed)
        else:
            new, old = dict(enumerate(self._rows.columns(layout.fields))), {}
        self.new = Fields(source.decoder, layout.columns, new)
        self.old = Fields(source.decoder, layout.columns, old, self.new)
        self._is_split = True

    def identity_texts(self, entity: EntityLayout, row: int) -> list[str]:
        """Return the fields of a row's identity as the message has them."""
        return [str(self.new.columns[place][row]) for place in entity.key]

    def changed(self, entity: EntityLayout, row: int) -> frozenset[str]:
        """Return the names of the attributes that an update changed."""
        known = self._names.get(key := (entity, self._changed[row]))
        if known is None:
            names = [name for place in key[1] if (name := entity.names[place]) is not None]
            known = self._names[key] = frozenset(names)
        return known

    def previous_identity(self, entity: EntityLayout, row: int) -> Identity | None:
        """Return the identity before an update; None if it did not change."""
        if not self.key_changed(entity, row):
            return None
        return tuple([self.old.value(entity, place, row) for place in entity.key])

    def position(self, row: int) -> Position | None:
        """Return the position in the change log just after a row; None if the message did not come
        from there."""
        return None if self.logged is None else self.logged.after_change(self._first + row)

    def key_changed(self, entity: EntityLayout, row: int) -> bool:
        """Return whether an update changed the identity of a row."""
        return not self._changed[row].isdisjoint(entity.key)

    def places_text(self) -> str | list[str]:
        """Return position and key of each row as its JSON has them; one text if all have the same."""
        logged = self.logged
        if logged is None:
            return 'null,"key":null'
        first = logged.skipped + self._first
        before, after = logged.start.text_around(logged.tx_end, logged.row_id)
        key = f'{after}","key":[{logged.row_id},'
        texts = [
            f'"{before}{part + 1}{key}{part}]' for part in range(first, first + self._rows.size)
        ]
        if logged.closing is not None and self._first + self._rows.size >= logged.size:
            texts[-1] = f'"{logged.closing}","key":[{logged.row_id},{first + self._rows.size - 1}]'
        return texts

    def json(self, entity: EntityLayout, row: int) -> str | None:
        """Return the JSON of a row, as an event of an entity; None if it has to be written value by
        value, because its key was changed, or because some value cannot be decoded or written."""
        texts = self._texts.get(entity)
        if texts is None:
            try:
                texts = self._texts[entity] = envelope_texts(self, entity)
            except (UndecodableValue, TypeError):
                texts = self._texts[entity] = [None] * self._rows.size
        return texts[row]

    def ordinal(self, row: int) -> int | None:
        """Return the number of a change among those of its transaction that were received; None if
        the message came from the change log, where it has a key."""
        return self._first + row if self.logged is None else None

    def key(self, row: int) -> tuple[int, int] | None:
        """Return the number of the change log's row, and that of the change in it; None if the
        message did not come from there."""
        logged = self.logged
        return None if logged is None else (logged.row_id, logged.skipped + self._first + row)

    @property
    def kind(self) -> str:
        """The kind of its events, as their JSON has it."""
        return self._kind._kind

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
        # It is parsed once for all rows, because both the rows and the context can be many.
        if not self._contexts:
            self._contexts.append(_parsed_context(self.header.context))
        return self._contexts[0]


def _parsed_context(text: str) -> Mapping[str, Any]:
    try:
        given = json.loads(text)
    except (ValueError, RecursionError):
        return _EMPTY  # somebody set the variable by hand; change_context() refuses such values
    return MappingProxyType(given) if isinstance(given, dict) else _EMPTY
