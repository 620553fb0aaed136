"""A dedicated connection for listening, made the way the engine makes its own.

The engine's pool knows all that a connection needs (URL, ``creator``, ``connect_args``, ``connect``
events). So a pool of the same configuration makes one connection, which is then detached from it:
an exhausted or static pool does not stand in the way.
"""

from __future__ import annotations

from traceback import clear_frames
from typing import Any

from sqlalchemy import Engine, event

from ..errors import ListenUnavailable
from .interface import ListenConnection
from .known import module_of

__all__ = ["connect", "errors_of"]


def connect(engine: Engine) -> ListenConnection:
    """Return a new connection in autocommit mode, which nothing else uses.

    Of an AsyncEngine, pass its ``sync_engine`` and call this in a greenlet.

    :raises ListenUnavailable: if the connection cannot be made, for whatever reason, because the
        engine's ``creator`` and hooks belong to the program and may raise anything.
    """
    module = module_of(engine)
    pool = engine.pool.recreate()
    made: list[Any] = []
    # what is made is closed, whatever follows
    event.listen(pool, "connect", lambda dbapi, _: made.append(dbapi), insert=True)
    try:
        fairy = pool.connect()
        dbapi: Any = fairy.dbapi_connection
        # Before anything that may be cancelled: otherwise the pool would report a leak.
        fairy.detach()
        # A hook of the program may have begun a transaction, with settings that should stay.
        dbapi.commit()
        connection: ListenConnection = module.Connection(getattr(dbapi, "driver_connection", dbapi))
        connection.has_default_json = getattr(engine.dialect, "_json_deserializer", None) is None
        return connection
    except BaseException as error:
        for dbapi in made:
            module.abandon(getattr(dbapi, "driver_connection", dbapi))
        if not isinstance(error, Exception):
            # The frames of a cancelled attempt hold a socket, and its task holds the frames.
            clear_frames(error.__traceback__)
            raise
        raise ListenUnavailable(
            "connection", f"cannot connect to listen: {str(error).strip()}"
        ) from error


def errors_of(engine: Engine) -> tuple[type[Exception], ...]:
    """Return the errors that a lost connection of this engine's driver raises, and those of an
    attempt to connect."""
    errors: tuple[type[Exception], ...] = module_of(engine).ERRORS
    return (*errors, ListenUnavailable)
