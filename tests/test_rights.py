"""The rights that docs/security.md says are needed: each role works with exactly these, and what lacks is named with its GRANT."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from conftest import run

from sa_pgnotify import NotifySpec, notify_on_change
from sa_pgnotify.reflection import execute_on
from sa_pgnotify.rights import REFUSE_LACKING_RIGHTS, lacking_rights

SLOTS = ", ".join(f"audit.sa_pgnotify_log_{slot}" for slot in range(4))
GRANTS = {
    "USAGE on schema audit": "GRANT USAGE ON SCHEMA audit TO {};",
    "INSERT on sa_pgnotify_log_0, sa_pgnotify_log_1, sa_pgnotify_log_2, sa_pgnotify_log_3": f"GRANT INSERT ON TABLE {SLOTS} TO {{}};",
    "USAGE on sa_pgnotify_log_id_seq, sa_pgnotify_log_lost_seq": "GRANT USAGE ON SEQUENCE audit.sa_pgnotify_log_id_seq,"
    " audit.sa_pgnotify_log_lost_seq TO {};",
}
"""What the owner of a durable trigger function needs, as the message names it, and what gives it."""


@pytest.fixture
def role(engine, url):
    """A role with no rights, whose name needs quotes; gone after the test."""
    name = f'"Team {url.database}"'
    run(engine, f"CREATE ROLE {name} LOGIN PASSWORD 'p'")
    yield name
    run(engine, f"DROP OWNED BY {name} CASCADE", f"DROP ROLE {name}")


def log_in_audit(engine) -> sa.MetaData:
    """A durable table ``orders``, whose log is in the schema ``audit``."""
    from sa_pgnotify import ChangeLog

    run(engine, "CREATE SCHEMA audit")
    metadata = sa.MetaData()
    ChangeLog(metadata, schema="audit")
    table = sa.Table("orders", metadata, sa.Column("id", sa.Integer, primary_key=True))
    notify_on_change(table, NotifySpec(durable=True))
    metadata.create_all(engine)
    return metadata


def refused(engine, role: str, function: str = "NULL") -> tuple[str, str]:
    """Message and hint with which the installing statement would refuse ``role``; empty if it would not."""
    block = REFUSE_LACKING_RIGHTS.format(table="'orders'", function=function, schema="log_schema")
    body = f"#variable_conflict use_column\nDECLARE\n  log_schema oid := 'audit'::regnamespace;\nBEGIN\n{block}\nEND"
    try:
        run(engine, "SET LOCAL search_path = pg_catalog, pg_temp", f"SET LOCAL ROLE {role}", f"DO $do${body}$do$")
    except sa.exc.ProgrammingError as error:
        return error.orig.diag.message_primary, error.orig.diag.message_hint
    return "", ""


def test_whoever_cannot_write_the_log_is_refused_with_the_grants(engine, role):
    """A role without rights is refused in one message, with every GRANT; after these it is not; without any one of them it is, with that
    one GRANT."""
    log_in_audit(engine)
    plain = role.strip('"')
    message, hint = refused(engine, role)
    assert message == (
        f"sa_pgnotify: the role {plain}, which owns the trigger function of orders, cannot write to the change log:"
        f" it lacks {', '.join(GRANTS)}"
    )
    statements = [grant.format(role) for grant in GRANTS.values()]
    assert hint == f"Nothing was installed. As the owner of the change log, run: {' '.join(statements)}"
    run(engine, *statements)
    assert refused(engine, role) == ("", "")
    for right, grant in zip(GRANTS, statements, strict=True):
        run(engine, grant.replace("GRANT", "REVOKE").replace(" TO ", " FROM "))
        message, hint = refused(engine, role)
        assert message.endswith(f": it lacks {right}")
        assert hint.endswith(f" run: {grant}")
        run(engine, grant)


def test_a_function_that_exists_keeps_its_owner(engine, role):
    """Who installs again over another role's function is not asked for rights: the function's owner is."""
    log_in_audit(engine)
    assert refused(engine, role, "'public.sa_pgnotify_orders'::regproc") == ("", "")
    run(engine, f"GRANT CREATE ON SCHEMA public TO {role}", f"ALTER FUNCTION sa_pgnotify_orders() OWNER TO {role}")
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
