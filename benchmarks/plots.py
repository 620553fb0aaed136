"""Plots of a run, as SVG that follows the reader's light or dark screen, drawn with matplotlib.

Each bar is a median, and the line on it shows the quartiles. A contestant that failed is named, and
has no bar.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib as mpl
import results
from contestants import BY_NAME
from report import title_of
from sheet import Sheet, Spread, percentile

mpl.use("svg")
from matplotlib import pyplot as plt

FOLDER = Path(__file__).parent / "plots"
BACK, INK, FAINT = "#fdfdfe", "#24292e", "#d0d4d8"
OURS, OTHERS, FLOOR, BARE = "#2878c8", "#8a94a0", "#5aa469", "#b8bec5"
DARK = {
    BACK: "#0d1117",
    INK: "#e0e4e8",
    FAINT: "#3a4048",
    OURS: "#58a6f0",
    OTHERS: "#7d8590",
    FLOOR: "#6cbf7d",
    BARE: "#565e68",
}
LEAST = 10.0
"""Microseconds at which a logarithmic axis begins; an event that arrived before COMMIT returned
counts as 0."""
LINES = {"identity": "-", "values": "--", "durable": "-.", "durable_values": ":"}
mpl.rcParams |= {
    "svg.fonttype": "none", "svg.hashsalt": "sa_pgnotify", "font.size": 9, "figure.facecolor": BACK, "axes.facecolor": BACK,
    "text.color": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK, "axes.edgecolor": FAINT, "legend.frameon": False,
    "axes.spines.top": False, "axes.spines.right": False, "axes.titlelocation": "left", "axes.titlesize": 10,
}  # fmt: skip


def draw(found: dict[str, Any]) -> None:
    """Draw every plot for which the run has figures; the overview of the newest PostgreSQL is also
    the one of the main README."""
    FOLDER.mkdir(exist_ok=True)
    sheets, major = results.sheets(found), results.major(found)
    pictures: dict[str, Callable[[dict[str, Sheet]], Any]] = {
        "bulk": bulk, "commits": commits, "latency": latency, "rows": rows, "subscribers": subscribers, "overview": overview
    }  # fmt: skip
    for name, picture in pictures.items():
        try:
            figure = picture(sheets)
        except KeyError:  # a task that was not run
            continue
        save(figure, FOLDER / f"postgresql-{major}-{name}.svg")
        plt.close(figure)
    versions = sorted(
        int(path.name.split("-")[1]) for path in FOLDER.glob("postgresql-*-overview.svg")
    )
    if versions:
        newest = FOLDER / f"postgresql-{versions[-1]}-overview.svg"
        (FOLDER / "overview.svg").write_text(newest.read_text(encoding="utf-8"), encoding="utf-8")


def save(figure: Any, path: Path) -> None:
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})
    rules = "".join(
        f'[style*="{kind}: {light}"]{{{kind}:{dark} !important}}'
        for light, dark in DARK.items()
        for kind in ("fill", "stroke")
    )
    text = path.read_text(encoding="utf-8")
    style = f"<style>@media (prefers-color-scheme: dark){{{rules}}}</style>"
    text = re.sub(r"(<svg[^>]*>)", lambda tag: tag.group() + style, text, count=1)
    path.write_text("\n".join(line.rstrip() for line in text.splitlines()) + "\n", encoding="utf-8")


def plain(contestant: str) -> str:
    title = title_of(contestant).replace("**", "").replace("`", "")
    return re.sub(r"; psycopg2 loop.*|, each read and typed| \(default\)", "", title)


def shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def colour(contestant: str) -> str:
    known = BY_NAME.get(contestant.partition(",")[0])
    if known is None or not known.module:
        return BARE
    return OURS if known.is_ours else FLOOR if known.is_floor else OTHERS


def bars(
    axes: Any, values: dict[str, Spread], title: str, failed: dict[str, str] | None = None
) -> None:
    """Draw horizontal bars in the order given, each with its figure at the end."""
    names = [*values, *(failed or {})]
    for place, name in enumerate(names):
        spread = values.get(name)
        if spread is None:
            axes.text(
                0.01, place, "failed", va="center", fontsize=8, transform=axes.get_yaxis_transform()
            )
            continue
        error = [[max(0.0, spread.median - spread.low)], [max(0.0, spread.high - spread.median)]]
        axes.barh(
            place,
            spread.median,
            color=colour(name),
            xerr=error,
            error_kw={"ecolor": INK, "elinewidth": 0.8},
        )
        axes.text(
            spread.high, place, "  " + shown(spread.median), va="center", fontsize=8, color=INK
        )
    axes.set_yticks(range(len(names)), [plain(name) for name in names])
    axes.invert_yaxis()
    axes.set_title(title)
    axes.margins(x=0.15)


def in_order(sheet: Sheet) -> list[str]:
    return [name for name in BY_NAME if name in sheet.series]


def ratios(sheet: Sheet, measure: str, against: str) -> dict[str, Spread]:
    return {
        name: spread
        for name in in_order(sheet)
        if (spread := Spread.of(sheet.ratios(name, measure, against)))
    }


def failures(sheet: Sheet, shown: dict[str, Spread]) -> dict[str, str]:
    return {name: error for name, error in sheet.failed.items() if name not in shown}


def bulk(sheets: dict[str, Sheet]) -> Any:
    sheet = sheets["bulk"]
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
    written = ratios(sheet, "INSERT", "none")
    bars(
        left, written, "100,000 rows in one INSERT: time, no trigger = 1", failures(sheet, written)
    )
    rates = {
        name: s
        for name in in_order(sheet)
        if (s := Spread.of([r / 1e3 for r in sheet.samples(name, "delivered")]))
    }
    bars(right, rates, "delivered, thousand events a second (log scale)", failures(sheet, rates))
    right.set_xscale("log")
    return figure


def commits(sheets: dict[str, Sheet]) -> Any:
    sheet = sheets["commits"]
    figure, panels = plt.subplots(1, 2, figsize=(11, 3.8), layout="constrained", sharey=True)
    for axes, fsync in zip(panels, ("on", "off")):
        for name in in_order(sheet):
            points = []
            for measure in sheet.measures:
                found = sheet.ratios(name, measure.name, "none")
                if measure.name.endswith(f"fsync {fsync}") and found:
                    points.append((int(measure.name.split()[0]), median(found)))
            line(axes, name, points)
        axes.set_xscale("log", base=2)
        axes.set_xticks([1, 4, 16], ["1", "4", "16"])
        axes.set_title(f"one-row commits, fsync {fsync}; no trigger = 1")
        axes.set_xlabel("writers; somebody listens")
        axes.set_ylim(0, None)
    panels[1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8)
    return figure


def line(axes: Any, name: str, points: list[tuple[float, float]]) -> None:
    if points:
        first, _, rest = name.partition(",")
        ours = colour(name) == OURS
        known = [other for other in BY_NAME if BY_NAME[other].module and not BY_NAME[other].is_ours]
        marker = "o" if ours else "svD^P*Xph<>d"[known.index(first) % 12] if first in known else "."
        style = ":" if rest else LINES.get(first, "-")
        axes.plot(
            *zip(*points),
            style,
            marker=marker,
            color=colour(name),
            label=plain(name),
            linewidth=2.0 if ours else 1.0,
            markersize=4,
        )


def latency(sheets: dict[str, Sheet]) -> Any:
    tasks = [
        (task, title)
        for task, title in (("asleep", "asleep"), ("load", "400 commits a second"))
        if task in sheets
    ]
    if not tasks:
        raise KeyError("asleep")
    names = [
        name for name in BY_NAME if any(sheets[task].samples(name, "returned") for task, _ in tasks)
    ]
    figure, panels = plt.subplots(
        1, len(tasks), figsize=(11, 3.8), layout="constrained", sharey=True, squeeze=False
    )
    for axes, (task, title) in zip(panels[0], tasks):
        for place, name in enumerate(names):
            if not (samples := sheets[task].samples(name, "returned")):
                continue
            p50, p95, p99 = (max(LEAST, percentile(samples, point)) / 1e3 for point in (50, 95, 99))
            axes.plot([p50, p99], [place, place], color=colour(name), linewidth=2)
            axes.plot([p50], [place], "o", color=colour(name))
            axes.plot([p95], [place], "|", color=colour(name), markersize=9)
            axes.plot([p99], [place], ">", color=colour(name), markersize=4)
        axes.set_xscale("log")
        axes.set_title(f"ms from COMMIT's return to the loop's body, {title}")
        axes.set_xlabel("● p50   | p95   ▸ p99 (log scale)")
    panels[0][0].set_yticks(range(len(names)), [plain(name) for name in names])
    panels[0][0].invert_yaxis()
    return figure


def rows(sheets: dict[str, Sheet]) -> Any:
    panels = [
        (task, what)
        for task, what in (("rows", "rows in the statement"), ("columns", "columns"))
        if task in sheets
    ]
    if not panels:
        raise KeyError("rows")
    figure, every = plt.subplots(
        1, len(panels), figsize=(11, 3.6), layout="constrained", squeeze=False
    )
    for axes, (task, what) in zip(every[0], panels):
        sheet = sheets[task]
        for name in in_order(sheet):
            points = [
                (float(m.name.split()[0].replace(",", "")), median(s))
                for m in sheet.measures
                if (s := sheet.samples(name, m.name))
            ]
            line(axes, name, points)
        if task == "rows":
            axes.set_xscale("log")
        axes.set_ylim(0, None)
        axes.set_title("µs for each row of an INSERT")
        axes.set_xlabel(what)
    every[0][-1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8)
    return figure


def subscribers(sheets: dict[str, Sheet]) -> Any:
    sheet = sheets["subscribers"]
    figure, axes = plt.subplots(figsize=(8, 3.4), layout="constrained")
    for name in sheet.series:
        points = [
            (int(m.name), median(r))
            for m in sheet.measures
            if m.name.isdigit() and (r := sheet.ratios(name, m.name, name, "0"))
        ]
        line(axes, name, points)
    axes.set_xscale("symlog")
    axes.set_xticks([0, 1, 10, 100], ["0", "1", "10", "100"])
    axes.set_ylim(0, None)
    axes.set_title("throughput of 4 writers, fsync off; own without subscribers = 1")
    axes.set_xlabel("subscribers in one process")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8)
    return figure


def overview(sheets: dict[str, Sheet]) -> Any:
    """Draw what people choose by: the cost for the writer, the reader's speed, and the time between
    the two."""
    sheet, late = sheets["bulk"], sheets["asleep"]
    figure, panels = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained", sharey=True)
    names = [
        n
        for n in BY_NAME
        if (n in sheet.series or n in sheet.failed) and n not in ("none", "hand_typed", "libpq")
    ]
    written = {name: Spread.of(sheet.ratios(name, "INSERT", "none")) for name in names}
    rates = {
        name: Spread.of([rate / 1e3 for rate in sheet.samples(name, "delivered")]) for name in names
    }
    delays = {
        name: Spread.of([max(LEAST, delay) / 1e3 for delay in late.samples(name, "returned")])
        for name in names
    }
    columns = (
        ("INSERT of 100,000 rows, no trigger = 1", written, False),
        ("delivered, thousand events a second", rates, True),
        ("ms from COMMIT's return to the handler, median", delays, True),
    )
    for axes, (title, values, log) in zip(panels, columns):
        for place, name in enumerate(names):
            spread = values[name]
            if spread is None:
                axes.text(
                    0.02,
                    place,
                    "failed",
                    va="center",
                    fontsize=8,
                    transform=axes.get_yaxis_transform(),
                )
                continue
            axes.barh(place, spread.median, color=colour(name))
            axes.text(spread.median, place, " " + shown(spread.median), va="center", fontsize=8)
        if log:
            axes.set_xscale("log")
        axes.set_title(title)
        axes.margins(x=0.2)
    panels[0].set_yticks(range(len(names)), [plain(name) for name in names])
    panels[0].invert_yaxis()
    return figure
