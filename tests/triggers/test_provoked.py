"""Errors that can be provoked inside of the trigger functions: the write goes on, and a Gap says
that something is missing."""

from __future__ import annotations

import re

import psycopg2
import pytest
import sqlalchemy as sa
from hierarchies import family
from logs import end_of_log, until_end_of_log
from orders import order_class
from receiving import received, take, until_end
from sampling import part
from servers import Server, data_folder
from sqlalchemy import NullPool, create_engine
from sqlalchemy.exc import DBAPIError
from statements import rows, run
from waiting import wait_until

from sa_pgnotify import (
    Gap,
    Listener,
    Notification,
    NotifySpec,
    Updated,
    notify_on_change,
)


def functions(engine: sa.Engine) -> list[str]:
    """The functions of pg_catalog that the installed trigger function calls, with their arguments,
    by name."""
    (body,) = rows(engine, "SELECT prosrc FROM pg_proc WHERE proname = 'sa_pgnotify_orders'")[0]
    names = sorted(set(re.findall(r"pg_catalog\.(\w+)\(", body)))
    return [name for name in names if name not in ("pg_notify", "nextval")]


@pytest.mark.sample(2)
@pytest.mark.parametrize("durable", [False, True], ids=["ephemeral", "durable"])
def test_functions_that_may_not_be_called(engine, stranger, durable):
    """Whichever function of pg_catalog an administrator takes from everybody, writes go on, and
    listeners get the event or a Gap. (All but pg_notify and nextval, without which nobody can be
    informed, and nothing be numbered or counted.)"""
    Order = order_class(engine, NotifySpec(values="all", durable=durable))
    run(engine, f"GRANT ALL ON orders TO {stranger}")
    if durable:
        run(
            engine,
            f"GRANT INSERT ON sa_pgnotify_log_0, sa_pgnotify_log_1, sa_pgnotify_log_2, sa_pgnotify_log_3 TO {stranger}",
            f"GRANT USAGE ON SEQUENCE sa_pgnotify_log_id_seq, sa_pgnotify_log_lost_seq TO {stranger}",
            f"GRANT CREATE ON SCHEMA public TO {stranger}",
            f"ALTER FUNCTION sa_pgnotify_orders() OWNER TO {stranger}",
        )
    silent, lost = [], "SELECT is_called, last_value FROM sa_pgnotify_log_lost_seq"
    taken = part(functions(engine), 2)
    for number, name in enumerate(taken):
        overloads = [f for (f,) in rows(engine, f"SELECT oid::regprocedure::text FROM pg_proc WHERE proname = '{name}' AND prokind IN ('f', 'a') "
                                                "AND pronamespace = 'pg_catalog'::regnamespace")]  # fmt: skip
        before = rows(engine, lost) if durable else []
        with end_of_log(engine) as end, Listener(engine, Order, "end_of_test", end) as listener:
            run(engine, *(f"REVOKE EXECUTE ON ROUTINE {f} FROM PUBLIC" for f in overloads))
            run(engine, f"SET LOCAL ROLE {stranger}", f"INSERT INTO orders VALUES ({number}, 'a')")
            run(engine, *(f"GRANT EXECUTE ON ROUTINE {f} TO PUBLIC" for f in overloads))
            events = (
                until_end_of_log(engine, listener, end) if durable else until_end(engine, listener)
            )
        if not events and (not durable or rows(engine, lost) == before):
            silent.append(name)
    if durable:
        run(engine, "ALTER FUNCTION sa_pgnotify_orders() OWNER TO CURRENT_USER")
    assert rows(engine, "SELECT count(*) FROM orders") == [(len(taken),)]
    assert silent == []


@pytest.mark.parametrize("durable", [False, True], ids=["ephemeral", "durable"])
def test_a_warning_that_the_clients_encoding_cannot_hold(engine, url, durable):
    """A trigger that fails with a text that has no equivalent in the client's encoding does not
    make the write fail."""
    Order = order_class(engine, NotifySpec(values="all", durable=durable))
    run(engine, 'ALTER TABLE orders RENAME COLUMN status TO "цена"')
    writer = psycopg2.connect(
        url.set(drivername="postgresql").render_as_string(hide_password=False)
    )
    with (
        end_of_log(engine) as end,
        Listener(engine, Order, "end_of_test", end) as listener,
        writer,
        writer.cursor() as cursor,
    ):
        writer.set_client_encoding("LATIN1")
        cursor.execute("SET client_min_messages = debug1")
        cursor.execute("SET plpgsql.print_strict_params = on")
        cursor.execute("INSERT INTO orders VALUES (1)")
        writer.commit()
        events = until_end_of_log(engine, listener, end) if durable else until_end(engine, listener)
    writer.close()
    assert rows(engine, "SELECT id FROM orders") == [(1,)]
    assert [event.reason for event in events if isinstance(event, Gap)] == ["undecodable"]


