"""Names that break careless SQL: each is given to table, schema, columns, attributes and channel,
and must change nothing."""

import string
import uuid
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from hypothesis import example, given
from hypothesis import strategies as st
from receiving import received
from statements import run

from sa_pgnotify import Deleted, Inserted, NotifySpec, Truncated, Updated, check, notify_on_change

NAMES = [
    # reserved words, case
    "user", "select", "order", "table", "MixedCase", "UPPER", "not null",
    # quotes and other punctuation, on which drivers, SQL and str.format act
    "it's", "''", 'dou"ble', '"quoted"', "a.b", ".", "$", "a$b", "$$", "$function$", "$sa_pgnotify$", "%", "%s", "%%", "%(id)s", "100% of it",
    "back\\slash", "\\", "\\'", "{", "{0}", "{relation}", ":a", "::text", ";", "--", "/*", "*/", "(", "a,b", "?", "@", "tab\there", "new\nline",
    " ", " leading", "trailing ", "\x1b\x1e\x1f", "\x7f",
    # not ASCII, and of PostgreSQL's greatest length
    "größe", "名前", "🎉", "\u200b", "e\u0301", "x" * 63, "ü" * 31, "'" * 63, '"' * 63, "x" * 62 + "%",
    # variables, aliases and tables of the trigger function, and of PL/pgSQL
    "rows", "message", "channel", "context", "door", "key", "part", "sequence", "relation", "position", "position_", "new_row", "old_row", "mask0", "new0", "old0", "n",
    "o", "r", "root", "pairs", "total", "start", "stop", "bytes", "looked_up", "sa_new_rows", "sa_old_rows", "sa_pgnotify_rows", "new", "old",
    "tg_op", "TG_OP", "TG_TABLE_NAME", "found", "sqlstate", "SQLERRM", "pg_catalog", "concat", "string_agg", "r.n",
    # PostgreSQL's own
    "text", "integer", "sa_pgnotify_insert", "sa_pgnotify_", "ctid_", "oid",
    # attributes of Python's objects, and of ours
    "_columns", "_subject", "columns", "c", "keys",
]  # fmt: skip


