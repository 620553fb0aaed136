"""Marking the tables of a mapped class.

Classes come about in many ways (declarative, dataclasses, imperative, reflected late, inherited
three ways); what they share is that a mapper is constructed at the end, so that is where the marker
acts. Several classes may use one table, and one class several: what each may say of it,
:mod:`~sa_pgnotify.marking.declarations` keeps.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, ClassVar
from weakref import WeakKeyDictionary, ref

from sqlalchemy import Column, Table, event, inspect
from sqlalchemy.orm import Mapper

from ..errors import NotifyConfigError
from ..log.tables import log_of
from ..sql import catalog_name
from .column_kinds import is_system
from .declarations import (
    Declaration,
    attributes_of,
    declaration_of,
    declare,
    forget,
    in_force,
    marked_classes,
    there,
)
from .spec import (
    Lookup,
    Marking,
    NotifySpec,
    TableUnfit,
    hidden,
    mark,
    marking_of,
    refuse_names,
    resolve,
)

__all__ = ["NotifyOnChange", "general_mapper", "mark_class", "mark_table", "spec_of", "tables_of"]


class NotifyOnChange:
    """Mixin for mapped classes whose changes should be published; before or after ``Base``, or on
    an abstract base for all below it.

    ``__notify__ = NotifySpec(...)`` on the class gives options, ``__notify__ = None`` opts it out.
    """

    __notify__: ClassVar[NotifySpec | None] = NotifySpec()


_by_function: WeakKeyDictionary[type, NotifySpec] = WeakKeyDictionary()
"""What ``notify_on_change(class)`` said."""


def general_mapper(table: Table) -> Mapper[Any] | None:
    """The mapper furthest up of those whose rows are in ``table``, if a marked class uses the
    table."""
    for class_ in marked_classes(table):
        mapper: Mapper[Any] | None = inspect(class_, raiseerr=False)
        if mapper is not None:
            return next((m for m in _lineage(mapper) if m.local_table is table), None)
    return None


def tables_of(mapper: Mapper[Any]) -> list[Table]:
    """The tables that hold the rows of a mapper."""
    return [t for t in mapper.tables if isinstance(t, Table)]


def spec_of(class_: type) -> NotifySpec | None:
    """What a class or the nearest one above it declares; None if it is not marked, or opted out.

    :raises NotifyConfigError: if ``__notify__`` is neither a NotifySpec nor None.
    """
    for above in class_.__mro__:
        if above in _by_function:
            return _by_function[above]
        if "__notify__" in vars(above) and issubclass(class_, NotifyOnChange):
            spec = class_.__notify__
            if not isinstance(spec, NotifySpec | None):
                raise NotifyConfigError(
                    class_.__name__, f"__notify__ is {spec!r}; it must be a NotifySpec or None"
                )
            return spec
    return None


# -- declared --------------------------------------------------------------------------------------


@event.listens_for(Mapper, "after_mapper_constructed")
def _constructed(mapper: Mapper[Any], class_: type) -> None:
    spec = spec_of(class_)
    if spec is not None:
        _mark(mapper, class_, spec)
        return
    # defined again, it may have been marked before; a child without events may bring columns
    for ancestor in _lineage(mapper):
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

    :param general: whether what is said of one class or table alone counts for more.
    :param only: the tables that may be marked; all by default.
    """
    class_ = mapper.class_
    if not general and spec_of(class_) is None and issubclass(class_, NotifyOnChange):
        raise NotifyConfigError(
            class_.__name__,
            "its __notify__ is None, which opts it out. Take that out, or do not mark it",
        )
    for below in mapper.self_and_descendants:
        has_a_word = spec_of(below.class_) is not None or issubclass(below.class_, NotifyOnChange)
        if not has_a_word or (below is mapper and not general):
            _mark(below, below.class_, spec, general=general, only=only)
    if not general:
        _by_function[class_] = spec


