"""What ``doctor`` says of settings that make bulk writes to marked tables fail."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from statements import run

from sa_pgnotify import NotifySpec, notify_on_change
from sa_pgnotify.diagnosis.doctor import diagnose

ROWS = "INSERT INTO {} SELECT i, repeat('x', 100) FROM generate_series(1, 60000) AS i"


def notes(engine) -> list[str]:
    return [f"{f.severity}: {f.text}" for f in diagnose(engine) if f.subject == "limits"]


def table_of(engine, *operations: str) -> None:
    metadata = sa.MetaData()
    for name in ("marked", "plain"):
        table = sa.Table(
            name, metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("v", sa.Text)
        )
        if name == "marked":
            notify_on_change(table, NotifySpec(operations=operations))
    metadata.create_all(engine)


def test_temp_file_limit(engine, url):
    """A limit of this role, of another one or of the database is noted, since a statement that
    changes more than it holds fails on a marked table and not on another; without a limit nothing
    is said."""
    table_of(engine, "insert", "update")
    assert notes(engine) == []
    run(engine, f"ALTER DATABASE \"{url.database}\" SET temp_file_limit = '2MB'")
    (note,) = notes(engine)
    assert note.startswith(
        "note: temp_file_limit is 2MB for this role, 2MB for all roles. The triggers keep the rows of a statement"
    )
    run(engine, "SET LOCAL work_mem = '64kB'", ROWS.format("plain"))
    with pytest.raises(sa.exc.DBAPIError, match="temp_file_limit"):
        run(engine, "SET LOCAL work_mem = '64kB'", ROWS.format("marked"))
    run(
        engine,
        f'ALTER DATABASE "{url.database}" RESET temp_file_limit',
        f'CREATE ROLE "w {url.database}"',
    )
    try:
        run(
            engine,
            f'ALTER ROLE "w {url.database}" IN DATABASE "{url.database}" SET temp_file_limit = 4096',
        )
        (note,) = notes(engine)
        assert note.startswith(f"note: temp_file_limit is 4096 for the role w {url.database}. ")
    finally:
        run(engine, f'DROP ROLE "w {url.database}"')
    assert notes(engine) == []


def test_a_table_whose_triggers_keep_no_rows(engine, url):
    """TRUNCATE alone keeps nothing, so a limit is of no interest."""
    table_of(engine, "truncate")
    run(engine, f"ALTER DATABASE \"{url.database}\" SET temp_file_limit = '2MB'")
    assert notes(engine) == []
