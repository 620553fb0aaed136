"""Write results as tables into README.md, which has one part for each major version of
PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from statistics import linear_regression, median
from typing import Any

import results
from contestants import BY_NAME
from sheet import Measure, Sheet, Spread, percentile
from targets import targets
from tasks.commits import CONNECTIONS

README = Path(__file__).parent / "README.md"
POINTS = (50, 95, 99)
SLOPES = {
    "rows": "µs a row",
    "columns": "µs a row and column",
    "tables": "a table",
    "subscribers": "µs a commit and subscriber",
}
"""Tasks whose figures grow with a number, and what that number counts."""


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---", *("---:" for _ in head[1:])], *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
    )


def title_of(contestant: str) -> str:
    name, comma, rest = contestant.partition(",")
    return (BY_NAME[name].title if name in BY_NAME else name) + comma + rest


def amount(value: float, unit: str) -> str:
    """Return a figure for a reader: seconds below ten as milliseconds, rates without decimals."""
    if unit == "s":
        return f"{value * 1e3:,.0f} ms" if value < 10 else f"{value:.1f} s"
    if unit == "/s":
        return f"{value:,.0f}/s"
    if unit.startswith("us"):
        return f"{value:,.2f} µs" if value < 100 else f"{value:,.0f} µs"
    if unit.startswith("%"):
        return f"{value:.2f}%"
    if unit in ("rows", "bytes", "connections") or unit.startswith("that"):
        return f"{value:,.0f}"
    return f"{value:,.1f}"


def cell(sheet: Sheet, contestant: str, measure: Measure) -> str:
    """Return the median, and, if there is something to compare with, the ratio's median and
    quartiles."""
    spread = Spread.of(sheet.samples(contestant, measure.name))
    if spread is None:
        return ""
    shown = amount(spread.median, measure.unit)
    if measure.against.startswith("own "):
        ratios = Spread.of(
            sheet.ratios(contestant, measure.name, contestant, measure.against.removeprefix("own "))
        )
    else:
        ratios = (
            Spread.of(sheet.ratios(contestant, measure.name, measure.against))
            if measure.against
            else None
        )
    if ratios is None:
        return (
            shown
            if not spread.width
            else f"{shown} ({amount(spread.low, measure.unit)} to {amount(spread.high, measure.unit)})"
        )
    return f"{shown} · **{ratios.median:.2f}** ({ratios.low:.2f} to {ratios.high:.2f})"


def percentile_cells(sheet: Sheet, contestant: str, measure: Measure) -> list[str]:
    samples = sheet.samples(contestant, measure.name)
    return [f"{percentile(samples, point):,.0f}" for point in POINTS] if samples else ["", "", ""]


def task_table(sheet: Sheet) -> str:
    head = [""]
    for measure in sheet.measures:
        if measure.unit == "us percentiles":
            head += [f"{measure.name}: p50", "p95", "p99"]
        else:
            unit = (
                f", {measure.unit}"
                if measure.unit and not measure.unit.startswith(("s", "/s"))
                else ""
            )
            head.append(f"{measure.name}{unit}")
    texts = sorted({name for said in sheet.texts.values() for name in said})
    rows = []
    for contestant in _order(sheet):
        if contestant in sheet.failed and contestant not in sheet.series:
            rows.append(
                [
                    title_of(contestant),
                    f"**failed**: {sheet.failed[contestant]}",
                    *("" for _ in [*head[2:], *texts]),
                ]
            )
            continue
        row = [title_of(contestant)]
        for measure in sheet.measures:
            if measure.unit == "us percentiles":
                row += percentile_cells(sheet, contestant, measure)
            else:
                row.append(cell(sheet, contestant, measure))
        rows.append(row + [sheet.texts.get(contestant, {}).get(name, "") for name in texts])
    return table([*head, *texts], rows)


def _order(sheet: Sheet) -> list[str]:
    known = [*sheet.series, *(name for name in sheet.failed if name not in sheet.series)]
    places = {name: place for place, name in enumerate(BY_NAME)}
    return sorted(known, key=lambda name: (places.get(name.partition(",")[0], 99), name))


def slopes(sheet: Sheet, what: str) -> str:
    """Show how a cost grows along the columns whose names begin with a number: by least squares,
    per step of one."""
    rows = []
    for contestant in _order(sheet):
        points = []
        for measure in sheet.measures:
            samples = sheet.samples(contestant, measure.name)
            if samples and measure.unit != CONNECTIONS:
                number = (
                    float(measure.name.rpartition(", ")[2].split()[0].replace(",", ""))
                    if what == "tables"
                    else _number(measure.name)
                )
                cost = 1e6 / median(samples) if measure.unit == "/s" else median(samples)
                points.append(
                    (measure.name.rpartition(", ")[0] if what == "tables" else "", number, cost)
                )
        for kind in sorted({kind for kind, _, _ in points}):
            xs, ys = zip(
                *((x, y * (x if what == "rows" else 1)) for k, x, y in points if k == kind)
            )
            if len(xs) < 2:
                continue
            slope, intercept = linear_regression(xs, ys)
            unit = SLOPES[what]
            label = f"{title_of(contestant)}{f', {kind}' if kind else ''}"
            rows.append([label, f"{slope:.3g} {unit}", f"{intercept:,.3g}"])
    return table(["", "slope", "at zero"], rows)


def _number(name: str) -> float:
    return float(name.split(maxsplit=1)[0].replace(",", ""))


def footnotes(sheet: Sheet) -> Iterator[str]:
    if sheet.notes.get(""):
        yield sheet.notes[""][0].upper() + sheet.notes[""][1:] + "."
    for name, note in sheet.notes.items():
        if name and name in sheet.series:
            yield f"{title_of(name).replace('**', '')}: {note}."
    for name, error in sheet.failed.items():
        if name in sheet.series:
            yield f"{title_of(name).replace('**', '')} **failed** later: {error}."


def written(found: dict[str, Any]) -> str:
    """Return all tables of a run."""
    sheets = results.sheets(found)
    machine = ", ".join(f"{name} {value}" for name, value in found["machine"].items())
    parts = [f"{machine}. {found['rounds']} rounds, {found['minutes']} minutes, {found['at']}."]
    if promised := targets(sheets):
        missed = sum(not target.met for target in promised)
        parts += [f"#### Targets: {len(promised) - missed} of {len(promised)} met"]
        parts += [table(["target", "", "figure", ""], [target.row() for target in promised])]
    major = results.major(found)
    for name, sheet in sheets.items():
        parts += [f"#### {sheet.title}"]
        if name in PLOTS:
            parts.append(f"![{sheet.title}](plots/postgresql-{major}-{PLOTS[name]}.svg)")
        parts.append(task_table(sheet))
        if name in SLOPES:
            parts += [f"Slopes, by least squares over the medians ({name}):", slopes(sheet, name)]
        parts += ["\n".join(f"- {note}" for note in footnotes(sheet))]
    return "\n\n".join(part for part in parts if part) + "\n"


PLOTS = {
    "bulk": "bulk",
    "commits": "commits",
    "asleep": "latency",
    "rows": "rows",
    "subscribers": "subscribers",
}
"""Tasks that have a plot, and the name of its file."""


def replace_in_readme(found: dict[str, Any]) -> None:
    """Replace the tables of the same major version of PostgreSQL by a run's; the rest of the text
    stays."""
    major = results.major(found)
    begin, end = f"<!-- PostgreSQL {major} -->", f"<!-- end of PostgreSQL {major} -->"
    section = f"{begin}\n### PostgreSQL {major}\n\n{written(found)}{end}"
    text = README.read_text(encoding="utf-8")
    if begin in text:
        head, _, rest = text.partition(begin)
        text = head + section + rest.partition(end)[2]
    else:
        text = f"{text.rstrip()}\n\n{section}\n"
    README.write_text(text, encoding="utf-8")
