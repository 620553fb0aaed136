"""No role can add code to the relations of a change log that would run with the rights of the role
that owns a trigger function, or of the one that consumes changes."""

from __future__ import annotations

import uuid

import pytest
from receiving import take
from sqlalchemy import literal_column
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.schema import CreateTable
from statements import rows, run

from sa_pgnotify import (
    Consumer,
    CreateNotifyTriggers,
    Gap,
    Inserted,
    Listener,
    ListenUnavailable,
    NotifyOnChange,
    NotifySpec,
    check,
)
from sa_pgnotify.diagnosis.doctor import diagnose

SLOTS = tuple(f"sa_pgnotify_log_{slot}" for slot in range(4))
TABLES = ("sa_pgnotify_log", *SLOTS, "sa_pgnotify_consumers", "sa_pgnotify_parked")
GRAB = (
    "CREATE FUNCTION {0}.grab() RETURNS trigger LANGUAGE plpgsql AS "
    "'BEGIN PERFORM nextval(''public.sprung''); RETURN NEW; END'"
)
"""What an attacker would have run: it advances a sequence, which no rollback undoes."""

# Open transactions in other databases keep the log from being emptied.
pytestmark = pytest.mark.undisturbed


def model(when=None, *, durable: bool = True):
    class Base(DeclarativeBase):
        pass

    class Item(NotifyOnChange, Base):
        __tablename__ = "items"
        __notify__ = NotifySpec(when=when, durable=durable)
        id: Mapped[int] = mapped_column(primary_key=True)

    return Base, Item


@pytest.fixture
def mallory(admin, engine):
    """A role that may create objects in ``public`` and in her own schema; ``public.sprung`` counts
    what was run of hers."""
    name = f"mallory_{uuid.uuid4().hex[:8]}"
    run(admin, f"CREATE ROLE {name}")
    run(
        engine,
        f"GRANT CREATE ON SCHEMA public TO {name}",
        f"CREATE SCHEMA {name} AUTHORIZATION {name}",
        "CREATE SEQUENCE sprung",
        "GRANT ALL ON SEQUENCE sprung TO PUBLIC",
    )
    as_role(engine, name, GRAB.format(name))
    yield name
    run(engine, f"DROP OWNED BY {name} CASCADE")
    run(admin, f"DROP ROLE {name}")


def as_role(engine, role, *statements: str) -> None:
    run(
        engine,
        f"SET LOCAL ROLE {role}",
        "SET LOCAL search_path = public",
        *statements,
        "RESET ROLE",
    )


def sprung(engine) -> bool:
    return rows(engine, "SELECT is_called FROM sprung") != [(False,)]


def ddl(engine, base, name: str) -> str:
    """Return the statement that creates a table of the log."""
    return str(CreateTable(base.metadata.tables[name]).compile(engine)).strip()


def problems(engine) -> list[str]:
    return [f"{f.text} {f.fix}" for f in diagnose(engine) if f.severity == "problem"]


def found(engine, base, what: str) -> None:
    """Expect that ``check`` and ``doctor`` report ``what``."""
    (drift,) = check(engine, base.metadata)
    assert drift.kind == "conflicting"
    assert what in str(drift)
    (problem,) = problems(engine)
    assert what in problem


# -- made in advance by another role ---------------------------------------------------------------

RELKINDS = {
    "partitioned": "{ddl} PARTITION BY HASH ({key})",
    "view": "CREATE VIEW {name} AS SELECT 1::bigint AS id",
    "materialized": "CREATE MATERIALIZED VIEW {name} AS SELECT 1::bigint AS id",
    "sequence": "CREATE SEQUENCE {name}",
    "type": "CREATE TYPE {name} AS (id bigint)",
    "table": "{ddl}",
}


@pytest.mark.sample(3)
@pytest.mark.parametrize("name", [*TABLES, "sa_pgnotify_log_id_seq"])
@pytest.mark.parametrize("kind", RELKINDS)
def test_a_relation_of_another_role_is_refused(engine, mallory, name, kind):
    """Whatever kind of relation a role puts in the place of one of the log's, create_all does not
    install triggers that write to it."""
    Base, _ = model()
    table = name if name in TABLES else SLOTS[0]
    statement = ddl(engine, Base, table).replace(table, name)
    key = "name" if name == "sa_pgnotify_consumers" else "id"
    as_role(engine, mallory, RELKINDS[kind].format(ddl=statement, name=name, key=key))
    with pytest.raises(DBAPIError):
        Base.metadata.create_all(engine)
    assert rows(engine, "SELECT FROM pg_proc WHERE proname = 'sa_pgnotify_items'") == []


