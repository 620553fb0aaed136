"""Two programs with models of their own in one database and one schema: neither takes what the
other's is for its own."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from logs import TABLES
from receiving import take
from statements import run

from sa_pgnotify import (
    ChangeLog,
    ChangeLogInUse,
    Consumer,
    Gap,
    Inserted,
    Listener,
    NotifySpec,
    check,
    notify_on_change,
)


def program(*names: str, log_schema: str | None = None, durable: bool = True) -> sa.MetaData:
    """The MetaData of a program with durable tables ``names``."""
    metadata = sa.MetaData()
    if log_schema:
        ChangeLog(metadata, schema=log_schema)
    for name in names:
        notify_on_change(
            sa.Table(name, metadata, sa.Column("id", sa.Integer, primary_key=True)),
            NotifySpec(durable=durable),
        )
    return metadata


def tables(engine) -> set[str]:
    return set(sa.inspect(engine).get_table_names())


def test_check_of_one_program_leaves_the_other_alone(engine):
    """Each program's check is clean, and so is that of both; what one of them has really left over
    is found still, by itself and by both: the triggers of a table that it has and no longer marks,
    and the function that such triggers left."""
    first, second = program("a", "gone"), program("b", durable=False)
    for metadata in (first, second):
        metadata.create_all(engine)
    assert [check(engine, one) for one in (first, second, [first, second], [])] == [[], [], [], []]
    unmarked = sa.MetaData()
    for name in ("a", "gone"):
        sa.Table(name, unmarked, sa.Column("id", sa.Integer, primary_key=True))
    run(engine, "DROP TABLE gone")
    for given in (unmarked, [second, unmarked]):
        found = {(d.kind, d.object, d.table) for d in check(engine, given)}
        assert found == {
            ("left over", "function sa_pgnotify_a", "public.a"),
            ("left over", "function sa_pgnotify_gone", "public"),
        }
    assert check(engine, second) == []


def test_a_table_that_two_programs_know(engine):
    """Where one program marks a table and another only reads it, the other's check alone calls the
    triggers left over, and says when not; given both, nothing is."""
    first, reader = program("a"), sa.MetaData()
    sa.Table("a", reader, sa.Column("id", sa.Integer, primary_key=True))
    first.create_all(engine)
    (drift,) = check(engine, reader)
    assert drift.kind == "left over"
    assert "unless another program marks the table" in drift.fix
    assert check(engine, [reader, first]) == []


def test_drop_all_does_not_take_the_log_from_others(engine):
    """While triggers of another program write to the log, drop_all is refused before it drops
    anything, and changes go on being delivered; without the log's tables it works; and when the
    other program is gone, the log goes too."""
    first, second = program("a"), program("b")
    for metadata in (first, second):
        metadata.create_all(engine)
    with Listener(engine, second) as listener:
        with pytest.raises(ChangeLogInUse) as refused:
            first.drop_all(engine)
        assert refused.value.tables == ("public.b",)
        assert "nothing was dropped" in str(refused.value)
        assert tables(engine) == {"a", "b", *TABLES}
        assert check(engine, first) == []
        first.drop_all(engine, [t for t in first.sorted_tables if t.name not in TABLES])
        assert tables(engine) == {"b", *TABLES}
        run(engine, "INSERT INTO b VALUES (1)")
        (event,) = take(listener, 1)
        # triggers that wrote to this log are gone, whose the listener need not know
        if isinstance(event, Gap):
            (event,) = take(listener, 1)
        assert type(event) is Inserted
    second.drop_all(engine)
    assert tables(engine) == set()
    second.drop_all(engine)  # nothing is there, and that is not an error


def test_drop_all_does_not_take_the_log_from_consumers_of_others(engine):
    """A consumer of a table that is not in the MetaData is a user of the log, also where that
    table's triggers are gone; one of the program's own tables, or of a table that does not exist
    any more, is not."""
    first, second = program("a"), program("b")
    for metadata in (first, second):
        metadata.create_all(engine)
    for name, table in (("mine", first.tables["a"]), ("theirs", second.tables["b"])):
        with Consumer(engine, name, table):
            pass
    run(engine, "DROP FUNCTION sa_pgnotify_b() CASCADE")
    with pytest.raises(ChangeLogInUse) as refused:
        first.drop_all(engine)
    assert (refused.value.tables, refused.value.consumers) == ((), ("theirs",))
    run(engine, "DROP TABLE b")
    first.drop_all(engine)
    assert tables(engine) == set()


def test_a_log_for_each(engine):
    """Programs whose logs have schemas of their own do not hinder each other."""
    run(engine, "CREATE SCHEMA one", "CREATE SCHEMA two")
    first, second = program("a", log_schema="one"), program("b", log_schema="two")
    for metadata in (first, second):
        metadata.create_all(engine)
    assert check(engine, [first, second]) == []
    first.drop_all(engine)
    assert tables(engine) == {"b"}
    assert check(engine, second) == []


def test_a_translated_schema(engine):
    """The log and the tables are looked for where schema_translate_map puts them."""
    run(engine, "CREATE SCHEMA tenant")
    translated = engine.execution_options(schema_translate_map={None: "tenant"})
    first, second = program("a"), program("b")
    for metadata in (first, second):
        metadata.create_all(translated)
    with pytest.raises(ChangeLogInUse):
        first.drop_all(translated)
    first.create_all(engine)
    first.drop_all(engine)
    second.drop_all(translated, [second.tables["b"]])
    first.drop_all(translated)
    assert sa.inspect(engine).get_table_names(schema="tenant") == []
