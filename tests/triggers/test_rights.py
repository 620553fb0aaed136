"""The rights that docs/security.md says are needed: each role works with exactly these, and what
lacks is named with its GRANT."""

from __future__ import annotations

import queue
import re

import pytest
import sqlalchemy as sa
from receiving import take
from statements import run

from sa_pgnotify import (
    ChangeLog,
    Consumer,
    CreateNotifyTriggers,
    Inserted,
    Listener,
    NotifySpec,
    PgNotifyError,
    check,
    notify_on_change,
)
from sa_pgnotify.consuming.admin import prune
from sa_pgnotify.diagnosis.doctor import diagnose
from sa_pgnotify.log.tables import SLOT_BITS
from sa_pgnotify.sql import execute_on
from sa_pgnotify.triggers.rights import REFUSE_LACKING_RIGHTS, lacking_rights

SLOTS = ", ".join(f"audit.sa_pgnotify_log_{slot}" for slot in range(4))
GRANTS = {
    "USAGE on schema audit": "GRANT USAGE ON SCHEMA audit TO {};",
    "INSERT on sa_pgnotify_log_0, sa_pgnotify_log_1, sa_pgnotify_log_2, sa_pgnotify_log_3": f"GRANT INSERT ON TABLE {SLOTS} TO {{}};",
    "USAGE on sa_pgnotify_log_id_seq, sa_pgnotify_log_lost_seq": "GRANT USAGE ON SEQUENCE audit.sa_pgnotify_log_id_seq,"
    " audit.sa_pgnotify_log_lost_seq TO {};",
}
"""What the owner of a durable trigger function needs, as the message names it, and what gives
it."""

# Open transactions in other databases keep the log from being emptied.
pytestmark = pytest.mark.undisturbed


@pytest.fixture
def role(engine, url):
    """A role with no rights, whose name needs quotes; gone after the test."""
    name = f'"Team {url.database}"'
    run(engine, f"CREATE ROLE {name} LOGIN PASSWORD 'xyzzy'")
    yield name
    run(engine, f"DROP OWNED BY {name} CASCADE", f"DROP ROLE {name}")


def log_in_audit(engine) -> sa.MetaData:
    """A durable table ``orders``, whose log is in the schema ``audit``."""

    run(engine, "CREATE SCHEMA audit")
    metadata = sa.MetaData()
    ChangeLog(metadata, schema="audit")
    table = sa.Table("orders", metadata, sa.Column("id", sa.Integer, primary_key=True))
    notify_on_change(table, NotifySpec(durable=True))
    metadata.create_all(engine)
    return metadata


def refused(engine, role: str, function: str = "NULL") -> tuple[str, str]:
    """Message and hint with which the installing statement would refuse ``role``; empty if it would
    not."""
    block = REFUSE_LACKING_RIGHTS.format(table="'orders'", function=function, schema="log_schema")
    body = f"#variable_conflict use_column\nDECLARE\n  log_schema oid := 'audit'::regnamespace;\nBEGIN\n{block}\nEND"
    try:
        run(
            engine,
            "SET LOCAL search_path = pg_catalog, pg_temp",
            f"SET LOCAL ROLE {role}",
            f"DO $do${body}$do$",
        )
    except sa.exc.ProgrammingError as error:
        return error.orig.diag.message_primary, error.orig.diag.message_hint
    return "", ""


def test_whoever_cannot_write_the_log_is_refused_with_the_grants(engine, role):
    """A role without rights is refused in one message, with every GRANT; after these it is not;
    without any one of them it is, with that one GRANT."""
    log_in_audit(engine)
    plain = role.strip('"')
    message, hint = refused(engine, role)
    assert message == (
        f"sa_pgnotify: the role {plain}, which owns the trigger function of orders, cannot write to the change log:"
        f" it lacks {', '.join(GRANTS)}"
    )
    statements = [grant.format(role) for grant in GRANTS.values()]
    assert (
        hint
        == f"Nothing was installed. As the owner of the change log, run: {' '.join(statements)}"
    )
    run(engine, *statements)
    assert refused(engine, role) == ("", "")
    for right, grant in zip(GRANTS, statements, strict=True):
        run(engine, grant.replace("GRANT", "REVOKE").replace(" TO ", " FROM "))
        message, hint = refused(engine, role)
        assert message.endswith(f": it lacks {right}")
        assert hint.endswith(f" run: {grant}")
        run(engine, grant)