@pytest.mark.parametrize("kind", ["partitioned", "inherited", "parent"])
@pytest.mark.parametrize("owner", ["mallory", "installer"])
def test_a_slot_with_partitions_or_children_is_refused(engine, mallory, kind, owner):
    """A partition or a child of a slot can have triggers and other owners, so the slots have none,
    whoever has made them."""
    Base, _ = model()
    role = mallory if owner == "mallory" else "NONE"
    statement = ddl(engine, Base, SLOTS[0])
    child = {
        "partitioned": (
            f"{statement} PARTITION BY RANGE (id)",
            f"CREATE TABLE part PARTITION OF {SLOTS[0]} DEFAULT",
        ),
        "inherited": (statement, f"CREATE TABLE part () INHERITS ({SLOTS[0]})"),
        "parent": ("CREATE TABLE part (id bigint)", f"{statement} INHERITS (part)"),
    }
    as_role(
        engine,
        role,
        *child[kind],
        f"CREATE TRIGGER t BEFORE INSERT ON part FOR EACH ROW EXECUTE FUNCTION {mallory}.grab()",
    )
    expected = {
        "partitioned": f"{SLOTS[0]}, which is a partitioned table",
        "inherited": f"{SLOTS[0]}, which has parents or children",
        "parent": f"{SLOTS[0]}, which has parents or children",
    }[kind]
    with pytest.raises(DBAPIError, match=f"the change log is not to be trusted: .*{expected}"):
        Base.metadata.create_all(engine)


CODE = {
    "default": "ALTER TABLE {name} ADD extra int DEFAULT {role}.code(1)",
    "constraint": "ALTER TABLE {name} ADD CHECK ({role}.code(1) > 0)",
    "index": "CREATE INDEX ON {name} ({role}.code(1))",
    "predicate": "CREATE INDEX ON {name} ((true)) WHERE {role}.code(1) > 0",
    "domain": "ALTER TABLE {name} ADD extra {role}.small",
    "policy": "CREATE POLICY p ON {name} WITH CHECK ({role}.code(1) > 0)",
    "rule": "CREATE RULE r AS ON INSERT TO {name} DO ALSO SELECT {role}.code(1)",
    "trigger": "CREATE TRIGGER t BEFORE INSERT ON {name} FOR EACH ROW EXECUTE FUNCTION {role}.grab()",
}


@pytest.mark.sample(2)
@pytest.mark.parametrize("name", [SLOTS[0], "sa_pgnotify_consumers"])
@pytest.mark.parametrize("kind", CODE)
def test_code_that_stays_when_the_owner_changes(engine, mallory, name, kind):
    """To give a prepared table to the role that installs does not make it trusted: its default,
    constraint, index, domain, policy, rule or trigger with the other role's code is still
    there."""
    Base, _ = model()
    as_role(
        engine,
        mallory,
        f"CREATE FUNCTION {mallory}.code(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS"
        " 'BEGIN PERFORM nextval(''public.sprung''); RETURN 1; END'",
        f"CREATE DOMAIN {mallory}.small AS int CHECK ({mallory}.code(VALUE) > 0)",
        ddl(engine, Base, name),
        CODE[kind].format(name=name, role=mallory),
    )
    run(engine, f"ALTER TABLE {name} OWNER TO CURRENT_USER", "ALTER SEQUENCE sprung RESTART")
    with pytest.raises(DBAPIError, match=f"the change log is not to be trusted: .*{name}, which"):
        Base.metadata.create_all(engine)
    assert rows(engine, "SELECT FROM pg_proc WHERE proname = 'sa_pgnotify_items'") == []


def test_a_log_of_the_installing_role_is_trusted(engine, mallory):
    """An ordinary role whose log and tables are its own installs, and nothing is found wrong."""
    Base, _ = model()
    with engine.begin() as connection:
        connection.exec_driver_sql(f"SET LOCAL ROLE {mallory}")
        connection.exec_driver_sql(f"SET LOCAL search_path = {mallory}")
        Base.metadata.create_all(connection)
    assert problems(engine) == []


