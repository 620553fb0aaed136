"""The fields of rows, and the values that they become.

A row is given out as a mapping of its own, and what is done for each row in turn costs most. So
texts are decoded a column at a time, when the first value of them is wanted, and a row's mapping is
a view of what is there. A value that cannot be decoded spoils neither its column nor its row: the
column is decoded value by value, and the row's mapping raises where that value is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping, Sequence, ValuesView
from itertools import repeat
from typing import Any

from ..errors import UndecodableValue, ValuesNotCarried
from .changes import EntityLayout
from .decoding import Decoder, Unread

__all__ = ["Fields", "Values"]


class Values(Mapping[str, Any]):
    """What a row holds, by attribute name: a mapping that equals the dict of the same.

    :param positions: the place of each name's value in ``row``, in order; shared by all rows that
        are alike.
    """

    __slots__ = ("_positions", "_row")

    def __init__(self, positions: Mapping[str, int], row: tuple[Any, ...]) -> None:
        self._positions = positions
        self._row = row

    def __getitem__(self, name: str) -> Any:
        """:raises ValuesNotCarried: a KeyError, if the value did not travel with the event."""
        try:
            return self._row[self._positions[name]]
        except KeyError:
            raise ValuesNotCarried(
                f"the event does not carry {name!r}, but only {', '.join(self._positions)}. "
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
        """A tuple, which does what a view of a mapping that never changes would."""
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
    """What a row holds where a value of it cannot be decoded: asking for that value raises, and so
    does what takes all values.

    :param subject: the name of the entity, for the error.
    :raises UndecodableValue: by each method that meets such a value, but for ``==``, which compares
        its text, and ``repr()``.
    """

    __slots__ = ("_subject",)

    def __init__(self, subject: str, positions: Mapping[str, int], row: tuple[Any, ...]) -> None:
        super().__init__(positions, row)
        self._subject = subject

    def __getitem__(self, name: str) -> Any:
        value = self._row[self._positions[name]]
        # Decoded again, so that the cause has its traceback and nothing keeps one alive.
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
    """The fields of rows, column by column; and by plan, what each row holds of its attributes,
    made when it is first asked for.

    :param decoder: gives that of a column by its name.
    :param names: of the columns, by place.
    :param columns: the texts of each, by place, NULL as None.
    :param others: where the columns are that ``columns`` lacks: an update's rows before it are
        those after it, but for what changed.
    """

    __slots__ = ("_decoder", "_known", "_names", "_others", "columns")

    def __init__(
        self,
        decoder: Callable[[str], Decoder],
        names: Sequence[str],
        columns: Mapping[int, list[str | None]],
        others: Fields | None = None,
    ) -> None:
        self.columns = columns
        self._decoder = decoder
        self._names = names
        self._others = others
        self._known: dict[int, Sequence[Any]] = {}

    def alone(self, row: int, others: Fields | None = None) -> Fields:
        """One of the rows."""
        return Fields(
            self._decoder,
            self._names,
            {place: column[row : row + 1] for place, column in self.columns.items()},
            others,
        )

    def decoded(self, place: int) -> Sequence[Any]:
        """The values of a column.

        :raises UndecodableValue: if one of its texts is not in the type's form.
        """
        known = self._known.get(place)
        if known is None:
            if self._others is not None and place not in self.columns:
                return self._others.decoded(place)
            known = self._known[place] = self._decoder(self._names[place]).all(self.columns[place])
        return known

    def value(self, plan: EntityLayout, place: int, row: int) -> Any:
        """Return one of them.

        :raises UndecodableValue: if it is this one.
        """
        if self._others is not None and place not in self.columns:
            return self._others.value(plan, place, row)
        return self._decoder(self._names[place]).one(
            self.columns[place][row], plan.subject, plan.names[place] or ""
        )

    def __missing__(self, plan: EntityLayout) -> list[Values]:
        try:
            rows = list(map(Values, repeat(plan.positions), zip(*map(self.decoded, plan.places))))
        except UndecodableValue:
            rows = self._partly_read(plan)
        return self.setdefault(plan, rows)

    def _partly_read(self, plan: EntityLayout) -> list[Values]:
        """Return what rows hold some of which cannot be decoded whole."""
        subject, positions = plan.subject, plan.positions
        return [
            PartlyRead(subject, positions, row)
            if Unread in map(type, row)
            else Values(positions, row)
            for row in zip(*map(self._each, plan.places))
        ]

    def _each(self, place: int) -> Sequence[Any]:
        """Return the values of a column, with an :class:`Unread` in the place of one that cannot be
        decoded."""
        if self._others is not None and place not in self.columns:
            return self._others._each(place)
        try:
            return self.decoded(place)
        except UndecodableValue:
            return self._decoder(self._names[place]).each(self.columns[place])
