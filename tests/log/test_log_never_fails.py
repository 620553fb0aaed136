"""No write fails because its changes go into the log: whoever writes, whatever, and whatever has
become of the log."""

from __future__ import annotations

import threading
import uuid
from typing import Any

import psycopg2
import pytest
import sqlalchemy as sa
from logs import SLOTS, TABLES, end_of_log, logged, received_from_log, sleepers, until_end_of_log
from receiving import take
from servers import Server, data_folder
from sqlalchemy import NullPool, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from statements import rows, run

from sa_pgnotify import (
    Consumer,
    Deleted,
    Gap,
    Inserted,
    Listener,
    NotifyOnChange,
    NotifySpec,
    Truncated,
    Updated,
)
from sa_pgnotify.triggers.templates import v1_log as template

ALL = NotifySpec(values="all", durable=True)


def orders(engine: sa.Engine, spec: NotifySpec = ALL) -> Any:
    """A durable class ``Order`` on a new table ``orders``."""

    class Base(DeclarativeBase):
        pass

    class Order(NotifyOnChange, Base):
        __tablename__ = "orders"
        __notify__ = spec
        id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
        status: Mapped[str | None] = mapped_column(sa.Text)
        amount: Mapped[int | None]

    Base.metadata.create_all(engine)
    return Order


def gist(events: list[Any]) -> list[tuple[Any, ...]]:
    return [(e.reason,) if isinstance(e, Gap) else (type(e), e.identity) for e in events]


WRITES = [
    "INSERT INTO orders VALUES (1, 'a', 1)",
    "UPDATE orders SET status = 'b'",
    "DELETE FROM orders",
]
ALL_TOLD = [(Inserted, (1,)), (Updated, (1,)), (Deleted, (1,))]


# -- who writes ------------------------------------------------------------------------------------


@pytest.fixture
def stranger(engine, admin):
    """Name of a role without any right, gone after the test."""
    name = f"stranger_{uuid.uuid4().hex[:8]}"
    run(admin, f"CREATE ROLE {name}")
    yield name
    run(engine, f"DROP OWNED BY {name}")
    run(admin, f"DROP ROLE {name}")


@pytest.mark.parametrize(
    "when", [None, lambda old, new: sa.func.coalesce(new.amount, old.amount, 0) >= 0]
)
def test_a_writer_without_a_right_on_the_log(engine, stranger, when):
    """A role that may write to the table and do nothing with the log writes, and can neither read
    the log nor write to it."""
    Order = orders(engine, NotifySpec(values="all", durable=True, when=when))
    run(engine, f"GRANT SELECT, INSERT, UPDATE, DELETE ON orders TO {stranger}")
    assert gist(received_from_log(engine, Order, f"SET LOCAL ROLE {stranger}", *WRITES)) == ALL_TOLD
    for table in TABLES:
        for statement in (
            f"SELECT * FROM {table}",
            f"DELETE FROM {table}",
            f"INSERT INTO {table} DEFAULT VALUES",
        ):
            with pytest.raises(DBAPIError, match="permission denied"):
                run(engine, f"SET LOCAL ROLE {stranger}", statement)


def test_a_stranger_cannot_forge_changes(engine, stranger):
    """A role that may make triggers on a table of its own cannot have them run our function, which
    has its owner's rights."""
    orders(engine)
    run(engine, f"CREATE SCHEMA AUTHORIZATION {stranger}")
    mine = f"{stranger}.orders"
    run(
        engine,
        f"SET LOCAL ROLE {stranger}",
        f"CREATE TABLE {mine} (id int, status text, amount int)",
    )
    trigger = f"CREATE TRIGGER t AFTER INSERT ON {mine} REFERENCING NEW TABLE AS sa_new_rows FOR EACH STATEMENT EXECUTE FUNCTION"
    with pytest.raises(DBAPIError, match="permission denied for function"):
        run(engine, f"SET LOCAL ROLE {stranger}", f"{trigger} public.sa_pgnotify_orders()")


