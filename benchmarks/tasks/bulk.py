"""Many rows: what one statement costs its writer, how fast they are delivered, and how long both
take together.

A listener listens, because notifications without a listener may cost nothing. Contestants that need
milliseconds for an event do not listen while 100,000 are written, and deliver fewer.
"""

from __future__ import annotations

from arena import Arena, Entry
from contestants import COLUMNS, ONE_ROW
from sheet import Sheet

ROWS = 100_000
FEW = {"pgpubsub": 10_000, "pgpubsub_lock": 1_000}
"""Rows that slow contestants deliver."""
PATIENCE = 40.0


def insert_of(rows: int, table: str = "orders") -> str:
    return f"INSERT INTO {table} ({COLUMNS}) SELECT {COLUMNS} FROM source LIMIT {rows}"


def begin(entry: Entry) -> None:
    if not entry.contestant.slow:
        entry.start()


def insert(arena: Arena, sheet: Sheet) -> None:
    sheet.measure("INSERT", "s", "none")
    sheet.measure("end to end", "s", "none")
    sheet.measure("delivered", "/s", "hand_row", more=True)
    sheet.measure("CPU", "us/event")
    rows = ROWS // 10 if arena.quick else ROWS
    for name, few in FEW.items():
        sheet.notes[name] = f"nobody listens to the INSERT, and {few:,} rows are delivered"

    def turn(entry: Entry) -> None:
        entry.empty()
        entry.expect(rows)
        start, committed = entry.timed(insert_of(rows))
        sheet.add(entry.name, "INSERT", committed - start)
        if not entry.contestant.module:
            sheet.add(entry.name, "end to end", committed - start)
            return
        count = rows
        if entry.contestant.slow:
            count = min(rows, FEW[entry.name])
            entry.empty()
            entry.start()
            entry.expect(count)
            start, committed = entry.timed(insert_of(count))
        found = delivered(entry, count)
        if not entry.contestant.slow:
            sheet.add(entry.name, "end to end", found["last"] - start)
        # some read before COMMIT has returned
        taken = max(1e-6, found["cpu"], found["last"] - committed)
        sheet.add(entry.name, "delivered", count / taken)
        sheet.add(entry.name, "CPU", found["cpu"] / count * 1e6)
        if entry.contestant.slow:
            entry.stop()

    arena.take_turns(sheet, arena.entries(sheet), arena.rounds(), turn, begin)


def update(arena: Arena, sheet: Sheet) -> None:
    sheet.measure("UPDATE", "s", "none")
    rows = ROWS // 10 if arena.quick else ROWS
    names = [name for name in arena.names if name != "hand_typed"]
    for name in FEW:
        sheet.notes[name] = "nobody listens"

    def turn(entry: Entry) -> None:
        entry.empty()
        entry.outside(insert_of(rows), "VACUUM ANALYZE orders")
        if entry.listens:
            entry.wait(PATIENCE, quiet=0.3)  # the polling contestant has seen the INSERT
        entry.expect(rows)
        start, committed = entry.timed("UPDATE orders SET price = price + 1, qty = qty + 1")
        sheet.add(entry.name, "UPDATE", committed - start)
        if entry.listens:
            entry.wait(PATIENCE)

    arena.take_turns(sheet, arena.entries(sheet, names), arena.rounds(2), turn, begin)


def statements(arena: Arena, sheet: Sheet) -> None:
    sheet.measure("100 x 1,000 rows", "s", "none")
    sheet.measure("one INSERT of 5,000", "us", "none")
    for name in FEW:
        sheet.notes[name] = "nobody listens"
    each = 10 if arena.quick else 100
    names = [name for name in arena.names if name != "hand_typed"]

    def turn(entry: Entry) -> None:
        entry.empty()
        entry.expect(each * 1000)
        taken = 0.0
        for _ in range(each):
            start, committed = entry.timed(insert_of(1000))
            taken += committed - start
        sheet.add(entry.name, "100 x 1,000 rows", taken)
        if entry.listens:
            entry.wait(PATIENCE)
        entry.empty()
        entry.expect(5000)
        loop = f"DO $$ BEGIN FOR i IN 1..5000 LOOP INSERT INTO orders ({COLUMNS}) VALUES ({ONE_ROW}); END LOOP; END $$"
        start, committed = entry.timed(loop)
        sheet.add(entry.name, "one INSERT of 5,000", (committed - start) / 5000 * 1e6)
        if entry.listens:
            entry.wait(PATIENCE)

    arena.take_turns(sheet, arena.entries(sheet, names), arena.rounds(1), turn, begin)


def delivered(entry: Entry, count: int) -> dict[str, float]:
    """Return what arrived; raise Failed if that is not everything."""
    from environments import Failed

    found = entry.wait(PATIENCE)
    if found["count"] != count:
        why = (
            found["ended"]
            or "; ".join(sorted(set(found["losses"])))
            or f"nothing more within {PATIENCE:.0f} s or 1 s of silence"
        )
        raise Failed(f"{found['count']:,} of {count:,} events: {why}")
    return found