def mark_table(table: Table, spec: NotifySpec, *, general: bool = False) -> None:
    """Mark a table as it stands; its columns' keys serve as attribute names."""
    refuse_unfit(table)
    declaration = in_force(table, None, spec, general=general)
    if declaration is not None and general:
        return
    marking = resolve(
        spec,
        {c.key: c for c in table.columns},
        table.primary_key,
        table.fullname,
        _log_schema(table, spec),
    )
    known = marking_of(table)
    if known is None:
        declare(table, None, spec, general=general)
        mark(table, marking)
    elif _essence(known) != _essence(marking):
        raise _already_marked(table)


def refuse_unfit(table: Table) -> None:
    """:raises TableUnfit: if the model itself says that no trigger can be on the table."""
    if any(
        word in {"TEMPORARY", "TEMP"}
        for prefix in table._prefixes
        for word in prefix.upper().split()
    ):
        raise TableUnfit(
            table.fullname, "the table is temporary: no other session sees it. Unmark it"
        )
    if getattr(table, "is_view", False):  # SQLAlchemy 2.1
        raise TableUnfit(
            table.fullname,
            "it is a view, which has no rows of its own. Mark the tables that it reads",
        )


def _log_schema(table: Table, spec: NotifySpec) -> str | None:
    """The schema of the change log that ``table`` needs, which is made here; None if it needs
    none."""
    return log_of(table.metadata).names.schema if spec.durable else None


# -- the tables of one class -----------------------------------------------------------------------


def _mark(
    mapper: Mapper[Any],
    class_: type,
    spec: NotifySpec,
    *,
    general: bool = False,
    only: Iterable[Table] | None = None,
) -> None:
    if not isinstance(mapper.local_table, Table):
        if mapper.concrete or mapper.with_polymorphic or mapper.local_table is None or general:
            return  # an AbstractConcreteBase: its tables are those of the classes below it
        raise NotifyConfigError(
            class_.__name__,
            "it maps a join or a query, which no trigger can watch. Mark the tables with notify_on_change()",
        )
    root = mapper
    while root.inherits is not None and not root.concrete:
        root = root.inherits
    lineage = [
        m
        for m in _lineage(mapper)
        if isinstance(m.local_table, Table) and (only is None or m.local_table in only)
    ]
    for ancestor in lineage:
        table: Any = ancestor.local_table
        _mark_table(mapper, root, table, class_, spec, general=general)
        declaration = declaration_of(table)
        if declaration is not None and declaration.by and class_ not in there(declaration.users):
            declaration.users.append(ref(class_))
        _leave_out_unmapped(table, class_)
    for ancestor in lineage:
        if ancestor is not mapper:
            _look_up_class(ancestor, root)


def _lineage(mapper: Mapper[Any]) -> list[Mapper[Any]]:
    """The mapper and those above it whose tables its rows are in, the one furthest up last; one
    mapper for each table."""
    found = [mapper]
    while found[-1].inherits is not None and not found[-1].concrete:
        above = found[-1].inherits
        if above.local_table is found[-1].local_table:
            found[-1] = above
        else:
            found.append(above)
    return found


def _mark_table(
    mapper: Mapper[Any],
    root: Mapper[Any],
    table: Table,
    class_: type,
    spec: NotifySpec,
    *,
    general: bool,
) -> None:
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
    marking = _marking(mapper, root, table, class_, spec)
    if _contradicts(marking, table):
        gc.collect()  # a class that is gone may still be about, in a cycle
        declaration = in_force(table, class_, spec, general=general)
        if _contradicts(marking, table):
            raise _contradicted(table, class_, declaration)
    if declaration is None or not declaration.by:
        declare(table, class_, spec, general=general)
    elif class_ not in there(declaration.by):
        declaration.by.append(ref(class_))
    if marking is not None and (
        marking_of(table) is None or declaration_of(table) is not declaration
    ):
        mark(table, marking)


def _contradicts(marking: Marking | None, table: Table) -> bool:
    known = marking_of(table)
    return marking is not None and known is not None and _essence(known) != _essence(marking)


def _essence(marking: Marking) -> Marking:
    """What of a marking was declared, and not found in the classes that use the table."""
    return replace(marking, discriminator=None, unmapped=())


