"""What a listener yields: a :class:`Change` of one row, a :class:`Gap`, or the
:class:`Notification` of a plain channel.

Events are made by the hundred thousand and often only their identity is read, so they decode their
values when asked for them. They are read-only: what they hold are properties over the message that
brought them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime
from reprlib import Repr
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Protocol, Self

from sqlalchemy import Column, Connection, Table, inspect, select
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import (
    Mapper,
    RelationshipDirection,
    Session,
    make_transient_to_detached,
    scoped_session,
)
from sqlalchemy.orm.attributes import set_committed_value
from sqlalchemy.orm.exc import UnmappedColumnError

from ..errors import UndecodableValue, ValuesNotCarried
from ..log.snapshots import Position
from ..marking.column_kinds import is_read_by_expression, is_system
from ..sql import unscoped

if TYPE_CHECKING:
    from sqlalchemy.orm.state import InstanceState

__all__ = ["Change", "Deleted", "Event", "Gap", "Inserted", "Notification", "Truncated", "Updated"]

Identity = tuple[Any, ...]
Reason = Literal["started", "reconnected", "overflow", "undecodable", "lost_position"]


@dataclass(frozen=True, slots=True, eq=False)
class EntityLayout:
    """How the rows of one layout become events of one entity.

    :ivar entity: the mapped class, or the table; ``mapper`` the class's, None for Core.
    :ivar names: the attribute name of each of the layout's columns; None for those that the entity
        lacks.
    :ivar key: for each column of the identity, the place of its field.
    :ivar places: for each carried column that the entity has, the place of its field; ``positions``
        where in ``places`` that of an attribute is, by its name.
    :ivar accepted: whether events of the entity are wanted.
    """

    entity: Any
    mapper: Mapper[Any] | None
    names: tuple[str | None, ...]
    key: tuple[int, ...]
    places: tuple[int, ...]
    positions: Mapping[str, int]
    accepted: bool

    @property
    def subject(self) -> str:
        """The entity's name in errors."""
        return str(self.entity.fullname if self.mapper is None else self.entity.__name__)


class Row(Protocol):
    """What each row holds, by its number."""

    def __getitem__(self, row: int, /) -> Mapping[str, Any]: ...


class Held(Protocol):
    """What rows hold, by plan (:class:`sa_pgnotify.events.values.Fields`)."""

    def __getitem__(self, plan: EntityLayout, /) -> Row: ...


class Message(Protocol):
    """The message that brought an event, and knows how to decode its rows
    (:class:`sa_pgnotify.events.message.Message`)."""

    @property
    def table(self) -> Table: ...
    def texts(self, plan: EntityLayout, row: int) -> list[str]: ...
    @property
    def transaction_id(self) -> int: ...
    @property
    def occurred_at(self) -> datetime: ...
    @property
    def backend_pid(self) -> int: ...
    @property
    def context(self) -> Mapping[str, Any]: ...
    def position(self, row: int) -> Position | None: ...
    def key(self, row: int) -> tuple[int, int] | None: ...
    @property
    def new(self) -> Held: ...
    @property
    def old(self) -> Held: ...
    def changed(self, plan: EntityLayout, row: int) -> frozenset[str]: ...
    def previous_identity(self, plan: EntityLayout, row: int) -> Identity | None: ...


