"""What the change log costs those who write at the same time, how fast a backlog is read, how late a change comes, what a day leaves.

Writers and readers are processes of their own. They read the machine's one monotonic clock.
"""

from __future__ import annotations

import resource
import select
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.context import SpawnContext
from pathlib import Path
from typing import Any

from contestants import BY_NAME, COLUMNS, LOG, rotated
from server import connect
from sqlalchemy import URL, create_engine
from writing import ONE_ROW, commit_until, outside

from sa_pgnotify import Consumer, Inserted, consumers

Seen = list[tuple[int, float]]
"""Key of a change, and the moment at which the loop's body had it."""

SIDES = {"none": ("none", ""), "durable": ("durable", "consumer"), "unread": ("durable", ""), "row_key": ("row_key", "loop")}
"""Name of a side: the contestant whose table is written to, and who reads it meanwhile."""
BATCH_SIZES = (10_000, 1_000)
PACES = {"asleep": 0.2, "awake": 0.0025}
"""Seconds from one change to the next, all writers together: a consumer sleeps after 20 ms of silence."""
WRITERS = 4
PATIENCE = 60.0
"""Seconds that a reader may take for what was written."""
SHORT = "INSERT INTO {table} (note) SELECT 'order of a customer in town' FROM generate_series(1, {rows})"


# -- readers --------------------------------------------------------------------------------------------------------------


@contextmanager
def reading(url: URL, workers: Executor, manager: Any, reader: str, written: list[int]) -> Iterator[Seen]:
    """Somebody reads within the block, and behind it until he has as many changes as ``written`` comes to; then it holds them."""
    seen: Seen = []
    if not reader:
        yield seen
        return
    ready, total = manager.Event(), manager.Queue()
    running = workers.submit(consume if reader == "consumer" else listen_by_hand, url, ready, total)
    while not ready.wait(0.1):
        if running.done():
            running.result()
    try:
        yield seen
    finally:
        total.put(sum(written))
    seen.extend(running.result())
    numbers = {len({key for key, _ in seen}), len(seen), sum(written)}
    if len(numbers) != 1:
        raise RuntimeError(f"{reader}: what was written, and what was read, are not the same: {numbers}")


def consume(url: URL, ready: Any, total: Any, **options: Any) -> Seen:
    """Runs in a worker: a consumer, until it has read as many changes as ``total`` comes to tell."""
    engine = create_engine(url)
    seen: Seen = []
    with Consumer(engine, "benchmark", BY_NAME["durable"].model, **options) as consumer:
        threading.Thread(target=_stop_at, args=(seen, total, consumer.stop), daemon=True).start()
        ready.set()
        for batch in consumer:
            with batch:
                for change in batch:
                    if not isinstance(change, Inserted) or change.identity is None:
                        raise TypeError(f"not all was delivered: {change!r}")
                    seen.append((change.identity[0], time.monotonic()))
    engine.dispose()
    return seen


def listen_by_hand(url: URL, ready: Any, total: Any) -> Seen:
    """Runs in a worker: the loop that one writes with psycopg2 alone. It keeps nothing for who was not there."""
    connection = connect(url)
    connection.autocommit = True
    connection.cursor().execute(f"LISTEN {BY_NAME['row_key'].table}")
    seen: Seen = []
    stopping = threading.Event()
    threading.Thread(target=_stop_at, args=(seen, total, stopping.set), daemon=True).start()
    ready.set()
    while not stopping.is_set():
        if not connection.notifies:
            select.select([connection], [], [], 0.1)
            connection.poll()
        for note in connection.notifies:
            seen.append((int(note.payload), time.monotonic()))
        connection.notifies.clear()
    connection.close()
    return seen


def _stop_at(seen: Seen, total: Any, stop: Any) -> None:
    expected, until = total.get(), time.monotonic() + PATIENCE
    while len(seen) < expected and time.monotonic() < until:
        time.sleep(0.01)
    stop()


# -- writing at the same time ---------------------------------------------------------------------------------------------


