"""Costs that grow with the work: rows, columns, tables. A slope shows whether the cost is
proportional, which single points could hide.

The listener's buffer is large enough for everything, so that no time is spent on reporting an
overflow.
"""

from __future__ import annotations

from arena import Arena, Entry
from contestants import COLUMNS, ORDERS, create_table
from sheet import Sheet

from tasks.bulk import PATIENCE, delivered

NAMES = ("none", "identity", "values", "durable", "hand_key", "hand_row")
ROWS = (1_000, 10_000, 100_000, 1_000_000)
WIDTHS = (5, 20, 50, 100)
TABLES = (1, 20, 200)
BUFFER = 3_000_000


def rows(arena: Arena, sheet: Sheet) -> None:
    numbers = ROWS[:3] if arena.quick else ROWS
    for number in numbers:
        sheet.measure(f"{number:,} rows", "us/row", "none")

    def begin(entry: Entry) -> None:
        entry.start(**({"buffer_size": BUFFER} if entry.contestant.is_ours else {}))

    def turn(entry: Entry) -> None:
        for number in numbers:
            # measure small ones several times
            taken, times = 0.0, max(1, min(20, 20_000 // number))
            for _ in range(times):
                entry.empty()
                entry.expect(number)
                again = f"generate_series(1, {-(-number // 100_000)})"
                start, committed = entry.timed(
                    f"INSERT INTO orders ({COLUMNS}) SELECT {COLUMNS} FROM source, {again} LIMIT {number}"
                )
                taken += committed - start
                if entry.listens:
                    entry.wait(PATIENCE)
            sheet.add(entry.name, f"{number:,} rows", taken / times / number * 1e6)
        entry.empty()

    arena.take_turns(sheet, arena.entries(sheet, NAMES), arena.rounds(2), turn, begin)


def columns(arena: Arena, sheet: Sheet) -> None:
    names = [name for name in NAMES if name != "hand_key"]
    number = 10_000
    for width in WIDTHS:
        sheet.measure(f"{width} columns", "us/row", "none")
    kinds = ("text", "integer", "numeric(10,2)", "timestamptz")
    shapes = {
        width: {"id": "bigint"} | {f"c{i}": kinds[i % 4] for i in range(width - 1)}
        for width in WIDTHS
    }
    values = {
        "text": "'a word or two ' || i",
        "integer": "i",
        "numeric(10,2)": "i / 100.0",
        "timestamptz": "now() + i * interval '1 s'",
    }

    def begin(entry: Entry) -> None:
        tables = {f"wide_{width}": shape for width, shape in shapes.items()}
        entry.outside(*(create_table(table, shape) for table, shape in tables.items()))
        arena.install(entry.contestant, tables)
        entry.start(tables)

    def turn(entry: Entry) -> None:
        for width, shape in shapes.items():
            table = f"wide_{width}"
            into, what = (
                ", ".join(list(shape)[1:]),
                ", ".join(values[kind] for kind in list(shape.values())[1:]),
            )
            taken = []
            for _ in range(3):
                entry.empty(table)
                entry.expect(number)
                start, committed = entry.timed(
                    f"INSERT INTO {table} ({into}) SELECT {what} FROM generate_series(1, {number}) AS i"
                )
                taken.append(committed - start)
                if entry.listens:
                    delivered(entry, number)
            sheet.add(entry.name, f"{width} columns", sorted(taken)[1] / number * 1e6)
            entry.empty(table)

    arena.take_turns(sheet, arena.entries(sheet, names), arena.rounds(2), turn, begin)


def tables(arena: Arena, sheet: Sheet) -> None:
    names = ("identity", "values", "durable", "hand_row")
    numbers = TABLES[:2] if arena.quick else TABLES
    for what, unit in (("start", "ms"), ("10,000 rows", "us/row")):
        for number in numbers:
            sheet.measure(
                f"{what}, {number} table{'s' if number > 1 else ''}",
                unit,
                "hand_row" if unit == "us/row" else "",
            )

    every = {f"many_{i}": ORDERS for i in range(max(numbers))}

    def begin(entry: Entry) -> None:
        entry.outside(*(create_table(table, ORDERS) for table in every))
        arena.install(entry.contestant, every)

    def turn(entry: Entry) -> None:
        for number in numbers:
            these, plural = list(every)[:number], "s" if number > 1 else ""
            entry.start(dict.fromkeys(these, ORDERS))
            sheet.add(entry.name, f"start, {number} table{plural}", entry.started_in * 1e3)
            each = 10_000 // number
            statements = [
                f"INSERT INTO {table} ({COLUMNS}) SELECT {COLUMNS} FROM source LIMIT {each}"
                for table in these
            ]
            entry.expect(each * number)
            start, _ = entry.timed(";".join(statements))
            found = delivered(entry, each * number)
            sheet.add(
                entry.name,
                f"10,000 rows, {number} table{plural}",
                (found["last"] - start) / (each * number) * 1e6,
            )
            entry.outside(f"TRUNCATE {', '.join(these)}")
        entry.stop()

    arena.take_turns(sheet, arena.entries(sheet, names), arena.rounds(2), turn, begin)