@pytest.mark.parametrize(
    "when", [None, lambda old, new: sa.func.coalesce(new.amount, old.amount, 0) + 0 >= 0]
)
def test_nothing_of_the_writers_is_run_with_the_owners_rights(engine, stranger, when):
    """Temporary tables, functions and operators that a writer names as ours are not what the
    function, or a condition, means."""
    Order = orders(engine, NotifySpec(values="all", durable=True, when=when))
    run(
        engine,
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON orders TO {stranger}",
        f"CREATE SCHEMA AUTHORIZATION {stranger}",
    )
    traps = [
        f"CREATE TEMPORARY TABLE {name} (id bigint, xid bigint, pid int, relation text, header text, rows text)"
        for name in SLOTS
    ]
    traps += [
        "CREATE TEMPORARY TABLE sa_pgnotify_log (id bigint)",
        "CREATE TEMPORARY SEQUENCE sa_pgnotify_log_id_seq",
    ]
    trap = "LANGUAGE plpgsql AS $$ BEGIN RAISE 'trap'; END $$"
    traps.append(f"CREATE FUNCTION pg_temp.coalesce_int(int, int) RETURNS int {trap}")
    for operator, left, right, result in (
        ("+", "int", "int", "int"), (">=", "int", "int", "boolean"), ("&", "bigint", "int", "bigint"), (">>", "bigint", "int", "bigint"),
        ("=", "bigint", "bigint", "boolean"), ("||", "text", "text", "text"), (">", "int", "int", "boolean"),
    ):  # fmt: skip
        name = f"{stranger}.trap_" + "".join(str(ord(c)) for c in operator) + left
        traps.append(f"CREATE FUNCTION {name}({left}, {right}) RETURNS {result} {trap}")
        traps.append(
            f"CREATE OPERATOR {stranger}.{operator} (FUNCTION = {name}, LEFTARG = {left}, RIGHTARG = {right})"
        )
    path = f"SET LOCAL search_path = pg_temp, {stranger}, pg_catalog, public"
    writes = [statement.replace("orders", "public.orders") for statement in WRITES]
    assert (
        gist(received_from_log(engine, Order, f"SET LOCAL ROLE {stranger}", *traps, path, *writes))
        == ALL_TOLD
    )


def test_the_function_is_what_it_should_be(engine):
    """Every durable function runs with its owner's rights, looks for temporary tables last, and may
    be run by its owner alone."""
    orders(engine)
    (found,) = rows(engine, "SELECT prosecdef, proconfig::text, has_function_privilege('public', oid, 'EXECUTE') FROM pg_proc "
                            "WHERE proname = 'sa_pgnotify_orders'")  # fmt: skip
    assert (found[0], found[2]) == (True, False)
    assert '"search_path=pg_catalog, pg_temp"' in found[1]


SETTINGS = [
    "SET standard_conforming_strings = off", "SET client_encoding = LATIN1", "SET search_path = ''", "SET search_path = pg_temp",
    "SET DateStyle = 'SQL, DMY'", "SET bytea_output = escape", "SET row_security = off", "SET plan_cache_mode = force_generic_plan",
    "SET jit_above_cost = 0", "SET transform_null_equals = on", "SET quote_all_identifiers = on",
    "SET plpgsql.variable_conflict = error", "SET plpgsql.extra_errors = 'all'", "SET backslash_quote = off",
    "SET default_transaction_isolation = 'serializable'", "SET default_transaction_isolation = 'repeatable read'",
    "SET sa_pgnotify.context = 'no json'", "SET sa_pgnotify.doorbell = 'off'", "SET sa_pgnotify.doorbell = 'what'", "SET lock_timeout = 1",
]  # fmt: skip


@pytest.mark.parametrize("setting", SETTINGS)
def test_settings_of_the_writer(engine, setting):
    """No setting of the writer's session makes a write fail or changes what is logged."""
    Order = orders(engine)
    statements = [
        s.replace("orders", "public.orders")
        for s in (WRITES[0], r"UPDATE orders SET status = E'\\ \u00e9'", WRITES[2])
    ]
    events = received_from_log(engine, Order, setting, *statements)
    assert gist(events) == ALL_TOLD
    assert events[1].new == {"id": 1, "status": r"\ é", "amount": 1}


# -- what has become of the log --------------------------------------------------------------------