# -- changed later ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TABLES)
def test_a_relation_that_was_given_away_is_found(engine, mallory, name):
    """After ALTER TABLE ... OWNER TO, the new owner could add a trigger: check and doctor report it,
    and neither a listener nor a consumer starts."""
    Base, Item = model()
    Base.metadata.create_all(engine)
    run(engine, f"ALTER TABLE {name} OWNER TO {mallory}")
    found(engine, Base, f"{name}, which belongs to {mallory}")
    for reader in (Listener(engine, Item), Consumer(engine, "c", Item)):
        with pytest.raises(ListenUnavailable, match=f"{name}, which belongs to {mallory}"):
            reader.start()
    run(engine, f"ALTER TABLE {name} OWNER TO CURRENT_USER")
    assert check(engine, Base.metadata) == []


@pytest.mark.parametrize("grantee", ["PUBLIC", "mallory"])
def test_the_privilege_to_make_triggers_is_found(engine, mallory, grantee):
    """GRANT ALL ON ALL TABLES gives the privileges TRIGGER and REFERENCES: check and doctor name the statements that
    take it back."""
    Base, _ = model()
    Base.metadata.create_all(engine)
    role = mallory if grantee == "mallory" else grantee
    run(engine, f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}")
    revoke = {
        f"REVOKE TRIGGER, REFERENCES ON TABLE public.{name} FROM {role} CASCADE;" for name in TABLES
    }
    drifts = check(engine, Base.metadata)
    assert {next(r for r in revoke if r in d.fix) for d in drifts} == revoke
    assert len(problems(engine)) == len(TABLES)
    run(engine, *revoke)
    assert check(engine, Base.metadata) == []
    assert problems(engine) == []


def test_installing_takes_the_privilege_back(engine, mallory):
    """Default privileges that give everything to an application's role do not stand in the way of
    create_all by the log's owner: it takes the TRIGGER privilege from the role."""
    Base, _ = model()
    with engine.begin() as connection:
        connection.exec_driver_sql(f"ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO {mallory}")
        Base.metadata.create_all(connection)
        connection.exec_driver_sql(f"ALTER DEFAULT PRIVILEGES REVOKE ALL ON TABLES FROM {mallory}")
    assert check(engine, Base.metadata) == []
    sql = "SELECT has_table_privilege('{}', '{}', '{}')"
    for name in TABLES:
        assert rows(engine, sql.format(mallory, name, "TRIGGER")) == [(False,)]
        assert rows(engine, sql.format(mallory, name, "INSERT")) == [(True,)]
    assert rows(engine, sql.format(mallory, "items", "TRIGGER")) == [(True,)]


