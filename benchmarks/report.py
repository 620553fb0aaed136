"""Results as tables, and the part of README.md that they replace: one part for each major version of PostgreSQL."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from contestants import BY_NAME

README = Path(__file__).parent / "README.md"
TITLES = {
    "identity": "**sa_pgnotify**, identity read",
    "values": "**sa_pgnotify**, every value read, typed",
    "loop": "by hand: select(), poll(), json.loads()",
    "typed": "the same, and the values typed as a SELECT gives them",
}
SIDES = {
    "none": "no trigger",
    "durable": "**sa_pgnotify, durable**, a consumer reads",
    "unread": "the same, nobody reads",
    "row_key": "by hand: row trigger, key; a loop listens",
}


@dataclass(frozen=True)
class Target:
    """A figure that was promised.

    :ivar at_most: whether it is a ceiling; else it is a floor.
    """

    what: str
    figure: float
    bound: float
    at_most: bool = True
    percent: bool = False

    @property
    def met(self) -> bool:
        return self.figure <= self.bound if self.at_most else self.figure >= self.bound

    def row(self) -> list[str]:
        def shown(value: float) -> str:
            return f"{value:.3%}" if self.percent else f"{value:.2f}"

        return [self.what, f"{'≤' if self.at_most else '≥'} {shown(self.bound)}", shown(self.figure), "met" if self.met else "**missed**"]


def ratio(times: dict[str, list[float]], name: str, base: str = "none") -> float:
    """Median of the rounds' ratios: the two of a round stood under the same load."""
    return median(a / b for a, b in zip(times[name], times[base]))


def _drain(results: dict[str, Any], reader: str, figure: str) -> list[float]:
    return [found[figure] for found in results["drains"][reader]]


def _drain_ratio(results: dict[str, Any], reader: str, figure: str) -> float:
    """How many times the hand-written loop's rate."""
    return median(theirs / ours for theirs, ours in zip(_drain(results, "loop", figure), _drain(results, reader, figure)))


def percentiles(samples: list[float]) -> tuple[float, float]:
    """p50 and p99 in microseconds; an event that was there before COMMIT returned counts as 0."""
    points = quantiles([max(0.0, s) * 1e6 for s in samples], n=100)
    return points[49], points[98]


def targets(results: dict[str, Any]) -> list[Target]:
    found = []
    for operation, times in results["statements"]["64MB"].items():
        found.append(Target(f"{operation} of 100,000 rows, identity, time against no trigger", ratio(times, "identity"), 1.25))
        found.append(Target(f"{operation} of 100,000 rows, all values, time against no trigger", ratio(times, "values"), 1.9))
    for reader, what, bound in (("identity", "identity", 3.0), ("values", "all values, typed", 1.5)):
        found.append(Target(f"drain, {what}, rate against the loop by hand", _drain_ratio(results, reader, "drain"), bound, at_most=False))
    found += durable_targets(results) if "durable" in results else []
    ours, theirs = (percentiles(results["latencies"][reader]["returned"]) for reader in ("identity", "loop"))
    found.append(Target("latency from COMMIT's return, p50 against the loop by hand", ours[0] / theirs[0], 2.0))
    found.append(Target("latency from COMMIT's return, p99 against the loop by hand", ours[1] / theirs[1], 3.0))
    found.append(Target("CPU of an idle listener, share of a core", results["idle"]["cpu_share"], 0.001, percent=True))
    return found


def durable_targets(results: dict[str, Any]) -> list[Target]:
    """What was promised of the change log."""
    found, log = [], results["durable"]
    for contestant, what, bound in (("durable", "identity", 1.2), ("durable_values", "all values", 1.7)):
        inserts = results["statements"]["64MB"]["INSERT"]
        found.append(Target(f"durable: INSERT of 100,000 rows, {what}, time against no trigger", ratio(inserts, contestant), bound))
    for clients, sides in log["rates"].items():
        what = f"durable: commits of {clients} clients while a consumer runs, rate against no trigger"
        found.append(Target(what, rate_ratio(sides, "durable"), 0.75, at_most=False))
    speed = max(backlog_rates(log["backlogs"]["statements"])) / 1e6
    found.append(Target("durable: a backlog of statements, million changes a second", speed, 0.5, at_most=False))
    for pace, sides in log["latencies"].items():
        p99 = spread(sides["durable"]["sent"])[2]
        found.append(Target(f"durable: from COMMIT's sending to a consumer that is {pace}, p99 in ms", p99, 20.0))
    grown = largest(log["day"])[0] / half_way(log["day"])
    found.append(Target("durable: the log's greatest size in a day, against that of its first half", grown, 1.1))
    return found


