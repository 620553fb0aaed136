"""Captures that are killed again and again while programs write, and whether the log has what was
committed."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field

import sqlalchemy as sa
from capturing import changes_in_log, until_captured

PROGRAM = """
import sys
import sqlalchemy as sa
from sa_pgnotify import Capture, NotifySpec, notify_on_change

metadata = sa.MetaData()
table = sa.Table("items", metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("n", sa.Integer))
notify_on_change(table, NotifySpec(durable=True, capture="wal", values="all"))
Capture(sa.create_engine(sys.argv[1]), metadata).run()
"""


@dataclass
class Outcome:
    """What was found.

    :ivar committed: how many changes were committed; ``killed`` how often a capture was killed.
    :ivar wrong: what does not agree.
    """

    committed: int = 0
    killed: int = 0
    wrong: list[str] = field(default_factory=list)


def kill_captures(
    engine: sa.Engine, *, seconds: float, every: float, writers: int = 2, captures: int = 2
) -> Outcome:
    """Write for so many seconds, kill a capture after about ``every`` seconds each time, and compare the
    log with what was committed: each change once, transactions whole, in the order of their commits.

    :param engine: of a database with the table ``items``, captured.
    """
    outcome, written, lock = Outcome(), [], threading.Lock()
    until = time.monotonic() + seconds

    def write(number: int) -> None:
        chance, count = random.Random(number), 0
        with engine.connect() as connection:
            while time.monotonic() < until:
                rows = range(count, count + chance.randint(1, 4))
                count += len(rows)
                for row in rows:
                    connection.exec_driver_sql(
                        f"INSERT INTO items VALUES ({number * 10_000_000 + row}, {number})"
                    )
                ids = [number * 10_000_000 + row for row in rows]
                # one after the other, so that the order of the commits is known
                with lock:
                    if chance.random() < 0.1:
                        connection.rollback()
                    else:
                        connection.commit()
                        written.append(ids)

    url = engine.url.render_as_string(hide_password=False)

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", PROGRAM, url], stderr=subprocess.DEVNULL)

    running = [start() for _ in range(captures)]
    threads = [threading.Thread(target=write, args=(number,)) for number in range(1, writers + 1)]
    for thread in threads:
        thread.start()
    chance = random.Random(0)
    try:
        while time.monotonic() < until:
            time.sleep(every * chance.uniform(0.5, 1.5))
            victim = running.pop(chance.randrange(len(running)))
            victim.send_signal(signal.SIGKILL)
            victim.wait()
            outcome.killed += 1
            running.append(start())
        for thread in threads:
            thread.join()
        until_captured(engine)
    finally:
        for process in running:
            process.kill()
            process.wait()
    outcome.committed = sum(map(len, written))
    found = [int(change[-1].split("\x1f")[0]) for change in changes_in_log(engine, "public.items")]
    expected = [row for ids in written for row in ids]
    if sorted(found) != sorted(expected):
        outcome.wrong.append(f"{len(expected)} were committed, and the log has {len(found)}")
    elif found != expected:
        place = next(i for i, (a, b) in enumerate(zip(found, expected)) if a != b)
        outcome.wrong.append(f"change {place} is {found[place]}, not {expected[place]}")
    return outcome
