"""What a listener costs and how fast it is: 100,000 changes drained, the latency of single ones, and doing nothing.

The writer is a process of its own, so that it does not share the interpreter's lock with the reader; on one machine both read the
same monotonic clock.
"""

from __future__ import annotations

import json
import resource
import select
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Executor
from datetime import datetime
from decimal import Decimal
from typing import Any, Self

from contestants import BY_NAME, COLUMNS, rotated
from server import connect
from sqlalchemy import URL, create_engine
from writing import ONE_ROW, outside, timed

from sa_pgnotify import Inserted, Listener

READERS = {"identity": "identity", "values": "values", "loop": "row_json", "typed": "row_json"}
"""Name of a way to read, and the contestant whose table it reads."""
WARM_UP = 20


def hand_written(connection: Any, *, typed: bool) -> Iterator[dict[str, Any]]:
    """The loop that one writes with psycopg2 alone. With ``typed``, numbers and moments become what a SELECT gives."""
    while True:
        if not connection.notifies:
            select.select([connection], [], [])
            connection.poll()
        notes = connection.notifies[:]
        connection.notifies.clear()
        for note in notes:
            if typed:
                row = json.loads(note.payload, parse_float=Decimal)
                row["placed_at"] = datetime.fromisoformat(row["placed_at"])
                yield row
            else:
                yield json.loads(note.payload)


class Reading:
    """A context in which one of ``READERS`` listens; iterating yields the key of each change."""

    def __init__(self, url: URL, reader: str) -> None:
        self._reader = reader
        contestant = BY_NAME[READERS[reader]]
        self._by_hand = reader not in ("identity", "values")
        if self._by_hand:
            self._connection = connect(url)
            self._connection.autocommit = True
            self._connection.cursor().execute(f"LISTEN {contestant.table}")
        else:
            self._engine = create_engine(url)
            self._listener = Listener(self._engine, contestant.model)

    def __enter__(self) -> Self:
        if not self._by_hand:
            self._listener.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._by_hand:
            self._connection.close()
        else:
            self._listener.stop()
            self._engine.dispose()

    def __iter__(self) -> Iterator[int]:
        if self._by_hand:
            for row in hand_written(self._connection, typed=self._reader == "typed"):
                yield row["id"]
            return
        for event in self._listener:
            if not isinstance(event, Inserted):
                raise TypeError(f"not all was delivered: {event!r}")
            if self._reader == "values":
                for _value in event.new.values():
                    pass
            assert event.identity is not None
            yield event.identity[0]


def drains(url: URL, writer: Executor, rounds: int, rows: int) -> dict[str, list[dict[str, float]]]:
    """Seconds until a transaction of ``rows`` INSERTed rows is read: from its COMMIT, from its INSERT; CPU seconds of the reader."""
    found: dict[str, list[dict[str, float]]] = {reader: [] for reader in READERS}
    connection = connect(url)
    for turn in range(rounds):
        for reader in rotated(tuple(READERS), turn):
            name = READERS[reader]
            outside(connection, f"TRUNCATE {BY_NAME[name].table} RESTART IDENTITY")
            with Reading(url, reader) as reading:
                before = _cpu()
                written = writer.submit(write_at_once, url, name)
                found_keys = 0
                for found_keys, _key in enumerate(reading, 1):
                    if found_keys == rows:
                        break
                end, cpu = time.monotonic(), _cpu() - before
                start, committed = written.result()
            found[reader].append({"drain": end - committed, "end_to_end": end - start, "cpu": cpu})
    connection.close()
    return found


def write_at_once(url: URL, name: str) -> tuple[float, float]:
    """Runs in the writer: the moments at which the INSERT began and the COMMIT returned."""
    connection = connect(url, work_mem="64MB")
    seconds = timed(connection, f"INSERT INTO {BY_NAME[name].table} ({COLUMNS}) SELECT {COLUMNS} FROM source")
    end = time.monotonic()
    connection.close()
    return end - seconds, end


def latencies(url: URL, writer: Executor, rounds: int, samples: int) -> dict[str, dict[str, list[float]]]:
    """Seconds from COMMIT (its return, its sending) to the loop's body, ``samples`` for each round and reader."""
    readers = ("identity", "values", "loop")
    found: dict[str, dict[str, list[float]]] = {reader: {"returned": [], "sent": []} for reader in readers}
    for turn in range(rounds):
        for reader in rotated(readers, turn):
            seen: dict[int, float] = {}
            with Reading(url, reader) as reading:
                thread = threading.Thread(target=_stamp, args=(reading, samples + WARM_UP, seen), daemon=True)
                thread.start()
                written = writer.submit(write_singly, url, READERS[reader], samples + WARM_UP).result()
                thread.join(30)
            for key, sent, returned in written[WARM_UP:]:
                found[reader]["sent"].append(seen[key] - sent)
                found[reader]["returned"].append(seen[key] - returned)
    return found


def _stamp(reading: Reading, count: int, seen: dict[int, float]) -> None:
    for key in reading:
        seen[key] = time.monotonic()
        if len(seen) == count:
            return


def write_singly(url: URL, name: str, count: int) -> list[tuple[int, float, float]]:
    """Runs in the writer, a transaction every 5 ms: key, the moments before and after COMMIT."""
    connection = connect(url)
    written = []
    with connection.cursor() as cursor:
        for _ in range(count):
            cursor.execute(f"INSERT INTO {BY_NAME[name].table} ({COLUMNS}) VALUES ({ONE_ROW}) RETURNING id")
            key = cursor.fetchone()[0]
            sent = time.monotonic()
            connection.commit()
            written.append((key, sent, time.monotonic()))
            time.sleep(0.005)
    connection.close()
    return written


def idle(url: URL, seconds: float) -> dict[str, float]:
    """Runs in a process of its own: what a listener costs to which nothing comes, the heartbeats included."""
    engine = create_engine(url)
    with Listener(engine, BY_NAME["identity"].model) as listener:
        thread = threading.Thread(target=list, args=(listener,), daemon=True)
        thread.start()
        time.sleep(1.0)
        before, start = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
        time.sleep(seconds)
        after, wall = resource.getrusage(resource.RUSAGE_SELF), time.monotonic() - start
    engine.dispose()
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"cpu_share": cpu / wall, "wake_ups_per_second": (after.ru_nvcsw - before.ru_nvcsw) / wall, "seconds": wall}


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
