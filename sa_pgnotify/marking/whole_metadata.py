"""Marking every table of a MetaData, which is how an existing application begins.

Not every table can be marked, and a marking that stopped half way would be worse than none. So a
table that cannot be marked is skipped and named in the program's log, and an error in the
declaration itself restores all markings.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager

from sqlalchemy import MetaData, Table
from sqlalchemy.orm import Mapper
from sqlalchemy.orm.mapper import _all_registries

from ..errors import NotifyConfigError
from ..log.tables import find_log
from .declarations import is_marked_alone, undone_by_errors
from .mapped_classes import NotifyOnChange, mark_class, spec_of
from .resolution import TableUnfit
from .spec import NotifySpec, marking_of
from .tables import mark_table

__all__ = ["Skip", "mark_metadata"]

logger = logging.getLogger("sa_pgnotify")

Skip = Collection[str | Table]
_OF_TOOLS = {"alembic_version": "it is Alembic's"}


def mark_metadata(
    metadata: MetaData, spec: NotifySpec, skip: Skip | Callable[[Table], object]
) -> None:
    """Mark every table of a MetaData that can be marked.

    :raises NotifyConfigError: if the MetaData has no tables yet, ``skip`` names a table that it
        does not have, or the declaration cannot work on one of the tables; then nothing is marked.
    """
    tables = list(metadata.tables.values())
    if not tables:
        raise NotifyConfigError(
            "MetaData",
            "it holds no table yet",
            "Mark it after the modules of its models are imported",
        )
    hierarchies = list(_hierarchies(metadata))
    reasons = _skipped(tables, skip) | _kept(metadata, tables, hierarchies)
    with undone_by_errors(tables):
        mapped: set[Table] = set()
        for base in hierarchies:
            own = {m.local_table for m in base.self_and_descendants}
            mine = [t for t in tables if t in own and t not in reasons]
            mapped.update(mine)
            with _noting_unfit(mine, reasons):
                mark_class(base, spec, general=True, only=mine)
        for table in tables:
            if table not in reasons and table not in mapped:
                with _noting_unfit([table], reasons):
                    mark_table(table, spec, general=True)
    for table in tables:
        if table in reasons:
            logger.info(
                "%s is not marked by notify_on_change(metadata): %s", table.fullname, reasons[table]
            )
    if not any(marking_of(table) is not None for table in tables):
        raise NotifyConfigError(
            "MetaData",
            f"none of its tables can be marked: {tables[0].fullname}: {reasons.get(tables[0])}",
        )


@contextmanager
def _noting_unfit(tables: Collection[Table], reasons: dict[Table, str]) -> Iterator[None]:
    """Restore the markings of tables on which no declaration can work, and note why."""
    try:
        with undone_by_errors(tables):
            yield
    except TableUnfit as error:
        reasons.update(dict.fromkeys(tables, f"{error.problem}. {error.fix}"))


def _hierarchies(metadata: MetaData) -> Iterator[Mapper[object]]:
    """Yield the mappers, without any above them, of the classes whose rows are in tables of a
    MetaData."""
    for registry in _all_registries():
        for mapper in sorted(
            registry.mappers, key=lambda m: (m.class_.__module__, m.class_.__qualname__)
        ):
            own = [m.local_table for m in mapper.self_and_descendants]
            if mapper.inherits is None and any(
                isinstance(t, Table) and t.metadata is metadata for t in own
            ):
                yield mapper


def _skipped(tables: Iterable[Table], skip: Skip | Callable[[Table], object]) -> dict[Table, str]:
    """Return the tables that ``skip`` leaves out, each with the reason.

    :raises NotifyConfigError: if it names a table that is not among them.
    """
    tables = list(tables)
    if callable(skip):
        return {t: "skip leaves it out" for t in tables if skip(t)}
    if isinstance(skip, str):
        raise NotifyConfigError(
            "MetaData", f"skip={skip!r} is not a list of names", f"Write skip=[{skip!r}]"
        )
    reasons = {}
    for name in skip:
        found = [
            t
            for t in tables
            if name is t or (isinstance(name, str) and name in (t.name, t.fullname))
        ]
        if not found:
            raise NotifyConfigError(
                "MetaData",
                f"skip names {name!s}, which it does not hold",
                f"It holds {', '.join(_names(tables))}",
            )
        reasons.update(dict.fromkeys(found, "skip names it"))
    return reasons


def _names(tables: Iterable[Table]) -> list[str]:
    return sorted(t.fullname for t in tables)


def _kept(
    metadata: MetaData, tables: Iterable[Table], hierarchies: Iterable[Mapper[object]]
) -> dict[Table, str]:
    """Return the tables that a declaration of all tables does not mark, each with the reason."""
    log = find_log(metadata)
    ours = [] if log is None else log.tables
    opted_out = {
        m.local_table
        for base in hierarchies
        for m in base.self_and_descendants
        if issubclass(m.class_, NotifyOnChange) and spec_of(m.class_) is None
    }
    reasons = {}
    for table in tables:
        if table in ours:
            reasons[table] = "it is of the change log"
        elif table.name in _OF_TOOLS:
            reasons[table] = _OF_TOOLS[table.name]
        elif is_marked_alone(table):
            reasons[table] = "it is marked already"
        elif table in opted_out:
            reasons[table] = "its class opts it out"
    return reasons