def test_a_function_that_exists_keeps_its_owner(engine, role):
    """A role that installs again over another role's function needs no rights: the function's owner
    does."""
    log_in_audit(engine)
    assert refused(engine, role, "'public.sa_pgnotify_orders'::regproc") == ("", "")
    run(
        engine,
        f"GRANT CREATE ON SCHEMA public TO {role}",
        f"ALTER FUNCTION sa_pgnotify_orders() OWNER TO {role}",
    )
    message, _ = refused(engine, "NONE", "'public.sa_pgnotify_orders'::regproc")
    assert message.startswith(f"sa_pgnotify: the role {role.strip(chr(34))}, which owns")


def test_rights_that_were_revoked_later_are_found(engine, role):
    """For ``check`` and ``doctor`` the same is asked of functions that are there."""
    log_in_audit(engine)
    with engine.connect() as connection:
        execute = execute_on(connection)
        ((oid,),) = execute("SELECT 'sa_pgnotify_orders'::regproc::oid::bigint")
        assert lacking_rights(execute, [(oid, "audit")]) == {}
        assert lacking_rights(execute, []) == {}
        execute(f"GRANT CREATE ON SCHEMA public TO {role}")
        execute(f"ALTER FUNCTION sa_pgnotify_orders() OWNER TO {role}")
        found = lacking_rights(execute, [(oid, "audit")])[oid]
        assert found.role == role.strip('"')
        assert found.lacking == ", ".join(GRANTS)
        assert found.grants == " ".join(grant.format(role) for grant in GRANTS.values())
        assert lacking_rights(execute, [(oid, None)]) == {}  # search_path finds no log
        execute("SET LOCAL search_path = audit")
        assert lacking_rights(execute, [(oid, None)])[oid] == found


# -- the table of docs/security.md -----------------------------------------------------------------

SCHEMA = "GRANT USAGE ON SCHEMA audit TO {}"
LOG = [SCHEMA, "GRANT SELECT ON audit.sa_pgnotify_log TO {}", f"GRANT SELECT ON {SLOTS} TO {{}}"]
LISTENER = ["GRANT USAGE ON SCHEMA app TO {}"]
CONSUMER = [
    *LISTENER,
    *LOG,
    "GRANT SELECT, INSERT, UPDATE ON audit.sa_pgnotify_consumers TO {}",
    "GRANT INSERT ON audit.sa_pgnotify_log TO {}",
]
PARKING = "GRANT SELECT, INSERT ON audit.sa_pgnotify_parked TO {}"
CLEANING = [
    f"GRANT TRUNCATE, DELETE ON {SLOTS} TO {{}}",
    "GRANT INSERT, UPDATE ON audit.sa_pgnotify_log TO {}",
]


@pytest.fixture
def app(engine, url, role):
    """The tables ``plain`` and ``logged`` (durable) in the schema ``app``, the log in ``audit``,
    and an engine of the role."""
    run(engine, "CREATE SCHEMA app", "CREATE SCHEMA audit")
    metadata = sa.MetaData(schema="app")
    ChangeLog(metadata, schema="audit")
    tables = [
        sa.Table(name, metadata, sa.Column("id", sa.Integer, primary_key=True))
        for name in ("plain", "logged")
    ]
    for table in tables:
        notify_on_change(table, NotifySpec(durable=table.name == "logged", values="all"))
    metadata.create_all(engine)
    theirs = sa.create_engine(
        url.set(username=role.strip('"'), password="xyzzy"), poolclass=sa.NullPool
    )
    yield (*tables, theirs)
    theirs.dispose()


