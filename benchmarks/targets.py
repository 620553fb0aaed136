"""The targets of the project, and what a run found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import isnan, nan
from statistics import median

from contestants import BY_NAME
from sheet import Measure, Sheet, percentile


@dataclass(frozen=True)
class Target:
    """A figure that the project aims at.

    :ivar figure: what was found; NaN, which meets no target, if this package failed in that task.
    :ivar at_most: whether the bound is a ceiling; else it is a floor.
    """

    what: str
    figure: float
    bound: float
    at_most: bool = True

    @property
    def met(self) -> bool:
        return self.figure <= self.bound if self.at_most else self.figure >= self.bound

    def row(self) -> list[str]:
        figure = "failed" if isnan(self.figure) else f"{self.figure:.2f}"
        return [
            self.what,
            f"{'≤' if self.at_most else '≥'} {self.bound:.2f}",
            figure,
            "met" if self.met else "**missed**",
        ]


def targets(sheets: dict[str, Sheet]) -> list[Target]:
    """Return the targets for which the run has figures, or in which this package failed."""
    return [
        target
        for find in (_bulk, _one_row, _latency, _throughput, _rows, _ahead)
        for target in find(sheets)
    ]


def _ratio(
    sheets: dict[str, Sheet],
    task: str,
    contestant: str,
    measure: str,
    against: str,
    other: str = "",
) -> float | None:
    if task in sheets and contestant in sheets[task].failed:
        return nan
    ratios = sheets[task].ratios(contestant, measure, against, other) if task in sheets else []
    return median(ratios) if ratios else None


def _bulk(sheets: dict[str, Sheet]) -> Iterator[Target]:
    wanted = [
        (
            "INSERT of 100,000 rows, identity, against no trigger",
            "bulk",
            "identity",
            "INSERT",
            "none",
            1.15,
            True,
        ),
        (
            "INSERT of 100,000 rows, all values, against no trigger",
            "bulk",
            "values",
            "INSERT",
            "none",
            1.6,
            True,
        ),
        (
            "UPDATE of 100,000 rows, identity, against no trigger",
            "update",
            "identity",
            "UPDATE",
            "none",
            1.15,
            True,
        ),
        (
            "UPDATE of 100,000 rows, all values, against no trigger",
            "update",
            "values",
            "UPDATE",
            "none",
            1.6,
            True,
        ),
        (
            "delivery, identity, against the loop by hand",
            "bulk",
            "identity",
            "delivered",
            "hand_row",
            5.0,
            False,
        ),
        (
            "delivery, all values typed, against the loop by hand",
            "bulk",
            "values",
            "delivered",
            "hand_row",
            2.0,
            False,
        ),
        (
            "the same, against the loop by hand that types them too",
            "bulk",
            "values",
            "delivered",
            "hand_typed",
            2.0,
            False,
        ),
        (
            "end to end, identity, against the bare INSERT",
            "bulk",
            "identity",
            "end to end",
            "none",
            1.3,
            True,
        ),
        (
            "end to end, all values typed, against the bare INSERT",
            "bulk",
            "values",
            "end to end",
            "none",
            2.5,
            True,
        ),
    ]
    for what, task, contestant, measure, against, bound, at_most in wanted:
        if (found := _ratio(sheets, task, contestant, measure, against)) is not None:
            yield Target(what, found, bound, at_most)


def _one_row(sheets: dict[str, Sheet]) -> Iterator[Target]:
    """Return how many times as long a statement of one row takes as with a row trigger by hand."""
    for contestant, what, hand, bound in (
        ("identity", "identity", "hand_key", 1 / 0.6),
        ("values", "all values", "hand_row", 1 / 0.6),
        ("row_identity", 'identity, for_each="row"', "hand_key", 1 / 0.9),
        ("row_values", 'all values, for_each="row"', "hand_row", 1 / 0.9),
    ):
        found = _ratio(sheets, "statements", contestant, "one INSERT of 5,000", hand)
        if found is not None:
            yield Target(
                f"INSERT of one row, {what}, against the row trigger by hand", found, bound
            )


def _latency(sheets: dict[str, Sheet]) -> Iterator[Target]:
    for task, when in (("asleep", "asleep"), ("load", "under load")):
        if task not in sheets:
            continue
        ours, theirs = (sheets[task].samples(name, "returned") for name in ("identity", "hand_key"))
        failed = "identity" in sheets[task].failed
        if failed or (ours and theirs):
            figure = nan if failed else percentile(ours, 50) / max(1.0, percentile(theirs, 50))
            yield Target(
                f"latency p50 {when}, from COMMIT's return, against the loop by hand", figure, 1.5
            )


def _throughput(sheets: dict[str, Sheet]) -> Iterator[Target]:
    found = _ratio(sheets, "subscribers", "identity", "100", "identity", "0")
    if found is not None:
        yield Target(
            "4 writers, 100 subscribers in a process, against none", found, 0.65, at_most=False
        )
    connections = (
        sheets["subscribers"].samples("identity", "connections") if "subscribers" in sheets else []
    )
    if connections:
        yield Target("connections of a process with 100 subscribers", median(connections), 1.0)
    for writers in (4, 8):
        for fsync in ("on", "off"):
            found = _ratio(
                sheets, "unheard", "identity", f"{writers} writers, fsync {fsync}", "none"
            )
            if found is not None:
                yield Target(
                    f"{writers} writers, nobody listens, fsync {fsync}, against no trigger",
                    found,
                    0.9,
                    at_most=False,
                )


def _rows(sheets: dict[str, Sheet]) -> Iterator[Target]:
    for contestant, what in (("identity", "identity"), ("values", "all values")):
        points = [
            median(samples)
            for number in ("10,000", "100,000", "1,000,000")
            if "rows" in sheets
            and (samples := sheets["rows"].samples(contestant, f"{number} rows"))
        ]
        failed = "rows" in sheets and contestant in sheets["rows"].failed
        if failed or len(points) == 3:
            figure = nan if failed else max(points) / min(points)
            yield Target(
                f"time per row from 10,000 to 1,000,000 rows, {what}: dearest against cheapest",
                figure,
                1.2,
            )


AHEAD = ("bulk", "update", "statements", "commits", "unheard", "asleep", "load")
"""Tasks that other contestants do too, and whose measures have a ratio."""


def _ahead(sheets: dict[str, Sheet]) -> Iterator[Target]:
    """Return, for each task, the ratio to the contestant with the same work and the measure in which
    this package is least ahead; 1 is equal."""
    for task in AHEAD:
        for ours in ("identity", "values"):
            sheet = sheets.get(task)
            if sheet is None or not (ours in sheet.series or ours in sheet.failed):
                continue
            found = [
                (times, f"{measure.name}, {BY_NAME[other].title.partition(';')[0]}")
                for measure in sheet.measures
                for other in sheet.series
                if other in BY_NAME and _does_the_same(other, ours, measure.name)
                for times in _times_as_good(sheet, measure, ours, other)
            ]
            least, where = (
                (nan, "it failed") if ours in sheet.failed else min(found, default=(None, ""))
            )
            if least is not None:
                yield Target(
                    f"ahead in {task}, {ours}: times as good as the others, at least ({where})",
                    least,
                    1.0,
                    at_most=False,
                )


def _times_as_good(sheet: Sheet, measure: Measure, ours: str, other: str) -> Iterator[float]:
    """Return one ratio, if both were measured."""
    if measure.unit == "us percentiles":
        mine, theirs = (sheet.samples(name, measure.name) for name in (ours, other))
        if mine and theirs:
            yield max(1.0, percentile(theirs, 50)) / max(1.0, percentile(mine, 50))
    elif ratios := [ratio for ratio in sheet.ratios(ours, measure.name, other) if ratio]:
        yield median(ratios) if measure.more else 1 / median(ratios)


def _does_the_same(other: str, ours: str, measure: str) -> bool:
    contestant = BY_NAME[other]
    if contestant.is_ours or contestant.is_floor or contestant.carries != BY_NAME[ours].carries:
        return False
    if other == "polling":  # it reports nothing during the write
        return measure in ("delivered", "end to end", "CPU", "returned", "sent")
    return True
