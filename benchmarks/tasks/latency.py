"""The latency of a single change: from just before COMMIT was sent, and from its return, to the
loop's body.

A notification can arrive before COMMIT has returned to the writer; such an event counts as 0 from
the return.
"""

from __future__ import annotations

import random
import time

from arena import Arena, Entry
from environments import Failed
from sheet import Sheet
from writers import Stamp, commit_one

WARM_UP = 5
POINTS = (50, 95, 99)


def declare(sheet: Sheet) -> None:
    for moment in ("returned", "sent"):
        sheet.measure(moment, "us percentiles", "hand_key")
    sheet.measure("lost", "% of the events")


def record(sheet: Sheet, entry: Entry, written: list[Stamp], warm_up: int) -> None:
    """Return the samples of one round, without its first ones."""
    if entry.driven is None:
        return
    found = entry.wait(10.0, quiet=1.0, enough=len(written))
    written = written[warm_up:]
    if found["ended"]:
        raise Failed(found["ended"])
    seen = {int(key): moment for key, moment in reversed(found["kept"])}  # the first time counts
    kept = [(seen[key], sent, returned) for key, sent, returned in written if key in seen]
    for moment, sent, returned in kept:
        sheet.series.setdefault(entry.name, {}).setdefault("returned", []).append(
            round(max(0.0, moment - returned) * 1e6)
        )
        sheet.series[entry.name].setdefault("sent", []).append(round((moment - sent) * 1e6))
    sheet.add(entry.name, "lost", 100 * (1 - len(kept) / len(written)))


def asleep(arena: Arena, sheet: Sheet) -> None:
    """Commit to one contestant after the other, 4 to 7 ms apart, so that each has slept for long
    when its event arrives."""
    declare(sheet)
    rounds = 60 if arena.quick else 500
    entries = [
        entry
        for entry in arena.entries(sheet)
        if entry.contestant.module and entry.name != "hand_typed"
    ]
    written: dict[str, list[Stamp]] = {entry.name: [] for entry in entries}
    try:
        for entry in entries:
            arena.attempt(
                sheet,
                entry,
                lambda entry: (entry.empty(), entry.start(mode="stamps"), entry.expect(1 << 40)),
            )
        entries = [entry for entry in entries if entry.name not in sheet.failed]
        for _ in range(rounds + WARM_UP):
            random.shuffle(entries)  # no contestant always follows the same one
            for entry in entries:
                time.sleep(random.uniform(0.004, 0.007))
                written[entry.name].append(commit_one(entry.writer))
        for entry in entries:
            arena.attempt(
                sheet, entry, lambda entry: record(sheet, entry, written[entry.name], WARM_UP)
            )
    finally:
        for entry in entries:
            entry.close()


def load(arena: Arena, sheet: Sheet) -> None:
    declare(sheet)
    seconds = 0.5 if arena.quick else 1.2
    names = [name for name in arena.names if name not in ("none", "hand_typed")]

    def begin(entry: Entry) -> None:
        entry.start(mode="stamps")

    def turn(entry: Entry) -> None:
        entry.empty()
        entry.expect(1 << 40)
        written = arena.writers.paced(entry.url, 4, 0.0025, seconds)
        record(sheet, entry, sorted(written, key=lambda stamp: stamp[1]), 8)

    arena.take_turns(sheet, arena.entries(sheet, names), arena.rounds(1), turn, begin)
