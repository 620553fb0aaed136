"""The place of each table of a consumer: which tables are read together next, and which keep a place
of their own.

Versions of a program that run under one name need not read the same tables. So each table has its
own place under the name. The tables that are read are at the consumer's position; each other table
keeps its place until a version comes that reads it. A window that was opened with more tables makes
this difficult, because the order within a window depends on all of its tables. Such a window is
finished first for those of its tables that are still read, and later for the rest.

This module computes and runs no SQL.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from ..log.scans import Scan
from ..log.snapshots import Position, Tables

__all__ = ["arrange", "is_arranged", "split", "without"]


def is_arranged(at: Position, wanted: Collection[str]) -> bool:
    """Return whether ``wanted`` may be read from ``at``; within a window, whether the window may be
    finished from there."""
    here = set(at.names)
    return here == set(wanted) if at.target is None else bool(here) and here <= set(wanted)


def split(at: Position) -> dict[str, Position]:
    """Return a place of its own for each table that is read from ``at``."""
    if at.target is None:
        return {
            name: Position(since or at.last, tables=((name, None),)) for name, since in at.tables
        }
    every = dict((*at.tables, *at.among))
    window = replace(at, scans=())
    return {name: _of_window(window, every, {name}) for name, _ in at.tables}


def arrange(
    at: Position, apart: Mapping[str, Position], wanted: Collection[str]
) -> tuple[Position, dict[str, Position]]:
    """Return the position to read ``wanted`` from next, and the places of all other tables.

    :param at: the position so far.
    :param apart: the places of the tables that are not read from ``at``.
    """
    places = {**apart, **split(at)}
    for name in wanted:
        places.setdefault(name, Position(at.last, tables=((name, None),)))
    opened = [at] if at.target is not None and set(at.names) & set(wanted) else []
    opened += [places[name] for name in sorted(wanted) if places[name].target is not None]
    if opened:
        window, every = opened[0], dict((*opened[0].tables, *opened[0].among))
        there = {
            name
            for name in wanted
            if _without_tables(places[name]) == _without_tables(window) and name in every
        }
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
    position = replace(position, scans=_joined(at, places, position.names))
    return position, {name: place for name, place in places.items() if name not in position.names}


def _joined(
    at: Position, places: Mapping[str, Position], names: Collection[str]
) -> tuple[Scan, ...]:
    """Return the scans of ``at``, with those of tables that are read from there from now on."""
    known = {scan.relation for scan in at.scans if scan.starts}
    new = (scan for name in names for scan in places[name].scans if scan.relation not in known)
    return (*at.scans, *new)


def without(at: Position, names: Collection[str]) -> Position:
    """Return the same position without the tables ``names``."""
    scans = tuple(scan for scan in at.scans if scan.relation not in names)
    if at.target is None:
        return replace(
            at,
            tables=tuple((name, since) for name, since in at.tables if name not in names),
            scans=scans,
        )
    window = replace(at, scans=scans)
    return _of_window(window, dict((*at.tables, *at.among)), set(at.names) - set(names))


def _of_window(
    window: Position, every: Mapping[str, str | None], read: Collection[str]
) -> Position:
    tables: Tables = tuple((name, every[name]) for name in sorted(every) if name in read)
    return replace(
        window,
        tables=tables,
        among=tuple((name, every[name]) for name in sorted(every) if name not in read),
    )


def _without_tables(place: Position) -> Position:
    return replace(place, tables=(), among=(), scans=())
