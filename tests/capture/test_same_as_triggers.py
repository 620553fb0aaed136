"""What a capture writes into the log is what the trigger of the same table would have written."""

from __future__ import annotations

import random
from typing import Any

import pytest
import sqlalchemy as sa
from capturing import capturing, changes_in_log, until_captured
from everything import ROWS, create, literals, model
from hypothesis import given, settings
from hypothesis import strategies as st
from statements import rows, run

from sa_pgnotify import NotifySpec, change_context, check, notify_on_change


def both(engine: sa.Engine, *columns: Any, **options: Any) -> sa.MetaData:
    """The tables ``kept``, which has triggers, and ``taken``, which is captured."""
    metadata = sa.MetaData()
    for name, how in (("kept", "triggers"), ("taken", "wal")):
        table = sa.Table(
            name,
            metadata,
            sa.Column("id", sa.Integer, primary_key=True),
            *(c._copy() for c in columns),
        )
        notify_on_change(
            table, NotifySpec(durable=True, capture=how, **{"values": "all"} | options)
        )
    metadata.create_all(engine)
    return metadata


def assert_same(engine: sa.Engine) -> list[tuple[str, ...]]:
    """Compare the log's changes of both tables, and return them."""
    until_captured(engine)
    kept, taken = (changes_in_log(engine, f"public.{name}") for name in ("kept", "taken"))
    assert taken == kept
    return taken


def run_both(engine: sa.Engine, *statements: str) -> None:
    """Run statements on both tables, in one transaction."""
    run(engine, *(s.replace("{0}", name) for s in statements for name in ("kept", "taken")))


def test_every_type(engine):
    """A column of each type of PostgreSQL, its NULL and its key changed, byte for byte."""
    values = literals(engine)
    tables = {"kept": "triggers", "taken": "wal"}
    for name, how in tables.items():
        create(engine, name, values)
        model(engine, name, durable=True, capture=how).metadata.create_all(engine)
    names = ", ".join(f'"c {name}"' for name in values)
    written = [f"({row}, {', '.join(of[row] for of in values.values())})" for row in range(ROWS)]
    entity = model(engine, "taken", durable=True, capture="wal")
    with capturing(engine, entity.metadata):
        run_both(
            engine,
            "SET LOCAL datestyle = 'SQL, DMY'",
            "SET LOCAL bytea_output = 'escape'",
            f"INSERT INTO {{0}} (id, {names}) VALUES {', '.join(written)}",
            f"INSERT INTO {{0}} (id) VALUES ({ROWS})",
            f"UPDATE {{0}} SET ({names}) = (SELECT {names} FROM {{0}} AS o WHERE o.id = ({{0}}.id + 1) % {ROWS + 1})",
            "UPDATE {0} SET id = id + 10",
            "DELETE FROM {0}",
            "TRUNCATE {0}",
        )
        assert len(assert_same(engine)) == 4 * (ROWS + 1) + 1


VALUES = st.one_of(
    st.none(),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8),
    st.sampled_from(["", "\x1b", "\x1f\x1e", "\x1b0", "é", "x" * 9000]),
)
STEPS = st.lists(
    st.tuples(st.sampled_from("IUKDTS"), st.integers(0, 5), VALUES, VALUES), min_size=1, max_size=12
)


def test_random_transactions(engine):
    """Random statements in random transactions, with savepoints, contexts, keys that change, and long
    values that are stored out of line and do not change."""
    metadata = both(engine, sa.Column("a", sa.Text), sa.Column("b", sa.Text))
    run(engine, "ALTER TABLE kept ALTER a SET STORAGE EXTERNAL")
    run(engine, "ALTER TABLE taken ALTER a SET STORAGE EXTERNAL")

    @settings(max_examples=25)
    @given(st.lists(STEPS, max_size=4), st.randoms(use_true_random=False))
    def check(transactions: list[Any], chance: random.Random) -> None:
        for steps in transactions:
            context = {"by": chance.random()} if chance.random() < 0.3 else None
            with engine.connect() as connection:
                if context:
                    with change_context(connection, context):
                        _run(connection, steps, chance)
                else:
                    _run(connection, steps, chance)
                connection.commit() if chance.random() < 0.8 else connection.rollback()

    with capturing(engine, metadata):
        check()
        assert len(assert_same(engine)) > 20


def _run(connection: sa.Connection, steps: Any, chance: random.Random) -> None:
    for operation, key, a, b in steps:
        statement = {
            "I": "INSERT INTO {0} VALUES (:key, :a, :b) ON CONFLICT (id) DO UPDATE SET b = excluded.b",
            "U": "UPDATE {0} SET b = :b WHERE id >= :key",
            "K": "UPDATE {0} SET id = id + 7 WHERE id = :key AND NOT EXISTS (SELECT FROM {0} WHERE id = :key + 7)",
            "D": "DELETE FROM {0} WHERE id = :key",
            "T": "TRUNCATE {0}",
            "S": "UPDATE {0} SET a = :a WHERE id = :key",
        }[operation]
        if operation == "T" and chance.random() < 0.7:
            continue
        savepoint = connection.begin_nested() if chance.random() < 0.3 else None
        for name in ("kept", "taken"):
            asked = sa.text(statement.replace("{0}", name))
            connection.execute(
                asked,
                {k: v for k, v in {"key": key, "a": a, "b": b}.items() if f":{k}" in statement},
            )
        if savepoint is not None:
            savepoint.rollback() if chance.random() < 0.4 else savepoint.commit()


