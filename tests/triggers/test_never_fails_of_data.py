"""No write fails because of what it writes, or because of the database that it is written to: sizes,
encodings, collations, altered columns and conditions that cannot be evaluated.
"""

from __future__ import annotations

from decimal import Decimal

import psycopg2
import pytest
from logs import end_of_log, until_end_of_log
from receiving import received, take, until_end
from sqlalchemy import Integer as SQLInteger
from sqlalchemy import (
    Numeric,
    String,
    case,
    cast,
    func,
    literal,
    literal_column,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from statements import rows, run
from writes import ALL, LOUD, WRITES, orders, orders_left, reasons

from sa_pgnotify import Deleted, Gap, Inserted, Listener, NotifyOnChange, NotifySpec, Updated


def test_a_statement_of_more_than_a_gigabyte(engine):
    """A statement whose rows do not fit into one text value of PostgreSQL succeeds, and the
    listener gets all rows or a Gap."""

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


@pytest.mark.usefixtures("for_each")
@pytest.mark.sample(2)
@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_condition_that_fails(engine, condition):
    """If the database cannot evaluate a `when`, the write succeeds, and a Gap comes in the place of
    its changes."""
    Order = orders(engine, NotifySpec(when=CONDITIONS[condition]))
    events = received(engine, Order, *WRITES[:2])
    assert orders_left(engine) == [(1, "b")]
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


@pytest.mark.usefixtures("for_each")
@pytest.mark.sample(2)
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("spec", [NotifySpec(), ALL], ids=["identity", "all"])
@pytest.mark.parametrize("same_session", [True, False], ids=["one session", "sessions"])
def test_columns_changed_by_hand(engine, change, spec, same_session):
    """After the table was altered by hand, writes succeed; each change is published correctly, or a
    Gap is."""
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
    # published under the new name, to its listeners
    if change not in ("table renamed", "table moved"):
        assert events
    for event in events:
        assert isinstance(event, Gap) or event.identity in {(1,), (2,)}


@pytest.mark.parametrize("durable", [False, True], ids=["ephemeral", "durable"])
def test_a_column_retyped_between_two_writes_of_a_session(engine, durable):
    """PL/pgSQL keeps its expressions over OLD and NEW for the types of a session's first call, and
    would fail in all later ones: the trigger has it make new ones, and no change is lost."""
    spec = NotifySpec(values="all", durable=durable, for_each="row")
    Order = orders(engine, spec)
    with engine.connect() as writer, end_of_log(engine) as end:
        with Listener(engine, Order, "end_of_test", end) as listener:
            for step in (
                WRITES[0],
                "ALTER TABLE orders ALTER amount TYPE bigint",
                WRITES[1],
                WRITES[2],
            ):
                writer.exec_driver_sql(step)
                writer.commit()
            events = (
                until_end_of_log(engine, listener, end) if durable else until_end(engine, listener)
            )
    assert [type(event) for event in events if not isinstance(event, Gap)] == [
        Inserted,
        Updated,
        Deleted,
    ]
    assert "undecodable" not in reasons(events)


@pytest.mark.usefixtures("for_each")
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


@pytest.mark.usefixtures("for_each")
@pytest.mark.sample(4)
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


@pytest.mark.usefixtures("for_each")
@pytest.mark.parametrize("encoded", ["SQL_ASCII"], indirect=True)
@pytest.mark.parametrize("length", [1, 9000])
def test_bytes_that_are_no_text(encoded, length):
    """A database without an encoding holds bytes that are not valid UTF-8: the write succeeds, and
    the change is published or a Gap is."""
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


@pytest.mark.usefixtures("for_each")
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
    """Deferred triggers that write at COMMIT are published too, and serializable transactions go
    on."""
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
    """A trigger of the user's own that raises an error stops the write as before, and nothing is
    published."""
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


def test_replicas_publish_nothing(engine):
    """What a session writes as a replica (session_replication_role, logical replication) fires no
    trigger and is not published."""
    Order = orders(engine)
    assert received(engine, Order, "SET LOCAL session_replication_role = replica", *WRITES) == []


def test_the_servers_log_has_a_warning_of_a_failure(engine, url):
    """When the trigger fails, a warning names the table and says that the write is not affected. It
    goes to the server's log; here the function lets the client have it as well."""
    orders(engine, NotifySpec(when=CONDITIONS["division by zero"]))
    run(engine, LOUD)
    connection = psycopg2.connect(
        url.set(drivername="postgresql").render_as_string(hide_password=False)
    )
    with Listener(engine, "public.orders"), connection, connection.cursor() as cursor:
        cursor.execute(WRITES[0])
    assert "could not send a change of public.orders" in "".join(connection.notices)
    assert "Your write is not affected" in "".join(connection.notices)
    connection.close()
