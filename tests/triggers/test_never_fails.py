"""No write fails because its table is marked: whatever is wrong, the write goes on, and the
listeners hear that they missed something."""

from __future__ import annotations

import uuid
from decimal import Decimal
from typing import Any

import psycopg2
import pytest
from receiving import received, take, until_end
from sqlalchemy import (
    Engine,
    ForeignKey,
    NullPool,
    Numeric,
    String,
    Text,
    case,
    cast,
    create_engine,
    func,
    literal,
    literal_column,
    text,
)
from sqlalchemy import Integer as SQLInteger
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from statements import run

from sa_pgnotify import Gap, Inserted, Listener, NotifyOnChange, NotifySpec, Updated, change_context

ALL = NotifySpec(values="all")


def orders(engine: Engine, spec: NotifySpec = ALL) -> Any:
    """A marked class ``Order`` on a new table ``orders``."""

    class Base(DeclarativeBase):
        pass

    class Order(NotifyOnChange, Base):
        __tablename__ = "orders"
        __notify__ = spec
        id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
        status: Mapped[str | None] = mapped_column(Text)
        amount: Mapped[int | None]

    Base.metadata.create_all(engine)
    return Order


def rows(
    engine: Engine, select: str = "SELECT id, status FROM orders ORDER BY id"
) -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(select))]


def reasons(events: list[Any]) -> list[Any]:
    """The reason of each gap, the kind of each other event."""
    return [event.reason if isinstance(event, Gap) else type(event) for event in events]


WRITES = [
    "INSERT INTO orders VALUES (1, 'a', 1)",
    "UPDATE orders SET status = 'b'",
    "DELETE FROM orders",
]


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
    "when", [None, lambda old, new: func.coalesce(new.amount, old.amount, 0) >= 0]
)
def test_writer_with_no_right_but_to_write(engine, stranger, when):
    """A role that may INSERT and nothing else writes, and its changes are told, with a condition
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


@pytest.mark.parametrize("below", ["joined", "single"])
@pytest.mark.parametrize("restricted", [False, True], ids=["owner", "stranger"])
def test_writer_of_a_child_who_may_not_read_the_parent(engine, stranger, below, restricted):
    """A role with rights on a child's table alone writes there, and the change is told with its
    class, or a Gap in its place."""

    class Base(DeclarativeBase):
        pass

    class Parent(NotifyOnChange, Base):
        __tablename__ = "parent"
        __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "parent"}
        id: Mapped[int] = mapped_column(primary_key=True)
        kind: Mapped[str]

    class Child(Parent):
        __tablename__ = "child"
        __mapper_args__ = {"polymorphic_identity": "child"}
        id: Mapped[int] = mapped_column(ForeignKey("parent.id"), primary_key=True)
        name: Mapped[str | None]

    body: dict[str, Any] = {"__mapper_args__": {"polymorphic_identity": "grandchild"}}
    if below == "joined":
        body |= {
            "__tablename__": "grandchild",
            "id": mapped_column(ForeignKey("child.id"), primary_key=True),
        }
    Grandchild = type("Grandchild", (Child,), body)
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


def test_writer_who_may_not_notify(engine, stranger):
    """Where an administrator took NOTIFY's function from everybody, writes go on, though nothing
    can be told."""
    Order = orders(engine)
    run(
        engine,
        f"GRANT ALL ON orders TO {stranger}",
        "REVOKE EXECUTE ON FUNCTION pg_notify(text, text) FROM PUBLIC",
    )
    assert received(engine, Order, f"SET LOCAL ROLE {stranger}", *WRITES[:2]) == []
    assert rows(engine) == [(1, "b")]


def test_writer_who_may_not_look_whether_somebody_listens(engine, stranger):
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
    assert rows(engine) == [(1, "b")]


@pytest.mark.parametrize(
    "when",
    [None, lambda old, new: func.coalesce(new.amount, old.amount) + 1 > 0],
    ids=["plain", "when"],
)
def test_operators_and_functions_that_shadow(engine, when):
    """A writer whose search_path puts functions, operators and tables of his own in front changes
    no event and meets no error."""
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


@pytest.mark.parametrize("setting", SETTINGS)
def test_settings_of_the_writer(engine, setting):
    """No setting of the writer's session makes a write fail or changes what is told."""
    Order = orders(engine)
    statements = [
        s.replace("orders", "public.orders")
        for s in (*WRITES[:1], r"UPDATE orders SET status = E'\\ \u00e9'", WRITES[2])
    ]
    events = received(engine, Order, setting, *statements)
    assert [event.identity for event in events] == [(1,)] * 3
    assert events[1].new == {"id": 1, "status": r"\ é", "amount": 1}


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
    """Whatever a writer puts into the variables that the trigger reads, his writes succeed, and
    each is told or a Gap is."""
    Order = orders(engine)
    with Listener(engine, Order, "end_of_test") as listener:
        with engine.begin() as connection:
            connection.execute(
                text(f"SELECT set_config('{name}', :value, {local})"), {"value": value}
            )
            for statement in WRITES[:2]:
                connection.exec_driver_sql(statement)
        events = until_end(engine, listener)
        assert rows(engine) == [(1, "b")]
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


