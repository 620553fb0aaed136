"""Reading the change log by the difference of snapshots: every committed change once, whatever else
goes on."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator
from itertools import groupby
from typing import Any

import pytest
from durables import model_of
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, text
from statements import run

import sa_pgnotify.log.reader
from sa_pgnotify.consuming.chunks import Chunk, cut, transactions
from sa_pgnotify.log.reader import LogReader, LogRow
from sa_pgnotify.log.snapshots import Position, Snapshot, beginning
from sa_pgnotify.log.tables import LogNames
from sa_pgnotify.protocol.wire import RS, US
from sa_pgnotify.sql import execute_on

NAMES = LogNames()
START = Position(str(beginning(0)))


@st.composite
def snapshots(draw) -> Snapshot:
    # PostgreSQL skips the others
    xmin = (draw(st.integers(0, 1 << 29)) << 32) + draw(st.integers(3, (1 << 32) - 50))
    running = sorted(draw(st.sets(st.integers(0, 40), max_size=8)))
    if not running:
        return Snapshot(xmin, xmin, ())
    return Snapshot(
        xmin,
        xmin + running[-1] - running[0] + 1 + draw(st.integers(0, 5)),
        tuple(xmin + n - running[0] for n in running),
    )


@given(snapshots())
def test_a_snapshot_is_read_and_written(snapshot):
    """What PostgreSQL says of a snapshot is read and written without loss."""
    assert Snapshot.parse(str(snapshot)) == snapshot


@given(st.lists(snapshots(), min_size=1, max_size=10))
def test_what_a_snapshot_has_seen(admin, some):
    """Our conditions say of each transaction id what PostgreSQL says itself."""
    with admin.connect() as connection:
        for snapshot in some:
            ids = f"SELECT greatest(3, {snapshot.xmin} + n) AS xid FROM generate_series(-3, {snapshot.xmax - snapshot.xmin + 3}) AS n"
            asked = f"SELECT pg_visible_in_snapshot(xid::text::xid8, '{snapshot}'), {snapshot.seen}, {snapshot.not_seen} FROM ({ids}) AS i"
            for visible, seen, not_seen in connection.execute(text(asked)):
                assert (seen, not_seen) == (visible, not visible)


# -- cutting ---------------------------------------------------------------------------------------


@st.composite
def chunks_of(draw) -> list[Chunk]:
    """Rows of the log as a window has them; each change is a number of its own."""
    made: list[Chunk] = []
    count = end = 0
    for xid in range(1, draw(st.integers(1, 6)) + 1):
        sizes = draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))
        end += len(sizes)
        for i, size in enumerate(sizes):
            number = end - len(sizes) + i + 1
            at = Position("1:1:", "99:99:", end, number, 0)
            row = LogRow(end, number, xid, 1, "t", "", RS.join("x" * size), 0, at)
            made.append(Chunk(row, list(range(count, count + size)), 0, size))  # type: ignore[arg-type]
            count += size
    return made


@given(chunks_of(), st.integers(1, 12))
def test_batches_are_cut_between_transactions(made, size):
    """All comes once and in order; no batch is greater than asked for; one that ends within a
    transaction has nothing else in it; and each transaction begins once and ends once."""
    waiting, reached, delivered, flags = deque(made), START, [], {}
    whole = [event for chunk in made for event in chunk.events]
    while waiting:
        taken = cut(waiting, size)
        events = [event for chunk in taken for event in chunk.events]
        assert 0 < len(events) <= size
        delivered += events
        parts = list(transactions(taken, reached))
        assert [event for part in parts for event in part.changes] == events
        assert all(part.ends for part in parts) or len(parts) == 1
        for part in parts:
            flags.setdefault(part.transaction_id, []).append((part.begins, part.ends))
        reached = taken[-1].after
    assert delivered == whole
    for parts in flags.values():
        assert [begins for begins, _ in parts] == [True] + [False] * (len(parts) - 1)
        assert [ends for _, ends in parts] == [False] * (len(parts) - 1) + [True]


@given(chunks_of(), st.integers(1, 12))
def test_what_was_cut_can_be_put_back(made, size):
    """A batch that is given back is the same when it is cut again."""
    waiting = deque(made)
    taken = cut(waiting, size)
    waiting.extendleft(reversed(taken))
    assert [event for chunk in cut(waiting, size) for event in chunk.events] == [
        event for chunk in taken for event in chunk.events
    ]


# -- reading ---------------------------------------------------------------------------------------


class Writer:
    """A session that has a transaction, and in it savepoints.

    :ivar wrote: what its transaction has written, one list for itself and one for each savepoint
        that is open: table, id and value.
    """

    def __init__(self, engine: Engine) -> None:
        self.connection = engine.connect()
        self.wrote: list[list[tuple[str, int, int]]] = []

    def sql(self, statement: str) -> None:
        self.connection.exec_driver_sql(statement)

    def begin(self) -> None:
        self.wrote = [[]]

    def write(self, table: str, first: int, count: int, value: int) -> None:
        self.sql(
            f"INSERT INTO {table} (id, n) SELECT i, {value} FROM generate_series({first}, {first + count - 1}) AS i"
        )
        self.wrote[-1] += [(table, i, value) for i in range(first, first + count)]

    def update(self, identity: int, value: int) -> None:
        self.sql(f"UPDATE shared SET n = {value} WHERE id = {identity}")
        self.wrote[-1].append(("shared", identity, value))

    def savepoint(self) -> None:
        self.sql(f"SAVEPOINT s{len(self.wrote)}")
        self.wrote.append([])

    def leave(self, *, keep: bool) -> None:
        gone = self.wrote.pop()
        self.sql(f"{'RELEASE' if keep else 'ROLLBACK TO'} s{len(self.wrote)}")
        if keep:
            self.wrote[-1] += gone

    def end(self, *, keep: bool) -> list[tuple[str, int, int]]:
        wrote = [change for level in self.wrote for change in level] if keep else []
        if keep:
            self.connection.commit()
        else:
            self.connection.rollback()
        self.wrote = []
        return wrote


def changes(row: LogRow) -> list[tuple[str, int, int]]:
    """Return the changes of a row of the log: table, id and new value."""
    made = []
    for change in row.text.split(RS):
        fields = change.split(US)
        if row.header[0] == "U":
            fields = fields[-3:-1]  # behind the mask, and before the old value
        made.append((row.relation.split(".")[-1], int(fields[0]), int(fields[1])))
    return made


class Reading:
    """A reader that forgets everything but its position at random moments, also within rows, and
    what it has read.

    :ivar returned: transaction ids and changes, in order.
    """

    def __init__(self, connection: Connection, chance: random.Random, relations: list[str]) -> None:
        self.execute = execute_on(connection)
        self.chance, self.relations = chance, relations
        self.reader = LogReader(NAMES, relations, START)
        self.returned: list[tuple[int, tuple[str, int, int]]] = []

    def page(self) -> bool:
        rows = self.reader.read(self.execute)
        assert len(rows) <= max(sa_pgnotify.log.reader.PAGE, 2)
        for row in rows:
            here = changes(row)
            taken = self.chance.randint(1, len(here)) if self.chance.random() < 0.2 else len(here)
            self.returned += [(row.xid, change) for change in here[:taken]]
            if taken < len(here) or self.chance.random() < 0.2:
                self.reader = LogReader(NAMES, self.relations, row.after_change(taken - 1))
                break
        return bool(rows)


def tables(engine: Engine) -> list[str]:
    """Two durable tables, ``items`` and ``shared``; gives their names in the log."""
    Item = model_of(engine, more=("shared",))
    run(engine, "INSERT INTO shared (id, n) SELECT i, 0 FROM generate_series(0, 4) AS i")
    return [
        f"public.{table.name}"
        for table in Item.metadata.sorted_tables
        if table.name in ("items", "shared")
    ]


@pytest.mark.sample(3)
@pytest.mark.parametrize("seed", range(12))
def test_every_committed_change_is_read_once(engine, monkeypatch, seed):
    """Whatever transactions, savepoints, rollbacks and other readers' restarts go on: what was
    committed is read once, a transaction in one piece and in its order, and the changes of a row in
    theirs; with pages so short that transactions and windows are longer."""
    chance = random.Random(seed)
    monkeypatch.setattr(sa_pgnotify.log.reader, "PAGE", chance.choice([2, 3, 7, 1000]))
    names = tables(engine)
    writers = [Writer(engine) for _ in range(4)]
    committed: dict[tuple[str, int, int], None] = {}
    held: dict[int, Writer] = {}  # the rows of "shared" that a transaction has locked
    value = 0
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        reading = Reading(connection, chance, names)
        while reading.page():
            pass
        reading.returned.clear()
        for _ in range(250):
            value += 1
            writer = chance.choice(writers)
            match chance.randrange(10) if writer.wrote else 0:
                case 0 if not writer.wrote:
                    writer.begin()
                case 0 | 1 | 2 | 3:
                    writer.write("items", value * 1000, chance.choice([1, 1, 3, 700]), value)
                case 4 | 5:
                    identity = chance.randrange(5)
                    if held.setdefault(identity, writer) is writer:
                        writer.update(identity, value)
                case 6:
                    writer.savepoint()
                case 7 if len(writer.wrote) > 1:
                    writer.leave(keep=chance.random() < 0.5)
                case _:
                    committed |= dict.fromkeys(writer.end(keep=chance.random() < 0.75))
                    held = {row: by for row, by in held.items() if by is not writer}
            if chance.random() < 0.3:
                reading.page()
        for writer in writers:
            committed |= dict.fromkeys(writer.end(keep=True))
            writer.connection.close()
        while reading.page():
            pass
    delivered = [change for _, change in reading.returned]
    assert len(delivered) == len(set(delivered))
    assert set(delivered) == set(committed)
    pieces = [xid for xid, _ in groupby(xid for xid, _ in reading.returned)]
    assert len(pieces) == len(set(pieces)), "a transaction is in several pieces"
    for xid in pieces:
        order = [n for at, (_, _, n) in reading.returned if at == xid]
        assert order == sorted(order)
    for row in range(5):
        order = [n for table, identity, n in delivered if (table, identity) == ("shared", row)]
        assert order == [
            n for table, identity, n in committed if (table, identity) == ("shared", row)
        ]


def read_all(reader: LogReader, connection: Connection) -> Iterator[Any]:
    while rows := reader.read(execute_on(connection)):
        yield from rows


@pytest.fixture
def reader_connection(engine) -> Iterator[Connection]:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        yield connection


def test_a_long_transaction_stalls_nobody(engine, reader_connection):
    """What is committed is read at once, though an older transaction is still open; that one's
    changes come when it commits."""
    model_of(engine)
    reader = LogReader(NAMES, ["public.items"], START)
    with engine.connect() as slow:
        slow.execute(text("INSERT INTO items VALUES (1, 1)"))
        run(engine, "INSERT INTO items VALUES (2, 2)")
        assert [changes(row) for row in read_all(reader, reader_connection)] == [[("items", 2, 2)]]
        run(engine, "INSERT INTO items VALUES (3, 3)")
        assert [changes(row) for row in read_all(reader, reader_connection)] == [[("items", 3, 3)]]
        slow.commit()
    assert [changes(row) for row in read_all(reader, reader_connection)] == [[("items", 1, 1)]]


@pytest.mark.sample(3)
@pytest.mark.parametrize("rows", range(1, 12))
@pytest.mark.parametrize("transactions", [1, 3])
def test_a_window_of_any_length_ends(engine, reader_connection, monkeypatch, rows, transactions):
    """Also one that fills its last page exactly is read, closed, and followed by the next one."""
    monkeypatch.setattr(sa_pgnotify.log.reader, "PAGE", 3)
    model_of(engine)
    reader = LogReader(NAMES, ["public.items"], START)
    for start in (0, 100):
        wanted = [[("items", start + i, 0)] for i in range(rows * transactions)]
        for part in range(transactions):
            run(
                engine,
                *[
                    f"INSERT INTO items VALUES ({change[0][1]}, 0)"
                    for change in wanted[part * rows : (part + 1) * rows]
                ],
            )
        assert [changes(row) for row in read_all(reader, reader_connection)] == wanted
        assert reader.position.target is None


@pytest.mark.parametrize(
    "relations", [(["items"], ["items", "shared"]), (["items", "shared"], ["items"])]
)
@pytest.mark.parametrize("restarts", [False, True])
def test_other_tables_count_from_the_next_window_on(
    engine, reader_connection, monkeypatch, relations, restarts
):
    """In whose order a window was begun, in that it is ended: a table more or less in the middle
    doubles nothing and loses nothing."""
    monkeypatch.setattr(sa_pgnotify.log.reader, "PAGE", 2)
    tables(engine)
    before, after = ([f"public.{name}" for name in names] for names in relations)
    reader = LogReader(NAMES, before, START)
    list(read_all(reader, reader_connection))
    with engine.connect() as one, engine.connect() as other:
        one.execute(text("INSERT INTO items VALUES (1, 1)"))
        for i in range(2, 6):
            other.execute(text(f"INSERT INTO items VALUES ({i}, {i})"))
        one.execute(text("UPDATE shared SET n = 9 WHERE id = 1"))
        other.commit()
        one.commit()
    delivered = [
        change for row in reader.read(execute_on(reader_connection)) for change in changes(row)
    ]
    if restarts:
        reader = LogReader(NAMES, after, reader.position)
    else:
        reader.relations = after
    delivered += [change for row in read_all(reader, reader_connection) for change in changes(row)]
    assert sorted(change for change in delivered if change[0] == "items") == [
        ("items", i, i) for i in range(1, 6)
    ]
    run(engine, "UPDATE shared SET n = 10 WHERE id = 1")
    assert [changes(row) for row in read_all(reader, reader_connection)] == (
        [[("shared", 1, 10)]] if "public.shared" in after else []
    )


def test_what_was_removed_of_a_window_is_missed(engine, reader_connection, monkeypatch):
    """A reader that comes back in the middle of a window of which nothing is left knows that
    something was lost."""
    monkeypatch.setattr(sa_pgnotify.log.reader, "PAGE", 2)
    model_of(engine)
    run(engine, f"INSERT INTO {NAMES.head} (id, removed) VALUES (0, 0)")
    reader = LogReader(NAMES, ["public.items"], START)
    list(read_all(reader, reader_connection))
    for i in range(6):
        run(engine, f"INSERT INTO items VALUES ({i}, {i})")
    rows = reader.read(execute_on(reader_connection))
    newest = reader_connection.scalar(text(f"SELECT max(xid) FROM {NAMES.slots[0]}"))
    run(engine, f"UPDATE {NAMES.head} SET removed = {newest}", f"TRUNCATE {NAMES.slots[0]}")
    again = LogReader(NAMES, ["public.items"], rows[0].after)
    assert not list(read_all(again, reader_connection))
    assert again.lost == newest