def test_two_failures_of_one_transaction_are_two_gaps(engine):
    """PostgreSQL does not collapse the notifications of identical failures into one, and each is
    counted."""
    Order = order_class(
        engine, NotifySpec(values="all", when=lambda old, new: sa.cast(new.status, sa.Integer) > 0)
    )
    with Listener(engine, Order, "public.orders") as listener:
        run(engine, "INSERT INTO orders VALUES (1, 'a')", "INSERT INTO orders VALUES (2, 'a')")
        failed = [event for event in take(listener, 3) if isinstance(event, Notification)]
    assert len({event.payload for event in failed}) == 2


@pytest.mark.sample(20)
@pytest.mark.parametrize(
    "name",
    [
        "r",
        "new_row",
        "old_row",
        "position",
        "whole",
        "pairs",
        "rows",
        "message",
        "sa",
        "mask0",
        "new0",
        "xid",
        "place",
    ],
)
@pytest.mark.parametrize("durable", [False, True], ids=["ephemeral", "durable"])
@pytest.mark.parametrize("others", [2, 800], ids=["narrow", "wide"])
def test_columns_named_like_ours(engine, name, durable, others):
    """A column may have any name that the function's SQL uses."""
    metadata = sa.MetaData()
    table = sa.Table(
        "orders", metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column(name, sa.Integer),
        *(sa.Column(f"c{i}", sa.Integer) for i in range(others)),
    )  # fmt: skip
    notify_on_change(table, NotifySpec(values="all", durable=durable))
    metadata.create_all(engine)
    with end_of_log(engine) as end, Listener(engine, table, "end_of_test", end) as listener:
        run(
            engine,
            f'INSERT INTO orders (id, "{name}") VALUES (1, 1), (2, 2)',
            f'UPDATE orders SET "{name}" = 7',
            "DELETE FROM orders WHERE id = 1",
        )
        events = until_end_of_log(engine, listener, end) if durable else until_end(engine, listener)
    assert [event.identity for event in events] == [(1,), (2,), (1,), (2,), (1,)]
    assert [event.new[name] for event in events[:4]] == [1, 2, 7, 7]
    assert [event.old[name] for event in events[2:]] == [1, 2, 7]


@pytest.mark.parametrize("durable", [False, True], ids=["ephemeral", "durable"])
@pytest.mark.parametrize("policy", [False, True], ids=["no right", "row-level security"])
def test_the_class_is_looked_up_with_the_owners_rights(engine, stranger, durable, policy):
    """A role that writes to a child's table, and does not see the root's rows, has its changes
    reported with their class."""
    Base, _, _, Grandchild = family(NotifySpec(durable=durable))
    Base.metadata.create_all(engine)
    run(
        engine,
        "INSERT INTO parent VALUES (1, 'grandchild')",
        "INSERT INTO child VALUES (1)",
        f"GRANT ALL ON child TO {stranger}",
    )
    if policy:
        run(
            engine,
            f"GRANT SELECT ON parent TO {stranger}",
            "ALTER TABLE parent ENABLE ROW LEVEL SECURITY",
        )
    with end_of_log(engine) as end, Listener(engine, Base, "end_of_test", end) as listener:
        run(engine, f"SET LOCAL ROLE {stranger}", "UPDATE child SET name = 'a'")
        events = until_end_of_log(engine, listener, end) if durable else until_end(engine, listener)
    assert [(type(event), event.entity, event.identity) for event in events] == [
        (Updated, Grandchild, (1,))
    ]


@pytest.fixture
def crowded(request):
    """A server with a lock table for few locks, which any role can fill."""
    locks, sessions = getattr(request, "param", (10, 15))
    with data_folder() as data, Server(data) as server:
        server.hurry()
        for name, value in {
            "max_locks_per_transaction": locks,
            "max_connections": sessions,
            "autovacuum": "off",
        }.items():
            with server.engine.connect() as connection:
                connection.exec_driver_sql(f"ALTER SYSTEM SET {name} TO {value}")
        server.down("fast")
        server.up()
        yield create_engine(server.url, poolclass=NullPool)


def fill_lock_table(connection: sa.Connection) -> None:
    """Take advisory locks until the server has no room for one more."""
    key = 10**9
    for step in (1000, 100, 10, 1):
        try:
            while True:
                connection.exec_driver_sql(
                    f"SELECT count(pg_advisory_lock({key} + i)) FROM generate_series(1, {step}) AS i"
                )
                key += step
        except DBAPIError:
            key += step