def rate_ratio(sides: dict[str, dict[str, list[float]]], side: str) -> float:
    """Median of the rounds' ratios."""
    return median(a / b for a, b in zip(sides[side]["rate"], sides["none"]["rate"]))


def backlog_rates(backlog: dict[str, Any]) -> list[float]:
    """Changes a second, for each size of batches."""
    return [backlog["changes"] / median(figures["seconds"]) for figures in backlog["batch_size"].values()]


def spread(samples: list[float]) -> tuple[float, float, float]:
    """p50, p95 and p99 in milliseconds; a change that was there before COMMIT returned counts as 0."""
    points = quantiles([max(0.0, s) * 1e3 for s in samples], n=100)
    return points[49], points[94], points[98]


def largest(day: dict[str, Any]) -> tuple[int, str]:
    """The greatest size of all tables of the log together, in bytes, and when that was."""
    sums = [sum(sizes) for sizes in zip(*day["sizes"].values())]
    return max(sums), f"{(sums.index(max(sums)) + 1) / len(sums):.0%}"


def half_way(day: dict[str, Any]) -> int:
    """The greatest size in the first half."""
    sums = [sum(sizes) for sizes in zip(*day["sizes"].values())]
    return max(sums[: len(sums) // 2])


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _statements(times: dict[str, dict[str, list[float]]]) -> str:
    rows = []
    for name in times["INSERT"]:
        row = [BY_NAME[name].title]
        for operation in ("INSERT", "UPDATE"):
            row += [f"{median(times[operation][name]) * 1e3:.0f} ms", f"{ratio(times[operation], name):.2f}"]
        rows.append(row)
    return table(["", "INSERT", "ratio", "UPDATE", "ratio"], rows)


def _plans(results: dict[str, Any]) -> str:
    fresh, later = results["plans"]["fresh"], results["plans"]["after one row"]
    rows = []
    for name in fresh:
        row = [BY_NAME[name].title, f"{median(fresh[name]) * 1e3:.0f} ms", f"{median(later[name]) * 1e3:.0f} ms"]
        rows.append([*row, f"{median(b / a for a, b in zip(fresh[name], later[name])):.1f}"])
    return table(["", "in a new session", "after an UPDATE of one row", "ratio"], rows)


def _one_row(results: dict[str, Any]) -> str:
    loops, commits = results["loops"], results["commits"]
    rows = []
    for name in loops:
        added = median(a - b for a, b in zip(loops[name], loops["none"]))
        row = [BY_NAME[name].title, f"{median(loops[name]):.1f} µs", "" if name == "none" else f"{added:+.1f} µs"]
        for clients in commits:
            rates = commits[clients]
            row += [f"{median(rates[name]):,.0f}/s", f"{ratio(rates, name):.2f}"] if name in rates else ["", ""]
        rows.append(row)
    head = ["", "one INSERT", "added"]
    for clients in commits:
        head += [f"commits, {clients} client{'s' if int(clients) > 1 else ''}", "ratio"]
    return table(head, rows)


def _drains(results: dict[str, Any]) -> str:
    count = results["rows"]
    rows = []
    for reader, title in TITLES.items():
        drain, whole, cpu = (_drain(results, reader, figure) for figure in ("drain", "end_to_end", "cpu"))
        after, total = (f"{_drain_ratio(results, reader, figure):.1f}" for figure in ("drain", "end_to_end"))
        row = [title, f"{median(drain) * 1e3:.0f} ms", f"{count / median(drain):,.0f}/s", after]
        row += [f"{median(whole) * 1e3:.0f} ms", total, f"{median(cpu) / count * 1e6:.2f} µs"]
        rows.append(row)
    head = ["", "drain after COMMIT", "events", "rate ratio", "from the INSERT's start", "rate ratio", "reader's CPU per event"]
    return table(head, rows)


def _latencies(results: dict[str, Any]) -> str:
    rows = []
    for reader in results["latencies"]:
        title = TITLES[reader]
        returned, sent = results["latencies"][reader]["returned"], results["latencies"][reader]["sent"]
        early = sum(s < 0 for s in returned) / len(returned)
        rows.append([title, *(f"{p:.0f}" for p in (*percentiles(returned), *percentiles(sent))), f"{early:.1%}", str(len(returned))])
    return table(["", "returned: p50", "p99", "sent: p50", "p99", "there before the return", "samples"], rows)


def _rates(log: dict[str, Any]) -> str:
    rows = []
    for side, title in SIDES.items():
        row = [title]
        for sides in log["rates"].values():
            row += [f"{median(sides[side]['rate']):,.0f}/s", f"{rate_ratio(sides, side):.2f}"]
            row.append(f"{median(sides[side]['read']):.0%}" if sides[side]["read"] else "")
        rows.append(row)
    head = [""]
    for clients in log["rates"]:
        head += [f"{clients} clients", "ratio", "read"]
    return table(head, rows)


def _backlogs(log: dict[str, Any]) -> str:
    rows = []
    for what, backlog in log["backlogs"].items():
        for (size, figures), rate in zip(backlog["batch_size"].items(), backlog_rates(backlog)):
            by = "statements of 1,000 rows" if what == "statements" else "transactions of one row"
            row = [f"{backlog['changes']:,} by {by}", f"{int(size):,}", f"{rate:,.0f}/s"]
            cpu = median(figures["cpu"]) / backlog["changes"] * 1e6
            rows.append([*row, f"{cpu:.2f} µs", f"{max(figures['megabytes']):.0f} MB"])
    return table(["changes", "batch_size", "read", "reader's CPU per change", "memory grows by at most"], rows)


def _late(log: dict[str, Any]) -> str:
    rows = []
    for pace, sides in log["latencies"].items():
        for side, samples in sides.items():
            figures = [f"{p:.1f}" for p in (*spread(samples["returned"]), *spread(samples["sent"]))]
            rows.append([f"{SIDES[side]}, {pace}", *figures, str(len(samples["sent"]))])
    return table(["", "returned: p50", "p95", "p99", "sent: p50", "p95", "p99", "samples"], rows)


def _day(day: dict[str, Any]) -> str:
    megabytes = 1 << 20
    rows = []
    for name, sizes in day["sizes"].items():
        rows.append([f"`{name}`", *(f"{size / megabytes:.1f} MB" for size in (max(sizes[: len(sizes) // 2]), max(sizes), sizes[-1]))])
    return table(["", "greatest size, first half", "whole day", "at its end"], rows)


def _durable(results: dict[str, Any]) -> list[str]:
    log = results["durable"]
    day = log["day"]
    size, when = largest(day)
    what = f"A day in {day['seconds']:.0f} s: {day['changes']:,} changes, one in a transaction, consumed and removed."
    return [
        "One row in a transaction, a reader in a process of its own; *read*: the share of the changes that it had when the writers ended:",
        _rates(log),
        "A backlog, identity read in `for change in batch`:",
        _backlogs(log),
        "Milliseconds from COMMIT's return and its sending to the loop's body, 4 writers: one change each 200 ms (asleep), or each 2.5 ms:",
        _late(log),
        f"{what} All tables together took {size / (1 << 20):.0f} MB at most, after {when} of the day:",
        _day(day),
    ]


def written(results: dict[str, Any]) -> str:
    """All tables of a run."""
    machine = results["machine"]
    parts = [
        ", ".join(f"{name} {value}" for name, value in machine.items()) + f". Medians of {results['rounds']} rounds.",
        table(["target", "", "figure", ""], [t.row() for t in targets(results)]),
    ]
    for work_mem, times in results["statements"].items():
        parts += [f"{results['rows']:,} rows in one statement, COMMIT included, `work_mem` {work_mem}:", _statements(times)]
    parts += ["UPDATE of 4,000 rows; PL/pgSQL keeps the plan of a session's first UPDATE:", _plans(results)]
    parts += ["One row in a statement: in one transaction (20,000 times, in the server), and in a transaction each:", _one_row(results)]
    parts += [f"{results['rows']:,} changes of one transaction, read in a `for` loop:", _drains(results)]
    parts += ["Latency in microseconds, from COMMIT's return and its sending to the loop's body, a commit each 5 ms:", _latencies(results)]
    if "durable" in results:
        parts += _durable(results)
    idle = results["idle"]
    parts.append(
        f"An idle listener, {idle['seconds']:.0f} s with its heartbeats: {idle['cpu_share']:.3%} of a core, "
        f"{idle['wake_ups_per_second']:.2f} wake-ups a second."
    )
    return "\n\n".join(parts) + "\n"


def replace_in_readme(results: dict[str, Any]) -> None:
    """Put a run's tables in the place of those of the same major version of PostgreSQL; the rest of the text stays."""
    major = re.split(r"\D", results["machine"]["PostgreSQL"])[0]
    begin, end = f"<!-- PostgreSQL {major} -->", f"<!-- end of PostgreSQL {major} -->"
    section = f"{begin}\n### PostgreSQL {major}\n\n{written(results)}{end}"
    text = README.read_text(encoding="utf-8")
    if begin in text:
        head, _, rest = text.partition(begin)
        text = head + section + rest.partition(end)[2]
    else:
        text = f"{text.rstrip()}\n\n{section}\n"
    README.write_text(text, encoding="utf-8")
