"""Which log a position belongs to, and which positions ``"now"`` and ``"beginning"`` stand for.

A position consists of the transaction ids of one server. So it has no meaning in a log that was
restored on another server, or whose tables were created again.
"""

from __future__ import annotations

from ..errors import ListenUnavailable
from ..sql import Execute, literal
from .snapshots import Position, beginning
from .tables import LogNames

__all__ = ["copied_from", "current_position", "database_and_log", "origin_of", "resolve"]


def origin_of(execute: Execute, names: LogNames) -> str:
    """Return the identity of the log: the server's system identifier and the OIDs of the log's
    tables, as text.

    :raises ListenUnavailable: if there is no change log.
    """
    oids = ", ".join(
        f"pg_catalog.to_regclass({literal(name)})::oid::bigint"
        for name in (names.head, *names.slots)
    )
    system = "(SELECT system_identifier FROM pg_catalog.pg_control_system())"
    ((origin,),) = execute(
        f"SELECT pg_catalog.concat({system}, ':', pg_catalog.array_to_string(ARRAY[{oids}], ':', '-'))"
    )
    if "-" in origin:
        raise ListenUnavailable(
            "log",
            f"the tables of the change log {names.head} do not exist",
            "Run metadata.create_all(engine), or the migration",
        )
    return str(origin)


def database_and_log(execute: Execute, origin: str) -> str:
    """Return the identity of the log with the OID of the database, which a copy of the database on the
    same server does not share."""
    found = execute(
        "SELECT oid::bigint FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()"
    )
    ((oid,),) = found
    return f"{origin}:{oid}"


def copied_from(execute: Execute, recorded: str, log: str) -> str | None:
    """Return the name of the database that this one is a copy of, if that is still on the same server.

    :param recorded: what :func:`database_and_log` returned when it was recorded in the database;
        ``log`` what it returns now.
    """
    (server, _, rest), here = recorded.partition(":"), log.partition(":")[0]
    oid = rest.rpartition(":")[2]
    if recorded == log or server != here or not oid.isdecimal():
        return None
    mine = "datname <> pg_catalog.current_database()"
    found = execute(
        f"SELECT datname::text FROM pg_catalog.pg_database WHERE {mine} AND oid::bigint = {int(oid)}"
    )
    return next((str(name) for (name,) in found), None)


def current_position(execute: Execute) -> Position:
    """Return the position after everything that is committed."""
    ((snapshot,),) = execute("SELECT pg_catalog.pg_current_snapshot()::text")
    return Position(str(snapshot))


def resolve(execute: Execute, names: LogNames, start: str | Position) -> Position:
    """Return the position that ``"beginning"`` or ``"now"`` stands for. A position is returned as it
    is.

    :raises ValueError: if ``start`` is another text.
    """
    if isinstance(start, Position):
        return start
    if start not in ("beginning", "now"):
        raise ValueError(
            f"{start!r} is not a position in the log. Give 'now', 'beginning' or the position of a change"
        )
    ((now, removed),) = execute(
        f"SELECT pg_catalog.pg_current_snapshot()::text, (SELECT removed FROM {names.head} WHERE id = 0)"
    )
    return Position(str(now if start == "now" else beginning(removed or 0)))
