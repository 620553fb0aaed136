"""The change of one row, as a listener yields it.

Events are made by the hundred thousand, and often only their identity is read. So an event decodes
its values when a program asks for them. It is read-only: its attributes are properties over the
message that brought it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NoReturn, Self, cast

from sqlalchemy import Connection, MetaData, Table, select
from sqlalchemy.orm import Mapper, Session, scoped_session
from typing_extensions import TypeVar  # its default comes with Python 3.13

from ..errors import UndecodableValue, ValuesNotCarried
from ..log.snapshots import Position
from ..sql import unscoped
from . import session_objects
from .entity_layout import EntityLayout
from .envelope import change_dict
from .envelope_reader import Layouts, read_change
from .json_encoder import text_of
from .shown_values import shown

if TYPE_CHECKING:  # a message makes changes, and changes read their values from it
    from .message import Message
    from .stored_message import StoredMessage

__all__ = ["Change", "Deleted", "Existing", "Identity", "Inserted", "Truncated", "Updated"]

Identity = tuple[Any, ...]
E_co = TypeVar("E_co", covariant=True, default=Any)
"""The mapped class of an event's row; Any where the program does not say."""


class Change(Generic[E_co]):
    """The change of one row, or the emptying of one table. Each kind is a subclass.

    It is generic in its entity: a ``Listener[Order]`` yields ``Inserted[Order]``.

    :param row: the index of the row in its message.
    """

    __slots__ = ("_entity_layout", "_identity", "_message", "_row")
    _kind: ClassVar[str] = ""
    _sides: ClassVar[tuple[str, ...]] = ()
    __match_args__ = ("entity", "identity")

    def __init__(
        self,
        message: Message | StoredMessage,
        entity_layout: EntityLayout,
        row: int,
        identity: Identity | None,
    ) -> None:
        self._message = message
        self._entity_layout = entity_layout
        self._row = row
        self._identity = identity

    @property
    def entity(self) -> type[E_co]:
        """The most specific mapped class that the row belongs to; the ``Table`` for Core."""
        return cast("type[E_co]", self._entity_layout.entity)

    @property
    def identity(self) -> Identity | None:
        """The primary key as ``session.get(entity, identity)`` takes it; None for
        :class:`Truncated`."""
        return self._identity

    @property
    def table(self) -> Table:
        """The table whose trigger reported the change. With joined inheritance it is one of the
        entity's tables."""
        return self._message.table

    @property
    def transaction_id(self) -> int:
        """PostgreSQL's 64-bit transaction id (``pg_current_xact_id()``), the same for all changes
        of one transaction."""
        return self._message.transaction_id

    @property
    def occurred_at(self) -> datetime:
        """When the statement had made its changes: aware, in UTC, in microseconds of the server's
        clock."""
        return self._message.occurred_at

    @property
    def backend_pid(self) -> int:
        """The process id of the server process that made the change."""
        return self._message.backend_pid

    @property
    def context(self) -> Mapping[str, Any]:
        """What the program gave :func:`~sa_pgnotify.change_context`; empty by default."""
        return self._message.context

    @property
    def position(self) -> Position | None:
        """The position in the change log just after this change, as :meth:`Consumer.seek` takes it;
        None if the table is not durable."""
        return self._message.position(self._row)

    @property
    def key(self) -> tuple[int, int] | None:
        """The number of the log's row, and the number of this change in it; None if the table is
        not durable.

        The key is the same whenever the change is read, so a program can use it to recognise what
        it has already done outside of the database.
        """
        return self._message.key(self._row)

    def load(self, session: Session | scoped_session[Any] | Connection) -> E_co | None:
        """Return the row as it is now, as an object (for Core, as a ``Row``); None if it is gone.

        An object that the session holds is refreshed, except for its pending changes. Nothing is
        flushed.
        """
        if self.identity is None:
            return None
        session = unscoped(session)
        mapper = self._entity_layout.mapper
        if mapper is None:
            key = zip(self.table.primary_key, self.identity)
            row: Any = session.execute(select(self.table).where(*(c == v for c, v in key))).first()
            return cast("E_co | None", row)
        if not isinstance(session, Session):
            raise TypeError(
                f"load() of a mapped class needs a Session, not {type(session).__name__}"
            )
        return cast("E_co | None", session_objects.load(session, mapper, self.identity))

    def expire(self, session: Session | scoped_session[Any]) -> None:
        """Expire what changed on the object that the session holds, if it holds one.

        The expired attributes are read again at their next use; no SQL is sent now. No later flush
        fails because of this: attributes with a pending change of the session and the primary key
        stay as they are, and so does an object that the session is about to delete. A
        ``version_id_col`` is expired as well, unless the session has a pending change of an
        attribute that changed: then its flush finds the conflict (``StaleDataError``).
        """
        mapper, held_by = self._entity_layout.mapper, unscoped(session)
        if mapper is None:
            return
        # The row does not exist any more under its previous identity.
        for identity, names, is_gone in (
            (self.identity, self._stale(mapper), isinstance(self, Deleted)),
            (self._previous(), session_objects.column_attributes(mapper), True),
        ):
            key = None if identity is None else mapper.identity_key_from_primary_key(identity)
            if key is not None and (held := held_by.identity_map.get(key)) is not None:
                session_objects.expire(held_by, held, names, is_gone=is_gone)

    def _previous(self) -> Identity | None:
        return None

    def _stale(self, mapper: Mapper[Any]) -> frozenset[str]:
        return session_objects.column_attributes(mapper)

    def instance(self) -> E_co:
        """Return a detached object of the entity, built from the event's values without SQL.

        The values are those of ``new``; for a deleted row, those of ``old``. Attributes whose
        values no event carries (system columns, types with ``column_expression()``) are not loaded.
        They are read when the object has been added to a session.

        :raises ValuesNotCarried: if the event does not hold all mapped columns; mark the class with
            ``NotifySpec(values="all")``.
        :raises UndecodableValue: if a value cannot be decoded, as a SELECT of the object would
            fail.
        """
        mapper = self._entity_layout.mapper
        if mapper is None:
            raise ValuesNotCarried(
                f"{self.table.name} is a Core table: instance() needs a mapped class", ()
            )
        return cast("E_co", session_objects.build(mapper, self._state()))

    def _state(self) -> Mapping[str, Any]:
        """Return the values that an instance is built from."""
        return self._message.new[self._entity_layout][self._row]

    def _identity_texts(self) -> list[str]:
        """Return the fields of the identity as the message has them."""
        message: Any = self._message  # one that came from a database
        texts: list[str] = message.identity_texts(self._entity_layout, self._row)
        return texts

    def to_dict(self) -> dict[str, Any]:
        """Return the change as what JSON can express, as :func:`event_schema` describes it.

        A value that cannot be decoded is left out; the member ``undecodable`` has its text.

        :raises NotifyConfigError: if a value is of a class of the program, and the type of its
            column cannot write it.
        """
        return change_dict(self)

    def to_json(self) -> str:
        """Return :meth:`to_dict` as JSON, on one line. It is faster if orjson is installed
        (``sa_pgnotify[json]``).

        :raises NotifyConfigError: as :meth:`to_dict`.
        """
        text = None
        if self._sides:
            text = self._message.json(self._entity_layout, self._row)
        return text or text_of(change_dict(self))

    @staticmethod
    def from_dict(data: Mapping[str, Any], metadata: MetaData | type[Any]) -> Change[Any]:
        """Return the change that :meth:`to_dict` wrote, with equal values, as one of the class that
        it is of. It belongs to no connection: :meth:`load` and :meth:`expire` work in any session.

        :param data: what :meth:`to_dict` returned, or ``json.loads()`` of what :meth:`to_json` did.
        :param metadata: the MetaData or declarative base of the models that it is of.
        :raises UnreadableData: if it is something else, or of an unknown version, or if the models
            do not have the table, class, attributes or key that it names. Nothing is executed; a
            value of a ``TypeDecorator`` is read by its ``process_result_value()``.
        """
        return Change._read(data, metadata, None)

    @staticmethod
    def _read(data: Any, metadata: MetaData | type[Any], known: Layouts | None) -> Change[Any]:
        kind, message, layout, identity = read_change(data, metadata, known)
        return _BY_KIND[kind](message, layout, 0, identity)

    def __copy__(self) -> Self:
        return self  # it never changes

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        """Refuse to be pickled.

        :raises TypeError: always, because an event refers to its message and to mappers.
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


class RowChange(Change[E_co]):
    """A change of one row, which has an identity."""

    __slots__ = ()

    if TYPE_CHECKING:  # at run time it is the property of Change, which costs nothing more

        @property
        def identity(self) -> Identity: ...


class Inserted(RowChange[E_co]):
    """A row was inserted."""

    __slots__ = ()
    _kind = "inserted"
    _sides = ("new",)

    @property
    def new(self) -> Mapping[str, Any]:
        """The values that ``NotifySpec.values`` names, and those of the identity, by attribute
        name. They equal what a SELECT returns.

        Reading a value that a SELECT could not read either raises :class:`UndecodableValue`, and so
        does ``dict()`` of all values. The other values can be read one by one.
        """
        return self._message.new[self._entity_layout][self._row]

    def _details(self) -> str:
        return f", new={shown(self._state)}"


class Existing(RowChange[E_co]):
    """A row that exists already, as it was when it was read.

    A snapshot or a backfill delivers it. Nothing changed: ``occurred_at`` is the moment at which
    the row was read.
    """

    __slots__ = ()
    _kind = "existing"
    _sides = ("new",)

    @property
    def new(self) -> Mapping[str, Any]:
        """The values of the row, like :attr:`Inserted.new`."""
        return self._message.new[self._entity_layout][self._row]

    def _details(self) -> str:
        return f", new={shown(self._state)}"


class Updated(RowChange[E_co]):
    """A row was updated, and at least one column really changed."""

    __slots__ = ()
    _kind = "updated"
    _sides = ("old", "new")

    @property
    def new(self) -> Mapping[str, Any]:
        """The values after the change, like :attr:`Inserted.new`."""
        return self._message.new[self._entity_layout][self._row]

    @property
    def old(self) -> Mapping[str, Any]:
        """The values before the change, for the same attributes as ``new``."""
        return self._message.old[self._entity_layout][self._row]

    @property
    def changed(self) -> frozenset[str]:
        """The names of all attributes that changed, whether or not the event carries their
        values."""
        return self._message.changed(self._entity_layout, self._row)

    @property
    def previous_identity(self) -> Identity | None:
        """The identity before the change; None if the primary key did not change."""
        return self._message.previous_identity(self._entity_layout, self._row)

    def _previous(self) -> Identity | None:
        try:
            return self.previous_identity
        except UndecodableValue:
            return None  # no session holds an object whose key cannot be read

    def _stale(self, mapper: Mapper[Any]) -> frozenset[str]:
        return self.changed

    def _details(self) -> str:
        return f", changed={sorted(self.changed)!r}, new={shown(self._state)}"


class Deleted(RowChange[E_co]):
    """A row was deleted."""

    __slots__ = ()
    _kind = "deleted"
    _sides = ("old",)

    @property
    def old(self) -> Mapping[str, Any]:
        """The values of the deleted row, like :attr:`Inserted.new`."""
        return self._message.new[self._entity_layout][self._row]

    def _details(self) -> str:
        return f", old={shown(self._state)}"


class Truncated(Change[E_co]):
    """A table was emptied by TRUNCATE. All of its rows are gone, and the event names none of
    them."""

    __slots__ = ()
    _kind = "truncated"

    @property
    def identity(self) -> None:
        """None: all rows are gone, and none is named."""
        return

    def _state(self) -> Mapping[str, Any]:
        return {}

    def expire(self, session: Session | scoped_session[Any]) -> None:
        """Expire every object of the entity that the session holds."""
        mapper, held_by = self._entity_layout.mapper, unscoped(session)
        if mapper is None:
            return
        for held in list(held_by.identity_map.values()):
            if isinstance(held, mapper.class_):
                session_objects.expire(held_by, held, self._stale(mapper), is_gone=True)


_BY_KIND: dict[str, type[Change[Any]]] = {
    kind._kind: kind for kind in (Inserted, Updated, Deleted, Truncated, Existing)
}
