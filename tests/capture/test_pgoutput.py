"""Decoding what PostgreSQL sends, in each protocol version, streamed or not, against what was
written."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from statements import run

from sa_pgnotify.capture.pgoutput import (
    UNCHANGED,
    Begin,
    Commit,
    Decoder,
    Emitted,
    Relation,
    RowChange,
    StreamAbort,
    StreamStart,
    Truncation,
)
from sa_pgnotify.capture.whole_transactions import WholeTransactions
from sa_pgnotify.errors import UnreadableData

SLOT = "decoded"


@pytest.fixture
def slot(engine):
    """A slot, and the publication of the table ``t``, whose changes it decodes."""
    run(
        engine,
        "CREATE TABLE t (id int PRIMARY KEY, a text, b text)",
        "ALTER TABLE t ALTER a SET STORAGE EXTERNAL",
        "CREATE PUBLICATION p FOR TABLE t",
    )
    run(engine, f"SELECT pg_create_logical_replication_slot('{SLOT}', 'pgoutput')")


def messages(engine: sa.Engine, version: int, *, memory: str = "64MB") -> list[bytes]:
    streaming = "'streaming', 'on', " if version > 1 else ""
    sql = (
        f"SELECT data FROM pg_logical_slot_peek_binary_changes('{SLOT}', NULL, NULL, 'proto_version', '{version}', {streaming}"
        "'messages', 'true', 'publication_names', 'p')"
    )
    # only what is on the disk is decoded, and a commit that has written nothing does not wait for it
    run(engine, "SET LOCAL synchronous_commit = on", "COMMENT ON TABLE t IS 'written anew'")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"SET logical_decoding_work_mem = '{memory}'")
        return [bytes(data) for (data,) in connection.exec_driver_sql(sql)]


def decoded(engine: sa.Engine, version: int, **options: Any) -> list[Any]:
    transactions = WholeTransactions()
    return [
        found for data in messages(engine, version, **options) for found in transactions.add(data)
    ]


def rows_of(found: list[Any]) -> list[tuple[str, list[Any] | None, list[Any] | None]]:
    return [(m.operation, m.old, m.new) for m in found if isinstance(m, RowChange)]


@pytest.mark.parametrize("version", [1, 2, 4])
def test_what_was_written(engine, slot, version):
    """Each kind of change, NULL and the empty text, a key that changed, a value that was stored out of
    line and did not change, a message, and a table that was altered in between."""
    if version == 4:
        with engine.connect() as connection:
            if connection.exec_driver_sql("SHOW server_version_num").scalar_one() < "160000":
                pytest.skip("protocol version 4 came with PostgreSQL 16")
    long = "x" * 9000
    run(engine, f"INSERT INTO t VALUES (1, '{long}', NULL), (2, '', 'b')")
    run(engine, "UPDATE t SET b = 'c' WHERE id = 1", "UPDATE t SET id = 3 WHERE id = 2")
    run(engine, "SELECT pg_logical_emit_message(true, 'p', 'said')", "DELETE FROM t WHERE id = 3")
    run(engine, "ALTER TABLE t ADD c int", "ALTER TABLE t REPLICA IDENTITY FULL")
    run(engine, "UPDATE t SET c = 7", "TRUNCATE t")
    found = decoded(engine, version)
    assert rows_of(found) == [
        ("I", None, [b"1", long.encode(), None]),
        ("I", None, [b"2", b"", b"b"]),
        ("U", None, [b"1", UNCHANGED, b"c"]),
        ("U", [b"2", None, None], [b"3", b"", b"b"]),
        ("D", [b"3", None, None], None),
        ("U", [b"1", long.encode(), b"c", None], [b"1", UNCHANGED, b"c", b"7"]),
    ]
    assert [m.content for m in found if isinstance(m, Emitted)] == [b"said"]
    assert [len(m.oids) for m in found if isinstance(m, Truncation)] == [1]
    described = [[c.name for c in m.columns] for m in found if isinstance(m, Relation)]
    assert (described[0], described[-1]) == (["id", "a", "b"], ["id", "a", "b", "c"])
    begins = [m for m in found if isinstance(m, Begin)]
    commits = [m for m in found if isinstance(m, Commit)]
    assert [m.commit_lsn for m in begins] == [m.commit_lsn for m in commits]
    assert len(begins) == 4
    assert [m.end_lsn for m in commits] == sorted(m.end_lsn for m in commits)


def test_large_transactions_are_streamed(engine, slot):
    """A transaction that is sent in blocks while it is open comes whole at its commit, without the
    savepoints that were rolled back; one that was rolled back does not come; others that committed in
    between come before it."""
    rows = "SELECT i, repeat('x', 100), '{0}' FROM generate_series({1}, {2}) AS i"
    with engine.connect() as long, engine.connect() as lost:
        for at in range(3):
            start = at * 2000 + 1
            insert = f"INSERT INTO t {rows.format('kept', start, start + 999)}"
            long.exec_driver_sql(insert)
            savepoint = long.begin_nested()
            long.exec_driver_sql(
                f"INSERT INTO t {rows.format('undone', start + 1000, start + 1999)}"
            )
            savepoint.rollback()
            lost.exec_driver_sql(
                f"INSERT INTO t {rows.format('lost', 100000 + start, 100000 + start + 999)}"
            )
            run(engine, f"INSERT INTO t VALUES ({-1 - at}, '', 'short')")
        lost.rollback()
        long.commit()
    run(engine, "INSERT INTO t VALUES (-9, '', 'after')")
    sent = messages(engine, 2, memory="64kB")
    decoder = Decoder()
    kinds = [type(decoder.decode(data)) for data in sent]
    assert kinds.count(StreamStart) > 3
    assert StreamAbort in kinds
    found = rows_of(decoded(engine, 2, memory="64kB"))
    assert found == rows_of(decoded(engine, 1))
    assert [new[2] for _, _, new in found if new][:4] == [b"short"] * 3 + [b"kept"]
    assert len(found) == 3 * 1000 + 4


@pytest.mark.parametrize(
    "data", [b"?", b"", b"I\0\0\0\1N\0\1t\0\0\0\x09ab", b"B\0", b"U\0\0\0\1X", b"R\0\0\0\1abc"]
)
def test_damaged_messages(data):
    """What cannot be read raises an error, and nothing is made up."""
    with pytest.raises(UnreadableData, match="pgoutput"):
        Decoder().decode(data)
