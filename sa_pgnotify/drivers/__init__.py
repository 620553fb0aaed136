"""A dedicated connection for listening, made the way the engine makes its own.

The engine's pool knows all that a connection needs (URL, ``creator``, ``connect_args``, ``connect``
events), so a pool of the same make gives us one connection, which is then taken out of it: an
exhausted or static pool does not stand in the way.
"""

from __future__ import annotations

from importlib import import_module
from traceback import clear_frames
from typing import Any

from sqlalchemy import Engine, event

from ..errors import ListenUnavailable
from .interface import Arrived, ListenConnection, Read, TextReader

__all__ = [
    "Arrived",
    "ListenConnection",
    "Read",
    "TextReader",
    "connect",
    "errors_of",
    "sqlstate_of",
]

BLOCKING, ASYNCIO = ("psycopg2", "psycopg"), ("psycopg", "asyncpg")
"""The drivers that we know, by the name that SQLAlchemy's URLs give them."""


def connect(engine: Engine) -> ListenConnection:
    """A new connection in autocommit, for nobody else. For an AsyncEngine: its ``sync_engine``, in
    a greenlet.

    :raises ListenUnavailable: if it cannot be made, for whatever reason: the engine's ``creator``
        and hooks are the program's own.
    """
    module = _module_of(engine)
    pool = engine.pool.recreate()
    made: list[Any] = []
    # what is made is closed, whatever follows
    event.listen(pool, "connect", lambda dbapi, _: made.append(dbapi), insert=True)
    try:
        fairy = pool.connect()
        dbapi: Any = fairy.dbapi_connection
        fairy.detach()  # before anything that may be cancelled: the pool would complain of it
        # a hook of the program's may have begun a transaction, with settings that are to stay
        dbapi.commit()
        connection: ListenConnection = module.Connection(getattr(dbapi, "driver_connection", dbapi))
        connection.usual_json = getattr(engine.dialect, "_json_deserializer", None) is None
        return connection
    except BaseException as error:
        for dbapi in made:
            module.abandon(getattr(dbapi, "driver_connection", dbapi))
        if not isinstance(error, Exception):
            # of a cancelled attempt: they hold a socket, and the task holds them
            clear_frames(error.__traceback__)
            raise
        raise ListenUnavailable(
            "connection", f"cannot connect to listen: {str(error).strip()}"
        ) from error


def errors_of(engine: Engine) -> tuple[type[Exception], ...]:
    """What a lost connection of this engine's driver raises, or the attempt to make one."""
    errors: tuple[type[Exception], ...] = _module_of(engine).ERRORS
    return (*errors, ListenUnavailable)


def sqlstate_of(error: BaseException) -> str | None:
    """PostgreSQL's code of an error that a driver raised; None if it has none."""
    return getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)


def _module_of(engine: Engine) -> Any:
    dialect = engine.dialect
    known = ASYNCIO if dialect.is_async else BLOCKING
    if dialect.name != "postgresql" or dialect.driver not in known:
        urls = " or ".join(f"postgresql+{driver}://" for driver in known)
        raise ListenUnavailable(
            "driver",
            f"cannot listen through {dialect.name}+{dialect.driver}",
            f"Make the engine from a {urls} URL",
        )
    return import_module(f"{__name__}.{dialect.driver}")
