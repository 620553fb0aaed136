"""Processes that write. Each commits rows one by one, as fast as it can or at given moments."""

from __future__ import annotations

import multiprocessing
import time
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from contestants import COLUMNS, ONE_ROW
from environments import Failed
from server import connect
from sqlalchemy import URL

MOST = 16
INSERT = f"INSERT INTO orders ({COLUMNS}) VALUES ({ONE_ROW})"
Stamp = tuple[int, float, float]
"""A row's key, and the moments before its COMMIT and after."""


class Writers:
    """A pool of writers, created again if one dies."""

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None

    def _running(self) -> ProcessPoolExecutor:
        if self._pool is None:
            # a fork copies connections
            self._pool = ProcessPoolExecutor(MOST, mp_context=multiprocessing.get_context("spawn"))
            # this reaches all writers, because each is busy
            for ready in [self._pool.submit(time.sleep, 2.0) for _ in range(MOST)]:
                ready.result(60)
        return self._pool

    def rate(self, url: URL, count: int, seconds: float) -> tuple[float, int]:
        """Return the transactions per second of ``count`` concurrent writers, and how many rows
        they wrote."""
        pool = self._running()
        start = time.monotonic() + 0.1 + 0.02 * count
        done = self._results(
            [pool.submit(commit_until, url, start, start + seconds) for _ in range(count)], seconds
        )
        return sum(done) / seconds, sum(done) + count  # each wrote one to warm up

    def paced(self, url: URL, count: int, pause: float, seconds: float) -> list[Stamp]:
        """Let ``count`` writers take turns, one row each ``pause`` seconds."""
        pool, start = self._running(), time.monotonic() + 0.3
        each = max(2, int(seconds / pause / count))
        moments = [
            [start + (turn * count + w) * pause for turn in range(each)] for w in range(count)
        ]
        found: list[Stamp] = []
        for stamps in self._results(
            [pool.submit(commit_at, url, mine) for mine in moments], seconds
        ):
            found += stamps
        return found

    def _results(self, futures: list[Future[Any]], seconds: float) -> list[Any]:
        try:
            return [future.result(seconds + 60) for future in futures]
        except (BrokenProcessPool, TimeoutError):
            self.close()
            raise Failed("a writer died, or hung") from None

    def close(self) -> None:
        if self._pool is not None:
            for process in list((self._pool._processes or {}).values()):
                process.kill()
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None


def commit_until(url: URL, start: float, end: float) -> int:
    """Commit rows, in a writer; return how many between two moments of the machine's monotonic
    clock."""
    connection = connect(url, statement_timeout="30s")
    connection.autocommit = True
    done = 0
    with connection.cursor() as cursor:
        cursor.execute(INSERT)  # caches are warm now
        while time.monotonic() < start:
            time.sleep(0.001)
        while time.monotonic() < end:
            cursor.execute(INSERT)
            done += 1
    connection.close()
    return done


def commit_at(url: URL, moments: list[float]) -> list[Stamp]:
    """Commit a row at each of the moments, in a writer."""
    connection = connect(url, statement_timeout="30s")
    written = []
    for moment in moments:
        time.sleep(max(0.0, moment - time.monotonic()))
        written.append(commit_one(connection))
    connection.close()
    return written


def commit_one(connection: Any) -> Stamp:
    """Write a row in a transaction of its own."""
    with connection.cursor() as cursor:
        cursor.execute(f"{INSERT} RETURNING id")
        key = cursor.fetchone()[0]
        sent = time.monotonic()
        connection.commit()
        return key, sent, time.monotonic()
