"""The fields of rows, and the values that they become.

It is hard because a row is given out as a mapping of its own, and what is done for each row in turn costs most: so texts are decoded a
column at a time, when the first value of them is wanted, and a row's mapping is a view of what is there.
"""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping, Sequence
from contextlib import suppress
from itertools import repeat
from typing import Any

from .decoding import Decoder
from .errors import UndecodableValue, ValuesNotCarried
from .events import Plan

__all__ = ["Fields", "Values"]


class Values(Mapping[str, Any]):
    """What a row holds, by attribute name: a mapping that equals the dict of the same.

    :param positions: the place of each name's value in ``row``, in order; shared by all rows that are alike.
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


class Fields(dict[Plan, "list[Values] | _EachAlone"]):
    """The fields of rows, column by column; and by plan, what each row holds of its attributes, made when it is first asked for.

    :param decoder: gives that of a column by its name.
    :param names: of the columns, by place.
    :param columns: the texts of each, by place, NULL as None.
    :param others: where the columns are that ``columns`` lacks: an update's rows before it are those after it, but for what changed.
    """

    __slots__ = ("_decoder", "_known", "_names", "_others", "columns")

    def __init__(
        self, decoder: Callable[[str], Decoder], names: Sequence[str], columns: Mapping[int, list[str | None]], others: Fields | None = None
    ) -> None:
        self.columns = columns
        self._decoder = decoder
        self._names = names
        self._others = others
        self._known: dict[int, Sequence[Any]] = {}

    def alone(self, row: int, others: Fields | None = None) -> Fields:
        """One of the rows."""
        return Fields(self._decoder, self._names, {place: column[row : row + 1] for place, column in self.columns.items()}, others)

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

    def value(self, place: int, row: int) -> Any:
        """One of them.

        :raises UndecodableValue: if it is this one.
        """
        if self._others is not None and place not in self.columns:
            return self._others.value(place, row)
        return self._decoder(self._names[place]).one(self.columns[place][row])

    def __missing__(self, plan: Plan) -> list[Values] | _EachAlone:
        rows: list[Values] = []
        with suppress(UndecodableValue):
            rows = list(map(Values, repeat(plan.positions), zip(*map(self.decoded, plan.places))))
        return self.setdefault(plan, rows or _EachAlone(self, plan))


class _EachAlone:
    """What rows hold some of which cannot be decoded: each is decoded when it is asked for."""

    def __init__(self, fields: Fields, plan: Plan) -> None:
        self._fields = fields
        self._plan = plan

    def __getitem__(self, row: int) -> Values:
        """:raises UndecodableValue: if it is such a row."""
        return Values(self._plan.positions, tuple([self._fields.value(place, row) for place in self._plan.places]))