@pytest.mark.parametrize(
    "options",
    [
        {"values": ()},
        {"values": ("a",), "update_of": ("b",)},
        {"operations": ("insert", "delete"), "values": ()},
        {"operations": ("update",)},
    ],
    ids=str,
)
def test_options(engine, options):
    """Values, operations and update_of mean what they mean for a trigger."""
    metadata = both(engine, sa.Column("a", sa.Text), sa.Column("b", sa.Text), **options)
    with capturing(engine, metadata):
        run_both(
            engine,
            "INSERT INTO {0} VALUES (1, 'a', 'b'), (2, NULL, '')",
            "UPDATE {0} SET a = 'x'",
            "UPDATE {0} SET b = 'y' WHERE id = 1",
            "UPDATE {0} SET b = b",
            "DELETE FROM {0} WHERE id = 1",
            "TRUNCATE {0}",
        )
        assert assert_same(engine)


def test_partitions(engine):
    """Changes of partitions are those of their root, with the columns in the root's order; a row that
    moves to another partition is the update of one row for triggers, and in the log as the
    write-ahead log has it, a deletion and an insertion."""
    metadata = sa.MetaData()
    table = sa.Table(
        "taken",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("a", sa.Text),
        postgresql_partition_by="RANGE (id)",
    )
    notify_on_change(table, NotifySpec(durable=True, capture="wal", values="all"))
    table.create(engine)
    run(
        engine,
        "CREATE TABLE low PARTITION OF taken FOR VALUES FROM (0) TO (10)",
        "CREATE TABLE high (a text, gone int, id int NOT NULL PRIMARY KEY)",
        "ALTER TABLE high DROP gone",
        "ALTER TABLE taken ATTACH PARTITION high FOR VALUES FROM (10) TO (20)",
    )
    metadata.create_all(engine)  # the partitions' REPLICA IDENTITY
    with capturing(engine, metadata):
        run(
            engine,
            "INSERT INTO taken VALUES (1, 'x'), (11, 'y')",
            "INSERT INTO high VALUES ('z', 12)",
        )
        run(
            engine,
            "UPDATE taken SET a = 'n' WHERE id = 11",
            "UPDATE taken SET id = 2 WHERE id = 12",
        )
        run(engine, "TRUNCATE taken")
        until_captured(engine)
    found = [(change[0], change[-1]) for change in changes_in_log(engine, "public.taken")]
    us = "\x1f"
    assert found == [
        ("I", f"1{us}x"), ("I", f"11{us}y"), ("I", f"12{us}z"), ("U", f"2{us}11{us}n{us}y"),
        ("D", f"12{us}z"), ("I", f"2{us}z"), ("T", ""),
    ]  # fmt: skip


def test_columns_come_and_go(engine):
    """A change that was made before the table had another column, and is captured after, is written
    with the columns of then."""
    metadata = both(engine, sa.Column("a", sa.Text), sa.Column("b", sa.Text))
    with capturing(engine, metadata):
        run_both(engine, "INSERT INTO {0} VALUES (1, 'a', 'b')")
        until_captured(engine)
    run(engine, "ALTER TABLE taken DROP b", "INSERT INTO taken VALUES (2, 'c')")
    run(engine, "ALTER TABLE taken ADD b int", "UPDATE taken SET b = 3 WHERE id = 2")
    with capturing(engine, metadata):
        until_captured(engine)
    shapes = [change[2] for change in changes_in_log(engine, "public.taken")]
    assert ['"b"' in shape for shape in shapes] == [True, False, True]
    assert '"types": "iti"' in shapes[2]


def test_a_row_that_no_trigger_sees(engine):
    """What a session writes with session_replication_role = replica, as a subscription does, is
    captured as well."""
    metadata = both(engine, sa.Column("a", sa.Text))
    with capturing(engine, metadata):
        run_both(
            engine,
            "SET LOCAL session_replication_role = replica",
            "INSERT INTO {0} VALUES (1, 'a')",
        )
        until_captured(engine)
    assert changes_in_log(engine, "public.kept") == []
    assert len(changes_in_log(engine, "public.taken")) == 1
    assert rows(engine, "SELECT 1 FROM sa_pgnotify_log_0 WHERE pid = 0")


def test_a_partition_without_full_identity(engine):
    """A partition that was made since has no old rows in the write-ahead log: each of their changes is
    a failed one, which readers report, and nothing is made up; its insertions are as ever."""
    metadata = sa.MetaData()
    table = sa.Table(
        "taken",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("a", sa.Text),
        postgresql_partition_by="RANGE (id)",
    )
    notify_on_change(table, NotifySpec(durable=True, capture="wal", values="all"))
    metadata.create_all(engine)
    run(engine, "CREATE TABLE low PARTITION OF taken FOR VALUES FROM (0) TO (10)")
    with capturing(engine, metadata):
        run(engine, "INSERT INTO taken VALUES (1, 'x')")
        run(engine, "UPDATE taken SET a = 'y'", "UPDATE taken SET id = 2", "DELETE FROM taken")
        until_captured(engine)
        assert [change[0].split(" ")[0] for change in changes_in_log(engine, "public.taken")] == [
            "I", "failed", "failed", "failed",
        ]  # fmt: skip
        assert [drift.object for drift in check(engine, metadata)] == [
            "REPLICA IDENTITY FULL of low"
        ]
        metadata.create_all(engine)
        assert check(engine, metadata) == []
        run(engine, "INSERT INTO taken VALUES (1, 'x')", "DELETE FROM taken")
        until_captured(engine)
    assert [change[0] for change in changes_in_log(engine, "public.taken")[4:]] == ["I", "D"]
