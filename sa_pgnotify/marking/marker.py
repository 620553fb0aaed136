"""``notify_on_change``, the way to mark what cannot take the mixin.

A marking is plain data in ``Table.info``, which survives pickling and ``Table.to_metadata()``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, overload

from sqlalchemy import MetaData, Table, inspect
from sqlalchemy.orm import Mapper

from ..errors import NotifyConfigError
from .mapped_classes import mark_class
from .spec import NotifySpec
from .tables import mark_table
from .whole_metadata import Skip, mark_metadata

__all__ = ["notify_on_change"]

T = TypeVar("T")


@overload
def notify_on_change(table: Table, spec: NotifySpec = ...) -> Table: ...
@overload
def notify_on_change(
    table: MetaData, spec: NotifySpec = ..., *, skip: Skip | Callable[[Table], object] = ...
) -> MetaData: ...
@overload
def notify_on_change(table: Mapper[T], spec: NotifySpec = ...) -> Mapper[T]: ...
@overload
def notify_on_change(table: type[T], spec: NotifySpec = ...) -> type[T]: ...
def notify_on_change(
    table: Any,
    spec: NotifySpec = NotifySpec(),  # noqa: B008 (frozen)
    *,
    skip: Skip | Callable[[Table], object] = (),
    **options: Any,
) -> Any:
    """Mark a Core table, a mapped class that cannot take the mixin, or all that a MetaData holds.

    The keys of a Core table's columns serve as attribute names. A class, or its mapper, is marked
    as the mixin would mark it, with the classes below it. In a MetaData every table is marked that
    can be: as its class declares if one maps it, and as it stands otherwise. The change log,
    ``alembic_version``, tables without a primary key and tables that are marked or opted out already
    stay as they are, and the program's log names each of them. A declaration of one class or table,
    before or later, takes precedence.

    :param table: a Table, a mapped class, its mapper, or a MetaData whose tables are there already
        (tables that are added later are not marked).
    :param skip: tables of a MetaData to leave out: their names (``"schema.table"``, or without
        schema), Tables, or a function that takes a Table and returns whether to leave it out.
    :returns: the first argument, so that the function also serves as a decorator of a class.
    :raises NotifyConfigError: if the declaration cannot work there, or contradicts an earlier one.
    """
    if options:
        given = ", ".join(f"{name}={value!r}" for name, value in options.items())
        raise NotifyConfigError(
            _name_of(table),
            f"{', '.join(options)} cannot be given to notify_on_change()",
            f"Write notify_on_change(..., NotifySpec({given}))",
        )
    if not isinstance(spec, NotifySpec):
        raise NotifyConfigError(
            _name_of(table),
            f"{spec!r} is not a NotifySpec",
            "Write NotifySpec(...)",
        )
    if isinstance(table, MetaData):
        mark_metadata(table, spec, skip)
        return table
    if skip != ():
        raise NotifyConfigError(
            str(table), "skip leaves tables of a MetaData out", "Give it with a MetaData only"
        )
    if isinstance(table, Table):
        mark_table(table, spec)
    else:
        mark_class(_mapper_of(table), spec)
    return table


def _name_of(entity: Any) -> str:
    return str(getattr(entity, "fullname", None) or getattr(entity, "__name__", repr(entity)))


def _mapper_of(entity: Any) -> Mapper[Any]:
    """Return the mapper of a mapped class, or the mapper itself."""
    mapper = inspect(entity, raiseerr=False) if isinstance(entity, type) else entity
    if not isinstance(mapper, Mapper):
        raise NotifyConfigError(
            entity.__name__ if isinstance(entity, type) else repr(entity),
            "it is not a Table, a mapped class or a MetaData",
            "Give one of these",
        )
    return mapper
