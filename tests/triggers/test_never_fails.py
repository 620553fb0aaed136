"""No write fails because its table is marked, whichever role writes and with whatever settings.

The write goes on, and listeners get a Gap for what they missed.
"""

from __future__ import annotations

import pytest
from hierarchies import family
from receiving import received, take, until_end
from sqlalchemy import (
    func,
    text,
)
from statements import rows, run
from writes import WRITES, orders, orders_left, reasons

from sa_pgnotify import Gap, Inserted, Listener, NotifySpec, Updated, change_context


@pytest.mark.usefixtures("for_each")
@pytest.mark.parametrize(
    "when", [None, lambda old, new: func.coalesce(new.amount, old.amount, 0) >= 0]
)
def test_writer_with_no_right_but_to_write(engine, stranger, when):
    """A role that may only INSERT can write, and its changes are published, with a condition
    too."""
    Order = orders(engine, NotifySpec(values="all", when=when))
    run(
        engine,
        f"GRANT INSERT ON orders TO {stranger}",
        "REVOKE ALL ON FUNCTION sa_pgnotify_orders FROM PUBLIC",
    )
    events = received(engine, Order, f"SET LOCAL ROLE {stranger}", WRITES[0])
    assert reasons(events) == [Inserted]
    run(engine, f"GRANT UPDATE, DELETE, SELECT ON orders TO {stranger}")
    events = received(engine, Order, f"SET LOCAL ROLE {stranger}", *WRITES[1:])
    assert [event.identity for event in events] == [(1,), (1,)]


@pytest.mark.usefixtures("for_each")
@pytest.mark.sample(2)
@pytest.mark.parametrize("below", ["joined", "single"])
@pytest.mark.parametrize("restricted", [False, True], ids=["owner", "stranger"])
def test_writer_of_a_child_that_may_not_read_the_parent(engine, stranger, below, restricted):
    """A role with rights on a child's table alone can write there, and the change is published as
    its class, or a Gap in its place."""
    Base, _, _, Grandchild = family(three_tables=below == "joined")
    Base.metadata.create_all(engine)
    run(
        engine,
        "INSERT INTO parent VALUES (1, 'grandchild')",
        "INSERT INTO child VALUES (1)",
        f"GRANT UPDATE, SELECT ON child TO {stranger}",
    )
    (event,) = received(
        engine,
        Base,
        f"SET LOCAL ROLE {stranger if restricted else 'NONE'}",
        "UPDATE child SET name = 'a'",
    )
    assert rows(engine, "SELECT name FROM child") == [("a",)]
    assert (restricted and isinstance(event, Gap)) or (event.entity, event.changed) == (
        Grandchild,
        {"name"},
    )


@pytest.mark.usefixtures("for_each")
def test_writer_that_may_not_notify(engine, stranger):
    """If an administrator has revoked NOTIFY's function from everybody, writes succeed, though
    nothing can be published."""
    Order = orders(engine)
    run(
        engine,
        f"GRANT ALL ON orders TO {stranger}",
        "REVOKE EXECUTE ON FUNCTION pg_notify(text, text) FROM PUBLIC",
    )
    assert received(engine, Order, f"SET LOCAL ROLE {stranger}", *WRITES[:2]) == []
    assert orders_left(engine) == [(1, "b")]


@pytest.mark.usefixtures("for_each")
def test_writer_that_may_not_look_whether_somebody_listens(engine, stranger):
    """Where an administrator took the advisory locks' functions from everybody, writes go on, and
    the listeners hear of it."""
    Order = orders(engine)
    run(
        engine,
        f"GRANT ALL ON orders TO {stranger}",
        "REVOKE EXECUTE ON FUNCTION pg_try_advisory_lock(int, int) FROM PUBLIC",
    )
    assert reasons(received(engine, Order, f"SET LOCAL ROLE {stranger}", *WRITES[:2]))[:1] == [
        "undecodable"
    ]
    assert orders_left(engine) == [(1, "b")]


