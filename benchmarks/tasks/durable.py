"""A backlog of the change log, read from its beginning by a consumer: changes of large statements,
and of single-row transactions."""

from __future__ import annotations

from arena import Arena, Entry
from sheet import Sheet
from sqlalchemy import MetaData

from sa_pgnotify import ChangeLog
from tasks.bulk import delivered

LOG = ChangeLog(MetaData()).names
KINDS = {"statements of 1,000 rows": (1_000_000, 1000), "transactions of one row": (100_000, 1)}
BATCHES = (10_000, 1_000)


def backlog(arena: Arena, sheet: Sheet) -> None:
    for kind in KINDS:
        for size in BATCHES:
            sheet.measure(f"{kind}, batch_size {size:,}", "/s", more=True)

    def turn(entry: Entry) -> None:
        for kind, (count, step) in KINDS.items():
            rows = count // 10 if arena.quick else count
            entry.empty()
            entry.outside(
                f"TRUNCATE {', '.join(LOG.slots)}, {LOG.consumers}, {LOG.parked}",
                f"UPDATE {LOG.head} SET removed = 0",
            )
            write(entry, rows // step, step)
            for size in BATCHES:
                entry.start(start="beginning", batch_size=size, heartbeat=600.0, count=rows)
                found = delivered(entry, rows)
                sheet.add(
                    entry.name,
                    f"{kind}, batch_size {size:,}",
                    rows / (found["last"] - found["kept"][0][1]),
                )
                entry.stop()

    arena.take_turns(
        sheet, arena.entries(sheet, ("durable",)), arena.rounds(2), turn, lambda _: None
    )


def write(entry: Entry, transactions: int, rows: int) -> None:
    """Write transactions of one statement each, with the given number of rows."""
    entry.writer.rollback()
    entry.writer.autocommit = True
    insert = f"INSERT INTO orders (note) SELECT 'order of a customer in town' FROM generate_series(1, {rows})"
    with entry.writer.cursor() as cursor:
        cursor.execute("SET synchronous_commit = off")
        cursor.execute(
            f"DO $$ BEGIN FOR i IN 1..{transactions} LOOP {insert}; COMMIT; END LOOP; END $$"
        )
        cursor.execute("RESET synchronous_commit")
    entry.writer.autocommit = False
