"""From a URL to an engine.

The URL comes from a shell or from another program's environment, so it may name a driver that is
not installed, or none. It contains a password, which must not appear in any message, even if the
URL cannot be parsed.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Annotated

import typer
from sqlalchemy import URL, Engine, create_engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from ..drivers.known import DRIVERS as ALL_DRIVERS
from .console import progress
from .errors import CommandError, keep_secret

__all__ = ["Url", "connected"]

Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        envvar="DATABASE_URL",
        metavar="URL",
        help="The database: postgresql://user:password@host:5432/name",
    ),
]

DRIVERS = tuple(name for name, driver in ALL_DRIVERS.items() if driver.blocking)
"""Those that run without an event loop."""
CONNECT_SECONDS = 10
"""How long an attempt to connect may take, unless the URL sets ``connect_timeout``."""
FORM = "write postgresql://user:password@host:5432/name, with @ : / of a user or password as %40 %3A %2F"


def url_of(given: str | None) -> URL:
    """Return the URL, with a driver that is installed.

    :raises CommandError: if none is given, or it is not one of PostgreSQL.
    """
    if not given:
        raise CommandError(
            "no database is given: use --url postgresql://user@host/name, or set DATABASE_URL"
        )
    # SQLAlchemy would take a part of the password for the host
    if len(re.findall("(?<!=)@", given)) > 1:
        raise CommandError(f"the URL has more than one @: {FORM}")
    try:
        url = make_url(given)
    except (ArgumentError, ValueError):  # the message may quote the password
        raise CommandError(f"the URL cannot be read: {FORM}") from None
    secret = url.query.get("password", ())
    keep_secret(url.password, *((secret,) if isinstance(secret, str) else secret))
    backend, _, driver = url.drivername.partition("+")
    if backend not in ("postgresql", "postgres"):
        raise CommandError(f"the URL is for {backend}, but sa_pgnotify needs PostgreSQL: {FORM}")
    return url.set(drivername=f"postgresql+{_installed(driver)}")


def _installed(wanted: str) -> str:
    """Return a driver that works without an event loop: the wanted one, or another that is
    installed."""
    if wanted in DRIVERS and find_spec(wanted) is not None:
        return wanted
    there = next((driver for driver in DRIVERS if find_spec(driver) is not None), None)
    if there is None:
        install = "pip install 'sa_pgnotify[psycopg2-binary]', or [psycopg-binary]"
        if find_spec("asyncpg") is not None:
            raise CommandError(
                f"asyncpg needs an event loop, which the command line does not have. Install another driver: {install}"
            )
        raise CommandError(f"no PostgreSQL driver is installed: {install}")
    return there


@contextmanager
def connected(given: str | None, command: str) -> Iterator[Engine]:
    """Yield an engine that has connected once.

    :param command: its name is shown in ``pg_stat_activity``, unless the URL gives another name.
    :raises CommandError: if it cannot connect.
    """
    url = url_of(given)
    url = url.update_query_dict({"fallback_application_name": f"sa-pgnotify {command}"})
    if "connect_timeout" not in url.query:
        url = url.update_query_dict({"connect_timeout": str(CONNECT_SECONDS)})
    engine = create_engine(url)
    try:
        try:
            with progress("connecting"):
                _connect(engine)
        except DBAPIError as error:
            why = str(error.orig).strip().partition("\n")[0]
            raise CommandError(f"cannot connect to {_place(url)}: {why}") from error
        yield engine
    finally:
        engine.dispose()


def _connect(engine: Engine) -> None:
    """Connect once, in a thread.

    libpq does not react to signals while it connects, and Ctrl-C should not have to wait for a
    server that does not answer.
    """
    failures: list[Exception] = []

    def attempt() -> None:
        try:
            engine.connect().close()
        except Exception as error:  # raised in the caller's thread below
            failures.append(error)

    thread = threading.Thread(target=attempt, name="sa_pgnotify connecting", daemon=True)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]


def _place(url: URL) -> str:
    """Return the URL without password and options."""
    bare = URL.create("postgresql", url.username, None, url.host, url.port, url.database)
    return bare.render_as_string(hide_password=True)
