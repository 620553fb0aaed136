"""Marking a table as it stands, whether or not a class maps it."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Table

from ..errors import NotifyConfigError
from ..log.tables import log_of
from .context import captured_tables
from .declarations import declare, in_force
from .resolution import TableUnfit, resolve
from .spec import Marking, NotifySpec, mark, marking_of

__all__ = ["already_marked", "contradicts", "log_schema_for", "mark_table", "refuse_unfit"]


def mark_table(table: Table, spec: NotifySpec, *, general: bool = False) -> None:
    """Mark a table; the keys of its columns serve as attribute names.

    :param general: whether ``spec`` was declared for a whole MetaData, so that the declaration of
        the table alone takes precedence.
    """
    refuse_unfit(table)
    declaration = in_force(table, None, spec, general=general)
    if declaration is not None and general:
        return
    marking = resolve(
        spec,
        {c.key: c for c in table.columns},
        table.primary_key,
        table.fullname,
        log_schema_for(table, spec),
    )
    if marking_of(table) is None:
        declare(table, None, spec, general=general)
        mark(table, marking)
    elif contradicts(marking, table):
        raise already_marked(table)


def refuse_unfit(table: Table) -> None:
    """Refuse a table on which, by its model alone, no trigger can be.

    :raises TableUnfit: for a temporary table and for a view.
    """
    prefixes = {word for prefix in table._prefixes for word in prefix.upper().split()}
    if prefixes & {"TEMPORARY", "TEMP"}:
        raise TableUnfit(
            table.fullname, "the table is temporary: no other session sees it", "Unmark it"
        )
    if getattr(table, "is_view", False):  # SQLAlchemy 2.1
        raise TableUnfit(
            table.fullname,
            "it is a view, which has no rows of its own",
            "Mark the tables that it reads",
        )


def log_schema_for(table: Table, spec: NotifySpec) -> str | None:
    """Return the schema of the change log that ``table`` needs, and add the log to the MetaData;
    None if it needs none."""
    if not spec.durable:
        return None
    log = log_of(table.metadata)
    if spec.capture == "wal":
        log.add_captures()
        captured_tables.add(table.fullname)
    return log.names.schema


def contradicts(marking: Marking | None, table: Table) -> bool:
    """Return whether a table is marked with other options than those of ``marking``."""
    known = marking_of(table)
    return marking is not None and known is not None and _declared(known) != _declared(marking)


def _declared(marking: Marking) -> Marking:
    """Return a marking without what was found in the classes that use the table."""
    return replace(marking, discriminator=None, unmapped=())


def already_marked(table: Table) -> NotifyConfigError:
    return NotifyConfigError(
        table.fullname, "the table is already marked, with other options", "Mark it once"
    )
