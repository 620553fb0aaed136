"""What an event can do to the objects of a SQLAlchemy session: load, expire and build them.

A session may hold pending changes of its own. Nothing here overwrites them, and nothing makes a
later flush fail: what the session is about to write, delete or compare stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, Table, inspect
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import (
    Mapper,
    RelationshipDirection,
    Session,
    make_transient_to_detached,
)
from sqlalchemy.orm.attributes import set_committed_value
from sqlalchemy.orm.exc import UnmappedColumnError

from ..errors import ValuesNotCarried
from ..marking.column_kinds import is_read_by_expression, is_system

if TYPE_CHECKING:
    from sqlalchemy.orm.state import InstanceState

__all__ = ["build", "column_attributes", "expire", "load"]


def load(session: Session, mapper: Mapper[Any], identity: tuple[Any, ...]) -> Any:
    """Return the object of a row as the row is now; None if the row is gone.

    An object that the session holds is refreshed, except for its pending changes.
    """
    held = session.identity_map.get(mapper.identity_key_from_primary_key(identity))
    with session.no_autoflush:
        if held is None:
            return session.get(mapper.class_, identity)
        fresh = [a.key for a in mapper.column_attrs if a.key not in _pending(held)]
        try:
            session.refresh(held, fresh)
        except InvalidRequestError:  # SQLAlchemy raises it if the row is gone
            return None
    return held


def expire(session: Session, held: object, names: frozenset[str], *, is_gone: bool) -> None:
    """Expire the named attributes of an object, and those that depend on them.

    :param is_gone: whether the row does not exist any more.
    """
    mapper = inspect(held).mapper
    if held in session.deleted:
        return
    pending, stale = _pending(held), set(names)
    # System columns belong to the version of the row, and so are never among those that changed.
    if names:
        stale.update(
            a.key
            for a in mapper.column_attrs
            if isinstance(a.columns[0], Column) and is_system(a.columns[0])
        )
    for relationship in mapper.relationships:
        # An object that the changed foreign key pointed to is stale as well.
        if relationship.direction is RelationshipDirection.MANYTOONE and not names.isdisjoint(
            _attributes(mapper, relationship.local_columns)
        ):
            stale.add(relationship.key)
    kept = pending | _attributes(mapper, mapper.primary_key)
    # a flush may ask for it, also one that writes nothing
    if mapper.version_id_col is not None and (is_gone or names & pending):
        kept |= _attributes(mapper, [mapper.version_id_col])
    stale = (stale - kept) & set(mapper.attrs.keys())
    if stale:
        session.expire(held, sorted(stale))


def build(mapper: Mapper[Any], values: Mapping[str, Any]) -> Any:
    """Return a detached object that is built from the values of an event, without SQL.

    :raises ValuesNotCarried: if a mapped column that events can carry is missing.
    :raises UndecodableValue: if a value cannot be decoded.
    """
    wanted = {
        a.key
        for a in mapper.column_attrs
        if isinstance(a.columns[0].table, Table) and not _is_never_carried(a.columns[0])
    }
    missing = tuple(sorted(wanted - values.keys()))
    if missing:
        raise ValuesNotCarried(
            f"this event of {mapper.class_.__name__} does not hold {', '.join(missing)}: mark the class with "
            'NotifySpec(values="all"), or use load(session). (With joined inheritance, each table reports its own columns.)',
            missing,
        )
    made = mapper.class_manager.new_instance()
    for name in wanted:
        # Otherwise a container is shared with the event, and with each other instance made of it.
        value = values[name]
        set_committed_value(
            made, name, deepcopy(value) if isinstance(value, list | dict | set) else value
        )
    make_transient_to_detached(made)
    # A load from the database does this next; Mutable columns and @reconstructor depend on it.
    state: InstanceState[Any] = inspect(made)
    state.manager.dispatch.load(state, None)
    return made


def column_attributes(mapper: Mapper[Any]) -> frozenset[str]:
    """Return the names of all column attributes."""
    return frozenset(a.key for a in mapper.column_attrs)


def _pending(held: object) -> set[str]:
    """Return the names of the attributes that the session has yet to write."""
    return set(inspect(held).committed_state)


def _is_never_carried(column: Any) -> bool:
    return isinstance(column, Column) and (is_system(column) or is_read_by_expression(column.type))


def _attributes(mapper: Mapper[Any], columns: Iterable[Any]) -> set[str]:
    """Return the attribute names of those of the columns that are mapped."""
    found = set()
    for column in columns:
        with suppress(UnmappedColumnError):
            found.add(mapper.get_property_by_column(column).key)
    return found
