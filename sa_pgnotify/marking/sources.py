"""From the sources of a listener to tables, the classes wanted of each, and plain channels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import MetaData, Table, inspect
from sqlalchemy.orm import Mapper, registry

from ..errors import NotifyConfigError
from ..protocol.channels import check_channel
from .declarations import marked_classes
from .inheritance import tables_of
from .mapped_classes import general_mapper
from .spec import marking_of

__all__ = ["Wanted", "expand"]


@dataclass
class TableInterest:
    """The part of a table's events that is wanted.

    :ivar mapper: the most general mapper of its rows; None for Core.
    :ivar classes: events of these classes and those below them are wanted.
    """

    mapper: Mapper[Any] | None
    classes: list[type] = field(default_factory=list)

    def accepts(self, class_: type) -> bool:
        """Return whether events of a class are wanted."""
        opted_out = getattr(class_, "__notify__", True) is None
        return issubclass(class_, tuple(self.classes)) and not opted_out


@dataclass
class Wanted:
    """The tables and channels that the sources of a listener name."""

    tables: dict[Table, TableInterest] = field(default_factory=dict)
    channels: set[str] = field(default_factory=set)


def expand(sources: Iterable[Any]) -> Wanted:
    """Return the tables and channels that sources name.

    :param sources: mapped classes, Tables, MetaData, declarative bases, names of channels.
    :raises NotifyConfigError: if a source is none of these, or nothing in it is marked.
    """
    wanted = Wanted()
    for source in sources:
        if isinstance(source, str):
            check_channel(source, "Listener")
            wanted.channels.add(source)
        elif isinstance(source, Table):
            _require(marking_of(source) is not None, source.fullname)
            wanted.tables.setdefault(source, TableInterest(None))
        elif isinstance(source, MetaData):
            marked = [t for t in source.tables.values() if marking_of(t) is not None]
            _require(marked, "the MetaData")
            _add_tables(wanted, marked, [])
        elif isinstance(source, type):
            _add_class(wanted, source)
        elif isinstance(source, Iterable):
            raise NotifyConfigError(
                "Listener",
                f"cannot listen to {source!r}, which holds several entities",
                "Pass the entities one by one, as in Listener(engine, Order, Customer)",
            )
        else:
            raise NotifyConfigError(
                "Listener",
                f"cannot listen to {source!r}",
                "Give a mapped class, a Table, a MetaData, or the name of a channel",
            )
    return wanted


def _require(marked: object, subject: str) -> None:
    if not marked:
        raise NotifyConfigError(
            subject,
            "nothing in it is marked, so it has no events",
            "Use NotifyOnChange, or notify_on_change()",
        )


def _add_class(wanted: Wanted, class_: type) -> None:
    mapper: Mapper[Any] | None = inspect(class_, raiseerr=False)
    if mapper is not None:
        mapper.registry.configure()
        below = list(mapper.self_and_descendants)
        tables = [t for m in below for t in tables_of(m) if marking_of(t) is not None]
        _require(tables and getattr(class_, "__notify__", True) is not None, class_.__name__)
        for table in dict.fromkeys(tables):
            _add(wanted, table, _most_general(mapper, below, table), class_)
        return
    mappers_of = getattr(class_, "registry", None)
    metadata = getattr(class_, "metadata", None)
    if not isinstance(mappers_of, registry) or not isinstance(metadata, MetaData):
        raise NotifyConfigError(
            class_.__name__,
            "it is neither a mapped class nor a declarative base",
            "Map it before you listen to it",
        )
    mappers_of.configure()
    mappers = [m for m in mappers_of.mappers if issubclass(m.class_, class_)]
    marked = [t for m in mappers for t in tables_of(m) if marking_of(t) is not None]
    if "registry" in vars(class_):  # the declarative base itself: Core tables of its metadata too
        marked += [t for t in metadata.tables.values() if marking_of(t) is not None]
    _require(marked, class_.__name__)
    _add_tables(wanted, dict.fromkeys(marked), mappers)


def _add_tables(wanted: Wanted, tables: Iterable[Table], mappers: list[Mapper[Any]]) -> None:
    for table in tables:
        mapper = general_mapper(table)
        if mapper is not None:
            mapper.registry.configure()
            marked = marked_classes(table)
            for m in mapper.self_and_descendants:
                if m.class_ in marked:
                    _add(wanted, table, mapper, m.class_)
        else:
            mapper = next((m for m in mappers if m.local_table is table), None)
            _add(wanted, table, mapper, None if mapper is None else mapper.class_)


def _add(wanted: Wanted, table: Table, mapper: Mapper[Any] | None, class_: type | None) -> None:
    interest = wanted.tables.setdefault(table, TableInterest(mapper))
    interest.mapper = interest.mapper or mapper
    if class_ is not None:
        interest.classes.append(class_)


def _most_general(
    mapper: Mapper[Any], below: list[Mapper[Any]], table: Table
) -> Mapper[Any] | None:
    """Return the mapper furthest up whose own rows are in ``table``: above ``mapper`` for a shared
    table, below it for a child's."""
    above = list(mapper.iterate_to_root())
    candidates = [m for m in (*reversed(above), *below) if m.local_table is table]
    return candidates[0] if candidates else None
