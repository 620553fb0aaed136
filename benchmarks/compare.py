"""Which figures changed between two runs: ``make bench-compare``, or ``python benchmarks/compare.py [OLD NEW]``.

A figure has changed if its medians are further apart than the quartiles of either run. Where a measure has a contestant to be compared
with, the ratio is what is compared, so that another day's machine does not count as a change. Without files: the newest result and
the one before it, or the one that is committed.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import results
from sheet import Measure, Sheet, Spread


def figure(sheet: Sheet, contestant: str, measure: Measure) -> Spread | None:
    if measure.unit == "us percentiles":
        return Spread.of(sheet.samples(contestant, measure.name))
    if measure.against.startswith("own "):
        return Spread.of(sheet.ratios(contestant, measure.name, contestant, measure.against.removeprefix("own ")))
    if measure.against and contestant != measure.against:
        return Spread.of(sheet.ratios(contestant, measure.name, measure.against))
    return Spread.of(sheet.samples(contestant, measure.name))


def changes(old: dict[str, Any], new: dict[str, Any]) -> list[tuple[str, str]]:
    """Sentences, each with ``better``, ``worse`` or ``other`` before it."""
    found = []
    before = results.sheets(old)
    for name, sheet in results.sheets(new).items():
        if name not in before:
            continue
        for measure in sheet.measures:
            for contestant in sorted({*sheet.series, *before[name].series}):
                was, now = figure(before[name], contestant, measure), figure(sheet, contestant, measure)
                if was is None or now is None or abs(now.median - was.median) <= max(was.width, now.width):
                    continue
                ratio = f"ratio to {measure.against}" if measure.against and measure.unit != "us percentiles" else measure.unit
                verdict = "better" if (now.median > was.median) == measure.more else "worse"
                shown = f"{was.median:.4g} ({was.low:.4g} to {was.high:.4g}) -> {now.median:.4g} ({now.low:.4g} to {now.high:.4g})"
                found.append((verdict, f"{name:12} {contestant:18} {measure.name:28} {shown}, {ratio}"))
        for contestant in sorted({*sheet.failed} ^ {*before[name].failed}):
            now_fails = contestant in sheet.failed
            said = (sheet if now_fails else before[name]).failed[contestant]
            found.append(("worse" if now_fails else "better", f"{name:12} {contestant:18} {'fails' if now_fails else 'failed'}: {said}"))
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
    print(f"{old['at']} against {new['at']}")
    found = changes(old, new)
    for verdict in ("worse", "better"):
        for kind, line in found:
            if kind == verdict:
                print(f"{verdict:7} {line}")
    print(f"{len(found)} figures changed by more than their quartiles")


if __name__ == "__main__":
    main()
