"""Can this database tell its changes, and what stands in the way?

It is hard because what goes wrong looks like peace: a pooler that swallows LISTEN, a trigger that
somebody disabled, a session of another program's that is idle in a transaction and holds up the
notification queue of all, until COMMIT fails. Each of these can be seen from a connection of one's
own, if one knows where to look.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, suppress
from importlib.metadata import version
from typing import Any

import sqlalchemy
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from ..consuming.overview import ConsumerStatus, consumers
from ..drivers import connect
from ..drivers.waiting import ThreadWaiting
from ..errors import ListenUnavailable
from ..listening.heartbeat import QUEUE_WARNING
from ..log.retention import LATE_SECONDS, state
from ..log.tables import LogNames
from ..sql import execute_on, literal
from ..subscription.probe import greet, probe
from ..triggers.installation import Installation, read_installation
from .findings import Finding, Severity
from .hazards import hazards
from .sessions import sessions

__all__ = ["diagnose"]

OLDEST_SERVER = 140000
"""PostgreSQL 14 has CREATE OR REPLACE TRIGGER."""
QUEUE_PROBLEM = 0.5
"""Share of the notification queue in use from which on it is a question of time that COMMIT
fails."""


def diagnose(engine: Engine) -> list[Finding]:
    """Look at all that this library depends on, and change nothing; within seconds, also where
    something does not answer.

    :raises sqlalchemy.exc.DBAPIError: if there is no connection.
    """
    findings: list[Finding] = []
    with engine.connect().execution_options(isolation_level="READ COMMITTED") as connection:
        with connection.begin():
            findings += _server(connection)
        findings += [_listening(engine)]
        for examine, needs_path in (
            (_privileges, True),
            (_queue, False),
            (_triggers, True),
            (_listeners, False),
            (_consumers, False),
        ):
            try:
                with connection.begin():
                    # in a database whose users may create operators and functions, none of these is
                    # called
                    if not needs_path:
                        connection.exec_driver_sql("SET LOCAL search_path = pg_catalog, pg_temp")
                    findings += examine(connection)
            except DBAPIError as error:
                said = str(error.orig).strip().partition("\n")[0]
                subject = examine.__name__.strip("_")
                findings.append(
                    Finding(
                        "warning",
                        subject,
                        f"It could not be looked at: {said}.",
                        "Ask as a role that may.",
                    )
                )
    return findings


def _scalar(connection: Connection, sql: str) -> Any:
    return connection.exec_driver_sql(sql).scalar()


# -- the connection --------------------------------------------------------------------------------


def _server(connection: Connection) -> Iterator[Finding]:
    number, name, database, user, replicated = connection.exec_driver_sql(
        "SELECT pg_catalog.current_setting('server_version_num')::int, pg_catalog.current_setting('server_version'),"
        " pg_catalog.current_database()::text, current_user::text, pg_catalog.current_setting('session_replication_role')"
    ).one()
    driver = connection.dialect.driver
    with_what = f"sa_pgnotify {version('sa_pgnotify')}, SQLAlchemy {sqlalchemy.__version__} and {driver} {_driver_version(connection)}"
    text = f"PostgreSQL {name.partition(' ')[0]}, database {database}, as {user}; {with_what}."
    if number < OLDEST_SERVER:
        yield Finding("problem", "server", text, "PostgreSQL 14 or newer is needed.")
    else:
        yield Finding("good", "server", text)
    if replicated == "replica":
        fix = "Take it away where it was set: ALTER ROLE or ALTER DATABASE ... RESET session_replication_role."
        yield Finding(
            "problem",
            "triggers",
            "session_replication_role is replica for this connection, so its writes fire no trigger.",
            fix,
        )


def _driver_version(connection: Connection) -> str:
    with suppress(AttributeError):
        return str(connection.dialect.dbapi.__version__).partition(" ")[0]  # type: ignore[union-attr]
    return "?"


def _listening(engine: Engine) -> Finding:
    """Send a notification, and see whether it comes; which a standby and a pooler do not let."""
    try:
        with closing(connect(engine)) as listening, closing(ThreadWaiting()) as waiting:
            greet(listening)
            began = time.perf_counter()
            probe(listening, lambda: connect(engine), waiting, lambda: False)
            took = (time.perf_counter() - began) * 1000
    except ListenUnavailable as error:
        text, _, fix = str(error).partition(". ")
        return Finding("problem", "listening", f"{text[:1].upper()}{text[1:]}.", fix and f"{fix}.")
    return Finding(
        "good",
        "listening",
        f"A notification came back, after {took:.0f} ms with the connection that sent it.",
    )


def _privileges(connection: Connection) -> Iterator[Finding]:
    notify, schema, create, everyone = connection.exec_driver_sql(
        "SELECT pg_catalog.has_function_privilege('pg_catalog.pg_notify(text, text)', 'EXECUTE')::int, pg_catalog.current_schema()::text,"
        " coalesce(pg_catalog.has_schema_privilege(pg_catalog.current_schema()::text, 'CREATE'), false)::int,"
        " pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE')::int"
    ).one()
    if not notify:
        fix = "GRANT EXECUTE ON FUNCTION pg_catalog.pg_notify(text, text) TO this role."
        yield Finding(
            "problem", "privileges", "This role may not notify, so its writes tell nothing.", fix
        )
    where = f"the schema {schema}" if schema else "any schema of its search_path"
    if create:
        yield Finding(
            "good",
            "privileges",
            f"This role may notify, and may install triggers on its own tables in {where}.",
        )
    else:
        fix = "Run create_all and the migrations as the owner of the tables."
        yield Finding(
            "note",
            "privileges",
            f"This role may create nothing in {where}, and so it can listen but not install triggers.",
            fix,
        )
    if not everyone:
        fix = "GRANT pg_read_all_stats TO this role, or ask as one that has it."
        yield Finding(
            "note",
            "privileges",
            "This role does not see what the sessions of other roles do: who blocks may be missing below.",
            fix,
        )


# -- the queue, and who listens --------------------------------------------------------------------


def _queue(connection: Connection) -> Iterator[Finding]:
    usage = float(_scalar(connection, "SELECT pg_catalog.pg_notification_queue_usage()"))
    known = sessions(execute_on(connection))
    suspects = [session for session in known if session.holds_queue]
    text = f"The notification queue is {usage:.1%} full."
    if usage < QUEUE_WARNING and not suspects:
        yield Finding("good", "queue", text)
        return
    severity: Severity = (
        "problem" if usage >= QUEUE_PROBLEM else "warning" if usage >= QUEUE_WARNING else "note"
    )
    why = "When it is full, COMMIT fails for everybody who notifies." if suspects or usage else ""
    fix = (
        ""
        if suspects
        else "Some session listens and does not read, or has been in a transaction for long: find it in pg_stat_activity."
    )
    yield Finding(severity, "queue", f"{text} {why}", fix)
    for session in suspects:
        fix = f"End it: SELECT pg_terminate_backend({session.pid}); and have its program commit before it waits."
        if session.is_stuck:
            fix = f"Have its program read, or end it: SELECT pg_terminate_backend({session.pid})."
        blocks = (
            " and listens: it holds up the queue."
            if session.listens
            else "; if it listens, it holds up the queue."
        )
        yield Finding(
            "warning" if severity == "note" else severity,
            "queue",
            f"{session} {session.why}{blocks}",
            fix,
        )


def _listeners(connection: Connection) -> Iterator[Finding]:
    found = [session for session in sessions(execute_on(connection)) if session.listens]
    if not found:
        yield Finding(
            "note",
            "listeners",
            "No session of this database seems to listen. (PostgreSQL does not say it; this goes by what each did last.)",
        )
    for session in found:
        yield Finding("good", "listeners", f"{session} listens.")


# -- what is installed -----------------------------------------------------------------------------


def _triggers(connection: Connection) -> Iterator[Finding]:
    installation = read_installation(connection)
    if not installation.sets and not installation.damaged and not installation.hidden:
        fix = "Mark a model and run metadata.create_all(engine), or the migration that installs the triggers."
        yield Finding("note", "triggers", "No table of this database has our triggers.", fix)
    telling = [
        n
        for n, triggers in sorted(installation.sets.items())
        if not installation.silent(n) and not installation.found[n].lacks(triggers)
    ]
    if telling:
        said = ", ".join(
            f"{name} (durable)" if installation.sets[name].marking.durable else name
            for name in telling
        )
        yield Finding("good", "triggers", f"Installed and enabled on {said}.")
    yield from _silent(installation)
    for name, function in sorted(installation.damaged.items()):
        text = f"The function {function.name} of {name} does not say what it was made from, or a newer sa_pgnotify made it."
        yield Finding(
            "warning",
            "triggers",
            text,
            "Install that version, or run metadata.create_all(engine), or the migration, anew.",
        )
    if installation.hidden:
        hidden = ", ".join(installation.hidden)
        text = f"Installed on {hidden} too, in schemas that this role may not use: it can neither see them nor listen."
        yield Finding(
            "note",
            "triggers",
            text,
            "GRANT USAGE ON SCHEMA of each TO this role, or ask as one that has it.",
        )
    yield from hazards(execute_on(connection), installation)
    for function in installation.unused:
        text = f"The function {function.name} is run by no trigger."
        yield Finding(
            "note",
            "triggers",
            text,
            f'DROP FUNCTION "{function.schema}"."{function.name}"(); unless a table is to get it back.',
        )


def _silent(installation: Installation) -> Iterator[Finding]:
    for name in sorted(installation.sets):
        if lacking := installation.found[name].lacks(installation.sets[name]):
            text = f"The triggers of {name} read {', '.join(lacking)}, which it has no more: each change is told as a gap."
            yield Finding(
                "problem",
                "triggers",
                text,
                "Run the migration, or metadata.create_all(engine), of the models as they are now.",
            )
        there, table = installation.found[name].triggers, installation.sets[name].qualified_table
        for trigger in installation.silent(name):
            if trigger not in there:
                fix = (
                    "Run metadata.create_all(engine), or the migration that installs the triggers."
                )
                yield Finding(
                    "problem",
                    "triggers",
                    f"The trigger {trigger} of {name} is missing: what it told is told no more.",
                    fix,
                )
                continue
            how = "fires on replicas only" if there[trigger].enabled == "R" else "is disabled"
            text = f"The trigger {trigger} of {name} {how}: what it told is told no more."
            yield Finding(
                "problem", "triggers", text, f"ALTER TABLE {table} ENABLE TRIGGER {trigger};"
            )


# -- the change log --------------------------------------------------------------------------------


def _consumers(connection: Connection) -> Iterator[Finding]:
    execute = execute_on(connection)
    schemas = "SELECT n.nspname FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace"
    for (schema,) in list(
        execute(
            f"{schemas} WHERE c.relname = {literal('sa_pgnotify_consumers')} AND c.relkind = 'r'"
        )
    ):
        log = state(execute, LogNames(schema))
        text = f"{str(log)[:1].upper()}{str(log)[1:]}."
        is_late = log.hindmost is None or log.holder is not None or log.seconds > LATE_SECONDS
        yield Finding("warning" if log.is_held_up else "note" if is_late else "good", "log", text)
    for consumer in consumers(connection):
        yield _consumer(consumer)
        for table, lag in consumer.left_behind.items():
            waits = f"{lag.events} changes wait, and the log keeps them."
            text = f"{table} has a place under the name {consumer.name!r} that is not read now: {waits}"
            fix = f"Run a version of it that reads the table, or forget(engine, metadata, {consumer.name!r}, {table!r})."
            yield Finding(
                "warning" if lag.seconds > LATE_SECONDS else "note", "consumers", text, fix
            )


def _consumer(consumer: ConsumerStatus) -> Finding:
    part, parts = consumer.partition
    name = repr(consumer.name) if parts == 1 else f"{consumer.name!r}, part {part} of {parts},"
    if not consumer.lag.events and not consumer.parked:
        return Finding("good", "consumers", f"{name} has finished all changes.")
    text = f"{name} is {consumer.lag.events} changes behind, the oldest of {consumer.lag.seconds:.0f} s ago."
    if consumer.failures:
        fix = "See its program's log for the error, and fix what it does with that change."
        return Finding(
            "warning",
            "consumers",
            f"{text} The change that it has come to has failed {consumer.failures} times.",
            fix,
        )
    if consumer.parked:
        fix = "Consumer.parked() shows them; delete their rows from sa_pgnotify_parked when they have been seen to."
        return Finding(
            "warning", "consumers", f"{text} {consumer.parked} changes of it are parked.", fix
        )
    if consumer.lag.seconds > LATE_SECONDS:
        fix = "Run it, or start more partitions; forget() it if it does not come back."
        return Finding("warning", "consumers", text, fix)
    return Finding("good", "consumers", text)
