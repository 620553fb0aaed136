"""What was promised, and what a run found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

from contestants import BY_NAME
from sheet import Sheet, percentile


@dataclass(frozen=True)
class Target:
    """A figure that was promised.

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
        return [self.what, f"{'≤' if self.at_most else '≥'} {self.bound:.2f}", f"{self.figure:.2f}", "met" if self.met else "**missed**"]


def targets(sheets: dict[str, Sheet]) -> list[Target]:
    """Those for which the run has figures."""
    return [target for find in (_bulk, _latency, _throughput, _rows, _ahead) for target in find(sheets)]


def _ratio(sheets: dict[str, Sheet], task: str, contestant: str, measure: str, against: str, other: str = "") -> float | None:
    ratios = sheets[task].ratios(contestant, measure, against, other) if task in sheets else []
    return median(ratios) if ratios else None


def _bulk(sheets: dict[str, Sheet]) -> Iterator[Target]:
    wanted = [
        ("INSERT of 100,000 rows, identity, against no trigger", "bulk", "identity", "INSERT", "none", 1.15, True),
        ("INSERT of 100,000 rows, all values, against no trigger", "bulk", "values", "INSERT", "none", 1.6, True),
        ("UPDATE of 100,000 rows, identity, against no trigger", "update", "identity", "UPDATE", "none", 1.15, True),
        ("UPDATE of 100,000 rows, all values, against no trigger", "update", "values", "UPDATE", "none", 1.6, True),
        ("delivery, identity, against the loop by hand", "bulk", "identity", "delivered", "hand_row", 5.0, False),
        ("delivery, all values typed, against the loop by hand", "bulk", "values", "delivered", "hand_row", 2.0, False),
        ("the same, against the loop by hand that types them too", "bulk", "values", "delivered", "hand_typed", 2.0, False),
        ("end to end, identity, against the bare INSERT", "bulk", "identity", "end to end", "none", 1.3, True),
        ("end to end, all values typed, against the bare INSERT", "bulk", "values", "end to end", "none", 2.5, True),
    ]
    for what, task, contestant, measure, against, bound, at_most in wanted:
        if (found := _ratio(sheets, task, contestant, measure, against)) is not None:
            yield Target(what, found, bound, at_most)


def _latency(sheets: dict[str, Sheet]) -> Iterator[Target]:
    for task, when in (("asleep", "asleep"), ("load", "under load")):
        if task not in sheets:
            continue
        ours, theirs = (sheets[task].samples(name, "returned") for name in ("identity", "hand_key"))
        if ours and theirs:
            figure = percentile(ours, 50) / max(1.0, percentile(theirs, 50))
            yield Target(f"latency p50 {when}, from COMMIT's return, against the loop by hand", figure, 1.5)


def _throughput(sheets: dict[str, Sheet]) -> Iterator[Target]:
    found = _ratio(sheets, "subscribers", "identity", "100", "identity", "0")
    if found is not None:
        yield Target("4 writers, 100 subscribers in a process, against none", found, 0.65, at_most=False)
    connections = sheets["subscribers"].samples("identity", "connections") if "subscribers" in sheets else []
    if connections:
        yield Target("connections of a process with 100 subscribers", max(connections), 1.0)
    for writers in (4, 8):
        for fsync in ("on", "off"):
            found = _ratio(sheets, "unheard", "identity", f"{writers} writers, fsync {fsync}", "none")
            if found is not None:
                yield Target(f"{writers} writers, nobody listens, fsync {fsync}, against no trigger", found, 0.9, at_most=False)


def _rows(sheets: dict[str, Sheet]) -> Iterator[Target]:
    for contestant, what in (("identity", "identity"), ("values", "all values")):
        points = [
            median(samples)
            for number in ("10,000", "100,000", "1,000,000")
            if "rows" in sheets and (samples := sheets["rows"].samples(contestant, f"{number} rows"))
        ]
        if len(points) == 3:
            yield Target(f"time per row from 10,000 to 1,000,000 rows, {what}: dearest against cheapest", max(points) / min(points), 1.2)


def _ahead(sheets: dict[str, Sheet]) -> Iterator[Target]:
    """Against the best of those that do the same work; 1 is as good."""
    for task, measure in (("bulk", "INSERT"), ("bulk", "delivered"), ("bulk", "end to end"), ("commits", "16 writers, fsync on"),
                          ("commits", "4 writers, fsync off"), ("commits", "1 writer, fsync on")):  # fmt: skip
        if task not in sheets:
            continue
        more = next((m.more for m in sheets[task].measures if m.name == measure), False)
        for ours in ("identity", "values"):
            if not sheets[task].samples(ours, measure):
                continue
            others = {
                name: median(samples)
                for name in sheets[task].series
                if name in BY_NAME and _does_the_same(name, ours, measure) and (samples := sheets[task].samples(name, measure))
            }
            if others:
                best = (max if more else min)(others, key=lambda name: others[name])
                ratio = median(sheets[task].ratios(ours, measure, best))
                figure = ratio if more else 1 / ratio
                title = BY_NAME[best].title.partition(";")[0]
                yield Target(f"ahead in {measure} ({task}), {ours}: times as good as the best other, {title}", figure, 1.0, at_most=False)


def _does_the_same(other: str, ours: str, measure: str) -> bool:
    contestant = BY_NAME[other]
    if contestant.is_ours or contestant.is_floor or contestant.carries != BY_NAME[ours].carries:
        return False
    return measure in ("delivered", "end to end") or other != "polling"  # who is asked later tells nothing while it is written
