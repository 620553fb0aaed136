"""Marking the tables of a mapped class.

Classes are mapped in many ways (declarative, dataclasses, imperative, reflected late, inherited
three ways); all of them end with the construction of a mapper, so that is where the marker acts.
Several classes may use one table, and one class several:
:mod:`~sa_pgnotify.marking.declarations` keeps what each of them declared for it.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, ClassVar
from weakref import WeakKeyDictionary, ref

from sqlalchemy import Table, event, inspect
from sqlalchemy.orm import Mapper

from ..errors import NotifyConfigError
from ..sql import catalog_name
from .column_kinds import is_system
from .condition import refuse_names
from .declarations import (
    Declaration,
    declaration_of,
    declare,
    forget,
    in_force,
    marked_classes,
    there,
)
from .inheritance import lineage, look_up_class, marking_for, root_of
from .spec import NotifySpec, mark, marking_of
from .tables import already_marked, contradicts, refuse_unfit

__all__ = ["NotifyOnChange", "general_mapper", "mark_class", "spec_of"]


class NotifyOnChange:
    """Mixin for mapped classes whose changes should be published; before or after ``Base``, or on
    an abstract base for all below it.

    ``__notify__ = NotifySpec(...)`` on the class gives options, ``__notify__ = None`` opts it out.
    """

    __notify__: ClassVar[NotifySpec | None] = NotifySpec()


_by_function: WeakKeyDictionary[type, NotifySpec] = WeakKeyDictionary()
"""The declarations by ``notify_on_change(class)``."""


def general_mapper(table: Table) -> Mapper[Any] | None:
    """Return the mapper furthest up of those whose rows are in ``table``; None if no marked class
    uses the table."""
    for class_ in marked_classes(table):
        mapper: Mapper[Any] | None = inspect(class_, raiseerr=False)
        if mapper is not None:
            return next((m for m in lineage(mapper) if m.local_table is table), None)
    return None


def spec_of(class_: type) -> NotifySpec | None:
    """Return what a class or the nearest one above it declares; None if it is not marked, or opted
    out.

    :raises NotifyConfigError: if ``__notify__`` is neither a NotifySpec nor None.
    """
    for above in class_.__mro__:
        if above in _by_function:
            return _by_function[above]
        if "__notify__" in vars(above) and issubclass(class_, NotifyOnChange):
            spec = class_.__notify__
            if not isinstance(spec, NotifySpec | None):
                raise NotifyConfigError(
                    class_.__name__,
                    f"__notify__ is {spec!r}",
                    "Write __notify__ = NotifySpec(...), with these options, or None",
                )
            return spec
    return None


@event.listens_for(Mapper, "after_mapper_constructed")
def _mapper_constructed(mapper: Mapper[Any], class_: type) -> None:
    spec = spec_of(class_)
    if spec is not None:
        _mark_tables_of(mapper, spec)
        return
    # A class that is defined again may have been marked before, and a child without events may add
    # columns.
    for ancestor in lineage(mapper):
        table = ancestor.local_table
        if isinstance(table, Table) and (declaration := declaration_of(table)) is not None:
            if declaration.by and not declaration.holds(table, class_):
                forget(table)
            else:
                _leave_out_unmapped(table, class_)


def mark_class(
    mapper: Mapper[Any],
    spec: NotifySpec,
    *,
    general: bool = False,
    only: Iterable[Table] | None = None,
) -> None:
    """Mark a class that has no mixin, and those below it.

    :param general: whether ``spec`` was declared for a whole MetaData, so that the declaration of
        one class or table takes precedence.
    :param only: the tables that may be marked; all by default.
    """
    class_ = mapper.class_
    if not general and spec_of(class_) is None and issubclass(class_, NotifyOnChange):
        raise NotifyConfigError(
            class_.__name__,
            "its __notify__ is None, which opts it out",
            "Take that out, or do not mark it",
        )
    for below in mapper.self_and_descendants:
        declares = spec_of(below.class_) is not None or issubclass(below.class_, NotifyOnChange)
        if not declares or (below is mapper and not general):
            _mark_tables_of(below, spec, general=general, only=only)
    if not general:
        _by_function[class_] = spec


def _mark_tables_of(
    mapper: Mapper[Any],
    spec: NotifySpec,
    *,
    general: bool = False,
    only: Iterable[Table] | None = None,
) -> None:
    class_ = mapper.class_
    if not isinstance(mapper.local_table, Table):
        if mapper.concrete or mapper.with_polymorphic or mapper.local_table is None or general:
            return  # an AbstractConcreteBase: its tables are those of the classes below it
        raise NotifyConfigError(
            class_.__name__,
            "it maps a join or a query, which no trigger can watch",
            "Mark the tables with notify_on_change()",
        )
    root = root_of(mapper)
    line = [
        m
        for m in lineage(mapper)
        if isinstance(m.local_table, Table) and (only is None or m.local_table in only)
    ]
    for ancestor in line:
        table: Any = ancestor.local_table
        _mark_for(table, mapper, root, spec, general=general)
        declaration = declaration_of(table)
        if declaration is not None and declaration.by and class_ not in there(declaration.users):
            declaration.users.append(ref(class_))
        _leave_out_unmapped(table, class_)
    for ancestor in line:
        if ancestor is not mapper:
            look_up_class(ancestor, root)


def _mark_for(
    table: Table, mapper: Mapper[Any], root: Mapper[Any], spec: NotifySpec, *, general: bool
) -> None:
    """Mark one of the tables of a class."""
    class_ = mapper.class_
    declaration = in_force(table, class_, spec, general=general)
    if declaration is not None:
        is_inherited = table is not mapper.local_table and issubclass(
            class_, tuple(there(declaration.by))
        )
        if general or (
            (declaration.spec() == spec or is_inherited) and marking_of(table) is not None
        ):
            return
    refuse_unfit(table)
    marking = marking_for(table, mapper, root, spec)
    if contradicts(marking, table):
        gc.collect()  # a class that is not referenced any more may still exist, in a cycle
        declaration = in_force(table, class_, spec, general=general)
        if contradicts(marking, table):
            raise _contradicted(table, class_, declaration)
    if declaration is None or not declaration.by:
        declare(table, class_, spec, general=general)
    elif class_ not in there(declaration.by):
        declaration.by.append(ref(class_))
    if marking is not None and (
        marking_of(table) is None or declaration_of(table) is not declaration
    ):
        mark(table, marking)


def _contradicted(table: Table, class_: type, declaration: Declaration | None) -> NotifyConfigError:
    others = [] if declaration is None else [by for by in there(declaration.by) if by is not class_]
    if not others:
        return already_marked(table)
    return NotifyConfigError(
        class_.__name__,
        f"{others[0].__name__} marked the table {table.fullname!r}, which they share, with other options",
        f"Give both the same __notify__, or mark only the class above them (None opts {class_.__name__} out)",
    )


def _leave_out_unmapped(table: Table, class_: type) -> None:
    """Keep the columns that no marked class maps out of the events of a table, unless a Core
    declaration marked it.

    :raises NotifyConfigError: if its condition names one of them.
    """
    marking, declaration = marking_of(table), declaration_of(table)
    if marking is None or declaration is None or not declaration.by:
        return
    needed = {*declaration.mapped(table), *marking.key, marking.discriminator}
    names = (catalog_name(c.name) for c in table.columns if not is_system(c))
    unmapped = tuple(name for name in names if name not in needed)
    if marking.condition is not None:
        refuse_names(
            marking.condition,
            unmapped,
            class_.__name__,
            "not a column attribute of a marked class of its table",
            "Map the column, or leave it out of the condition",
        )
    if unmapped != marking.unmapped:
        mark(table, replace(marking, unmapped=unmapped))