class Change:
    """One row changed, or one table emptied; use the subclasses to tell which."""

    __slots__ = ("_identity", "_message", "_plan", "_row")
    __match_args__ = ("entity", "identity")

    def __init__(
        self, message: Message, plan: EntityLayout, row: int, identity: Identity | None
    ) -> None:
        self._message = message
        self._plan = plan
        self._row = row
        self._identity = identity

    @property
    def entity(self) -> Any:
        """The mapped class that the row belongs to, the most specific one; the ``Table`` for
        Core."""
        return self._plan.entity

    @property
    def identity(self) -> Identity | None:
        """The primary key as ``session.get(entity, identity)`` takes it; None for
        :class:`Truncated`."""
        return self._identity

    @property
    def table(self) -> Table:
        """The table whose trigger told the change: with joined inheritance, one of the entity's
        tables."""
        return self._message.table

    @property
    def transaction_id(self) -> int:
        """PostgreSQL's 64-bit transaction id (``pg_current_xact_id()``), the same for all changes
        of one transaction."""
        return self._message.transaction_id

    @property
    def occurred_at(self) -> datetime:
        """When the statement had made its changes, by the server's clock: aware, in UTC, to the
        microsecond."""
        return self._message.occurred_at

    @property
    def backend_pid(self) -> int:
        """Process id of the server process that made the change."""
        return self._message.backend_pid

    @property
    def context(self) -> Mapping[str, Any]:
        """What :func:`~sa_pgnotify.change_context` gave the transaction; empty by default."""
        return self._message.context

    @property
    def position(self) -> Position | None:
        """The place in the change log behind this change, as :meth:`Consumer.seek` takes it; None
        if the table is not durable."""
        return self._message.position(self._row)

    @property
    def key(self) -> tuple[int, int] | None:
        """Which change of the log this is: the number of the log's row, and the number of the
        change in it. It is the same whenever the change is read, and so tells what was done already
        outside of the database. None if the table is not durable."""
        return self._message.key(self._row)

    def load(self, session: Session | scoped_session[Any] | Connection) -> Any:
        """The row as it is now: the object (for Core: the ``Row``), or None if there is none.

        An object that the session holds is refreshed, but for its pending changes, and nothing is
        flushed.
        """
        if self.identity is None:
            return None
        session = unscoped(session)
        mapper = self._plan.mapper
        if mapper is None:
            return session.execute(
                select(self.table).where(
                    *(c == v for c, v in zip(self.table.primary_key, self.identity))
                )
            ).first()
        if not isinstance(session, Session):
            raise TypeError(
                f"load() of a mapped class needs a Session, not {type(session).__name__}"
            )
        held = session.identity_map.get(mapper.identity_key_from_primary_key(self.identity))
        with session.no_autoflush:
            if held is None:
                return session.get(self.entity, self.identity)
            fresh = [a.key for a in mapper.column_attrs if a.key not in _pending(held)]
            try:
                session.refresh(held, fresh)
            except InvalidRequestError:  # SQLAlchemy's word for: the row is gone
                return None
        return held

    def expire(self, session: Session | scoped_session[Any]) -> None:
        """Expire what changed on the object that the session holds, if it holds one: it is read
        again at its next use.

        Attributes with a pending change of the session's own stay as they are, so does the primary
        key, and an object that the session is about to delete stays whole: no later flush fails
        because of this. No SQL is sent. A ``version_id_col`` is read again as well, unless the
        session has a pending change of an attribute that changed: then its flush finds the conflict
        (``StaleDataError``).
        """
        mapper, held_by = self._plan.mapper, unscoped(session)
        if mapper is None:
            return
        # Under its former identity the row is gone.
        for identity, names, is_gone in (
            (self.identity, self._stale(mapper), isinstance(self, Deleted)),
            (self._previous(), _all(mapper), True),
        ):
            key = None if identity is None else mapper.identity_key_from_primary_key(identity)
            if key is not None and (held := held_by.identity_map.get(key)) is not None:
                _expire(held_by, held, names, is_gone=is_gone)

    def _previous(self) -> Identity | None:
        return None

    def _stale(self, mapper: Mapper[Any]) -> frozenset[str]:
        return _all(mapper)

    def instance(self) -> Any:
        """A detached object of the entity, built from the event's values without SQL: from ``new``,
        for a deleted row from ``old``.

        Attributes whose values no event carries (system columns, types with
        ``column_expression()``) are not loaded in it: they are read when it is added to a session.

        :raises ValuesNotCarried: if the event does not hold all mapped columns; mark the class with
            ``NotifySpec(values="all")``.
        :raises UndecodableValue: if a value cannot be decoded, as a SELECT of the object would
            fail.
        """
        mapper = self._plan.mapper
        if mapper is None:
            raise ValuesNotCarried(
                f"{self.table.name} is a Core table: instance() needs a mapped class", ()
            )
        values = self._state()
        wanted = {
            a.key
            for a in mapper.column_attrs
            if isinstance(a.columns[0].table, Table) and not _is_hidden(a.columns[0])
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
            # a container would be shared with the event, and with every other instance made of it
            value = values[name]
            set_committed_value(
                made, name, deepcopy(value) if isinstance(value, list | dict | set) else value
            )
        make_transient_to_detached(made)
        # What a load from the database does next: Mutable columns and @reconstructor hang on it.
        state: InstanceState[Any] = inspect(made)
        state.manager.dispatch.load(state, None)
        return made

    def _state(self) -> Mapping[str, Any]:
        return self._message.new[self._plan][self._row]

    def __copy__(self) -> Self:
        return self  # it never changes

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        """
        :raises TypeError: always: an event belongs to the listener's message, and to its mappers.
        """
        raise TypeError(
            f"{type(self).__name__} cannot be pickled, because it refers to the listener's message. Send what the receiver needs, such as "
            "event.identity, dict(event.new) and event.changed"
        )

    def __repr__(self) -> str:
        name = getattr(self.entity, "__name__", None) or self.table.name
        return f"{type(self).__name__}({name}, {self.identity!r}{self._details()})"

    def _details(self) -> str:
        return ""


class Inserted(Change):
    """A row is new."""

    __slots__ = ()

    @property
    def new(self) -> Mapping[str, Any]:
        """The values asked for by ``NotifySpec.values``, and the identity's, by attribute name;
        equal to what a SELECT gives.

        Asking for a value that a SELECT could not read either raises :class:`UndecodableValue`, and
        so does ``dict()`` of them all; the others can be read one by one.
        """
        return self._message.new[self._plan][self._row]

    def _details(self) -> str:
        return f", new={_shown(self._state)}"


class Updated(Change):
    """A row is not what it was: at least one column really changed."""

    __slots__ = ()

    @property
    def new(self) -> Mapping[str, Any]:
        """The values after the change, as :attr:`Inserted.new`."""
        return self._message.new[self._plan][self._row]

    @property
    def old(self) -> Mapping[str, Any]:
        """The values before the change, of the same attributes as ``new``."""
        return self._message.old[self._plan][self._row]

    @property
    def changed(self) -> frozenset[str]:
        """Names of all attributes that changed, whether or not their values travel."""
        return self._message.changed(self._plan, self._row)

    @property
    def previous_identity(self) -> Identity | None:
        """The identity before the change; None unless the primary key changed."""
        return self._message.previous_identity(self._plan, self._row)

    def _previous(self) -> Identity | None:
        try:
            return self.previous_identity
        except UndecodableValue:
            return None  # no session holds an object whose key cannot be read

    def _stale(self, mapper: Mapper[Any]) -> frozenset[str]:
        return self.changed

    def _details(self) -> str:
        return f", changed={sorted(self.changed)!r}, new={_shown(self._state)}"


class Deleted(Change):
    """A row is gone."""

    __slots__ = ()

    @property
    def old(self) -> Mapping[str, Any]:
        """The values of the row that is gone, as :attr:`Inserted.new`."""
        return self._message.new[self._plan][self._row]

    def _details(self) -> str:
        return f", old={_shown(self._state)}"


class Truncated(Change):
    """A table was emptied by TRUNCATE: every row that it had is gone, none of them is named."""

    __slots__ = ()

    def _state(self) -> Mapping[str, Any]:
        return {}

    def expire(self, session: Session | scoped_session[Any]) -> None:
        """Expire every object of the entity that the session holds."""
        mapper, held_by = self._plan.mapper, unscoped(session)
        if mapper is None:
            return
        for held in list(held_by.identity_map.values()):
            if isinstance(held, mapper.class_):
                _expire(held_by, held, self._stale(mapper), is_gone=True)


@dataclass(frozen=True, slots=True)
class Gap:
    """Events may be missing here: whoever keeps a copy of the data reads it again.

    :ivar reason: ``"started"``: transactions that had written before the listener came, and told
        nothing since nobody listened, have ended only now. ``"reconnected"``: the connection was
        lost and is back; or such transactions of that time have ended. ``"overflow"``: the program
        took events more slowly than they came, and the buffer was full. ``"undecodable"``:
        something came that could not be read, or a trigger failed. ``"lost_position"``: the change
        log does not hold any more, or not all of, what follows the place that was reached.
    :ivar since: nothing that was committed before this moment is missing (aware, UTC, by this
        machine's clock). It is that of the last heartbeat, and so up to a heartbeat early.
    :ivar detail: one line for the log.
    """

    reason: Reason
    since: datetime
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Notification:
    """What came on a plain channel.

    :ivar channel: the channel's name.
    :ivar payload: the text as sent, empty if none was.
    :ivar pid: the sender's server process id.
    """

    channel: str
    payload: str
    pid: int


Event = Change | Gap | Notification


_shortened = Repr()
_shortened.maxdict = _shortened.maxstring = _shortened.maxother = 60


def _shown(values: Callable[[], Mapping[str, Any]]) -> str:
    """Return values for a repr, which must neither be long nor fail."""
    held = values()
    return _shortened.repr({name: _readable(held, name) for name in held})


def _readable(values: Mapping[str, Any], name: str) -> Any:
    try:
        return values[name]
    except UndecodableValue as error:
        return _Bare(f"<undecodable {error.text!r}>")


class _Bare(str):
    """A text whose repr is the text itself."""

    __slots__ = ()
    __repr__ = str.__str__


def _pending(held: object) -> set[str]:
    """Names of the attributes that the session has yet to write."""
    return set(inspect(held).committed_state)


def _all(mapper: Mapper[Any]) -> frozenset[str]:
    """Names of all column attributes."""
    return frozenset(a.key for a in mapper.column_attrs)


def _is_hidden(column: Any) -> bool:
    """Whether no event carries the value of a column."""
    return isinstance(column, Column) and (is_system(column) or is_read_by_expression(column.type))


def _keys(mapper: Mapper[Any], columns: Iterable[Any]) -> set[str]:
    """Names of the attributes of columns, of those that are mapped."""
    found = set()
    for column in columns:
        with suppress(UnmappedColumnError):
            found.add(mapper.get_property_by_column(column).key)
    return found


def _expire(session: Session, held: object, names: frozenset[str], *, is_gone: bool) -> None:
    mapper = inspect(held).mapper
    if held in session.deleted:
        return
    pending, stale = _pending(held), set(names)
    # PostgreSQL's own columns are of the row's version, and so never among those that changed
    if names:
        stale.update(
            a.key
            for a in mapper.column_attrs
            if isinstance(a.columns[0], Column) and is_system(a.columns[0])
        )
    for relationship in mapper.relationships:
        # An object that the changed foreign key pointed to is stale as well.
        if relationship.direction is RelationshipDirection.MANYTOONE and not names.isdisjoint(
            _keys(mapper, relationship.local_columns)
        ):
            stale.add(relationship.key)
    kept = pending | _keys(mapper, mapper.primary_key)
    # a flush may ask for it, also one that writes nothing
    if mapper.version_id_col is not None and (is_gone or names & pending):
        kept |= _keys(mapper, [mapper.version_id_col])
    stale = (stale - kept) & set(mapper.attrs.keys())
    if stale:
        session.expire(held, sorted(stale))
