"""From a declaration to what it means for one table.

A declaration speaks of attributes and Python functions, a trigger of columns and SQL. Whatever is
wrong with a declaration for a table is found here, while the class or table that made it can still
be named.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Column

from ..errors import NotifyConfigError
from ..sql import catalog_name
from .column_kinds import hidden
from .options import OPTIONS
from .spec import Marking, NotifySpec

__all__ = ["TableUnfit", "resolve"]


class TableUnfit(NotifyConfigError):
    """No declaration can work on this table."""


def resolve(
    spec: NotifySpec,
    attributes: Mapping[str, Column[Any]],
    key: Iterable[Column[Any]],
    subject: str,
    log_schema: str | None = None,
) -> Marking:
    """Return what ``spec`` means for a table.

    :param attributes: attribute name to the table's column, for all columns of the table that have
        an attribute.
    :param key: the identity's columns.
    :param subject: name of the class or table, for messages.
    :param log_schema: that of the change log, if the spec is durable.
    :raises TableUnfit: if the table has no primary key, or one that a trigger cannot read.
    :raises NotifyConfigError: if the spec names what the table does not have.
    """
    key = tuple(key)
    if not key:
        raise TableUnfit(
            subject,
            "it has no primary key, so an event could not say which row changed",
            "Give it a primary key to mark it",
        )
    for part in key:
        if problem := hidden(part):
            raise TableUnfit(
                subject,
                f"no event could say which row changed, as its primary key {part.name!r} {problem}",
                "Unmark it",
            )
    options = {
        option.name: option.resolve(getattr(spec, option.declared_as), attributes, subject)
        for option in OPTIONS
    }
    names = tuple(catalog_name(part.name) for part in key)
    return Marking(**options, key=names, log_schema=log_schema)
