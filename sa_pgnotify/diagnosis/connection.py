"""Checks of the connection: the server, whether notifications arrive, and the role's privileges."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, suppress
from importlib.metadata import version

import sqlalchemy
from sqlalchemy import Connection, Engine

from ..drivers import connect
from ..drivers.waiting import ThreadWaiting
from ..errors import ListenUnavailable
from ..subscription.probe import greet, probe
from .findings import Finding

__all__ = ["listening", "privileges", "server"]

OLDEST_SERVER = 140000
"""PostgreSQL 14 has CREATE OR REPLACE TRIGGER."""


def server(connection: Connection) -> Iterator[Finding]:
    """Report the versions, and whether this connection's writes fire triggers."""
    number, name, database, user, replicated = connection.exec_driver_sql(
        "SELECT pg_catalog.current_setting('server_version_num')::int, pg_catalog.current_setting('server_version'),"
        " pg_catalog.current_database()::text, current_user::text, pg_catalog.current_setting('session_replication_role')"
    ).one()
    driver = f"{connection.dialect.driver} {_driver_version(connection)}"
    versions = (
        f"sa_pgnotify {version('sa_pgnotify')}, SQLAlchemy {sqlalchemy.__version__} and {driver}"
    )
    text = f"PostgreSQL {name.partition(' ')[0]}, database {database}, as {user}; {versions}."
    if number < OLDEST_SERVER:
        yield Finding("problem", "server", text, "PostgreSQL 14 or newer is needed.")
    else:
        yield Finding("good", "server", text)
    if replicated == "replica":
        text = "session_replication_role is replica for this connection, so its writes fire no trigger."
        fix = "Reset it where it was set: ALTER ROLE or ALTER DATABASE ... RESET session_replication_role."
        yield Finding("problem", "triggers", text, fix)


def _driver_version(connection: Connection) -> str:
    with suppress(AttributeError):
        return str(connection.dialect.dbapi.__version__).partition(" ")[0]  # type: ignore[union-attr]
    return "?"


def listening(engine: Engine) -> Finding:
    """Send a notification and report whether it arrives; a standby or a pooler prevents that."""
    try:
        with closing(connect(engine)) as listener, closing(ThreadWaiting()) as waiting:
            greet(listener)
            began = time.perf_counter()
            probe(listener, lambda: connect(engine), waiting, lambda: False)
            took = (time.perf_counter() - began) * 1000
    except ListenUnavailable as error:
        text, fix = error.problem, error.fix
        return Finding("problem", "listening", f"{text[:1].upper()}{text[1:]}.", fix and f"{fix}.")
    text = f"A notification came back, after {took:.0f} ms with the connection that sent it."
    return Finding("good", "listening", text)


def privileges(connection: Connection) -> Iterator[Finding]:
    """Report whether the role may notify, install triggers, and see other roles' sessions."""
    may_notify, schema, may_create, sees_all = connection.exec_driver_sql(
        "SELECT pg_catalog.has_function_privilege('pg_catalog.pg_notify(text, text)', 'EXECUTE')::int, pg_catalog.current_schema()::text,"
        " coalesce(pg_catalog.has_schema_privilege(pg_catalog.current_schema()::text, 'CREATE'), false)::int,"
        " pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE')::int"
    ).one()
    if not may_notify:
        text = "This role may not notify, so its writes send no events."
        fix = "GRANT EXECUTE ON FUNCTION pg_catalog.pg_notify(text, text) TO this role."
        yield Finding("problem", "privileges", text, fix)
    where = f"the schema {schema}" if schema else "any schema of its search_path"
    if may_create:
        text = f"This role may notify, and may install triggers on its own tables in {where}."
        yield Finding("good", "privileges", text)
    else:
        text = f"This role may not create anything in {where}, so it can listen but not install triggers."
        fix = "Run create_all and the migrations as the owner of the tables."
        yield Finding("note", "privileges", text, fix)
    if not sees_all:
        text = "This role cannot see what the sessions of other roles do, so sessions that hold up the queue may be missing below."
        fix = "GRANT pg_read_all_stats TO this role, or run doctor as a role that has it."
        yield Finding("note", "privileges", text, fix)