# -- what is written -------------------------------------------------------------------------------


def test_a_statement_of_more_than_a_gigabyte(engine):
    """A statement whose rows cannot be put into one text value of PostgreSQL's succeeds; the
    listener is told a Gap or all rows."""

    class Base(DeclarativeBase):
        pass

    class Star(NotifyOnChange, Base):
        __tablename__ = "stars"
        __notify__ = ALL
        id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
        # small to store, and 130,000 characters to write
        atoms: Mapped[Decimal | None] = mapped_column(Numeric)

    Base.metadata.create_all(engine)
    with Listener(engine, Star, "end_of_test") as listener:
        run(engine, "INSERT INTO stars SELECT g, 1e130000 FROM generate_series(1, 8500) AS g")
        events = until_end(engine, listener)
        assert rows(engine, "SELECT count(*) FROM stars") == [(8500,)]
        assert reasons(events) == ["undecodable"] or [event.identity for event in events] == [
            (i,) for i in range(1, 8501)
        ]
        run(engine, "INSERT INTO stars VALUES (0)")
        assert take(listener, 1)[0].identity == (0,)


CONDITIONS = {
    "division by zero": lambda old, new: 1 / (new.amount - 1) > 0,
    "bad cast": lambda old, new: cast(new.status, SQLInteger) > 0,
    "no such function": lambda old, new: func.no_such_function(new.amount) > 0,
    "two rows": lambda old, new: literal_column("(SELECT g FROM generate_series(1, 2) g)") == 1,
    "only some rows": lambda old, new: case((new.amount == 1, 1 / (new.amount - 1)), else_=1) == 1,
}


@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_condition_that_fails(engine, condition):
    """A `when` that the database cannot evaluate lets the write through and tells a Gap in the
    place of its changes."""
    Order = orders(engine, NotifySpec(when=CONDITIONS[condition]))
    events = received(engine, Order, *WRITES[:2])
    assert rows(engine) == [(1, "b")]
    assert set(reasons(events)) == {"undecodable"}
    assert all(event.detail for event in events)


