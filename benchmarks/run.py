"""Measures sa_pgnotify against hand-written triggers and loops, side by side: ``python benchmarks/run.py``.

The contestants take turns within each round, in another order each round, and what counts is the median of ratios within a round: so
that a machine that others use at the same time still gives figures that can be compared. The tables go into README.md, everything
into results/.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.context import SpawnContext
from pathlib import Path
from typing import Any

import contestants
import delivery
import durable
import report
import server
import writing
from sqlalchemy import URL, create_engine

ROWS = 100_000
ALL = tuple(contestants.BY_NAME)
COMMITTING = ("none", "identity", "values", "row_key", "row_json")
CLIENTS = (4, 8, 16)
RESULTS = Path(__file__).parent / "results"


def measure(url: URL, rounds: int, *, quick: bool) -> dict[str, Any]:
    """All figures of a run on an empty database."""
    engine = create_engine(url)
    contestants.create(engine, ROWS)
    engine.dispose()
    results: dict[str, Any] = {"machine": server.described(url), "rounds": rounds, "rows": ROWS, "at": time.strftime("%Y-%m-%d %H:%M")}
    spawn = multiprocessing.get_context("spawn")  # a fork would copy connections and threads
    with ProcessPoolExecutor(4, mp_context=spawn) as workers:
        results["statements"] = {}
        for work_mem in ("64MB", "4MB"):
            say(f"{ROWS:,} rows in a statement, work_mem {work_mem}")
            results["statements"][work_mem] = writing.statements(url, ALL, rounds, work_mem)
        say("many rows after one row")
        results["plans"] = writing.plans(url, min(rounds, 3))
        say("one row in a statement")
        results["loops"] = writing.loops(url, ALL, rounds)
        results["commits"] = {}
        for clients in (1, 4):
            say(f"one row in a transaction, {clients} clients")
            seconds = 0.3 if quick else 1.0
            results["commits"][str(clients)] = writing.commits(url, workers, COMMITTING, rounds, clients, seconds)
        say(f"delivery of {ROWS:,} changes")
        results["drains"] = delivery.drains(url, workers, rounds, ROWS)
        say("latency")
        results["latencies"] = delivery.latencies(url, workers, rounds, 100 if quick else -(-1500 // rounds))
    results["durable"] = measure_durable(url, spawn, rounds, quick=quick)
    say("idling")
    with ProcessPoolExecutor(1, mp_context=spawn) as alone:
        results["idle"] = alone.submit(delivery.idle, url, 5.0 if quick else 20.0).result()
    return results


def measure_durable(url: URL, spawn: SpawnContext, rounds: int, *, quick: bool) -> dict[str, Any]:
    """The figures of the change log."""
    results: dict[str, Any] = {"rates": {}}
    with ProcessPoolExecutor(max(CLIENTS) + 1, mp_context=spawn) as workers, spawn.Manager() as manager:
        for ready in [workers.submit(time.sleep, 3.0) for _ in range(max(CLIENTS) + 1)]:  # all of them, for each is busy
            ready.result()
        for clients in CLIENTS:
            say(f"one row in a transaction, {clients} clients, and a consumer")
            results["rates"][str(clients)] = durable.rates(url, workers, manager, rounds, clients, 0.5 if quick else 1.2)
        say("from commit to consumer")
        results["latencies"] = durable.latencies(url, workers, manager, rounds, 3.0 if quick else 6.0)
        say("a day")
        results["day"] = durable.day(url, workers, manager, 200_000 if quick else 1_400_000)
    say("a backlog")
    results["backlogs"] = durable.backlogs(url, spawn, min(rounds, 5), *((200_000, 50_000) if quick else (1_000_000, 200_000)))
    return results


def say(what: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {what}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", help="a superuser's URL of a server; default: one is started in a temporary directory")
    parser.add_argument("--rounds", type=int, default=7, help="default 7; at least 5 are needed for figures worth keeping")
    parser.add_argument("--quick", action="store_true", help="2 rounds, shorter; README.md is left as it is")
    options = parser.parse_args()
    rounds = 2 if options.quick else options.rounds
    with server.running(options.url) as maintenance, server.database(maintenance) as url:
        results = measure(url, rounds, quick=options.quick)
    RESULTS.mkdir(exist_ok=True)
    name = f"postgresql-{results['machine']['PostgreSQL'].split()[0]}{'-quick' if options.quick else ''}.json"
    (RESULTS / name).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(report.written(results))
    if rounds >= 5:
        report.replace_in_readme(results)
    targets = report.targets(results)
    print(f"{sum(not t.met for t in targets)} of {len(targets)} targets missed; raw figures: {RESULTS / name}")


if __name__ == "__main__":
    main()
