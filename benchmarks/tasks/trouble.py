"""What is lost when the connection is lost, and whether that is reported; and rows that are larger
than a notification."""

from __future__ import annotations

import threading
import time
from typing import Any

import psycopg2
from arena import Arena, Entry
from environments import Failed
from server import connect
from sheet import Sheet
from writers import commit_one

CUTS = 20
PERIOD = 0.5
SETTLING = 5.0
SIZES = {
    "1 kB": 1_000,
    "7.9 kB": 7_900,
    "8 kB": 8_000,
    "100 kB": 100_000,
    "1 MB": 1_000_000,
    "16 MB": 16_000_000,
    "64 MB": 64_000_000,
}


def cuts(arena: Arena, sheet: Sheet) -> None:
    """Run all contestants at once, because nothing is timed: a commit each 20 ms, and
    pg_terminate_backend each half second."""
    sheet.measure("written", "rows")
    sheet.measure("lost", "rows")
    sheet.measure("twice", "rows")
    number = 4 if arena.quick else CUTS
    names = [name for name in arena.names if name not in ("none", "hand_typed")]

    def turn(entry: Entry) -> None:
        entry.empty()
        entry.start(mode="stamps")
        entry.expect(1 << 40)
        done = threading.Event()
        cutter = threading.Thread(target=cut, args=(entry, number, done))
        cutter.start()
        keys = []
        while not done.is_set():
            keys.append(commit_one(entry.writer)[0])
            time.sleep(0.02)
        cutter.join()
        until = time.monotonic() + SETTLING
        # a contestant that came back must receive what is written now
        while time.monotonic() < until:
            time.sleep(0.1)
        found = entry.wait(10.0, quiet=2.0)
        seen = [key for key, _ in found["kept"]]
        sheet.add(entry.name, "written", len(keys))
        sheet.add(entry.name, "lost", len(set(keys) - set(seen)))
        sheet.add(entry.name, "twice", len(seen) - len(set(seen)))
        losses = {loss: found["losses"].count(loss) for loss in found["losses"]}
        said = ", ".join(f"{loss} ({times})" for loss, times in losses.items())
        sheet.text(
            entry.name,
            "said",
            f"its loop ended: {found['ended']}" if found["ended"] else said or "nothing",
        )

    arena.together(sheet, arena.entries(sheet, names), turn, workers=len(names) or 1)


def cut(entry: Entry, number: int, done: threading.Event) -> None:
    mine = entry.writer.info.backend_pid
    try:
        connection = connect(entry.url)
        connection.autocommit = True
        with connection.cursor() as cursor:
            for _ in range(number):
                time.sleep(PERIOD)
                cursor.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
                    " AND backend_type = 'client backend' AND pid NOT IN (pg_backend_pid(), %s)",
                    (mine,),
                )
            time.sleep(PERIOD)
        connection.close()
    finally:
        done.set()


def largest(arena: Arena, sheet: Sheet) -> None:
    sheet.measure("largest row", "bytes", more=True)
    sizes = dict(list(SIZES.items())[:5]) if arena.quick else SIZES
    names = [name for name in arena.names if name not in ("none", "hand_typed")]
    sheet.notes[""] = f"of {', '.join(sizes)}; a contestant that sends keys delivers only the key"

    def turn(entry: Entry) -> None:
        entry.empty()
        entry.start(mode="sizes")
        for label, size in sizes.items():
            if why := refused(entry, size):
                sheet.text(entry.name, "stops at", f"{label}: {why}")
                break
            sheet.series.setdefault(entry.name, {})["largest row"] = [size]
            sheet.text(entry.name, "largest", label)
        else:
            sheet.text(entry.name, "stops at", "at none of these")

    arena.together(sheet, arena.entries(sheet, names), turn, workers=2)


def refused(entry: Entry, size: int) -> str:
    """Return why a row of that many bytes was not delivered whole; empty if it was."""
    entry.expect(1)
    try:
        with entry.writer.cursor() as cursor:
            cursor.execute("INSERT INTO orders (note) SELECT left(string_agg(md5(i::text), ''), %s) FROM generate_series(1, %s) AS i",
                           (size, size // 32 + 1))  # fmt: skip
            entry.writer.commit()
    except psycopg2.Error as error:
        entry.writer.rollback()
        return f"the INSERT fails: {str(error).splitlines()[0]}"
    found: dict[str, Any] = entry.wait(20.0, quiet=10.0)
    if not found["count"]:
        return found["ended"] or "it does not arrive"
    arrived = found["kept"][-1][1]
    if entry.contestant.carries == "values" and arrived != size:
        raise Failed(f"{arrived} of {size} bytes arrive")
    return ""