def without_each(grants):
    """Each list that lacks one of ``grants``, by what is lacking."""
    return {grant: [g for g in grants if g != grant] for grant in grants}


def complains(start, write) -> None:
    """That what ``start`` makes does not start, or says when there is something to read that it may
    not; never that it stays silent."""
    said: queue.SimpleQueue[str] = queue.SimpleQueue()
    try:
        with start(on_state=lambda change: said.put(str(change))):
            write()
            while "permission denied" not in said.get(timeout=20):
                pass
    except (PgNotifyError, sa.exc.DBAPIError) as error:
        assert re.search("permission denied|GRANT|does not exist", str(error)), error


def test_a_writer_needs_no_more(engine, app, role):
    """A role that may write rows needs no other right for the triggers: not on the log, nor on its
    schema."""
    plain, logged, theirs = app
    run(
        engine,
        f"GRANT USAGE ON SCHEMA app TO {role}",
        f"GRANT INSERT ON app.plain, app.logged TO {role}",
    )
    with Listener(engine, plain, logged) as listener:
        run(theirs, "INSERT INTO app.plain VALUES (1)")
        assert [type(event) for event in take(listener, 1)] == [Inserted]
        run(theirs, "INSERT INTO app.logged VALUES (1)")
        assert [type(event) for event in take(listener, 1)] == [Inserted]


def test_a_listener(engine, app, role):
    """A listener of ephemeral tables needs USAGE on their schema, and nothing on the tables; one of
    durable tables SELECT on the log as well. Without one of these it does not start, and says
    so."""
    plain, logged, theirs = app
    for table, grants in ((plain, LISTENER), (logged, [*LISTENER, *LOG])):
        for lacking, others in without_each(grants).items():
            run(engine, *(grant.format(role) for grant in others))
            complains(
                lambda **options: Listener(theirs, table, **options),
                lambda: run(engine, f"INSERT INTO app.{table.name} DEFAULT VALUES"),
            )  # noqa: B023
            run(engine, f"DROP OWNED BY {role}")
        run(engine, *(grant.format(role) for grant in grants))
        with Listener(theirs, table) as listener:
            run(engine, f"INSERT INTO app.{table.name} VALUES (100)")
            assert [type(event) for event in take(listener, 1)] == [Inserted]
        run(engine, f"DROP OWNED BY {role}")


def test_a_consumer(engine, app, role):
    """A consumer needs those of a listener, and to keep its position. Without one of these it does
    not start, and says so."""
    _, logged, theirs = app
    for lacking, others in without_each(CONSUMER).items():
        run(engine, *(grant.format(role) for grant in others))
        complains(
            lambda **options: Consumer(theirs, "c", logged, **options),
            lambda: run(engine, "INSERT INTO app.logged DEFAULT VALUES"),
        )
        run(engine, f"DROP OWNED BY {role}")
    run(engine, *(grant.format(role) for grant in CONSUMER))
    with Consumer(theirs, "c", logged) as consumer:
        run(engine, "INSERT INTO app.logged VALUES (100)")
        for batch in consumer:
            with batch:
                assert [change.identity for change in batch] == [(100,)]
            break


def test_a_consumer_that_parks(engine, app, role):
    """To park changes, a consumer needs SELECT and INSERT on that table too."""
    _, logged, theirs = app
    run(engine, *(grant.format(role) for grant in [*CONSUMER, PARKING]))
    with Consumer(theirs, "c", logged, on_error=lambda *_: "park") as consumer:
        run(engine, "INSERT INTO app.logged VALUES (100), (101)")

        def work(session, change) -> None:
            if change.identity == (100,):
                raise ValueError("not this one")
            consumer.stop()

        consumer.run(work)
        assert [parked.error for parked in consumer.parked()] == ["ValueError: not this one"]