def give_back(connection: sa.Connection, count: int) -> None:
    """Release some of the locks of :func:`fill_lock_table`."""
    connection.exec_driver_sql(
        "SELECT pg_advisory_unlock(classid::bigint << 32 | objid::bigint) FROM "
        "(SELECT classid, objid FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() "
        f"AND objsubid = 1 LIMIT {count}) AS l"
    )


def is_gone(engine: sa.Engine, pid: int) -> bool:
    try:
        return not rows(engine, f"SELECT FROM pg_stat_activity WHERE pid = {pid}")
    except DBAPIError:  # there is no room for a new session either
        return False


@pytest.mark.sample(2)
@pytest.mark.parametrize("durable", [False, True], ids=["ephemeral", "durable"])
@pytest.mark.parametrize("listening", [False, True], ids=["unheard", "heard"])
def test_a_full_lock_table(crowded, durable, listening):
    """While the server's lock table is full, statements and COMMIT succeed as they do on a table
    that is not marked. What a durable table could not log is counted, so that its readers report
    it; of an ephemeral one's changes only the server's log knows."""
    Order = order_class(crowded, NotifySpec(values="all", durable=durable))
    listener = Listener(crowded, Order).start() if listening else None
    try:
        with crowded.connect() as writer:
            writer.exec_driver_sql("INSERT INTO orders VALUES (1)")
            attacker = crowded.execution_options(isolation_level="AUTOCOMMIT").connect()
            fill_lock_table(attacker)
            for number in (2, 3, 4):
                writer.exec_driver_sql(f"INSERT INTO orders VALUES ({number})")
            # otherwise the first row makes the COMMIT notify, for which PostgreSQL itself needs a
            # lock
            if not listening:
                writer.commit()
            pid = attacker.exec_driver_sql("SELECT pg_backend_pid()").scalar()
            attacker.invalidate()
            attacker.close()
            wait_until(lambda: is_gone(crowded, pid))
            if listening:
                writer.commit()
        assert rows(crowded, "SELECT count(*) FROM orders") == [(4,)]
        if durable:
            slots = " UNION ALL ".join(f"SELECT * FROM sa_pgnotify_log_{slot}" for slot in range(4))
            ((logged,),) = rows(crowded, f"SELECT count(*) FROM ({slots}) AS log")
            ((value, called),) = rows(
                crowded, "SELECT last_value, is_called FROM sa_pgnotify_log_lost_seq"
            )
            assert logged + (value if called else 0) >= 4
    finally:
        if listener is not None:
            listener.stop()


# a server on which the table of the locks is full before that of their holders
@pytest.mark.parametrize("crowded", [(20, 20)], indirect=True, ids=["20"])
@pytest.mark.parametrize("durable", [False, True], ids=["ephemeral", "durable"])
def test_a_lock_table_with_little_room(crowded, durable):
    """However few locks the server still has room for, a transaction that writes to a table with a
    listener is committed if it is committed for a table that is not marked: a notification, which
    needs a lock at COMMIT, is sent only if there is room for that."""
    Order = order_class(crowded, NotifySpec(durable=durable))
    run(crowded, "CREATE TABLE plain (id int PRIMARY KEY)", "INSERT INTO orders VALUES (0)")
    autocommit = crowded.execution_options(isolation_level="AUTOCOMMIT")
    with (
        Listener(crowded, Order, heartbeat=60) as listener,
        autocommit.connect() as attacker,
        autocommit.connect() as writer,
    ):
        for table in ("orders", "plain"):  # what a session locks once, it has in its caches then
            writer.exec_driver_sql(f"INSERT INTO {table} VALUES (1)")
        assert listener.get(10)
        fill_lock_table(attacker)
        done: dict[str, list[int]] = {"orders": [], "plain": []}
        for number in range(2, 10):
            for table, numbers in done.items():
                try:
                    writer.exec_driver_sql(f"INSERT INTO {table} VALUES ({number})")
                    numbers.append(number)
                except DBAPIError as error:
                    assert "out of shared memory" in str(error)
            give_back(attacker, 1)
        assert 9 in done["plain"]
        assert {*done["plain"]} <= {*done["orders"]}


def test_a_condition_whose_assertion_fails(engine):
    """A failed ASSERT within a function of a condition, which OTHERS does not catch, is a Gap, and
    the write succeeds."""
    run(
        engine,
        "CREATE FUNCTION wanted(int) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN ASSERT $1 > 0; RETURN true; END'",
    )
    Order = order_class(engine, NotifySpec(when=lambda old, new: sa.func.wanted(new.id)))
    (gap,) = received(engine, Order, "INSERT INTO orders VALUES (-1)")
    assert isinstance(gap, Gap)
    assert "P0004" in gap.detail
    assert rows(engine, "SELECT id FROM orders") == [(-1,)]
