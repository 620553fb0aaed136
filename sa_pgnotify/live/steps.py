"""The steps that a live query yields: each is the difference from one result to a later one."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Row

from ..errors import PgNotifyError
from ..log.snapshots import Position
from .frozen import frozen_row

__all__ = ["Enter", "Leave", "RowEvent", "Step", "Update", "merged"]


@dataclass(frozen=True, slots=True)
class Enter:
    """A row has entered the result.

    :ivar key: identifies the row until it leaves, and is hashable. It is the row's identity, a
        tuple; in a join a tuple of identities; and with GROUP BY a tuple of the grouping values.
        Where none of these exists, it is made of the values of the row.
    :ivar row: the row, as ``session.execute(statement)`` returns it.
    """

    key: Hashable
    row: Row[Any]


@dataclass(frozen=True, slots=True)
class Update:
    """The values of a row of the result have changed.

    :ivar key: the same as in the row's :class:`Enter`.
    :ivar row: the row with its new values.
    :ivar old: the row as it was in the step before; None if the query was made with ``old=False``
        and without ``rows=True``.
    """

    key: Hashable
    row: Row[Any]
    old: Row[Any] | None


@dataclass(frozen=True, slots=True)
class Leave:
    """A row has left the result.

    :ivar key: the same as in the row's :class:`Enter`.
    :ivar old: the row as it was in the step before; None if the query was made with ``old=False``
        and without ``rows=True``.
    """

    key: Hashable
    old: Row[Any] | None


RowEvent = Enter | Update | Leave


@dataclass(frozen=True, slots=True)
class Step:
    """The difference between the result at one moment and the result at a later one.

    Iterating over a step yields its events. Each :class:`Leave` comes before the other events, so
    that a view of a statement with LIMIT never holds more rows than the limit. The other events may
    be in another order than the rows of the result; :attr:`rows` has them in order.

    :ivar events: the events, at most one for each key. They may be empty if only the order of
        :attr:`rows` has changed.
    :ivar position: the position of the result, for ``LiveQuery(position=...)``; None if the
        statement reads a table that is not durable.
    :ivar is_whole: whether the events are all rows of the result, which replace any result that the
        program has. This is so in the first step, unless the query resumes at a position and
        nothing has changed since then.
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
        """All rows of the result, in the order of the statement.

        :raises PgNotifyError: if the query was not made with ``rows=True``.
        """
        return list(self._all().values())

    @property
    def keys(self) -> Sequence[Hashable]:
        """The keys of :attr:`rows`, in the same order.

        :raises PgNotifyError: if the query was not made with ``rows=True``.
        """
        return list(self._all())

    def _all(self) -> Mapping[Hashable, Row[Any]]:
        if self._rows is None:
            raise PgNotifyError(
                "the steps of this live query have no rows", "Make it with rows=True"
            )
        return self._rows


def merged(first: Step, then: Step) -> Step:
    """Return the step that is equivalent to two consecutive steps, neither of which was taken."""
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
            return _update(key, row, old)
        case Update(key, _, old), Update(_, row):
            return _update(key, row, old)
        case Update(key, _, old), Leave():
            return Leave(key, old)
    raise AssertionError(f"{after} does not follow {before}")


def _update(key: Hashable, row: Row[Any], old: Row[Any] | None) -> Update | None:
    """Return the update of a row; None if it has its old values again."""
    is_back = old is not None and frozen_row(old) == frozen_row(row)
    return None if is_back else Update(key, row, old)
