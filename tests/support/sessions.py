"""The server sessions of listeners: count them, wait for their end, kill them."""

from __future__ import annotations

import time

from sqlalchemy import Engine, text
from statements import run

HERE = "database = (SELECT oid FROM pg_database WHERE datname = current_database())"
"""Condition for the rows of pg_locks that belong to this database, because other tests may use the
server at the same time."""


def terminate_listener(engine: Engine) -> None:
    """Kill the server process of the listener, as an administrator or a failover does."""
    run(
        engine,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name = 'sa_pgnotify listener' AND datname = current_database()",
    )


def sessions(engine: Engine) -> int:
    """Return how many sessions of listeners the database has."""
    with engine.connect() as connection:
        asked = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'sa_pgnotify%'"
        return connection.scalar(text(asked)) or 0


def sessions_end(engine: Engine) -> None:
    """Wait until no session of a listener is left; fail if one stays.

    A session ends a moment after its connection is closed.
    """
    deadline = time.monotonic() + 10
    while left := sessions(engine):
        assert time.monotonic() < deadline, f"{left} sessions of listeners stay"
        time.sleep(0.01)
