"""No write fails because its changes go into the log, whichever role writes, and whatever state the
log is in."""

from __future__ import annotations

import threading

import psycopg2
import pytest
import sqlalchemy as sa
from logs import SLOTS, TABLES, end_of_log, received_from_log, until_end_of_log
from sqlalchemy.exc import DBAPIError
from statements import rows, run
from writes import ALL_EVENTS, LOUD, WRITES, durable_orders, gist

from sa_pgnotify import (
    Listener,
    NotifySpec,
)


@pytest.mark.parametrize(
    "when", [None, lambda old, new: sa.func.coalesce(new.amount, old.amount, 0) >= 0]
)
def test_a_writer_without_a_right_on_the_log(engine, stranger, when):
    """A role that may write to the table and do nothing with the log writes, and can neither read
    the log nor write to it."""
    Order = durable_orders(engine, NotifySpec(values="all", durable=True, when=when))
    run(engine, f"GRANT SELECT, INSERT, UPDATE, DELETE ON orders TO {stranger}")
    assert (
        gist(received_from_log(engine, Order, f"SET LOCAL ROLE {stranger}", *WRITES)) == ALL_EVENTS
    )
    for table in TABLES:
        for statement in (
            f"SELECT * FROM {table}",
            f"DELETE FROM {table}",
            f"INSERT INTO {table} DEFAULT VALUES",
        ):
            with pytest.raises(DBAPIError, match="permission denied"):
                run(engine, f"SET LOCAL ROLE {stranger}", statement)


def test_a_stranger_cannot_forge_changes(engine, stranger):
    """A role that may create triggers on a table of its own cannot make them run the log's
    function, which has its owner's rights."""
    durable_orders(engine)
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
    """Temporary tables, functions and operators of a writer are not used by the function or by a
    condition, whatever their names are."""
    Order = durable_orders(engine, NotifySpec(values="all", durable=True, when=when))
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
        == ALL_EVENTS
    )


def test_the_function_is_what_it_should_be(engine):
    """Every durable function runs with its owner's rights, looks for temporary tables last, and may
    be run by its owner alone."""
    durable_orders(engine)
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


@pytest.mark.sample(2)
@pytest.mark.parametrize("setting", SETTINGS)
def test_settings_of_the_writer(engine, setting):
    """No setting of the writer's session makes a write fail or changes what is logged."""
    Order = durable_orders(engine)
    statements = [
        s.replace("orders", "public.orders")
        for s in (WRITES[0], r"UPDATE orders SET status = E'\\ \u00e9'", WRITES[2])
    ]
    events = received_from_log(engine, Order, setting, *statements)
    assert gist(events) == ALL_EVENTS
    assert events[1].new == {"id": 1, "status": r"\ é", "amount": 1}


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


@pytest.mark.sample(2)
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("same_session", [True, False], ids=["one session", "sessions"])
def test_a_damaged_log(engine, damage, same_session):
    """Whatever state the log is in, writes succeed, and the writer gets a warning."""
    durable_orders(engine)
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
    """If the function's owner has lost its rights on the log, writes succeed."""
    durable_orders(engine)
    run(
        engine,
        f"GRANT ALL ON orders TO {stranger}",
        f"ALTER FUNCTION sa_pgnotify_orders() OWNER TO {stranger}",
        *WRITES[:2],
    )
    assert rows(engine, "SELECT id, status FROM orders") == [(1, "b")]
    run(engine, "ALTER FUNCTION sa_pgnotify_orders() OWNER TO CURRENT_USER")


def test_a_sequence_behind_its_rows(engine):
    """After a restore that lost the sequence's value, concurrent writes take numbers after the
    existing ones, and all changes are delivered."""
    Order = durable_orders(engine)
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
    durable_orders(engine)
    run(
        engine,
        LOUD,
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
    durable_orders(engine)
    with engine.connect() as connection:
        for number in range(200):
            connection.exec_driver_sql(f"INSERT INTO orders VALUES ({number})")
        # one for each id
        held = "SELECT count(*) FROM pg_locks WHERE locktype = 'transactionid' AND pid = pg_backend_pid()"
        assert connection.exec_driver_sql(held).scalar() == 1
        connection.commit()
    assert rows(engine, "SELECT count(*), count(DISTINCT xid) FROM sa_pgnotify_log_0") == [(200, 1)]
