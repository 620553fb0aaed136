"""The changes of a consumer that begins with a snapshot: only those of the rows that it has read.

A row beyond the place that the scan has reached is read later, in its newest state, so its changes
are left out. A row whose identity moves across the place appears, or is gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ..events.changes import Change, Updated
from ..events.kinds import Gap
from ..events.moved_rows import entered, left, previous_texts
from ..sql import Execute
from .key_order import Key, KeyOrder

__all__ = ["Key", "keys_of", "only_started"]

Events = Sequence[Change | Gap | None]


def only_started(
    execute: Execute, order: KeyOrder, place: Key | None, events: Iterable[Events]
) -> list[Events]:
    """Return the same events without those of rows that the scan has not read.

    :param place: the identity that the scan has reached; None if it has read no row.
    """
    every = list(events)
    reached: dict[Key, bool] = {}
    for event in (event for row in every for event in row):
        if isinstance(event, Change) and event.identity is not None:
            reached.update((key, False) for key in keys_of(event) if key is not None)
    if place is not None:
        reached = dict(zip(reached, order.reached(execute, place, reached)))
    return [[_started(event, reached) for event in row] for row in every]


def keys_of(change: Change) -> tuple[Key, Key | None]:
    """Return the identity after a change, and that before it if it was another, as texts."""
    before = previous_texts(change) if isinstance(change, Updated) else None
    return tuple(change._identity_texts()), None if before is None else tuple(before)


def _started(event: Change | Gap | None, reached: Mapping[Key, bool]) -> Change | Gap | None:
    if not isinstance(event, Change) or event.identity is None:
        return event
    after, before = keys_of(event)
    if isinstance(event, Updated) and before is not None and reached[before] != reached[after]:
        return entered(event) if reached[after] else left(event)
    return event if reached[after] else None