@pytest.mark.usefixtures("for_each")
@pytest.mark.sample(2)
@pytest.mark.parametrize(
    "when",
    [None, lambda old, new: func.coalesce(new.amount, old.amount) + 1 > 0],
    ids=["plain", "when"],
)
def test_operators_and_functions_that_shadow(engine, when):
    """Functions, operators and tables that a writer's search_path puts in front change no event and
    cause no error."""
    Order = orders(engine, NotifySpec(values="all", when=when))
    traps = ["CREATE SCHEMA traps"]
    for name, types, result in (
        ("concat", "VARIADIC text[]", "text"), ("replace", "text, text, text", "text"), ("string_agg", "text, text", "text"),
        ("pg_notify", "text, text", "void"), ("current_setting", "text, boolean", "text"), ("octet_length", "text", "int"),
    ):  # fmt: skip
        traps.append(
            f"CREATE FUNCTION traps.{name}({types}) RETURNS {result} LANGUAGE plpgsql AS 'BEGIN RAISE ''trap''; END'"
        )
    for operator, left, right, result in (
        ("+", "int", "int", "int"), ("&", "bigint", "int", "bigint"),
        ("<>", "bigint", "int", "boolean"), ("*<>", "record", "record", "boolean"),
        ("||", "text", "text", "text"), ("=", "text", "text", "boolean"), ("<=", "int", "int", "boolean"), (">", "int", "int", "boolean"),
    ):  # fmt: skip
        name = "trap_" + "".join(str(ord(c)) for c in operator) + left
        traps.append(
            f"CREATE FUNCTION traps.{name}({left}, {right}) RETURNS {result} LANGUAGE plpgsql AS 'BEGIN RAISE ''trap''; END'"
        )
        traps.append(
            f"CREATE OPERATOR traps.{operator} (FUNCTION = traps.{name}, LEFTARG = {left}, RIGHTARG = {right})"
        )
    traps += [
        "CREATE TABLE traps.sa_new_rows (id int)",
        "CREATE TABLE traps.sa_old_rows (id int)",
        "CREATE TYPE traps.text AS ENUM ('trap')",
    ]
    run(engine, *traps)
    odd = "SET LOCAL search_path = traps, pg_catalog, public"
    events = received(engine, Order, odd, *WRITES)
    assert [dict(getattr(event, "new", None) or event.old) for event in events] == [
        {"id": 1, "status": status, "amount": 1} for status in "abb"
    ]


SETTINGS = [
    "SET standard_conforming_strings = off", "SET client_encoding = LATIN1", "SET escape_string_warning = on", "SET lc_messages = 'C'",
    "SET search_path = ''", "SET search_path = pg_temp",
    "SET bytea_output = escape", "SET row_security = off", "SET enable_mergejoin = off",
    "SET enable_hashjoin = off", "SET work_mem = '64kB'",
    "SET plan_cache_mode = force_generic_plan", "SET jit = on", "SET jit_above_cost = 0",
    "SET transform_null_equals = on", "SET quote_all_identifiers = on", "SET plpgsql.variable_conflict = error",
    "SET plpgsql.extra_errors = 'all'", "SET backslash_quote = off", "SET default_transaction_isolation = 'serializable'",
    "SET sa_pgnotify.context = 'no json'", "SET exit_on_error = off", "SET temp_buffers = 100",
]  # fmt: skip


@pytest.mark.sample(2)
@pytest.mark.parametrize("setting", SETTINGS)
def test_settings_of_the_writer(engine, setting):
    """No setting of the writer's session makes a write fail or changes what is published."""
    Order = orders(engine)
    statements = [
        s.replace("orders", "public.orders")
        for s in (*WRITES[:1], r"UPDATE orders SET status = E'\\ \u00e9'", WRITES[2])
    ]
    events = received(engine, Order, setting, *statements)
    assert [event.identity for event in events] == [(1,)] * 3
    assert events[1].new == {"id": 1, "status": r"\ é", "amount": 1}


@pytest.mark.sample(2)
@pytest.mark.parametrize("name", ["sa_pgnotify.sequence", "sa_pgnotify.context"])
@pytest.mark.parametrize("local", ["true", "false"])
@pytest.mark.parametrize(
    "value",
    [
        "",
        "garbage",
        "-1",
        "2147483647",
        "99999999999999",
        "1; DROP TABLE orders",
        "\x1b\x1e\x1f",
        "{" * 90_000,
    ],
)
def test_our_own_variables_set_by_hand(engine, name, value, local):
    """Whatever a writer puts into the variables that the trigger reads, its writes succeed, and
    each is published or a Gap is."""
    Order = orders(engine)
    with Listener(engine, Order, "end_of_test") as listener:
        with engine.begin() as connection:
            connection.execute(
                text(f"SELECT set_config('{name}', :value, {local})"), {"value": value}
            )
            for statement in WRITES[:2]:
                connection.exec_driver_sql(statement)
        events = until_end(engine, listener)
        assert orders_left(engine) == [(1, "b")]
        assert events
        if name == "sa_pgnotify.context":
            assert reasons(events) == [Inserted, Updated]
            assert {tuple(event.context.items()) for event in events} == {()}
        run(engine, "DELETE FROM orders")
        assert take(listener, 1)[0].identity == (1,)


def test_a_large_context(engine):
    """A context of many times a notification's size travels whole with each change."""
    Order = orders(engine)
    context = {"note": "é\x1b\x1e\x1f" * 100_000}
    with Listener(engine, Order) as listener:
        with engine.begin() as connection, change_context(connection, context):
            for statement in WRITES:
                connection.exec_driver_sql(statement)
        assert [event.context for event in take(listener, 3)] == [context] * 3