DAMAGES = {
    "log dropped": f"DROP TABLE {', '.join(TABLES)}",
    "head dropped": "DROP TABLE sa_pgnotify_log",
    "slots dropped": f"DROP TABLE {', '.join(SLOTS)}",
    "one slot dropped": "DROP TABLE sa_pgnotify_log_0",
    "sequence dropped": "ALTER TABLE sa_pgnotify_log ALTER id DROP IDENTITY",
    "sequence begins anew": "ALTER SEQUENCE sa_pgnotify_log_id_seq RESTART",
    "sequence at its end": "SELECT setval('sa_pgnotify_log_id_seq', 9223372036854775807)",
    "log moved": "CREATE SCHEMA away; "
    + "; ".join(f"ALTER TABLE {table} SET SCHEMA away" for table in sorted(TABLES)),
    "column dropped": "ALTER TABLE sa_pgnotify_log_0 DROP COLUMN pid",
    "column added": "ALTER TABLE sa_pgnotify_log_0 ADD more int",
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("same_session", [True, False], ids=["one session", "sessions"])
def test_a_damaged_log(engine, damage, same_session):
    """Whatever has become of the log, writes succeed; who wrote is warned."""
    orders(engine)
    run(engine, WRITES[0], WRITES[1])
    with engine.connect() as connection:
        if same_session:  # with plans that are cached
            connection.exec_driver_sql("UPDATE orders SET status = 'c'")
            connection.commit()
        run(engine, DAMAGES[damage])
        for write in ("UPDATE orders SET status = 'd'", "INSERT INTO orders VALUES (2)"):
            connection.exec_driver_sql(write)
        connection.commit()
    assert rows(engine, "SELECT id, status FROM orders ORDER BY id") == [(1, "d"), (2, None)]


def test_a_function_whose_owner_may_not_use_the_log(engine, stranger):
    """Where the function's owner has lost his rights on the log, writes succeed."""
    orders(engine)
    run(
        engine,
        f"GRANT ALL ON orders TO {stranger}",
        f"ALTER FUNCTION sa_pgnotify_orders() OWNER TO {stranger}",
        *WRITES[:2],
    )
    assert rows(engine, "SELECT id, status FROM orders") == [(1, "b")]
    run(engine, "ALTER FUNCTION sa_pgnotify_orders() OWNER TO CURRENT_USER")


def test_a_sequence_behind_its_rows(engine):
    """After a restore that lost the sequence's value, concurrent writes take numbers behind those
    that are there, and all is told."""
    Order = orders(engine)
    run(engine, "INSERT INTO orders SELECT g, repeat('x', 7000) FROM generate_series(1, 30) AS g")
    run(engine, "ALTER SEQUENCE sa_pgnotify_log_id_seq RESTART WITH 20")
    with end_of_log(engine) as end, Listener(engine, Order, end) as listener:
        with engine.connect() as other:
            other.exec_driver_sql("INSERT INTO orders VALUES (100)")
            writer = threading.Thread(
                target=run, args=(engine, "INSERT INTO orders SELECT generate_series(101, 110)")
            )
            writer.start()
            other.exec_driver_sql(
                "INSERT INTO orders SELECT g, repeat('x', 7000) FROM generate_series(111, 120) AS g"
            )
            other.commit()
            writer.join()
        events = until_end_of_log(engine, listener, end)
    assert sorted(event.identity for event in events) == [(number,) for number in range(100, 121)]


def test_the_servers_log_has_a_warning(engine, url):
    """Without its log, a write brings a warning that names the table and says that the write is not
    affected. It goes to the server's log; here the function lets the client have it as well."""
    orders(engine)
    run(
        engine,
        "ALTER FUNCTION sa_pgnotify_orders() RESET client_min_messages",
        f"DROP TABLE {', '.join(TABLES)}",
    )
    connection = psycopg2.connect(
        url.set(drivername="postgresql").render_as_string(hide_password=False)
    )
    with connection, connection.cursor() as cursor:
        cursor.execute(WRITES[0])
    connection.close()
    assert "could not log a change of public.orders" in "".join(connection.notices)
    assert "Your write is not affected" in "".join(connection.notices)


def test_a_transaction_has_one_id(engine):
    """However many statements it has, a transaction takes one transaction id: 64 subtransactions
    slow down every other session."""
    orders(engine)
    with engine.connect() as connection:
        for number in range(200):
            connection.exec_driver_sql(f"INSERT INTO orders VALUES ({number})")
        # one for each id
        held = "SELECT count(*) FROM pg_locks WHERE locktype = 'transactionid' AND pid = pg_backend_pid()"
        assert connection.exec_driver_sql(held).scalar() == 1
        connection.commit()
    assert rows(engine, "SELECT count(*), count(DISTINCT xid) FROM sa_pgnotify_log_0") == [(200, 1)]


# -- what is written -------------------------------------------------------------------------------


@pytest.mark.parametrize("failing", ["all", "second"])
def test_a_condition_that_fails(engine, failing):
    """A `when` that the database cannot evaluate lets the write through; the log says so, and
    readers get a Gap in its place."""
    Order = orders(engine, NotifySpec(durable=True, when=lambda old, new: 1 / (new.amount - 2) < 9))
    writes = [
        "INSERT INTO orders VALUES (1, 'a', 1)",
        "INSERT INTO orders VALUES (2, 'a', 2)",
        "INSERT INTO orders VALUES (3, 'a', 3)",
    ]
    if failing == "all":
        writes = writes[1:2]
    events = received_from_log(engine, Order, *writes)
    expected: list[Any] = [(Inserted, (1,)), ("undecodable",), (Inserted, (3,))]
    assert gist(events) == (expected if failing == "second" else expected[1:2])
    assert ["failed 22012 division by zero"] == [
        header for header, _ in logged(engine) if header.startswith("failed")
    ]


def test_a_statement_over_the_limit(engine, monkeypatch):
    """A statement with more changes than the log takes succeeds, and is a Gap; those around it
    come."""
    monkeypatch.setattr(template, "LONGEST_STATEMENT", 100_000)
    Order = orders(engine)
    events = received_from_log(
        engine, Order, WRITES[0], "INSERT INTO orders SELECT g, repeat('x', 1000) FROM generate_series(2, 200) AS g",
        "UPDATE orders SET status = 'short'", "DELETE FROM orders",
    )  # fmt: skip
    assert gist(events)[:3] == [(Inserted, (1,)), ("undecodable",), ("undecodable",)]
    assert [event.identity for event in events[3:]] == [(number,) for number in range(1, 201)]
    assert "exceed 100000 bytes" in events[1].detail


@pytest.mark.sample(2)
@pytest.mark.parametrize("length", [1, 3489, 3490, 3491, 3492, 6990, 7001, 20_000, 300_000])
@pytest.mark.parametrize(
    "letter",
    ["x", "é", "😀", "\x1e", "\x1f\x1b"],
    ids=["ascii", "two bytes", "four bytes", "record", "unit"],
)
def test_rows_around_the_length_of_a_piece(engine, length, letter):
    """Rows shorter and longer than a piece, of any characters, come whole, each once."""
    Order = orders(engine)
    insert = f"INSERT INTO orders SELECT g, repeat(E'{letter.encode('unicode_escape').decode() if letter < ' ' else letter}', {length}), g FROM generate_series(1, 5) AS g"
    events = received_from_log(
        engine, Order, insert, "UPDATE orders SET amount = 0", "DELETE FROM orders"
    )
    assert gist(events) == [
        (kind, (number,)) for kind in (Inserted, Updated, Deleted) for number in range(1, 6)
    ]
    assert {(e.new if hasattr(e, "new") else e.old)["status"] for e in events} == {letter * length}


def test_many_rows_are_few_rows_of_the_log(engine):
    """The changes of a statement are packed; each comes, in order."""
    Order = orders(engine, NotifySpec(durable=True))
    events = received_from_log(engine, Order, "INSERT INTO orders SELECT generate_series(1, 20000)")
    assert [event.identity for event in events] == [(number,) for number in range(1, 20_001)]
    assert len([1 for header, _ in logged(engine) if header.startswith("I")]) < 100


def test_a_wide_table(engine):
    """A table of as many columns as PostgreSQL takes in a SELECT is logged whole."""
    metadata = sa.MetaData()
    table = sa.Table(
        "wide",
        metadata,
        sa.Column("c0", sa.Integer, primary_key=True),
        *[sa.Column(f"c{i}", sa.Integer) for i in range(1, 1000)],
    )
    from sa_pgnotify import notify_on_change

    notify_on_change(table, ALL)
    metadata.create_all(engine)
    inserted, updated = received_from_log(
        engine, table, "INSERT INTO wide (c0, c999) VALUES (1, 2)", "UPDATE wide SET c998 = 3"
    )
    assert (inserted.new["c999"], updated.changed, updated.new["c998"]) == (2, {"c998"}, 3)


def test_savepoints(engine):
    """What was rolled back to a savepoint is not told; what was released is."""
    Order = orders(engine)
    events = received_from_log(
        engine, Order, WRITES[0], "SAVEPOINT a", "INSERT INTO orders VALUES (2)", "ROLLBACK TO a", "INSERT INTO orders VALUES (3)",
        "SAVEPOINT b", "INSERT INTO orders VALUES (4)", "RELEASE b",
    )  # fmt: skip
    assert gist(events) == [(Inserted, (1,)), (Inserted, (3,)), (Inserted, (4,))]
    assert len({event.transaction_id for event in events}) == 1


def test_other_ways_to_write(engine):
    """COPY, MERGE, upserts and TRUNCATE are logged as any other write."""
    Order = orders(engine)
    upsert = "INSERT INTO orders VALUES (1, 'c', 3), (3, 'c', 3) ON CONFLICT (id) DO UPDATE SET status = excluded.status"
    merge = (
        "MERGE INTO orders AS o USING (VALUES (1), (2), (9)) AS v (id) ON o.id = v.id WHEN MATCHED AND o.id = 1 THEN DELETE "
        "WHEN MATCHED THEN UPDATE SET status = 'm' WHEN NOT MATCHED THEN INSERT VALUES (v.id, 'm', 0)"
    )
    with end_of_log(engine) as end, Listener(engine, Order, end) as listener:
        with engine.begin() as connection, connection.connection.cursor() as cursor:
            import io

            cursor.copy_expert("COPY orders FROM STDIN", io.StringIO("1\ta\t1\n2\tb\t2\n"))
        run(engine, upsert)
        run(engine, merge)
        run(engine, "TRUNCATE orders")
        events = until_end_of_log(engine, listener, end)
    assert gist(events[:2]) == [(Inserted, (1,)), (Inserted, (2,))]
    assert sorted(gist(events[2:4]), key=str) == sorted(
        [(Inserted, (3,)), (Updated, (1,))], key=str
    )
    assert sorted(gist(events[4:7]), key=str) == sorted(
        [(Inserted, (9,)), (Updated, (2,)), (Deleted, (1,))], key=str
    )
    assert gist(events[7:]) == [(Truncated, None)]


def test_cascades(engine):
    """Rows that a foreign key deletes, and tables that TRUNCATE CASCADE empties, are logged with
    what caused it."""

    class Base(DeclarativeBase):
        pass

    class Order(NotifyOnChange, Base):
        __tablename__ = "orders"
        __notify__ = ALL
        id: Mapped[int] = mapped_column(primary_key=True)

    class Item(NotifyOnChange, Base):
        __tablename__ = "items"
        __notify__ = ALL
        id: Mapped[int] = mapped_column(primary_key=True)
        order_id: Mapped[int] = mapped_column(sa.ForeignKey("orders.id", ondelete="CASCADE"))

    Base.metadata.create_all(engine)
    run(
        engine,
        "INSERT INTO orders VALUES (1), (2)",
        "INSERT INTO items VALUES (1, 1), (2, 1), (3, 2)",
    )
    events = received_from_log(
        engine, Base, "DELETE FROM orders WHERE id = 1", "TRUNCATE orders CASCADE"
    )
    found = [(e.entity.__name__, type(e).__name__, e.identity) for e in events]
    assert sorted(found[:3]) == [
        ("Item", "Deleted", (1,)),
        ("Item", "Deleted", (2,)),
        ("Order", "Deleted", (1,)),
    ]
    assert sorted(found[3:], key=str) == [("Item", "Truncated", None), ("Order", "Truncated", None)]


# -- where it is written ---------------------------------------------------------------------------


@pytest.fixture
def encoded(admin, server_url, request):
    """An engine on a new database in the encoding that the test names."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    run(
        admin,
        f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{request.param}' LC_COLLATE 'C' LC_CTYPE 'C'",
    )
    engine = create_engine(
        server_url.set(database=name), poolclass=NullPool, connect_args={"client_encoding": "UTF8"}
    )
    yield engine
    run(admin, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.parametrize("encoded", ["LATIN1", "SQL_ASCII"], indirect=True)
@pytest.mark.parametrize("length", [1, 6999, 7000, 20_000])
def test_databases_of_other_encodings(encoded, length):
    """In a database of another encoding, what a client reads as Unicode comes as the same Unicode,
    in one piece or several."""
    Order = orders(encoded)
    events = received_from_log(
        encoded,
        Order,
        f"INSERT INTO orders SELECT g, repeat('é', {length}) FROM generate_series(1, 3) AS g",
        "DELETE FROM orders",
    )
    assert [event.identity for event in events] == [(1,), (2,), (3,)] * 2
    assert {(e.new if hasattr(e, "new") else e.old)["status"] for e in events} == {"é" * length}


@pytest.mark.parametrize("encoded", ["SQL_ASCII"], indirect=True)
@pytest.mark.parametrize("length", [1, 9000])
def test_bytes_that_are_no_text(encoded, length):
    """A database without an encoding holds bytes that are no UTF-8: the write succeeds, and the
    change is told or a Gap is."""
    Order = orders(encoded)
    insert = f"INSERT INTO orders VALUES (1, repeat(E'\\xff\\xe9', {length}))"
    with end_of_log(encoded) as end, Listener(encoded, Order, end) as listener:
        run(encoded, "SET client_encoding = SQL_ASCII", insert)
        (event,) = until_end_of_log(encoded, listener, end)
        assert isinstance(event, Gap) or event.identity == (1,)
    assert rows(encoded, "SELECT count(*) FROM orders") == [(1,)]


# -- the doorbell ----------------------------------------------------------------------------------


def test_nobody_is_rung_while_nobody_sleeps(engine, url):
    """A writer sends a notification only if a reader sleeps."""
    Order = orders(engine)
    channel = rows(engine, "SELECT 'sa_pgnotify_log_' || 'sa_pgnotify_log'::regclass::oid::text")[
        0
    ][0]
    watcher = psycopg2.connect(
        url.set(drivername="postgresql").render_as_string(hide_password=False)
    )
    watcher.autocommit = True
    with watcher.cursor() as cursor:
        cursor.execute(f"LISTEN {channel}")

        def rung() -> int:
            cursor.execute("SELECT 1")
            count = len(watcher.notifies)
            watcher.notifies.clear()
            return count

        run(engine, *WRITES)
        assert rung() == 0
        with Listener(engine, Order) as listener:
            sleepers(engine)
            run(engine, *WRITES)
            take(listener, 3)
            assert rung() == 1
            sleepers(engine)
        sleepers(engine, 0)
        run(engine, *WRITES)
        assert rung() == 0
    watcher.close()


@pytest.fixture(scope="module")
def two_phase():
    """An engine on a server that takes prepared transactions."""
    with data_folder() as data, Server(data) as server:
        server.hurry()
        with server.engine.connect() as connection:
            connection.exec_driver_sql("ALTER SYSTEM SET max_prepared_transactions = 10")
        server.down("fast")
        server.up()
        yield create_engine(server.url, poolclass=NullPool)


@pytest.fixture
def prepared(two_phase):
    """The same, with a durable class whose table is there."""
    Order = orders(two_phase)
    yield two_phase, Order
    Order.metadata.drop_all(two_phase)


def write_prepared(engine: sa.Engine, *statements: str) -> None:
    """Run statements in a transaction that is prepared, and not yet committed."""
    connection = engine.raw_connection()
    cursor = connection.cursor()
    for statement in (*statements, "PREPARE TRANSACTION 'two'"):
        cursor.execute(statement)
    connection.close()


def test_two_phase_commit(prepared):
    """While nobody sleeps a transaction can be prepared as before; its changes are consumed when it
    is committed, and only then."""
    engine, Order = prepared
    with Consumer(engine, "billing", Order) as consumer:
        pass
    write_prepared(engine, *WRITES)
    run(engine, "INSERT INTO orders VALUES (9)")
    with Consumer(engine, "billing", Order) as consumer:
        batches = iter(consumer)
        with next(batches) as session:
            assert session is not None
            first = rows(engine, "SELECT count(*) FROM pg_prepared_xacts")
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("COMMIT PREPARED 'two'")
        batch = next(batches)
        with batch:
            assert gist(list(batch)) == ALL_TOLD
    assert first == [(1,)]


@pytest.mark.parametrize("off", [True, False])
def test_two_phase_commit_while_a_reader_sleeps(prepared, off):
    """While a reader sleeps, PREPARE works in a session that has turned the doorbell off; the
    change is found at the heartbeat."""
    engine, Order = prepared
    with Listener(engine, Order, heartbeat=0.3) as listener:
        sleepers(engine)
        if not off:
            with pytest.raises(
                psycopg2.Error,
                match="cannot PREPARE a transaction that has executed LISTEN, UNLISTEN, or NOTIFY",
            ):
                write_prepared(engine, WRITES[0])
            return
        write_prepared(engine, "SET sa_pgnotify.doorbell = 'off'", WRITES[0])
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("COMMIT PREPARED 'two'")
        assert gist(take(listener, 1)) == [(Inserted, (1,))]