@pytest.fixture(scope="module")
def engine(admin: sa.Engine, server_url: sa.URL) -> Iterator[sa.Engine]:
    """An engine on one database for all tests of this module: each of them leaves nothing behind,
    and says so."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    with admin.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'"))
    engine = sa.create_engine(server_url.set(database=name), poolclass=sa.NullPool)
    yield engine
    engine.dispose()
    with admin.connect() as connection:
        connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def others(name: str) -> list[str]:
    """Two more names, near to ``name`` where that is possible."""
    near = [
        n
        for n in (name.upper(), name.lower(), name + "_", name + "2", "_", "2")
        if len(n.encode()) <= 63
    ]
    return [n for n in dict.fromkeys(near) if n != name][:2]


def lives_with(engine: sa.Engine, name: str, schema: str | None, channel: str | None) -> None:
    """Check that everything in a table's life, with ``name`` on it and on its columns, causes the
    right events."""
    key, value = others(name)
    spec = NotifySpec(
        values="all",
        channel=channel,
        update_of=(value, name),
        when=lambda old, new: sa.or_(getattr(new, name) != "untold", getattr(old, value) > 0),
    )
    metadata = sa.MetaData()
    columns = (
        sa.Column(key, sa.Integer, primary_key=True),
        sa.Column(name, sa.Text, key=name),
        sa.Column(value, sa.Integer),
    )
    table = notify_on_change(sa.Table(name, metadata, *columns, schema=schema), spec)
    metadata.create_all(engine)
    try:
        assert check(engine, metadata) == []
        t = ".".join(quoted(n) for n in (schema, name) if n is not None)
        n, k, v = map(quoted, (name, key, value))
        insert, update, moved, delete, truncate = received(
            engine, table,
            f"INSERT INTO {t} VALUES (1, 'a', 0), (2, 'untold', 0)",
            f"UPDATE {t} SET {n} = 'b' WHERE {k} = 1",
            f"UPDATE {t} SET {k} = 3, {v} = 5 WHERE {k} = 1",
            f"UPDATE {t} SET {k} = 4 WHERE {k} = 2",
            f"DELETE FROM {t}",
            f"TRUNCATE {t}",
        )  # fmt: skip
        first = {key: 1, name: "a", value: 0}
        assert isinstance(insert, Inserted)
        assert (insert.entity, insert.identity, insert.new) == (table, (1,), first)
        assert isinstance(update, Updated)
        assert (update.identity, update.old, update.new, update.changed) == (
            (1,),
            first,
            first | {name: "b"},
            {name},
        )
        assert isinstance(moved, Updated)
        assert (moved.identity, moved.previous_identity, moved.changed) == (
            (3,),
            (1,),
            {key, value},
        )
        assert isinstance(delete, Deleted)
        assert delete.old == {key: 3, name: "b", value: 5}
        assert isinstance(truncate, Truncated)
    finally:
        metadata.drop_all(engine)
    with engine.connect() as connection:
        assert (
            list(
                connection.scalars(
                    sa.text("SELECT proname FROM pg_proc WHERE proname LIKE 'sa_pgnotify%'")
                )
            )
            == []
        )


@pytest.mark.sample(8)
@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_names_of_tables_and_columns(engine, name):
    """A table and its columns may have any name that PostgreSQL takes: they are created, publish
    the right events, and leave nothing behind."""
    lives_with(engine, name, None, None)


@pytest.mark.sample(8)
@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("pg_")], ids=ascii)
def test_names_of_schemas_and_channels(engine, name):
    """So may its schema and its channel."""
    run(engine, f"CREATE SCHEMA {quoted(name)}")
    try:
        lives_with(engine, name, name, name)
    finally:
        run(engine, f"DROP SCHEMA {quoted(name)}")


VARIABLES = (
    "relation",
    "channel",
    "rows",
    "message",
    "bytes",
    "sequence",
    "total",
    "start",
    "stop",
    "part",
)


def test_columns_in_a_condition_are_no_variables(engine):
    """SQL text in a condition may use columns of other tables without their table's name, called
    like a variable of the function."""
    run(engine, f"CREATE TABLE others ({', '.join(f'{name} text' for name in VARIABLES)})")
    run(engine, f"INSERT INTO others VALUES ({', '.join(['$$x$$'] * len(VARIABLES))})")
    found = " AND ".join(f"{name} = new_row.status" for name in VARIABLES)
    table = sa.Table(
        "t",
        sa.MetaData(),
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("status", sa.Text),
    )
    notify_on_change(
        table,
        NotifySpec(when=lambda old, new: sa.text(f"EXISTS (SELECT FROM others WHERE {found})")),
    )
    table.metadata.create_all(engine)
    try:
        assert [
            e.identity
            for e in received(engine, table, "INSERT INTO t (status) VALUES ('w'), ('x')")
        ] == [(2,)]
    finally:
        table.metadata.drop_all(engine)
        run(engine, "DROP TABLE others")


identifiers = st.text(
    st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=63
).filter(lambda name: len(name.encode()) <= 63) | st.text(
    string.punctuation + " nN'\"$%\\", min_size=1, max_size=63
)


@given(names=st.lists(identifiers, min_size=4, max_size=4, unique=True))
@example(names=["\\", "'", "%", '"'])
@example(names=["if", "while", "begin", "loop"])
@example(names=["strict", "declare", "execute", "foreach"])
def test_any_identifier(engine, names):
    """Whatever the names of table, key and columns are, inserts, updates and deletes have the right
    values."""
    name, key, one, two = names
    metadata = sa.MetaData()
    table = notify_on_change(
        sa.Table(
            name,
            metadata,
            sa.Column(key, sa.Integer, primary_key=True),
            sa.Column(one, sa.Text),
            sa.Column(two, sa.Integer),
        ),
        NotifySpec(values="all"),
    )
    metadata.create_all(engine)
    try:
        assert check(engine, metadata) == []
        insert, update, delete = received(
            engine,
            table,
            f"INSERT INTO {quoted(name)} VALUES (1, 'a', NULL)",
            f"UPDATE {quoted(name)} SET {quoted(two)} = 5",
            f"DELETE FROM {quoted(name)}",
        )
        assert insert.new == {key: 1, one: "a", two: None}
        assert (update.changed, update.old) == ({two}, insert.new)
        assert update.new == delete.old == {key: 1, one: "a", two: 5}
        assert insert.identity == update.identity == delete.identity == (1,)
    finally:
        metadata.drop_all(engine)
