"""The declarations of each table, and whether they still count.

A table may be declared several times: by several classes that use it, by a notebook cell that runs
again, or after the class that declared it was deleted. Only two declarations that still count can
contradict each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary, ref

from sqlalchemy import Column, Table, inspect
from sqlalchemy.orm import Mapper
from sqlalchemy.orm.exc import UnmappedColumnError

from ..errors import NotifyConfigError
from ..sql import catalog_name
from .spec import NotifySpec, mark, marking_of

__all__ = [
    "Declaration",
    "attributes_of",
    "declaration_of",
    "declare",
    "forget",
    "in_force",
    "is_marked_alone",
    "marked_classes",
    "there",
    "undone_by_errors",
]


@dataclass
class Declaration:
    """The declaration that marked a table. Its references are weak, because classes and columns
    reference the table.

    :ivar spec: the declared options.
    :ivar by: the classes that declared them; empty if the Table itself was marked. ``users``: all
        marked classes whose rows are in it.
    :ivar columns: the columns that the table had, which ``Table(..., extend_existing=True)``
        replaces.
    :ivar general: whether a whole MetaData was declared, so that a declaration of the table alone
        takes precedence.
    """

    spec: ref[NotifySpec]
    by: list[ref[type]]
    users: list[ref[type]]
    columns: list[ref[Column[Any]]]
    general: bool

    def holds(self, table: Table, class_: type | None) -> bool:
        """Return whether the declaration still counts, now that ``class_``, or the Table itself, is
        declared; forget the classes that were deleted."""
        if not self.by:
            return all(
                (column := known()) is not None and table.columns.contains_column(column)
                for known in self.columns
            )
        self.by, self.users = (
            [ref(c) for c in there(known) if _is_live(c, class_)] for known in (self.by, self.users)
        )
        return bool(self.by)

    def mapped(self, table: Table) -> set[str]:
        """Return the names of the columns that marked classes map."""
        mappers: list[Mapper[Any] | None] = [
            inspect(user, raiseerr=False) for user in there(self.users)
        ]
        return {
            catalog_name(c.name)
            for mapper in mappers
            if mapper is not None
            for c in attributes_of(mapper, table).values()
        }


def there(classes: list[ref[type]]) -> list[type]:
    """Return those of ``classes`` that still exist."""
    return [class_ for known in classes if (class_ := known()) is not None]


_declarations: WeakKeyDictionary[Table, Declaration] = WeakKeyDictionary()


def marked_classes(table: Table) -> list[type]:
    """Return the marked classes whose rows are in ``table``, in the order in which they were
    marked."""
    declaration = _declarations.get(table)
    return [] if declaration is None else there(declaration.users)


def declaration_of(table: Table) -> Declaration | None:
    """Return the declaration of a table, whether or not it still counts."""
    return _declarations.get(table)


def marked_name(name: str) -> str | None:
    """Return what is marked under a name, in words; None if no marked class or table has it."""
    for table, _ in list(_declarations.items()):
        if name in (class_.__name__ for class_ in marked_classes(table)):
            return f"the marked class {name}"
        if marking_of(table) is not None and name in (table.name, table.fullname):
            return f"the marked table {name!r}"
    return None


def declare(table: Table, class_: type | None, spec: NotifySpec, *, general: bool) -> None:
    """Remember a declaration of a table.

    :param class_: the class that declares; None if the Table itself is marked.
    """
    by = [] if class_ is None else [ref(class_)]
    _declarations[table] = Declaration(
        ref(spec), by, list(by), [ref(c) for c in table.columns], general
    )


def in_force(
    table: Table, class_: type | None, spec: NotifySpec, *, general: bool
) -> Declaration | None:
    """Return the declaration of a table if it still counts beside the one that ``class_``, or the
    Table itself, makes now; otherwise forget it."""
    declaration = _declarations.get(table)
    if declaration is None:
        return None
    if declaration.holds(table, class_) and (
        not declaration.general or (general and declaration.spec() == spec)
    ):
        return declaration
    forget(table)
    return None


def forget(table: Table) -> None:
    """Forget the declaration of a table, and take its marking away."""
    del _declarations[table]
    mark(table, None)


def is_marked_alone(table: Table) -> bool:
    """Return whether something else than a declaration of a whole MetaData marked the table."""
    declaration = _declarations.get(table)
    return marking_of(table) is not None and (
        declaration is None or (not declaration.general and declaration.holds(table, None))
    )


@contextmanager
def undone_by_errors(tables: Iterable[Table]) -> Iterator[None]:
    """Restore the markings of tables if the block that marks them raises an error."""
    known = [(t, marking_of(t), _declarations.get(t)) for t in tables]
    before = [
        (t, marking, None if d is None else replace(d, by=[*d.by], users=[*d.users]))
        for t, marking, d in known
    ]
    try:
        yield
    except NotifyConfigError:
        for table, marking, declaration in before:
            mark(table, marking)
            if declaration is None:
                _declarations.pop(table, None)
            else:
                _declarations[table] = declaration
        raise


def _is_live(class_: type, successor: type | None) -> bool:
    """Return whether a class is mapped, and ``successor`` is not a second definition of it or of a
    class above it."""
    return inspect(class_, raiseerr=False) is not None and not any(
        _is_again(above, successor) for above in class_.__mro__
    )


def _is_again(class_: type, successor: type | None) -> bool:
    """Return whether ``successor`` is the same class defined again, as a notebook or a reload does.

    Classes that one function makes for several children of a polymorphic class have one name, but
    different polymorphic identities.
    """
    if successor is None or class_ is successor:
        return False
    if (class_.__module__, class_.__qualname__) != (successor.__module__, successor.__qualname__):
        return False
    old: Mapper[Any] | None = inspect(class_, raiseerr=False)
    new: Mapper[Any] | None = inspect(successor, raiseerr=False)
    return old is None or new is None or bool(old.polymorphic_identity == new.polymorphic_identity)


def attributes_of(mapper: Mapper[Any], table: Table) -> dict[str, Column[Any]]:
    """Return the columns of a table by attribute name.

    ``mapper.column_attrs`` would configure all mappers, which is too early: a relationship may name
    a class that is not defined yet.
    """
    found = {}
    for column in table.columns:
        with suppress(UnmappedColumnError):
            found[mapper.get_property_by_column(column).key] = column
    return found
