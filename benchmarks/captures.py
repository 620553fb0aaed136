"""Captures that are killed, for minutes: ``python benchmarks/captures.py --minutes 3``.

Writers commit small transactions, and one of two capture processes is killed every few seconds. In
the end the change log must have each committed change once, in the order of the commits. With
``--throughput`` it measures instead: one-row commits of several writers into a table without events,
one with durable triggers and one that is captured, as ratios, and how fast the capture reads what was
written meanwhile.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import sqlalchemy as sa

sys.path.append(str(Path(__file__).parent.parent / "tests" / "support"))

from killing import kill_captures
from servers import Server, data_folder

from sa_pgnotify import Capture, NotifySpec, notify_on_change
from sa_pgnotify.log.captures import covers
from sa_pgnotify.log.tables import LogNames
from sa_pgnotify.sql import execute_on

WRITE = """
import sys, time
import psycopg2
dsn, table, number, seconds = sys.argv[1:]
connection = psycopg2.connect(dsn)
connection.autocommit = True
cursor = connection.cursor()
sys.stdin.readline()
until, count = time.monotonic() + float(seconds), 0
while time.monotonic() < until:
    count += 1
    cursor.execute(f"INSERT INTO {table} VALUES ({int(number) * 100000000 + count}, 1)")
print(count)
"""


def tables(engine: sa.Engine) -> sa.MetaData:
    """Make the table ``items``, which is captured, ``logged`` with triggers, and ``plain``."""
    metadata = sa.MetaData()
    specs = {
        "items": NotifySpec(durable=True, capture="wal", values="all"),
        "logged": NotifySpec(durable=True, values="all"),
        "plain": None,
    }
    for name, spec in specs.items():
        table = sa.Table(
            name,
            metadata,
            sa.Column("id", sa.BigInteger, primary_key=True),
            sa.Column("n", sa.Integer),
        )
        if spec is not None:
            notify_on_change(table, spec)
    metadata.create_all(engine)
    Capture(engine, metadata).create_slot()
    return metadata


def write(dsn: str, table: str, writers: int, seconds: float) -> float:
    """Return the commits a second of so many processes."""
    running = [
        subprocess.Popen(
            [sys.executable, "-c", WRITE, dsn, table, str(number), str(seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(writers)
    ]
    time.sleep(1)  # so that all have connected
    for process in running:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    return sum(int(process.communicate()[0]) for process in running) / seconds


def measure(engine: sa.Engine, rounds: int, seconds: float) -> None:
    """Print the throughput of writers, relative to that of the table without events."""
    url = engine.url
    dsn = f"host={url.query['host']} user={url.username} dbname={url.database}"
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for writers in (4, 8, 16):
            ratios: dict[str, list[float]] = {"logged": [], "items": []}
            late, read = 0.0, 0.0
            for turn in range(rounds):
                connection.exec_driver_sql("TRUNCATE plain, logged, items")
                base = write(dsn, "plain", writers, seconds)
                for name, found in ratios.items():
                    found.append(write(dsn, name, writers, seconds) / base)
                start = time.monotonic()
                covers(execute_on(connection), LogNames(), 600)
                waited = time.monotonic() - start
                late = max(late, waited)
                read = max(read, ratios["items"][-1] * base * seconds / (seconds + waited))
            shown: dict[str, Any] = {name: sorted(r)[len(r) // 2] for name, r in ratios.items()}
            print(
                f"{writers} writers: triggers {shown['logged']:.2f}, captured {shown['items']:.2f} of no events;"
                f" the capture read up to {read:,.0f}/s, and was {late:.1f} s behind at the end",
                flush=True,
            )


def main() -> None:
    """Run the checks that the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--throughput", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each writing")
    given = parser.parse_args()
    with data_folder() as data, Server(data) as server:
        engine = sa.create_engine(server.url, poolclass=sa.NullPool)
        metadata = tables(engine)
        if not given.throughput:
            outcome = kill_captures(
                engine, seconds=given.minutes * 60, every=2.0, writers=4, captures=2
            )
            print(
                f"{outcome.committed} changes, {outcome.killed} captures killed: {outcome.wrong or 'right'}"
            )
            raise SystemExit(bool(outcome.wrong))
        capture = Capture(engine, metadata)
        thread = threading.Thread(target=capture.run)
        thread.start()
        try:
            measure(engine, given.rounds, given.seconds)
        finally:
            capture.stop()
            thread.join()


if __name__ == "__main__":
    main()