ATTACKS = {
    "before": "CREATE TRIGGER t BEFORE INSERT ON {} FOR EACH ROW EXECUTE FUNCTION {}.grab()",
    "after": "CREATE TRIGGER t AFTER INSERT ON {} FOR EACH ROW EXECUTE FUNCTION {}.grab()",
    "statement": "CREATE TRIGGER t BEFORE INSERT ON {} FOR EACH STATEMENT EXECUTE FUNCTION {}.grab()",
    "deferred": "CREATE CONSTRAINT TRIGGER t AFTER INSERT ON {} DEFERRABLE INITIALLY DEFERRED"
    " FOR EACH ROW EXECUTE FUNCTION {}.grab()",
    "rule": "CREATE RULE r AS ON INSERT TO {} DO ALSO SELECT nextval('sprung'), '{}'",
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_slot_with_a_trigger_is_found(engine, mallory, attack):
    """What a role adds to the slots after the installation: check and doctor name it with the
    statement that removes it, and no consumer or listener starts until it is gone."""
    Base, Item = model()
    Base.metadata.create_all(engine)
    run(engine, *(ATTACKS[attack].format(name, mallory) for name in SLOTS))
    drifts = check(engine, Base.metadata)
    assert {d.kind for d in drifts} == {"conflicting"}
    assert len(drifts) == len(SLOTS) == len(problems(engine))
    with pytest.raises(ListenUnavailable, match="sa_pgnotify_log_3, which has the"):
        Consumer(engine, "c", Item).start()
    with pytest.raises(ListenUnavailable), Listener(engine, Item):
        pass
    run(engine, *(d.fix[d.fix.index("DROP") :] for d in drifts))
    assert check(engine, Base.metadata) == []


@pytest.mark.parametrize("isolation", ["REPEATABLE READ", "SERIALIZABLE"])
def test_a_change_of_the_slots_that_was_rolled_back(engine, isolation):
    """A rolled-back ALTER TABLE leaves traces in pg_class, which must not keep transactions of these
    isolation levels from the log."""
    Base, Item = model()
    Base.metadata.create_all(engine)
    with engine.connect() as connection:
        for name in SLOTS:
            connection.exec_driver_sql(f"GRANT SELECT ON {name} TO PUBLIC")
            connection.exec_driver_sql(f"TRUNCATE {name}")
        connection.rollback()
    with Listener(engine, Item) as listener:
        run(
            engine,
            f"SET TRANSACTION ISOLATION LEVEL {isolation}",
            "INSERT INTO items VALUES (1)",
            "INSERT INTO items VALUES (2)",
        )
        assert [type(event) for event in take(listener, 2)] == [Inserted, Inserted]


def test_a_foreign_key_to_a_slot_is_found(engine, mallory):
    """A foreign key that refers to a slot keeps it from being emptied: check and doctor name it, and
    writes go on without a loss."""
    Base, Item = model()
    Base.metadata.create_all(engine)
    run(engine, f"CREATE TABLE child (id bigint CONSTRAINT fk REFERENCES {SLOTS[0]})")
    found(engine, Base, f"{SLOTS[0]}, which is part of the foreign key fk")
    with Listener(engine, Item) as listener:
        run(engine, "INSERT INTO items VALUES (1)")
        assert [type(event) for event in take(listener, 1)] == [Inserted]


def test_the_consumers_table_of_another_role(engine, mallory):
    """A table of consumers that another role has made, with a trigger that a superuser's consumer
    would run, is refused by create_all and by the consumer."""
    Base, Item = model()
    Base.metadata.create_all(engine)
    run(engine, "DROP TABLE sa_pgnotify_consumers")
    as_role(
        engine,
        mallory,
        ddl(engine, Base, "sa_pgnotify_consumers"),
        f"CREATE TRIGGER t BEFORE INSERT ON sa_pgnotify_consumers FOR EACH ROW EXECUTE FUNCTION {mallory}.grab()",
    )
    with pytest.raises(ListenUnavailable, match="sa_pgnotify_consumers, which belongs to"):
        Consumer(engine, "c", Item).start()
    assert not sprung(engine)


# -- conditions ------------------------------------------------------------------------------------

CONDITIONS = {
    "domain": "new_row.id::{0}.small = 1",
    "domain of a domain": "new_row.id::{0}.smaller = 1",
    "array of a domain": "ARRAY[new_row.id]::{0}.small[] IS NOT NULL",
    "row with a domain": "ROW(new_row.id)::{0}.pair IS NOT NULL",
    "view": "EXISTS (SELECT FROM {0}.vips)",
    "view on a view": "EXISTS (SELECT FROM public.upper_view)",
    "table": "EXISTS (SELECT FROM {0}.rows)",
    "aggregate": "(SELECT public.total(g) FROM generate_series(1, 2) AS g) > 0",
    "function": "{0}.code(new_row.id) > 0",
}


@pytest.mark.sample(2)
@pytest.mark.parametrize("durable", [False, True], ids=["ephemeral", "durable"])
@pytest.mark.parametrize("kind", CONDITIONS)
def test_a_condition_that_hides_the_code_of_another_role(engine, mallory, kind, durable):
    """A condition that runs a function of another role by way of a domain, a composite type, an
    aggregate, a table or a view, of hers or of a trusted role, is refused by name."""
    as_role(
        engine,
        mallory,
        f"SET LOCAL search_path = {mallory}",
        "CREATE FUNCTION code(int) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE FUNCTION plus(int, int) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        f"CREATE DOMAIN small AS int CHECK ({mallory}.code(VALUE) > 0)",
        "CREATE DOMAIN smaller AS small",
        "CREATE TYPE pair AS (a small)",
        "CREATE VIEW vips AS SELECT code(1) AS id",
        "CREATE TABLE rows (id int)",
        f"GRANT USAGE ON SCHEMA {mallory} TO PUBLIC",
        "SET LOCAL search_path = public",
    )
    run(
        engine,
        f"CREATE VIEW upper_view AS SELECT * FROM {mallory}.vips",
        f"CREATE AGGREGATE public.total(int) (SFUNC = {mallory}.plus, STYPE = int, INITCOND = 0)",
    )
    sql = CONDITIONS[kind].format(mallory)
    Base, _ = model(lambda old, new: literal_column(sql), durable=durable)
    with pytest.raises(DBAPIError, match=f"would use .*, which belongs to {mallory}"):
        Base.metadata.create_all(engine)
    assert rows(engine, "SELECT FROM pg_proc WHERE proname = 'sa_pgnotify_items'") == []


# -- writes go on ----------------------------------------------------------------------------------


@pytest.fixture
def writer(engine, mallory):
    """An ordinary role that owns the table ``items`` and its trigger function, with the rights that
    it needs on another role's log."""
    Base, Item = model()
    Base.metadata.create_all(engine)
    run(
        engine,
        f"ALTER TABLE items OWNER TO {mallory}",
        f"ALTER FUNCTION sa_pgnotify_items() OWNER TO {mallory}",
        f"GRANT SELECT, INSERT ON {', '.join(SLOTS)} TO {mallory}",
        f"GRANT USAGE ON sa_pgnotify_log_id_seq, sa_pgnotify_log_lost_seq TO {mallory}",
    )
    assert check(engine, Base.metadata) == []
    return Base, Item


FAILURES = {
    "row-level security": ("ALTER TABLE {} ENABLE ROW LEVEL SECURITY", "row-level security"),
    "no INSERT": ("GRANT DELETE, TRUNCATE ON {0} TO {1}; REVOKE INSERT ON {0} FROM {1}", "INSERT"),
}


@pytest.mark.parametrize("kind", FAILURES)
def test_a_write_goes_on_if_the_slots_take_no_rows(engine, mallory, writer, kind):
    """If the slots take no rows because of row-level security or a missing right, the write goes on
    with a Gap, and check and doctor name it."""
    Base, Item = writer
    statement, named = FAILURES[kind]
    with Listener(engine, Item) as listener:
        as_role(engine, mallory, "INSERT INTO items VALUES (1)")
        assert [type(event) for event in take(listener, 1)] == [Inserted]
        run(engine, *(statement.format(name, mallory) for name in SLOTS))
        as_role(engine, mallory, "INSERT INTO items VALUES (2)")
        assert [type(event) for event in take(listener, 1)] == [Gap]
    assert rows(engine, "SELECT count(*) FROM items") == [(2,)]
    if named:
        (drift,) = check(engine, Base.metadata)
        assert (drift.kind, named in drift.fix) == ("missing", True)
        (problem,) = problems(engine)
        assert named in problem
        with pytest.raises(DBAPIError, match=f"it lacks .*{named}"), engine.begin() as connection:
            connection.execute(CreateNotifyTriggers(Item.__table__))


def test_a_policy_that_lets_rows_in(engine, mallory, writer):
    """Row-level security with a policy for the function's owner loses nothing."""
    Base, Item = writer
    for name in SLOTS:
        run(
            engine,
            f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY",
            f"CREATE POLICY p ON {name} TO {mallory} USING (true) WITH CHECK (true)",
        )
    with Listener(engine, Item) as listener:
        as_role(engine, mallory, "INSERT INTO items VALUES (1)")
        assert [type(event) for event in take(listener, 1)] == [Inserted]


def test_the_needed_rights_cost_no_subtransactions(engine, mallory, writer):
    """With exactly the rights that are documented, a transaction of many writes takes one
    transaction id."""
    with engine.connect() as connection:
        connection.exec_driver_sql(f"SET LOCAL ROLE {mallory}")
        for n in range(50):
            connection.exec_driver_sql(f"INSERT INTO items VALUES ({n})")
        sql = "SELECT count(DISTINCT xmin::text) FROM {}"
        connection.exec_driver_sql("RESET ROLE")
        assert [connection.exec_driver_sql(sql.format(n)).scalar() for n in SLOTS] == [1, 0, 0, 0]


# -- another role's log ----------------------------------------------------------------------------


def test_installing_on_the_log_of_a_trusted_role(engine, mallory):
    """An ordinary role installs on a superuser's log: one error names all that the log's owner has
    to run; after it the installation works, although the role does not own the log."""
    Base, Item = model()
    log = [t for t in Base.metadata.sorted_tables if t.name != "items"]
    Base.metadata.create_all(engine, tables=log)
    run(engine, f"GRANT ALL ON {SLOTS[3]} TO PUBLIC")

    def install() -> None:
        with engine.begin() as connection:
            connection.exec_driver_sql(f"SET LOCAL ROLE {mallory}")
            connection.exec_driver_sql("SET LOCAL search_path = public")
            Base.metadata.create_all(connection)

    with pytest.raises(DBAPIError) as refusal:
        install()
    hint = refusal.value.orig.diag.message_hint
    statements = hint.partition("run: ")[2].split(";")[:-1]
    assert {s.strip().split()[0] for s in statements} == {"GRANT", "REVOKE", "ALTER"}
    run(engine, *statements)
    install()
    assert check(engine, Base.metadata) == []
    with Listener(engine, Item) as listener:
        as_role(engine, mallory, "INSERT INTO items VALUES (1)")
        assert [type(event) for event in take(listener, 1)] == [Inserted]
