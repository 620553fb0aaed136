"""``shell``: a bundled PostgreSQL server with an empty database, to try things out."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy import URL, create_engine

from .bundled import programs, start, url_of
from .console import errors
from .errors import CommandError, Debug

__all__ = ["shell"]

DATABASE = "shop"


def shell(
    command: Annotated[
        list[str] | None, typer.Argument(help="What to run. Default: a shell.", show_default=False)
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder of the server's data, made if it does not exist.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin with an empty database.")] = False,
    debug: Debug = False,
) -> None:
    """Try things out on a bundled PostgreSQL server.

    It runs COMMAND, in which psql and programs find the server and its database shop at
    postgresql+psycopg2:///shop, without further settings. Commands in several terminals share the
    server, which ends with the last of them; the data stays for the next time. DATABASE_URL is set,
    unless it is set already. The exit status is that of COMMAND.

    \b
    Examples:
      pip install 'sa_pgnotify[demo]'
      sa-pgnotify shell python first.py
      sa-pgnotify shell psql
    """
    # as root, the server runs as another user, who could not write into a folder of root's
    server = start("shell", _private(data or _common_folder()))
    with server:
        url = url_of(server)
        _have_database(url, fresh=fresh)
        # a URL that the user has set wins: it may name another driver
        address = {"DATABASE_URL": f"postgresql+psycopg2:///{DATABASE}"}
        environment = address | os.environ | _environment(url)
        if command is None:
            where = ", ".join(f"{name}={environment[name]}" for name in ("PGHOST", "PGUSER"))
            errors().print(f"PostgreSQL runs for as long as this shell ({where}). exit ends it.")
            command = [os.environ.get("SHELL", "sh")]
        status = _run(command, environment)
    raise typer.Exit(status if status >= 0 else 128 - status)


def _run(command: list[str], environment: dict[str, str]) -> int:
    """Return the exit status of a command, or the number of its signal as a negative one."""
    # Ctrl-C in the terminal reaches the command too, and what it means is the command's business
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        process = subprocess.Popen(command, env=environment)  # noqa: S603 (the user's own command)
    except OSError as error:
        raise CommandError(f"{command[0]} cannot be run: {error.strerror}") from error
    else:
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        return process.wait()
    finally:
        signal.signal(signal.SIGINT, before)


def _common_folder() -> Path:
    """The folder of this user in which all shells find the same server."""
    return Path(tempfile.gettempdir()) / f"sa_pgnotify_shell_{os.getuid()}"


def _private(folder: Path) -> Path:
    """Return the folder of the data in ``folder``, which is made, and may not be another user's."""
    try:
        folder.mkdir(mode=0o755, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise CommandError(f"{folder} cannot be made: {error.strerror}. Choose --data") from error
    if found.st_uid != os.getuid() or not stat.S_ISDIR(found.st_mode):
        raise CommandError(f"{folder} is not your own folder. Choose another one with --data")
    return folder / "data"


def _have_database(url: URL, *, fresh: bool) -> None:
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        if fresh:
            connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        there = connection.exec_driver_sql(
            "SELECT count(*) FROM pg_catalog.pg_database WHERE datname = %s", (DATABASE,)
        ).scalar_one()
        if not there:
            connection.exec_driver_sql(f"CREATE DATABASE {DATABASE}")
    engine.dispose()


def _environment(url: URL) -> dict[str, str]:
    """Return the variables by which libpq, asyncpg and our own commands find the server."""
    place: dict[str, Any] = {
        "PGHOST": url.query.get("host", url.host),
        "PGPORT": url.port,
        "PGUSER": url.username,
        "PGPASSWORD": url.password,
        "PGDATABASE": DATABASE,
        "PATH": os.pathsep.join((os.environ.get("PATH", os.defpath), str(programs("shell")))),
    }
    return {name: str(value) for name, value in place.items() if value}
