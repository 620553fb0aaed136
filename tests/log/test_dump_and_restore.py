"""A database with durable tables is dumped and restored by PostgreSQL's own programs, as
docs/consuming.md says."""

from __future__ import annotations

import subprocess

import binaries
import pytest
import sqlalchemy as sa
from kinds import address
from statements import rows, run

from sa_pgnotify import Consumer, Gap, Inserted, NotifySpec, check, notify_on_change


@pytest.fixture
def programs(engine):
    """The folder of pg_dump and pg_restore of the server's version; others may write what the
    server does not know."""
    with engine.connect() as connection:
        major = connection.dialect.server_version_info[0]
    try:
        return binaries.programs(str(major))
    except binaries.VersionMissing as error:
        pytest.skip(str(error))


@pytest.fixture
def metadata(engine):
    """A durable table ``orders`` with three rows, of which a consumer has read two."""
    metadata = sa.MetaData()
    table = sa.Table("orders", metadata, sa.Column("id", sa.Integer, primary_key=True))
    notify_on_change(table, NotifySpec(durable=True))
    metadata.create_all(engine)
    with Consumer(engine, "billing", table) as consumer:
        run(engine, "INSERT INTO orders VALUES (1), (2)")
        for batch in consumer:
            with batch:
                assert len(batch) == 2
            break
    run(engine, "INSERT INTO orders VALUES (3)")
    return metadata


@pytest.fixture
def target(admin, url):
    """An engine on another, empty database of the server."""
    name = f"{url.database}_restored"
    run(
        admin.execution_options(isolation_level="AUTOCOMMIT"),
        f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'",
    )
    engine = sa.create_engine(url.set(database=name), poolclass=sa.NullPool)
    yield engine
    with admin.connect() as connection:
        connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
def restored(programs, engine, target, tmp_path):
    """Dumps one database into the other with options for pg_dump and pg_restore, and gives what
    pg_restore said."""

    def call(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [programs / program, *arguments], capture_output=True, text=True, check=False
        )

    def move(
        dump: tuple[str, ...] = (), restore: tuple[str, ...] = ()
    ) -> subprocess.CompletedProcess[str]:
        file = str(tmp_path / "dump")
        where, there = (
            address(e.url).replace("postgresql+psycopg2", "postgresql") for e in (engine, target)
        )
        done = call("pg_dump", "--format=custom", *dump, f"--file={file}", where)
        assert done.returncode == 0, done.stderr
        return call("pg_restore", *restore, f"--dbname={there}", file)

    return move


def goes_on(target, metadata, *, with_gap: bool) -> None:
    """That the triggers are installed, and a consumer of the same name goes on with what is written
    from now on, perhaps after a Gap."""
    assert check(target, metadata) == []
    with Consumer(target, "billing", metadata.tables["orders"]) as consumer:
        batches = iter(consumer)
        for is_gap in [True, False] if with_gap else [False]:
            if not is_gap:
                run(target, "INSERT INTO orders VALUES (100)")
            batch = next(batches)
            with batch:
                assert [
                    Gap if isinstance(change, Gap) else change.identity for change in batch
                ] == [Gap if is_gap else (100,)]


def test_whole(restored, target, metadata):
    """A whole dump brings tables, log and triggers, which are made after the data: nothing
    collides. It is another server's log, so a Gap comes first."""
    done = restored()
    assert done.returncode == 0, done.stderr
    assert rows(target, "SELECT id FROM orders ORDER BY 1") == [(1,), (2,), (3,)]
    goes_on(target, metadata, with_gap=True)


def test_data_alone_collides(restored, target, metadata):
    """Into tables that have their triggers, the changes that the load makes take the numbers of the
    log's rows: what the two recipes are for."""
    metadata.create_all(target)
    done = restored(restore=("--data-only",))
    assert "duplicate key" in done.stderr


def test_data_alone_with_triggers_disabled(restored, target, metadata):
    """By a superuser: no trigger fires, and the log is the dump's."""
    metadata.create_all(target)
    done = restored(restore=("--data-only", "--disable-triggers"))
    assert done.returncode == 0, done.stderr
    assert rows(target, "SELECT id FROM orders ORDER BY 1") == [(1,), (2,), (3,)]
    goes_on(target, metadata, with_gap=True)


def test_data_alone_without_the_log(restored, target, metadata):
    """By any role: the triggers log what is loaded, as any load; the dump has nothing of the log,
    so a new consumer begins there."""
    metadata.create_all(target)
    done = restored(dump=("--exclude-table-data=sa_pgnotify_*",), restore=("--data-only",))
    assert done.returncode == 0, done.stderr
    assert rows(target, "SELECT count(*) FROM sa_pgnotify_consumers") == [(0,)]
    with Consumer(target, "other", metadata.tables["orders"], start="beginning") as consumer:
        for batch in consumer:
            with batch:
                assert [(type(change), change.identity) for change in batch] == [
                    (Inserted, (number,)) for number in (1, 2, 3)
                ]
            break
    goes_on(target, metadata, with_gap=False)
