"""Delivery under disturbances, for minutes: ``python benchmarks/endurance.py --minutes 3``.

It runs rounds of half a minute, alternately with two names of consumers and with one name that is
divided into two parts. Each round has a listener, and consumers in threads and in processes. Their
sessions are ended, their connections cut, their processes killed and their server crashed. It stops
at the first finding, with exit code 1.

With ``--snapshots``, consumers begin with a snapshot of a table and keep copies of it, and their
processes are killed.
"""

from __future__ import annotations

import argparse
import logging
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import server
from sqlalchemy import URL

from sa_pgnotify.testing import DeliveryCheck

sys.path.append(str(Path(__file__).parent.parent / "tests" / "support"))
ROUND = 30.0
SNAPSHOTS = {
    "names": (),
    "copies": 4,
    "processes": 1,
    "terminate": False,
    "every": 0.4,
    "batch_size": 50,
    "patience": 120.0,
}
SHAPES = (
    {"names": ("one", "two")},
    {"names": ("divided",), "parts": 2},
    {"captures": 2, "copies": 1, "patience": 120.0},
)


@contextmanager
def crashing(
    given: str | None, command: str | None
) -> Iterator[tuple[URL, Callable[[], object] | None]]:
    """Yield the URL of a server, and a function that crashes it and starts it again; for a given
    server, that function runs a command."""
    if given:
        with server.running(given) as url:
            yield (
                url,
                (lambda: subprocess.run(command, shell=True, check=True, stdout=subprocess.DEVNULL))
                if command
                else None,
            )
        return
    from servers import Server, data_folder

    with data_folder() as data, Server(data) as own:
        with own.engine.connect() as connection:
            connection.exec_driver_sql("ALTER SYSTEM SET max_prepared_transactions = 20")

        def crash() -> None:
            own.down("immediate")
            own.up()

        crash()
        yield own.url, crash


def main() -> int:
    from proxy import Proxy
    from small_pages import SnapshotCheck

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument(
        "--url",
        help="a superuser's URL of a server; default: one is started in a temporary directory",
    )
    parser.add_argument(
        "--crash", help="a shell command that crashes the server of --url and starts it again"
    )
    parser.add_argument(
        "--snapshots",
        action="store_true",
        help="copies that begin with snapshots, whose processes are killed, instead of all else",
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    # what is disturbed complains
    logging.getLogger("sa_pgnotify").addHandler(logging.NullHandler())
    committed = transactions = 0
    made: Counter[str] = Counter()
    with (
        crashing(options.url, options.crash) as (maintenance, crash),
        server.database(maintenance) as url,
        Proxy(url) as proxy,
    ):
        print("PostgreSQL", server.described(url)["PostgreSQL"], flush=True)
        disturbances = {"cut": proxy.cut} | ({"crash": crash} if crash else {})
        until = time.monotonic() + 60 * options.minutes
        number = 0
        while time.monotonic() < until:
            seconds = min(ROUND, max(1.0, until - time.monotonic()))
            seed = options.seed + number
            check = (
                SnapshotCheck(url, seconds=seconds, seed=seed, **SNAPSHOTS)
                if options.snapshots
                else DeliveryCheck(
                    url,
                    readers_url=proxy.url,
                    seconds=seconds,
                    seed=seed,
                    processes=1,
                    listeners=1,
                    disturbances=disturbances,
                    every=0.5,
                    **SHAPES[number % len(SHAPES)],
                )
            )
            report = check.run()
            print(f"\nround {number}, {seconds:.0f} s\n{report}", flush=True)
            if not report.is_right:
                return 1
            committed, transactions, made = (
                committed + (report.copied if options.snapshots else report.committed),
                transactions + report.transactions,
                made + report.disturbances,
            )
            number += 1
    print(
        f"\n{committed} changes in {transactions} transactions, {made.total()} disturbances: each delivered once, in order",
        flush=True,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
