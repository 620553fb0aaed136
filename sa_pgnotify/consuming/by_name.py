"""Consumers by the name under which their positions are stored, for an operator who does not have
the program's models."""

from __future__ import annotations

from sqlalchemy import Connection

from ..errors import PgNotifyError
from ..log.tables import LogNames
from ..sql import execute_on
from .overview import logs_of
from .positions import ConsumerKey, ConsumerTable

__all__ = ["parts_of"]


def parts_of(connection: Connection, name: str, schema: str | None = None) -> list[ConsumerTable]:
    """Return the parts of a consumer, in their order; one if it is not divided.

    :param schema: of its change log; None if only one log of the database has the name.
    :raises PgNotifyError: if there is no such consumer, or if several logs have one.
    """
    execute = execute_on(connection)
    logs = [log for log in logs_of(execute) if schema is None or log.schema == schema]
    found: dict[LogNames, list[ConsumerTable]] = {}
    others: set[str] = set()
    for log in logs:
        rows = execute(
            f"SELECT name, part, parts FROM {log.consumers} WHERE relation = '' ORDER BY parts, part"
        )
        for known, part, parts in list(rows):
            if known == name:
                table = ConsumerTable(log, ConsumerKey(known, part, parts))
                found.setdefault(log, []).append(table)
            else:
                others.add(repr(known))
    if len(found) > 1:
        raise PgNotifyError(
            f"the change logs in the schemas {', '.join(str(log.schema) for log in found)} each have a consumer {name!r}",
            "Give the schema of the one that you mean",
        )
    if not found:
        there = f"There {'are' if len(others) > 1 else 'is'} {', '.join(sorted(others))}"
        raise PgNotifyError(f"there is no consumer {name!r}", there if others else "Start it first")
    return next(iter(found.values()))
