"""Where each table of a consumer is: which of them are read together next, and which keep a place
of their own.

Versions of a program that run under one name need not read the same tables. So each table has its
own place under the name. Those that are read stand at the consumer's position; the place of each
other one is kept until a version comes that reads it. A window that was begun with other tables
makes that difficult: its order depends on all of them, so it is finished first, for those of them
that are still read, and for the rest of them later.

This module computes and never asks.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from ..log.snapshots import Position, Tables

__all__ = ["alone", "arranged", "is_arranged", "without"]


def is_arranged(at: Position, wanted: Collection[str]) -> bool:
    """Whether ``at`` is a place to read ``wanted`` from; within a window, whether it may be
    finished there."""
    here = set(at.names)
    return here == set(wanted) if at.target is None else bool(here) and here <= set(wanted)


def alone(at: Position) -> dict[str, Position]:
    """The place of each table that is read from ``at``."""
    if at.target is None:
        return {
            name: Position(since or at.last, tables=((name, None),)) for name, since in at.tables
        }
    every = dict((*at.tables, *at.among))
    return {name: _of_window(at, every, {name}) for name, _ in at.tables}


def arranged(
    at: Position, apart: Mapping[str, Position], wanted: Collection[str]
) -> tuple[Position, dict[str, Position]]:
    """The position to read ``wanted`` from next, and the places of all tables that are not read
    there.

    :param at: the position so far; ``apart`` the places of the tables that are not read there.
    """
    places = {**apart, **alone(at)}
    for name in wanted:
        places.setdefault(name, Position(at.last, tables=((name, None),)))
    begun = [at] if at.target is not None and set(at.names) & set(wanted) else []
    begun += [places[name] for name in sorted(wanted) if places[name].target is not None]
    if begun:
        window, every = begun[0], dict((*begun[0].tables, *begun[0].among))
        there = {name for name in wanted if _bare(places[name]) == _bare(window) and name in every}
        position = _of_window(window, every, there)
    else:
        lasts = {name: places[name].last for name in sorted(wanted)}
        last = (
            at.last
            if at.target is None and at.last in lasts.values()
            else next(iter(lasts.values()), at.last)
        )
        position = Position(
            last,
            tables=tuple((name, None if since == last else since) for name, since in lasts.items()),
        )
    return position, {name: place for name, place in places.items() if name not in position.names}


def without(at: Position, names: Collection[str]) -> Position:
    """The same place, not to read the tables ``names``."""
    if at.target is None:
        return replace(
            at, tables=tuple((name, since) for name, since in at.tables if name not in names)
        )
    return _of_window(at, dict((*at.tables, *at.among)), set(at.names) - set(names))


def _of_window(
    window: Position, every: Mapping[str, str | None], read: Collection[str]
) -> Position:
    tables: Tables = tuple((name, every[name]) for name in sorted(every) if name in read)
    return replace(
        window,
        tables=tables,
        among=tuple((name, every[name]) for name in sorted(every) if name not in read),
    )


def _bare(place: Position) -> Position:
    return replace(place, tables=(), among=())
