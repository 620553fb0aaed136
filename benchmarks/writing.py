"""What a trigger costs the writer: many rows in one statement, one row in each, one row in each transaction."""

from __future__ import annotations

import time
from concurrent.futures import Executor
from typing import Any

from contestants import BY_NAME, COLUMNS, rotated
from server import connect
from sqlalchemy import URL

Times = dict[str, list[float]]

ONE_ROW = '\'order of a customer in town\', 12.34, \'2024-01-01 00:00:00.123456+00\', \'{"sku": "A-1", "tags": ["new"]}\', 7'


def statements(url: URL, names: tuple[str, ...], rounds: int, work_mem: str) -> dict[str, Times]:
    """Seconds of an INSERT and an UPDATE of all the source's rows, COMMIT included: operation, contestant, rounds.

    Each round starts from an empty table, and each UPDATE from a vacuumed one.
    """
    times: dict[str, Times] = {"INSERT": {n: [] for n in names}, "UPDATE": {n: [] for n in names}}
    connection = connect(url, work_mem=work_mem)
    for turn in range(rounds):
        outside(connection, "CHECKPOINT")
        for name in rotated(names, turn):
            table = BY_NAME[name].table
            outside(connection, BY_NAME[name].empty)
            times["INSERT"][name].append(timed(connection, f"INSERT INTO {table} ({COLUMNS}) SELECT {COLUMNS} FROM source"))
            outside(connection, f"VACUUM ANALYZE {table}")
            times["UPDATE"][name].append(timed(connection, f"UPDATE {table} SET price = price + 1, qty = qty + 1"))
            outside(connection, BY_NAME[name].empty)
    connection.close()
    return times


def plans(url: URL, rounds: int, rows: int = 4_000) -> dict[str, Times]:
    """Seconds of an UPDATE of ``rows`` rows: in a new session, and in one that has updated a single row before.

    PL/pgSQL keeps the plan of a session's first call, and one that was made for a single row may not suit many.
    """
    times: dict[str, Times] = {when: {"none": [], "identity": []} for when in ("fresh", "after one row")}
    for _ in range(rounds):
        for when, found in times.items():
            for name, seconds in found.items():
                table = BY_NAME[name].table
                connection = connect(url)
                outside(connection, BY_NAME[name].empty)
                outside(connection, f"INSERT INTO {table} ({COLUMNS}) SELECT {COLUMNS} FROM source LIMIT {rows}")
                outside(connection, f"VACUUM ANALYZE {table}")
                if when != "fresh":
                    timed(connection, f"UPDATE {table} SET qty = qty + 1 WHERE id = 1")
                seconds.append(timed(connection, f"UPDATE {table} SET price = price + 1, qty = qty + 1"))
                connection.close()
    return times


def loops(url: URL, names: tuple[str, ...], rounds: int, count: int = 20_000) -> Times:
    """Microseconds for each of ``count`` INSERTs of one row, in one transaction, in the server."""
    times: Times = {n: [] for n in names}
    connection = connect(url)
    for turn in range(rounds):
        for name in rotated(names, turn):
            table = BY_NAME[name].table
            outside(connection, BY_NAME[name].empty)
            loop = f"DO $$ BEGIN FOR i IN 1..{count} LOOP INSERT INTO {table} ({COLUMNS}) VALUES ({ONE_ROW}); END LOOP; END $$"
            times[name].append(timed(connection, loop) / count * 1e6)
    connection.close()
    return times


def commits(url: URL, workers: Executor, names: tuple[str, ...], rounds: int, clients: int, seconds: float) -> Times:
    """Transactions of one row each, per second, by ``clients`` processes at once. Nobody listens."""
    rates: Times = {n: [] for n in names}
    connection = connect(url)
    for ready in [workers.submit(time.sleep, 1.0) for _ in range(clients)]:  # all of them, for each is busy
        ready.result()
    for turn in range(rounds):
        for name in rotated(names, turn):
            outside(connection, BY_NAME[name].empty)
            start = time.monotonic() + 0.2
            running = [workers.submit(commit_until, url, name, start, start + seconds) for _ in range(clients)]
            rates[name].append(sum(r.result() for r in running) / seconds)
    connection.close()
    return rates


def commit_until(url: URL, name: str, start: float, end: float) -> int:
    """Runs in a worker: how many transactions were committed between two moments of the machine's monotonic clock."""
    connection = connect(url)
    connection.autocommit = True
    sql = f"INSERT INTO {BY_NAME[name].table} ({COLUMNS}) VALUES ({ONE_ROW})"
    done = 0
    with connection.cursor() as cursor:
        cursor.execute(sql)  # caches are warm now
        if time.monotonic() > start:
            raise RuntimeError("the workers were not ready in time: the machine is too busy to measure commits")
        while time.monotonic() < start:
            time.sleep(0.001)
        while time.monotonic() < end:
            cursor.execute(sql)
            done += 1
    connection.close()
    return done


def timed(connection: Any, sql: str) -> float:
    """Seconds of a statement and its COMMIT."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT")  # BEGIN
        start = time.monotonic()
        cursor.execute(sql)
        connection.commit()
        return time.monotonic() - start


def outside(connection: Any, sql: str) -> None:
    """A statement between the measurements, outside of a transaction, that fires no trigger."""
    connection.rollback()
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute(sql)
        cursor.execute("RESET session_replication_role")
    connection.autocommit = False