@pytest.mark.parametrize("lacking", [None, *CLEANING])
def test_emptying_the_log(engine, app, role, lacking):
    """A role that empties the slots needs TRUNCATE and DELETE on them, and INSERT and UPDATE on the
    head; without these it fails, and what was to be removed stays."""
    _, logged, theirs = app
    reading = [SCHEMA, *LOG, "GRANT SELECT ON audit.sa_pgnotify_consumers TO {}"]
    run(engine, *(grant.format(role) for grant in [*reading, *CLEANING] if grant != lacking))
    run(
        engine,
        "INSERT INTO app.logged VALUES (100)",
        f"SELECT setval('audit.sa_pgnotify_log_id_seq', {2 << SLOT_BITS})",
    )
    run(engine, "INSERT INTO app.logged VALUES (101)")
    with Consumer(engine, "c", logged, start="now", heartbeat=60.0):
        pass
    if lacking is None:
        prune(theirs, logged.metadata)
    else:
        with pytest.raises(sa.exc.DBAPIError, match="permission denied"):
            prune(theirs, logged.metadata)
    with engine.connect() as connection:
        assert connection.exec_driver_sql(
            "SELECT count(*) FROM audit.sa_pgnotify_log_0"
        ).scalar() == (lacking is not None)


def test_a_role_with_exactly_these_rights_installs_and_its_function_writes(engine, app, role):
    """create_all by the owner of a table whose log is another's: refused, with nothing changed,
    while any of the rights is lacking; with all of them changes arrive. What is revoked later is
    found by check and doctor."""
    _, logged, theirs = app
    run(
        engine,
        f"GRANT USAGE, CREATE ON SCHEMA app TO {role}",
        f"CREATE TABLE app.mine (id int PRIMARY KEY); ALTER TABLE app.mine OWNER TO {role}",
    )
    metadata = sa.MetaData(schema="app")
    ChangeLog(metadata, schema="audit")
    mine = notify_on_change(
        sa.Table("mine", metadata, sa.Column("id", sa.Integer, primary_key=True)),
        NotifySpec(durable=True),
    )
    grants = {right: grant.format(role) for right, grant in GRANTS.items()}
    for right, lacking in grants.items():
        run(engine, *(grant for grant in grants.values() if grant != lacking))
        with pytest.raises(sa.exc.ProgrammingError) as refusal, theirs.begin() as connection:
            connection.execute(CreateNotifyTriggers(mine))
        # without that, the role does not see whether there is a log
        if right != "USAGE on schema audit":
            assert f"it lacks {right}" in str(refusal.value.orig)
            assert lacking in str(refusal.value.orig)
        with engine.connect() as connection:
            assert (
                connection.exec_driver_sql(
                    "SELECT count(*) FROM pg_proc WHERE proname = 'sa_pgnotify_mine'"
                ).scalar()
                == 0
            )
        run(
            engine,
            *(
                grant.replace("GRANT", "REVOKE").replace(" TO ", " FROM ")
                for grant in grants.values()
            ),
        )
    run(engine, *grants.values())
    with theirs.begin() as connection:
        connection.execute(CreateNotifyTriggers(mine))
    assert check(engine, metadata) == []
    with Listener(engine, mine) as listener:
        run(theirs, "INSERT INTO app.mine VALUES (1)")
        assert [type(event) for event in take(listener, 1)] == [Inserted]
    for right, grant in grants.items():
        run(engine, grant.replace("GRANT", "REVOKE").replace(" TO ", " FROM "))
        (drift,) = check(engine, metadata)
        assert (drift.kind, drift.table) == ("missing", "app.mine")
        assert right in drift.fix
        assert grant in drift.fix
        (problem,) = [f for f in diagnose(engine) if f.severity == "problem"]
        assert right in problem.text
        run(engine, grant)
