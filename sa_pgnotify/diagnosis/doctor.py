"""Examine whether a database can deliver its changes, and what stands in the way.

Most faults are silent: a pooler that swallows LISTEN, a trigger that was disabled, a session of
another program that is idle in a transaction and holds up the notification queue of the whole
server until COMMIT fails. Each of them can be seen from an ordinary connection. This module runs
the checks; the modules beside it hold them, by subject.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from .capture import capture
from .change_log import change_log
from .connection import listening, privileges, server
from .findings import Finding
from .notification_queue import listeners, queue
from .triggers import triggers

__all__ = ["diagnose"]


class Check(NamedTuple):
    """One examination of the database.

    :ivar subject: of the finding that says that the check could not be made.
    :ivar examine: yields the findings.
    :ivar uses_path: whether it depends on the role's own search_path.
    """

    subject: str
    examine: Callable[[Connection], Iterator[Finding]]
    uses_path: bool = False


CHECKS = (
    Check("privileges", privileges, uses_path=True),
    Check("queue", queue),
    Check("triggers", triggers, uses_path=True),
    Check("listeners", listeners),
    Check("consumers", change_log),
    Check("capture", capture),
)
"""In the order in which their findings are reported, after those about the connection."""


def diagnose(engine: Engine) -> list[Finding]:
    """Examine all that this library depends on, and change nothing.

    It takes seconds at most, even if something does not answer.

    :raises sqlalchemy.exc.DBAPIError: if it cannot connect.
    """
    findings: list[Finding] = []
    with engine.connect().execution_options(isolation_level="READ COMMITTED") as connection:
        with connection.begin():
            findings += server(connection)
        findings.append(listening(engine))
        for check in CHECKS:
            try:
                with connection.begin():
                    if not check.uses_path:
                        # users may have created operators and functions in other schemas: run none
                        connection.exec_driver_sql("SET LOCAL search_path = pg_catalog, pg_temp")
                    findings += check.examine(connection)
            except DBAPIError as error:
                reason = str(error.orig).strip().partition("\n")[0]
                text = f"This could not be examined: {reason}."
                fix = "Run doctor as a role that may read it."
                findings.append(Finding("warning", check.subject, text, fix))
    return findings
