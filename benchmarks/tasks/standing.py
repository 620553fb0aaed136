"""Listeners that receive nothing, and consumers that stand still while everything arrives at once."""

from __future__ import annotations

import contextlib
import time

from arena import Arena, Entry
from driving import cpu_and_switches, memory
from sheet import Sheet

from tasks.bulk import insert_of


def idle(arena: Arena, sheet: Sheet) -> None:
    """Measure all contestants at once: each has a process of its own, and idle ones do not disturb
    each other."""
    sheet.measure("CPU", "% of a core")
    sheet.measure("wake-ups", "a second")
    sheet.measure("CPU of its server processes", "% of a core")
    seconds = 3.0 if arena.quick else 25.0
    entries = [
        entry
        for entry in arena.entries(sheet)
        if entry.contestant.module and entry.name != "hand_typed"
    ]
    try:
        for entry in entries:
            arena.attempt(sheet, entry, Entry.start)
        running = [entry for entry in entries if entry.driven is not None]
        time.sleep(2.0)
        servers = {entry.name: backends(entry) for entry in running}
        before = {
            entry.name: (cpu_and_switches(entry.driven.pid), spent(servers[entry.name]))
            for entry in running
            if entry.driven
        }
        start = time.monotonic()
        time.sleep(seconds)
        for entry in running:
            assert entry.driven is not None
            cpu, switches = cpu_and_switches(entry.driven.pid)
            wall = time.monotonic() - start
            (cpu_before, switches_before), spent_before = before[entry.name]
            sheet.add(entry.name, "CPU", (cpu - cpu_before) / wall * 100)
            sheet.add(entry.name, "wake-ups", (switches - switches_before) / wall)
            if servers[entry.name]:
                sheet.add(
                    entry.name,
                    "CPU of its server processes",
                    (spent(servers[entry.name]) - spent_before) / wall * 100,
                )
    finally:
        for entry in entries:
            entry.close()


def backends(entry: Entry) -> list[int]:
    """Return the server's processes for a contestant, if the server is on this machine."""
    with entry.writer.cursor() as cursor:
        cursor.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        found = [pid for (pid,) in cursor.fetchall()]
    entry.writer.rollback()
    return found


def spent(pids: list[int]) -> float:
    total = 0.0
    for pid in pids:
        with contextlib.suppress(OSError, ValueError):  # it has ended, or is on another machine
            total += cpu_and_switches(pid)[0]
    return total


def memory_of(entry: Entry) -> float:
    assert entry.driven is not None
    return memory(entry.driven.pid)


def memory_task(arena: Arena, sheet: Sheet) -> None:
    sheet.measure("grows by", "MB")
    sheet.measure("arrived", "% within 10 s of going on")
    statements = 20 if arena.quick else 200
    names = [name for name in arena.names if name not in ("none", "hand_typed")]

    def turn(entry: Entry) -> None:
        entry.empty()
        entry.start(mode="slow")
        entry.expect(statements * 1000)
        assert entry.driven is not None
        before = memory_of(entry)
        for _ in range(statements):
            entry.timed(insert_of(1000))
        until, now = time.monotonic() + 5.0, 0.0
        while time.monotonic() < until:
            time.sleep(0.5)
            now = max(now, memory_of(entry))
        sheet.add(entry.name, "grows by", now - before)
        entry.driven.ask("open", within=10)
        found = entry.wait(10.0)
        sheet.add(entry.name, "arrived", 100 * found["count"] / (statements * 1000))
        said = found["ended"] or ", ".join(
            f"{loss} ({found['losses'].count(loss)})" for loss in sorted(set(found["losses"]))
        )
        sheet.text(entry.name, "said", said or "nothing")
        entry.stop()
        entry.empty()

    arena.together(sheet, arena.entries(sheet, names), turn, workers=3)