def _contradicted(table: Table, class_: type, declaration: Declaration | None) -> NotifyConfigError:
    others = [] if declaration is None else [by for by in there(declaration.by) if by is not class_]
    if not others:
        return _already_marked(table)
    return NotifyConfigError(
        class_.__name__,
        f"{others[0].__name__} marked the table {table.fullname!r}, which they share, with other options. "
        f"Give both the same __notify__, or mark only the class above them (None opts {class_.__name__} out)",
    )


def _already_marked(table: Table) -> NotifyConfigError:
    return NotifyConfigError(
        table.fullname, "the table is already marked, with other options. Mark it once"
    )


def _marking(
    mapper: Mapper[Any], root: Mapper[Any], table: Table, class_: type, spec: NotifySpec
) -> Marking | None:
    """What ``spec`` means for one of the tables of a class; None if it asks for nothing there."""
    attributes = attributes_of(mapper, table)
    key = [_local(mapper, column, table) for column in root.primary_key]
    part = _part(
        spec, attributes, {name for t in tables_of(mapper) for name in attributes_of(mapper, t)}
    )
    if table is root.local_table:
        marking = resolve(part, attributes, key, class_.__name__, _log_schema(table, spec))
        on = root.polymorphic_on
        if isinstance(on, Column) and table.columns.get(on.key) is on:
            if problem := hidden(on):
                raise TableUnfit(
                    class_.__name__,
                    f"no event could name its class, as its polymorphic_on {on.name!r} {problem}. Unmark it",
                )
            marking = replace(marking, discriminator=catalog_name(on.name))
        return marking
    # The root's row tells that an entity came or went; this table tells only what happens to its
    # own columns.
    watched = "update" in part.operations and (part.update_of or not spec.update_of)
    operations = tuple(o for o in part.operations if (o == "update" and watched) or o == "truncate")
    if not operations:
        return None
    try:
        return resolve(
            replace(part, operations=operations),
            attributes,
            key,
            class_.__name__,
            _log_schema(table, spec),
        )
    except NotifyConfigError as error:
        raise NotifyConfigError(
            class_.__name__,
            f"its table {table.fullname!r} cannot take over the __notify__ that it inherits, since a trigger sees one table ({error}). "
            f"Give {class_.__name__} a __notify__ of its own",
        ) from error


def _part(spec: NotifySpec, attributes: Iterable[str], every: set[str]) -> NotifySpec:
    """The part of a declaration that is about one of several tables; names that no table has stay,
    to be refused."""
    mine = set(attributes)

    def cut(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name for name in names if name in mine or name not in every)

    return replace(
        spec,
        values=spec.values if spec.values == "all" else cut(spec.values),
        update_of=cut(spec.update_of),
    )


def _local(mapper: Mapper[Any], column: Any, table: Table) -> Column[Any]:
    """The column of ``table`` that holds the same value as ``column`` of the root table."""
    return next(
        c
        for c in mapper.get_property_by_column(column).columns
        if isinstance(c, Column) and c.table is table
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
        problem = "not a column attribute of a marked class of its table. Map the column, or leave it out of the condition"
        refuse_names(marking.condition, unmapped, class_.__name__, problem)
    if unmapped != marking.unmapped:
        mark(table, replace(marking, unmapped=unmapped))


def _look_up_class(mapper: Mapper[Any], root: Mapper[Any]) -> None:
    """Rows of a joined child's table that has classes below it: which class, is to be read in the
    root table."""
    table, on = mapper.local_table, root.polymorphic_on
    if (
        mapper is root
        or not isinstance(table, Table)
        or not isinstance(root.local_table, Table)
        or not isinstance(on, Column)
    ):
        return
    marking = marking_of(table)
    if marking is None:
        return
    keys = tuple(zip(marking.key, (catalog_name(c.name) for c in root.primary_key), strict=True))
    lookup = Lookup(
        table=catalog_name(root.local_table.name),
        schema=root.local_table.schema,
        discriminator=catalog_name(on.name),
        keys=keys,
        beside=root.local_table.schema == table.schema,
    )
    mark(table, replace(marking, discriminator=lookup))
