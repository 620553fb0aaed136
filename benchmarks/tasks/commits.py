"""One row in a transaction, by several writers at once: what NOTIFY's lock around COMMIT leaves of
their throughput.

All writers, the server and the listener share the machine, as they do where it is small.
"""

from __future__ import annotations

import time

from arena import Arena, Entry
from sheet import Sheet

PATIENCE = 2.0
"""Seconds in which a listener has to receive what was written; otherwise it is started again for
the next turn, and that is noted."""


def measure(
    arena: Arena,
    sheet: Sheet,
    entry: Entry,
    name: str,
    writers: int,
    seconds: float,
    **options: object,
) -> None:
    if entry.contestant.module and options.pop("listen", True) and not entry.listens:
        entry.start(**options)
    entry.empty()
    entry.expect(1 << 40)
    rate, written = arena.writers.rate(entry.url, writers, seconds)
    sheet.add(entry.name, name, rate)
    if not entry.listens:
        return
    found = entry.wait(PATIENCE, quiet=0.15, enough=written)
    if found["count"] < written:
        missing = f"{written - found['count']:,} of {written:,} events had not come {PATIENCE:.0f} s later, or never came ({name})"
        sheet.notes.setdefault(entry.name, found["ended"] or missing)
        if entry.name != "polling":  # it has them by now, or never will
            entry.stop()


def rounds_of(
    arena: Arena,
    sheet: Sheet,
    names: list[str],
    fsync: tuple[str, ...],
    writers: tuple[int, ...],
    *,
    listen: bool,
) -> None:
    for mode in fsync:
        for count in writers:
            sheet.measure(
                f"{count} writer{'s' if count > 1 else ''}, fsync {mode}", "/s", "none", more=True
            )
    seconds = 0.3 if arena.quick else 0.4
    try:
        for mode in fsync:
            arena.setting(f"ALTER SYSTEM SET fsync = {mode}")

            def turn(entry: Entry, mode: str = mode) -> None:
                for count in writers:
                    name = f"{count} writer{'s' if count > 1 else ''}, fsync {mode}"
                    measure(arena, sheet, entry, name, count, seconds, listen=listen)

            arena.take_turns(
                sheet,
                arena.entries(sheet, names),
                arena.rounds(2 if listen else 1),
                turn,
                lambda _: None,
            )
    finally:
        arena.setting("ALTER SYSTEM RESET fsync")


def listened(arena: Arena, sheet: Sheet) -> None:
    names = [name for name in arena.names if name != "hand_typed"]
    rounds_of(arena, sheet, names, ("on", "off"), (1, 4, 8, 16), listen=True)


def unheard(arena: Arena, sheet: Sheet) -> None:
    # its triggers belong to another contestant
    names = [name for name in arena.names if name not in ("hand_typed", "asyncpg")]
    rounds_of(arena, sheet, names, ("on", "off"), (4, 8), listen=False)


CONNECTIONS = "that listen, of 100"
"""A unit."""
SUBSCRIBING = {
    "identity": {"handlers": True},
    "identity, a Listener each": {"handlers": False},
    "hand_key": {},
    "pgevents": {},
    "asyncpg": {},
}
"""How a process gets a hundred subscribers: handlers or callbacks on one connection, or a connection
each."""


def subscribers(arena: Arena, sheet: Sheet) -> None:
    numbers = (0, 1, 100) if arena.quick else (0, 1, 10, 100)
    for number in numbers:
        sheet.measure(str(number), "/s", "own 0", more=True)
    sheet.measure("connections", CONNECTIONS)
    sheet.notes[""] = "ratios are to the contestant's own throughput with no subscriber"
    seconds = 0.3 if arena.quick else 0.6
    arena.setting("ALTER SYSTEM SET fsync = off")
    try:
        for label, options in SUBSCRIBING.items():
            name = label.partition(",")[0]
            entries = arena.entries(sheet, [name])
            for entry in entries:
                entry.name = label

            def turn(entry: Entry, label: str = label, options: dict[str, bool] = options) -> None:
                for number in numbers:
                    entry.stop()
                    if number:
                        entry.start(subscribers=number, **options)
                        entry.expect(1 << 40)
                    entry.empty()
                    rate, _ = arena.writers.rate(entry.url, 4, seconds)
                    sheet.add(label, str(number), rate)
                    if number == 100:
                        sheet.add(label, "connections", listening(entry))
                entry.stop()

            arena.take_turns(sheet, entries, arena.rounds(2), turn, lambda _: None)
    finally:
        arena.setting("ALTER SYSTEM RESET fsync")


def listening(entry: Entry) -> int:
    """Return the number of client sessions of this database besides the entry's own writer.

    It is the fewest within half a second, because the writers' sessions end a moment after they
    were closed.
    """
    found = []
    for _ in range(10):
        entry.writer.rollback()  # pg_stat_activity is a snapshot of the transaction
        with entry.writer.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
            )
            found.append(int(cursor.fetchone()[0]))
        time.sleep(0.05)
    entry.writer.rollback()
    return min(found)
