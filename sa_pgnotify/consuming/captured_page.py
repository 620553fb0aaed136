"""A page of rows of a captured table, in its place among the changes.

A page is read in a snapshot of the table, and the capture appends what that snapshot has seen a few
milliseconds later. So the log is read once it has all of that, and by then it has later changes,
too. The page belongs between the two: the changes of its rows that the snapshot has seen come
before it, and those that the snapshot has not seen come after it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace

from ..events.changes import Change
from ..log.snapshots import Position, Snapshot
from ..scanning.row_page import RowPage
from ..scanning.started import Key, keys_of
from .chunks import Chunk

__all__ = ["divided", "go_on_after", "place_between"]


def divided(
    chunks: Sequence[Chunk],
    own: Collection[str],
    snapshot: Snapshot,
    in_page: Callable[[Iterable[Key]], dict[Key, bool]],
) -> tuple[list[Chunk], list[Chunk]] | None:
    """Return the changes before a page and those after it; None if no place is right for it, because
    transactions became visible in another order than that of their commits.

    :param own: the names in messages of the tables of the page's entity.
    :param snapshot: in which the page was read.
    :param in_page: returns which keys are within the page.
    """
    every = [
        (place, number, event)
        for place, chunk in enumerate(chunks)
        if chunk.row.relation in own
        for number, event in enumerate(chunk.events)
        if isinstance(event, Change)
    ]
    keys = {
        key
        for _, _, event in every
        if event.identity is not None
        for key in keys_of(event)
        if key is not None
    }
    known = in_page(keys)
    end = (0, 0)
    first_unseen: tuple[int, int] | None = None
    for place, number, event in every:
        if event.identity is not None and not any(
            known.get(key, False) for key in keys_of(event) if key is not None
        ):
            continue
        if event in snapshot:
            end = (place, number + 1)
            if first_unseen is not None:
                return None
        elif first_unseen is None:
            first_unseen = (place, number)
    place, count = end
    before, after = list(chunks[:place]), list(chunks[place:])
    if count and after:
        chunk = after.pop(0)
        if count >= len(chunk.events) or not chunk.divisible:
            before.append(chunk)
        else:
            first, rest = chunk.split(count)
            before.append(first)
            after.insert(0, rest)
    return before, after


def place_between(page: Chunk, after: Sequence[Chunk], end: Position) -> None:
    """Let a page begin where the changes after it do.

    :param end: the position after all changes.
    """
    assert isinstance(page.row, RowPage)
    page.row.start = end
    if after:
        row, first = after[0].row, after[0].first
        assert not isinstance(row, RowPage)
        page.row.start = row.after_change(first - 1) if first else row.before


def go_on_after(page: Chunk, chunks: Iterable[Chunk]) -> list[Chunk]:
    """Return changes after a page with the positions that they have once it was delivered."""
    scans = page.after.scans

    def moved(chunk: Chunk) -> Chunk:
        row = chunk.row
        assert not isinstance(row, RowPage)
        closing = None if row.closing is None else replace(row.closing, scans=scans)
        return replace(
            chunk, row=row._replace(start=replace(row.start, scans=scans), closing=closing)
        )

    return list(map(moved, chunks))
