"""Show which figures changed between two runs: ``make bench-compare``, or ``python
benchmarks/compare.py [OLD NEW]``.

A figure has changed if its medians are further apart than the quartiles of either run. If a measure
is relative to another contestant, the ratios are compared, so that a slower machine does not count
as a change. Without files, it compares the newest result with the one before it, or with the one
that is committed.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import median
from typing import Any

import results
from sheet import Measure, Sheet, Spread


def figure(sheet: Sheet, contestant: str, measure: Measure) -> Spread | None:
    if measure.unit == "us percentiles":
        ours, theirs = (
            _medians(sheet.samples(name, measure.name)) for name in (contestant, measure.against)
        )
        return Spread.of(
            [a / max(1.0, b) for a, b in zip(ours, theirs)]
            if _is_ratio(contestant, measure)
            else ours
        )
    if not _is_ratio(contestant, measure):
        return Spread.of(sheet.samples(contestant, measure.name))
    if measure.against.startswith("own "):
        return Spread.of(
            sheet.ratios(contestant, measure.name, contestant, measure.against.removeprefix("own "))
        )
    return Spread.of(sheet.ratios(contestant, measure.name, measure.against))


def _is_ratio(contestant: str, measure: Measure) -> bool:
    return bool(measure.against) and contestant != measure.against


def _medians(samples: list[float]) -> list[float]:
    """Return the medians of each tenth of the samples, which are in the order of time; the quartiles
    of all would hide too much."""
    each = max(1, len(samples) // 10)
    return [median(samples[start : start + each]) for start in range(0, len(samples), each)][:10]


def changes(old: dict[str, Any], new: dict[str, Any]) -> list[tuple[str, str]]:
    """Return a sentence for each change, with ``better`` or ``worse`` before it."""
    found = []
    before = results.sheets(old)
    for name, sheet in results.sheets(new).items():
        if name not in before:
            continue
        for measure in sheet.measures:
            for contestant in sorted({*sheet.series, *before[name].series}):
                was, now = (
                    figure(before[name], contestant, measure),
                    figure(sheet, contestant, measure),
                )
                if (
                    was is None
                    or now is None
                    or abs(now.median - was.median) <= max(was.width, now.width)
                ):
                    continue
                unit = (
                    f"ratio to {measure.against}"
                    if _is_ratio(contestant, measure)
                    else measure.unit
                )
                verdict = "better" if (now.median > was.median) == measure.more else "worse"
                shown = f"{was.median:.4g} ({was.low:.4g} to {was.high:.4g}) -> {now.median:.4g} ({now.low:.4g} to {now.high:.4g})"
                found.append(
                    (verdict, f"{name:12} {contestant:18} {measure.name:28} {shown}, {unit}")
                )
        for contestant in sorted({*sheet.failed} ^ {*before[name].failed}):
            now_fails = contestant in sheet.failed
            said = (sheet if now_fails else before[name]).failed[contestant]
            found.append(
                (
                    "worse" if now_fails else "better",
                    f"{name:12} {contestant:18} {'fails' if now_fails else 'failed'}: {said}",
                )
            )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path, metavar="OLD NEW")
    options = parser.parse_args()
    if len(options.files) not in (0, 2):
        parser.error("two files, or none")
    if options.files:
        old, new = map(results.load, options.files)
    else:
        path = results.newest()
        old, new = results.before(path), results.load(path)
    if old["quick"] != new["quick"]:
        parser.error("one of them is of a quick run, whose tasks are smaller")
    print(f"{old['at']} against {new['at']}")
    for name in sorted({*old["machine"], *new["machine"]}):
        if (was := old["machine"].get(name)) != (now := new["machine"].get(name)):
            print(f"not the same {name}: {was} -> {now}; compare ratios only")
    found = changes(old, new)
    for verdict in ("worse", "better"):
        for kind, line in found:
            if kind == verdict:
                print(f"{verdict:7} {line}")
    print(f"{len(found)} figures changed by more than their quartiles")


if __name__ == "__main__":
    main()
