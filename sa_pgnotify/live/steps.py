"""What a live query yields: steps, each of which takes one result of its statement to a later one."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Row

from ..errors import PgNotifyError
from ..log.snapshots import Position

__all__ = ["Enter", "Leave", "RowEvent", "Step", "Update", "merged"]


@dataclass(frozen=True, slots=True)
class Enter:
    """A row is in the result now, and was not before.

    :ivar key: which row it is: hashable, and the same until it leaves. It is the row's identity
        (a tuple; of a join, a tuple of the identities); of a GROUP BY, the values that rows are
        grouped by; where there is neither, the values of the row.
    :ivar row: the row, as the statement gives it.
    """

    key: Hashable
    row: Row[Any]


@dataclass(frozen=True, slots=True)
class Update:
    """A row of the result has other values now.

    :ivar key: see :class:`Enter`; ``row`` as well.
    :ivar old: the row as it was in the step before; None if the query was made with ``old=False``.
    """

    key: Hashable
    row: Row[Any]
    old: Row[Any] | None


@dataclass(frozen=True, slots=True)
class Leave:
    """A row is not in the result any more.

    :ivar key: see :class:`Enter`.
    :ivar old: the row as it was in the step before; None if the query was made with ``old=False``.
    """

    key: Hashable
    old: Row[Any] | None


RowEvent = Enter | Update | Leave


@dataclass(frozen=True, slots=True)
class Step:
    """The difference between the result at one moment and the result at a later one.

    Rows that leave come first, so that a view of a statement with LIMIT never holds more rows than
    that. The others are in the order of the result.

    :ivar events: one event at most for each key.
    :ivar position: the moment of the result, as ``LiveQuery(position=...)`` takes it; None if the
        statement reads a table that is not durable.
    :ivar is_whole: whether the events are all rows of the result, and whatever was held before is
        void: true of the first step.
    """

    events: Sequence[RowEvent]
    position: Position | None = None
    is_whole: bool = False
    _rows: Mapping[Hashable, Row[Any]] | None = field(default=None, repr=False)

    def __iter__(self) -> Iterator[RowEvent]:
        return iter(self.events)

    def __len__(self) -> int:
        return len(self.events)

    @property
    def rows(self) -> Sequence[Row[Any]]:
        """All rows of the result, in the order that the statement gives.

        :raises PgNotifyError: if the query was not made with ``rows=True``.
        """
        return list(self._all().values())

    @property
    def keys(self) -> Sequence[Hashable]:
        """The keys of :attr:`rows`, in the same order.

        :raises PgNotifyError: as ``rows``.
        """
        return list(self._all())

    def _all(self) -> Mapping[Hashable, Row[Any]]:
        if self._rows is None:
            raise PgNotifyError(
                "this live query holds no rows for its steps", "Make it with rows=True"
            )
        return self._rows


def merged(first: Step, then: Step) -> Step:
    """Return the step that does what two steps do one after the other, for a program that has taken
    neither."""
    if then.is_whole:
        return then
    events = {event.key: event for event in first.events}
    for event in then.events:
        before = events.pop(event.key, None)
        after = event if before is None else _both(before, event)
        if after is not None:
            events[event.key] = after
    in_order: Iterable[RowEvent] = events.values()
    leave = [event for event in in_order if isinstance(event, Leave)]
    stay = [event for event in in_order if not isinstance(event, Leave)]
    return Step([*leave, *stay], then.position, first.is_whole, then._rows)


def _both(before: RowEvent, after: RowEvent) -> RowEvent | None:
    match before, after:
        case Enter(), Leave():
            return None
        case Enter(key), Enter(_, row) | Update(_, row):
            return Enter(key, row)
        case Leave(key, old), Enter(_, row):
            return Update(key, row, old)
        case Update(key, _, old), Update(_, row):
            return Update(key, row, old)
        case Update(key, _, old), Leave():
            return Leave(key, old)
    raise AssertionError(f"{after} does not follow {before}")