def rates(url: URL, workers: Executor, manager: Any, rounds: int, clients: int, seconds: float) -> dict[str, dict[str, list[float]]]:
    """Transactions of one row each, per second, by ``clients`` processes at once; and the share of the changes read by the end."""
    found: dict[str, dict[str, list[float]]] = {side: {"rate": [], "read": []} for side in SIDES}
    connection = connect(url)
    for turn in range(rounds):
        for side in rotated(tuple(SIDES), turn):
            name, reader = SIDES[side]
            outside(connection, BY_NAME[name].empty)
            written: list[int] = []
            with reading(url, workers, manager, reader, written) as seen:
                start = time.monotonic() + 0.2 + 0.05 * clients
                end = start + seconds
                running = [workers.submit(commit_until, url, name, start, end) for _ in range(clients)]
                written.extend(r.result() + 1 for r in running)  # one to warm up
            found[side]["rate"].append((sum(written) - clients) / seconds)
            if reader:
                found[side]["read"].append(sum(moment <= end for _, moment in seen) / sum(written))
    connection.close()
    return found


# -- a backlog ------------------------------------------------------------------------------------------------------------


def backlogs(url: URL, spawn: SpawnContext, rounds: int, rows: int, singles: int) -> dict[str, dict[str, Any]]:
    """Reading what has been written: ``rows`` changes by statements of 1,000, and ``singles`` in a transaction each."""
    found: dict[str, dict[str, Any]] = {}
    connection = connect(url, synchronous_commit="off")
    for what, count, step in (("statements", rows, 1000), ("transactions", singles, 1)):
        start_anew(connection)
        write_backlog(connection, count // step, step)
        figures: dict[str, dict[str, list[float]]] = {str(size): {"seconds": [], "cpu": [], "megabytes": []} for size in BATCH_SIZES}
        for turn in range(rounds):
            for size in BATCH_SIZES if turn % 2 else BATCH_SIZES[::-1]:
                with ProcessPoolExecutor(1, mp_context=spawn) as alone:  # a process of its own has a peak of its own
                    measured = alone.submit(read_backlog, url, f"{turn} {size}", size, count).result()
                for what_of_it, figure in zip(("seconds", "cpu", "megabytes"), measured):
                    figures[str(size)][what_of_it].append(figure)
        found[what] = {"changes": count, "batch_size": figures}
    connection.close()
    return found


def start_anew(connection: Any) -> None:
    """As if there had never been a change nor a consumer."""
    outside(connection, BY_NAME["durable"].empty)
    outside(connection, f"TRUNCATE {LOG.names.consumers}, {LOG.names.parked}")
    outside(connection, f"UPDATE {LOG.names.head} SET removed = 0")


def write_backlog(connection: Any, transactions: int, rows: int) -> None:
    """So many transactions of one statement of so many rows."""
    connection.rollback()
    connection.autocommit = True
    insert = SHORT.format(table=BY_NAME["durable"].table, rows=rows)
    with connection.cursor() as cursor:
        cursor.execute(f"DO $$ BEGIN FOR i IN 1..{transactions} LOOP {insert}; COMMIT; END LOOP; END $$")
    connection.autocommit = False


def read_backlog(url: URL, name: str, batch_size: int, count: int) -> tuple[float, float, float]:
    """Runs alone in a process: seconds that reading all took, those of its CPU, and megabytes by which its memory grew at most."""
    engine = create_engine(url)
    with Consumer(engine, name, BY_NAME["durable"].model, batch_size=batch_size, start="beginning", heartbeat=PATIENCE) as consumer:
        before, start, cpu = _peak(), time.monotonic(), time.process_time()
        for batch in consumer:
            with batch:
                for change in batch:
                    if change.identity:  # type: ignore[union-attr]
                        count -= 1
            if count <= 0:
                break
        seconds, cpu = time.monotonic() - start, time.process_time() - cpu
    engine.dispose()
    if count:
        raise RuntimeError(f"{count} changes are missing")
    return seconds, cpu, _peak() - before


def _peak() -> float:
    """The most memory that this process has had, in megabytes."""
    try:  # a new process inherits the other number from the one that started it
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


# -- latency --------------------------------------------------------------------------------------------------------------


def latencies(url: URL, workers: Executor, manager: Any, rounds: int, seconds: float) -> dict[str, dict[str, dict[str, list[float]]]]:
    """Seconds from COMMIT (its return, its sending) to the loop's body, by pace and side."""
    sides = ("durable", "row_key")
    found: dict[str, dict[str, dict[str, list[float]]]] = {pace: {side: {"returned": [], "sent": []} for side in sides} for pace in PACES}
    connection = connect(url)
    for turn in range(rounds):
        for pace, pause in PACES.items():
            for side in rotated(sides, turn):
                name, reader = SIDES[side]
                outside(connection, BY_NAME[name].empty)
                written: list[int] = []
                stamps: list[tuple[int, float, float]] = []
                with reading(url, workers, manager, reader, written) as seen:
                    start, each = time.monotonic() + 0.5, max(2, int(seconds / pause / WRITERS))
                    moments = [[start + (turn * WRITERS + w) * pause for turn in range(each)] for w in range(WRITERS)]
                    for one in [workers.submit(write_at, url, name, mine) for mine in moments]:
                        stamps += one.result()
                    written.append(len(stamps))
                had = dict(seen)
                for key, sent, returned in stamps[WRITERS:]:
                    found[pace][side]["sent"].append(had[key] - sent)
                    found[pace][side]["returned"].append(had[key] - returned)
    connection.close()
    return found


def write_at(url: URL, name: str, moments: list[float]) -> list[tuple[int, float, float]]:
    """Runs in a worker, a transaction at each of the moments: key, the moments before and after COMMIT."""
    connection = connect(url)
    written = []
    with connection.cursor() as cursor:
        for moment in moments:
            time.sleep(max(0.0, moment - time.monotonic()))
            cursor.execute(f"INSERT INTO {BY_NAME[name].table} ({COLUMNS}) VALUES ({ONE_ROW}) RETURNING id")
            key = cursor.fetchone()[0]
            sent = time.monotonic()
            connection.commit()
            written.append((key, sent, time.monotonic()))
    connection.close()
    return written


# -- a day ----------------------------------------------------------------------------------------------------------------


def day(url: URL, workers: Executor, manager: Any, changes: int, steps: int = 48) -> dict[str, Any]:
    """Bytes of each table of the log while ``changes`` are written, consumed and removed, one in a transaction, as fast as they are read.

    A day's work in two minutes: so the consumer looks 40 times as often as by default after what can be removed.
    """
    engine, connection = create_engine(url), connect(url)
    start_anew(connection)
    tables = [*LOG.names.slots, LOG.names.head, LOG.names.consumers, LOG.names.parked]
    sizes: dict[str, list[int]] = {table: [] for table in tables}
    ready, total = manager.Event(), manager.Queue()
    each = changes // steps // 2
    running = workers.submit(count, url, ready, total)
    while not ready.wait(0.1):
        if running.done():
            running.result()
    start = time.monotonic()
    try:
        for _ in range(steps):
            for written in [workers.submit(write_steadily, url, each) for _ in range(2)]:
                written.result()
            with connection.cursor() as cursor:
                for table in tables:
                    cursor.execute(f"SELECT pg_total_relation_size('{table}')")
                    sizes[table].append(cursor.fetchone()[0])
            outside(connection, f"TRUNCATE {BY_NAME['durable'].table}")
            while not running.done() and any(consumer.lag.events for consumer in consumers(engine)):
                time.sleep(0.05)
    finally:
        total.put(each * 2 * steps)
    result = {"changes": each * 2 * steps, "seconds": time.monotonic() - start, "sizes": sizes, "consumed": running.result()}
    if result["consumed"] != result["changes"]:
        raise RuntimeError(f"of {result['changes']} changes {result['consumed']} were consumed")
    connection.close()
    engine.dispose()
    return result


def write_steadily(url: URL, transactions: int) -> None:
    """Runs in a worker."""
    connection = connect(url, synchronous_commit="off")
    write_backlog(connection, transactions, 1)
    connection.close()


class Counter(Seen):
    """Counts what it is told, and keeps nothing of it."""

    seen = 0

    def __len__(self) -> int:
        return self.seen


def count(url: URL, ready: Any, total: Any) -> int:
    """Runs in a worker: a consumer that counts."""
    engine, counter = create_engine(url), Counter()
    with Consumer(engine, "a day", BY_NAME["durable"].model, heartbeat=0.25) as consumer:
        threading.Thread(target=_stop_at, args=(counter, total, consumer.stop), daemon=True).start()
        ready.set()
        for batch in consumer:
            with batch:
                counter.seen += len(batch)
    engine.dispose()
    return counter.seen
