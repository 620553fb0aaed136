"""The fields of rows, and the values that they become.

Each row has a mapping of its own, and work that is repeated for each row costs most. So texts are
decoded a column at a time, when the first value of the column is wanted, and the mapping of a row
is a view of the decoded columns. A value that cannot be decoded spoils neither its column nor its
row: the column is then decoded value by value, and the mapping raises only for that value.
"""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping, Sequence, ValuesView
from itertools import repeat
from typing import Any

from ..errors import UndecodableValue, ValuesNotCarried
from .column_decoder import ColumnDecoder, Unread
from .entity_layout import EntityLayout
from .json_columns import ColumnTexts, column_texts
from .json_forms import Type

__all__ = ["Fields", "PartlyRead", "Values"]


class Values(Mapping[str, Any]):
    """The values of a row by attribute name: a mapping that equals a dict of the same items.

    :param positions: the index of each name's value in ``row``, in order. Rows of one entity share
        it.
    """

    __slots__ = ("_positions", "_row")

    def __init__(self, positions: Mapping[str, int], row: tuple[Any, ...]) -> None:
        self._positions = positions
        self._row = row

    def __getitem__(self, name: str) -> Any:
        """Return a value.

        :raises ValuesNotCarried: (a KeyError) if the event does not carry the value.
        """
        try:
            return self._row[self._positions[name]]
        except KeyError:
            raise ValuesNotCarried(
                f"the event does not carry {name!r}; it carries {', '.join(self._positions)}. "
                f"Add it to NotifySpec(values=...), or read the row: event.load(session)",
                (name,),
            ) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._positions)

    def __len__(self) -> int:
        return len(self._row)

    def __contains__(self, name: object) -> bool:
        return name in self._positions

    def keys(self) -> KeysView[str]:
        return self._positions.keys()

    def values(self) -> Any:
        """Return a tuple, which serves as the view because the mapping never changes."""
        return self._row

    def items(self) -> ItemsView[str, Any]:
        return _Items(self)

    def copy(self) -> dict[str, Any]:
        return dict(zip(self._positions, self._row))

    def __eq__(self, other: object) -> bool:
        return self.copy() == (other.copy() if isinstance(other, Values) else other)

    __hash__ = None  # type: ignore[assignment]  # as a dict's

    def __or__(self, other: Mapping[str, Any]) -> dict[str, Any]:
        return self.copy() | dict(other)

    def __ror__(self, other: Mapping[str, Any]) -> dict[str, Any]:
        return dict(other) | self.copy()

    def __repr__(self) -> str:
        return repr(self.copy())


class _Items(ItemsView[str, Any]):
    __slots__ = ()
    _mapping: Values

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return zip(self._mapping._positions, self._mapping._row)


class PartlyRead(Values):
    """The values of a row of which at least one cannot be decoded.

    Each method that reads such a value raises :class:`UndecodableValue`, except ``==``, which
    compares its text, and ``repr()``.

    :param subject: the name of the entity, for the error.
    """

    __slots__ = ("_subject",)

    def __init__(self, subject: str, positions: Mapping[str, int], row: tuple[Any, ...]) -> None:
        super().__init__(positions, row)
        self._subject = subject

    def __getitem__(self, name: str) -> Any:
        value = super().__getitem__(name)
        # It is decoded again, so that the error has a traceback and nothing keeps one alive.
        return (
            value.decoder.one(value.text, self._subject, name) if type(value) is Unread else value
        )

    def values(self) -> Any:
        return ValuesView(self)

    def items(self) -> ItemsView[str, Any]:
        return ItemsView(self)

    def copy(self) -> dict[str, Any]:
        return {name: self[name] for name in self._positions}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PartlyRead) and self._shown() == other._shown()

    __hash__ = None

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return Values, (dict(self._positions), tuple(self.copy().values()))

    def __repr__(self) -> str:
        return repr(self._shown())

    def _shown(self) -> dict[str, Any]:
        return dict(zip(self._positions, self._row))


class Fields(dict[EntityLayout, list[Values]]):
    """The fields of rows, column by column.

    As a dict, it holds for each entity the :class:`Values` of all rows, made when they are first
    read.

    :param decoder: returns the decoder of a column, by name.
    :param names: the names of the columns, by index.
    :param columns: the texts of each column, by index, NULL as None.
    :param unchanged: the fields that have the columns which ``columns`` lacks. The rows before an
        update are those after it, except for what changed.
    """

    __slots__ = ("_decoded", "_decoder", "_names", "_unchanged", "_written", "columns")

    def __init__(
        self,
        decoder: Callable[[str], ColumnDecoder],
        names: Sequence[str],
        columns: Mapping[int, list[str | None]],
        unchanged: Fields | None = None,
    ) -> None:
        self.columns = columns
        self._decoder = decoder
        self._names = names
        self._unchanged = unchanged
        self._decoded: dict[int, Sequence[Any]] = {}
        self._written: dict[int, ColumnTexts] = {}

    def of_row(self, row: int, unchanged: Fields | None = None) -> Fields:
        """Return the fields of one of the rows."""
        return Fields(
            self._decoder,
            self._names,
            {place: column[row : row + 1] for place, column in self.columns.items()},
            unchanged,
        )

    def decoded(self, place: int) -> Sequence[Any]:
        """Return the values of a column.

        :raises UndecodableValue: if one of its texts is not in the type's form.
        """
        known = self._decoded.get(place)
        if known is None:
            if self._unchanged is not None and place not in self.columns:
                return self._unchanged.decoded(place)
            decoder = self._decoder(self._names[place])
            known = self._decoded[place] = decoder.all(self.columns[place])
        return known

    def written(self, place: int, type_: Type) -> ColumnTexts:
        """Return the values of a column as JSON.

        :param type_: of the column.
        :raises UndecodableValue: if one of its texts is not in the type's form.
        :raises TypeError: if nothing writes one of its values.
        """
        known = self._written.get(place)
        if known is None:
            if self._unchanged is not None and place not in self.columns:
                return self._unchanged.written(place, type_)
            known = self._written[place] = column_texts(self.decoded(place), type_)
        return known

    def value(self, entity: EntityLayout, place: int, row: int) -> Any:
        """Return the value of one field.

        :raises UndecodableValue: if its text is not in the type's form.
        """
        if self._unchanged is not None and place not in self.columns:
            return self._unchanged.value(entity, place, row)
        return self._decoder(self._names[place]).one(
            self.columns[place][row], entity.subject, entity.names[place] or ""
        )

    def __missing__(self, entity: EntityLayout) -> list[Values]:
        """Return the values of all rows, decoded now."""
        try:
            values = zip(*map(self.decoded, entity.places))
            rows = list(map(Values, repeat(entity.positions), values))
        except UndecodableValue:
            rows = self._partly_read(entity)
        return self.setdefault(entity, rows)

    def _partly_read(self, entity: EntityLayout) -> list[Values]:
        """Return the values of rows of which some cannot be decoded whole."""
        subject, positions = entity.subject, entity.positions
        return [
            PartlyRead(subject, positions, row)
            if Unread in map(type, row)
            else Values(positions, row)
            for row in zip(*map(self._each, entity.places))
        ]

    def _each(self, place: int) -> Sequence[Any]:
        """Return the values of a column, with an :class:`Unread` in place of each that cannot be
        decoded."""
        if self._unchanged is not None and place not in self.columns:
            return self._unchanged._each(place)
        try:
            return self.decoded(place)
        except UndecodableValue:
            return self._decoder(self._names[place]).each(self.columns[place])
