"""A task's result: samples by contestant and measure, and why contestants failed. The JSON files
store it, and the tables are made from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import Any

Samples = list[float | None]


@dataclass(frozen=True)
class Measure:
    """The meaning of a column.

    :ivar unit: ``s``, ``/s``, ``us``, ``MB``, ``%`` or anything else, shown as it is.
    :ivar against: the contestant whose sample of the same round each one is compared with; empty
        where only the figure counts.
    :ivar more: whether more is better.
    """

    name: str
    unit: str
    against: str = ""
    more: bool = False


@dataclass
class Sheet:
    """One task's samples, one per round; None where a round brought none.

    :ivar failed: contestants that could not do the task, and their error.
    :ivar notes: what a reader of the figures must know, by contestant, or of all under the empty
        name.
    """

    title: str
    measures: list[Measure] = field(default_factory=list)
    series: dict[str, dict[str, Samples]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    texts: dict[str, dict[str, str]] = field(default_factory=dict)
    seconds: float = 0.0
    round: int = 0

    def measure(self, name: str, unit: str, against: str = "", *, more: bool = False) -> None:
        self.measures.append(Measure(name, unit, against, more))

    def add(self, contestant: str, measure: str, value: float) -> None:
        samples = self.series.setdefault(contestant, {}).setdefault(measure, [])
        samples.extend([None] * (self.round - len(samples)))
        samples.append(value)

    def text(self, contestant: str, measure: str, value: str) -> None:
        """Set a cell that is not a number."""
        self.texts.setdefault(contestant, {})[measure] = value

    def fail(self, contestant: str, error: str) -> None:
        self.failed.setdefault(contestant, error)

    def samples(self, contestant: str, measure: str) -> list[float]:
        return [s for s in self.series.get(contestant, {}).get(measure, []) if s is not None]

    def ratios(self, contestant: str, measure: str, against: str, other: str = "") -> list[float]:
        """Return, for each round, this contestant's sample divided by the other's."""
        ours = self.series.get(contestant, {}).get(measure, [])
        theirs = self.series.get(against, {}).get(other or measure, [])
        return [a / b for a, b in zip(ours, theirs) if a is not None and b]

    def as_json(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "seconds": round(self.seconds, 1),
            "measures": [vars(m) for m in self.measures],
            "series": self.series,
            "texts": self.texts,
            "failed": self.failed,
            "notes": self.notes,
        }

    @classmethod
    def of_json(cls, found: dict[str, Any]) -> Sheet:
        return cls(**found | {"measures": [Measure(**m) for m in found["measures"]]})


@dataclass(frozen=True)
class Spread:
    """The median and the quartiles."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, samples: list[float]) -> Spread | None:
        if not samples:
            return None
        if len(samples) == 1:
            return cls(samples[0], samples[0], samples[0])
        low, _, high = quantiles(samples, n=4, method="inclusive")
        return cls(low, median(samples), high)

    @property
    def width(self) -> float:
        return self.high - self.low


def percentile(samples: list[float], point: float) -> float:
    """Return the sample below which ``point`` of a hundred lie."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(len(ordered) * point / 100))]