CHANGES = {
    "dropped": "ALTER TABLE orders DROP COLUMN status",
    "renamed": "ALTER TABLE orders RENAME COLUMN amount TO sum",
    "key renamed": "ALTER TABLE orders RENAME COLUMN id TO number",
    "retyped": "ALTER TABLE orders ALTER amount TYPE text USING 'no number'",
    "retyped to json": "ALTER TABLE orders ALTER status TYPE json USING to_json(status)",
    "retyped to bytes": "ALTER TABLE orders ALTER status TYPE bytea USING status::bytea",
    "added": "ALTER TABLE orders ADD more json DEFAULT '{}'",
    "key dropped": "ALTER TABLE orders DROP COLUMN id",
    "table renamed": "ALTER TABLE orders RENAME TO sales; CREATE VIEW orders AS SELECT * FROM sales",
    "table moved": "CREATE SCHEMA away; ALTER TABLE orders SET SCHEMA away; CREATE VIEW orders AS SELECT * FROM away.orders",
    "turned": "ALTER TABLE orders DROP COLUMN status, DROP COLUMN amount, ADD amount int DEFAULT 1, ADD status text DEFAULT 'a'",
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("spec", [NotifySpec(), ALL], ids=["identity", "all"])
@pytest.mark.parametrize("same_session", [True, False], ids=["one session", "sessions"])
def test_columns_changed_by_hand(engine, change, spec, same_session):
    """After somebody altered the table behind our back, writes succeed; each change is told
    rightly, or a Gap is."""
    Order = orders(engine, spec)
    run(engine, "INSERT INTO orders VALUES (1, 'a', 1), (2, 'a', 2)")
    with Listener(engine, Order, "end_of_test") as listener:
        # so that plans are cached
        before = [WRITES[1].replace("'b'", "'c' WHERE id = 2")] if same_session else []
        run(engine, *before, CHANGES[change])
        with engine.connect() as connection:
            columns = set(connection.exec_driver_sql("SELECT * FROM orders LIMIT 0").keys())
        column = next(c for c in ("amount", "sum", "status") if c in columns)
        run(engine, f"UPDATE orders SET {column} = NULL", "DELETE FROM orders")
        events = until_end(engine, listener)
        assert rows(engine, "SELECT count(*) FROM orders") == [(0,)]
    # told under the new name, to whoever listens to that
    if change not in ("table renamed", "table moved"):
        assert events
    for event in events:
        assert isinstance(event, Gap) or event.identity in {(1,), (2,)}


def test_a_row_over_the_limit_of_a_notification(engine):
    """A key, a condition's text and values over 8,000 bytes do not stop a write."""

    class Base(DeclarativeBase):
        pass

    class Word(NotifyOnChange, Base):
        __tablename__ = "words"
        __notify__ = NotifySpec(
            values="all",
            when=lambda old, new: func.coalesce(new.word, old.word) != literal("x" * 9000),
        )
        id: Mapped[int] = mapped_column(primary_key=True)
        word: Mapped[str] = mapped_column(String, primary_key=True)

    Base.metadata.create_all(engine)
    run(engine, "ALTER TABLE words DROP CONSTRAINT words_pkey")  # an index could not take it
    events = received(
        engine,
        Word,
        "INSERT INTO words VALUES (1, repeat('é', 100000)), (1, repeat('x', 9000))",
        "DELETE FROM words",
    )
    assert [event.identity for event in events] == [(1, "é" * 100_000)] * 2


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


@pytest.mark.parametrize("encoded", ["LATIN1", "SQL_ASCII", "EUC_JP", "WIN1252"], indirect=True)
@pytest.mark.parametrize("length", [1, 5000])
def test_databases_of_other_encodings(encoded, length):
    """In a database of another encoding, what a client reads as Unicode comes as the same Unicode,
    in one notification or several."""
    Order = orders(encoded)
    letter = {"EUC_JP": "猫"}.get(
        encoded.connect().exec_driver_sql("SHOW server_encoding").scalar(), "é"
    )
    events = received(
        encoded,
        Order,
        f"INSERT INTO orders VALUES (1, repeat('{letter}', {length}))",
        "DELETE FROM orders",
    )
    assert events[0].new["status"] == letter * length
    assert events[1].old["status"] == letter * length


@pytest.mark.parametrize("encoded", ["SQL_ASCII"], indirect=True)
@pytest.mark.parametrize("length", [1, 9000])
def test_bytes_that_are_no_text(encoded, length):
    """A database without an encoding holds bytes that are no UTF-8: the write succeeds, and the
    change is told or a Gap is."""
    Order = orders(encoded)
    with Listener(encoded, Order) as listener:
        run(
            encoded,
            "SET client_encoding = SQL_ASCII",
            f"INSERT INTO orders VALUES (1, repeat(E'\\xff\\xe9', {length}))",
        )
        (event,) = take(listener, 1)
        assert isinstance(event, Gap) or event.identity == (1,)
        run(encoded, "INSERT INTO orders VALUES (2, 'plain')")
        assert take(listener, 1)[0].identity == (2,)
    assert rows(encoded, "SELECT count(*) FROM orders") == [(2,)]


@pytest.mark.parametrize(
    "column", [String(collation="loose"), String(50, collation="loose")], ids=["text", "varchar"]
)
def test_collations_that_take_different_texts_for_equal(engine, column):
    """Under a collation that ignores case, changes of case are changes, and texts are written as
    they are."""
    try:
        run(
            engine,
            "CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level1', deterministic = false)",
        )
    except DBAPIError:
        pytest.skip("this server was built without ICU")

    class Base(DeclarativeBase):
        pass

    class Word(NotifyOnChange, Base):
        __tablename__ = "words"
        __notify__ = ALL
        id: Mapped[int] = mapped_column(primary_key=True)
        word: Mapped[str | None] = mapped_column(column)

    Base.metadata.create_all(engine)
    inserted, updated, emptied = received(
        engine,
        Word,
        "INSERT INTO words VALUES (1, E'a\\x1f\\x1b')",
        "UPDATE words SET word = 'A'",
        "UPDATE words SET word = E'\\x1f'",
    )
    assert (inserted.new["word"], updated.new["word"], emptied.new["word"]) == (
        "a\x1f\x1b",
        "A",
        "\x1f",
    )


def test_deferred_constraints_and_a_serializable_writer(engine):
    """Deferred triggers that write at COMMIT are told too, and serializable transactions go on."""
    Order = orders(engine)
    run(
        engine,
        "CREATE FUNCTION follow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " UPDATE orders SET amount = 99 WHERE id = NEW.id; RETURN NULL; END $$",
        "CREATE CONSTRAINT TRIGGER follow AFTER INSERT ON orders DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION follow()",
    )
    events = received(
        engine, Order, "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", WRITES[0], WRITES[1]
    )
    assert [(type(e), e.new["amount"]) for e in events] == [
        (Inserted, 1),
        (Updated, 1),
        (Updated, 99),
    ]


def test_errors_of_the_users_own_are_not_swallowed(engine):
    """A trigger of the user's own that raises stops the write as before, and nothing is told."""
    Order = orders(engine)
    run(
        engine,
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'refused by hand'; END $$",
    )
    for name in ("a_first", "z_last"):
        run(
            engine,
            f"CREATE TRIGGER {name} AFTER INSERT ON orders FOR EACH STATEMENT EXECUTE FUNCTION refuse()",
        )
        with Listener(engine, Order, "end_of_test") as listener:
            with pytest.raises(DBAPIError, match="refused by hand"):
                run(engine, WRITES[0])
            assert until_end(engine, listener) == []
        run(engine, f"DROP TRIGGER {name} ON orders")


def test_replicas_are_not_told(engine):
    """What a session writes as a replica (session_replication_role, logical replication) fires no
    trigger and is not told."""
    Order = orders(engine)
    assert received(engine, Order, "SET LOCAL session_replication_role = replica", *WRITES) == []


def test_the_servers_log_has_a_warning_of_a_failure(engine, url):
    """When the trigger fails, a warning names the table and says that the write is not affected. It
    goes to the server's log; here the function lets the client have it as well."""
    orders(engine, NotifySpec(when=CONDITIONS["division by zero"]))
    run(engine, "ALTER FUNCTION sa_pgnotify_orders() RESET client_min_messages")
    connection = psycopg2.connect(
        url.set(drivername="postgresql").render_as_string(hide_password=False)
    )
    with Listener(engine, "public.orders"), connection, connection.cursor() as cursor:
        cursor.execute(WRITES[0])
    assert "could not send a change of public.orders" in "".join(connection.notices)
    assert "Your write is not affected" in "".join(connection.notices)
    connection.close()
