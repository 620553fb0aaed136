"""Measure everything side by side, on this machine: ``make bench``, or ``python benchmarks/run.py``.

Starts a PostgreSQL in a temporary directory, or takes that of ``--url``; gives each contestant a
database and a process; takes the tasks one by one. All samples go into results/, and from there
into README.md's tables and plots/. Nothing that a contestant does ends the run.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

import results
import server
from arena import Arena
from contestants import BY_NAME
from environments import versions
from sheet import Sheet
from sqlalchemy import URL
from tasks import TASKS

ROUNDS = 5
BESIDE = frozenset({"captured"})
"""Contestants that run only if they are named: a capture decodes the write-ahead log of the whole server,
so its process and its slot's would take their share of the processor in everybody's turn."""
LONGEST = 420
"""Seconds after which a task is aborted, in case something hangs that has no time limit of its
own."""


class TooLong(BaseException):
    """A task's time is over. It is not an Exception, because that would count as an error of the
    contestant whose turn it is."""


def measure(maintenance: URL, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Return all figures of a run."""
    names = tuple(
        name
        for name in BY_NAME
        if (
            name in (*options.contestant, "none", "hand_key", "hand_row")
            if options.contestant
            else name not in BESIDE
        )
    )
    rounds = options.rounds or (2 if options.quick else ROUNDS)
    arena = Arena(maintenance, folder, names, rounds, quick=options.quick)
    found: dict[str, Any] = {
        "machine": server.described(maintenance),
        "at": time.strftime("%Y-%m-%d %H:%M"),
        "rounds": rounds,
    }
    found |= {"quick": options.quick, "tasks": {}}
    started = time.monotonic()
    arena.clear()  # remove what a killed run has left
    try:
        say("databases and environments")
        arena.prepare()
        found["versions"] = {
            python: versions(python) for python in sorted(set(arena.pythons.values()))
        }
        # no path of this machine
        found["versions"] = {
            f"environment {i}": value for i, value in enumerate(found["versions"].values())
        }
        for name, (title, task) in TASKS.items():
            if options.task and name not in options.task:
                continue
            sheet = Sheet(title)
            say(f"{name}: {title}")
            since = time.monotonic()
            signal.alarm(LONGEST)
            try:
                task(arena, sheet)
            except (Exception, TooLong) as error:
                traceback.print_exc()
                sheet.notes[""] = f"the task itself failed: {type(error).__name__}: {error}"
                arena.writers.close()  # they may still be at work
            finally:
                signal.alarm(0)
            sheet.seconds = time.monotonic() - since
            found["tasks"][name] = sheet.as_json()
    finally:
        arena.clear()
    found["minutes"] = round((time.monotonic() - started) / 60, 1)
    return found


def too_long(*_: object) -> None:
    raise TooLong(f"it took over {LONGEST} s")


def say(what: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {what}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--url",
        help="a superuser's URL of a server on this machine, whose fsync is switched off and on again",
    )
    parser.add_argument("--rounds", type=int, help=f"default {ROUNDS}")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="2 short rounds, to see that all works; README.md is left as it is",
    )
    parser.add_argument(
        "--task", action="append", choices=TASKS, help="only this one; may be given several times"
    )
    parser.add_argument(
        "--contestant",
        action="append",
        choices=BY_NAME,
        help="only this one, beside those it is compared with",
    )
    parser.add_argument(
        "--render",
        metavar="FILE",
        type=Path,
        help="measure nothing: make tables and plots of a result file",
    )
    options = parser.parse_args()
    signal.signal(signal.SIGALRM, too_long)
    # so that databases and processes are removed
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by a signal"))
    if options.render:
        publish(results.load(options.render))
        return
    with (
        tempfile.TemporaryDirectory(prefix="benchmark") as logs,
        server.running(options.url) as maintenance,
    ):
        found = measure(maintenance, options, Path(logs))
    whole = not (options.quick or options.task or options.contestant)
    path = results.save(found, whole=whole)
    import report

    print(report.written(found))
    print(f"{found['minutes']} minutes; raw figures: {path}")
    if whole:
        publish(found)


def publish(found: dict[str, Any]) -> None:
    import plots
    import report

    plots.draw(found)
    report.replace_in_readme(found)


if __name__ == "__main__":
    main()
