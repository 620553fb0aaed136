"""From the envelope of a change back to the change, tied to the program's own classes.

The envelope comes from elsewhere: from another version of the library, from a program with other
models, or from somebody who wrote it by hand. So each member is checked before it is used, and an
error names the member, what is wrong with it, and what to do.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any, NamedTuple, NoReturn

from sqlalchemy import Table
from sqlalchemy.types import TypeEngine

from ..errors import UndecodableValue, UnreadableData
from ..log.snapshots import Position
from .column_decoder import ColumnDecoder, Unread
from .entity_layout import EntityLayout
from .envelope import VERSION
from .json_forms import ColumnForm, decode
from .model_lookup import ModelSource, column_layout, entity_named
from .stored_message import StoredMessage
from .values import PartlyRead, Values

__all__ = ["Layouts", "ReadChange", "read_change", "read_gap", "read_notification"]

_SIDES = {
    "inserted": ("new",),
    "updated": ("old", "new"),
    "deleted": ("old",),
    "truncated": (),
    "existing": ("new",),
}
_ERRORS = (ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RecursionError)
"""What decoding may raise for what has another shape than a form says."""


class ReadChange(NamedTuple):
    """What a change is made of.

    :ivar kind: ``"inserted"``, ``"updated"``, ``"deleted"``, ``"truncated"`` or ``"existing"``.
    """

    kind: str
    message: StoredMessage
    layout: EntityLayout
    identity: tuple[Any, ...] | None


Layouts = dict[tuple[str, str], tuple[Table, EntityLayout]]
"""Tables and layouts that were found, by the names of table and entity."""


def read_change(data: Any, models: ModelSource, known: Layouts | None = None) -> ReadChange:
    """Return what the envelope of a change holds.

    :param known: remembers what was found, for a reader of many envelopes.

    :raises UnreadableData: if it is not one that this version reads, or if the models do not have
        what it names.
    """
    members = _Members(data)
    kind = members.kind()
    names = members.take("table", str), members.take("entity", str)
    found = None if known is None else known.get(names)
    if found is None:
        table, mapper = entity_named(*names, models)
        found = table, column_layout(table, mapper)
        if known is not None:
            known[names] = found
    table, layout = found
    values = _ValueReader(members, layout)
    identity = None if kind == "truncated" else values.identity("identity")
    sides = {side: {layout: [values.row(side)]} for side in _SIDES[kind]}
    is_update = kind == "updated"
    message = StoredMessage(
        table=table,
        transaction_id=members.take("transaction_id", int),
        occurred_at=members.moment("occurred_at"),
        backend_pid=members.take("backend_pid", int),
        context=values.context(),
        # a deleted row's only values are the new ones of its message
        new=sides.get("new") or sides.get("old") or {},
        old=sides.get("old") or {},
        names=frozenset(members.names("changed")) if is_update else frozenset(),
        previous=values.previous_identity() if is_update else None,
        place=members.position(),
        number=members.number(),
    )
    return ReadChange(kind, message, layout, identity)


def read_gap(data: Any, reasons: Sequence[str]) -> tuple[str, datetime, str]:
    """Return reason, moment and detail of the envelope of a gap.

    :param reasons: those that there are.
    :raises UnreadableData: as :func:`read_change`.
    """
    members = _Members(data)
    members.expect("gap")
    reason: str = members.take("reason", str)
    if reason not in reasons:
        members.fail("reason", f"{_short(reason)} is none of {', '.join(reasons)}")
    return reason, members.moment("since"), members.take("detail", str)


def read_notification(data: Any) -> tuple[str, str, int]:
    """Return channel, payload and process id of the envelope of a notification.

    :raises UnreadableData: as :func:`read_change`.
    """
    members = _Members(data)
    members.expect("notification")
    return members.take("channel", str), members.take("payload", str), members.take("pid", int)


class _Members:
    """The members of an envelope, checked when they are taken."""

    def __init__(self, data: Any) -> None:
        if not isinstance(data, Mapping):
            self.fail("", f"{type(data).__name__} is not an object", "Give json.loads(text)")
        self._data = data
        if "specversion" in data:
            self.fail("", "this is a CloudEvent", 'Give its member "data"')
        version = data.get("version")
        if version != VERSION or type(version) is not int:
            self.fail(
                "version",
                f"it is {version!r}, and this version of sa_pgnotify reads {VERSION}",
                "Give what to_dict() of an event returned, and update sa_pgnotify here if it is newer there",
            )

    @staticmethod
    def fail(
        name: str, problem: str, fix: str = "Give what to_dict() of the event returned"
    ) -> NoReturn:
        raise UnreadableData(f"event.{name}".rstrip("."), problem, fix) from None

    def kind(self) -> str:
        kind: str = self.take("event", str)
        if kind in ("gap", "notification"):
            self.fail(
                "event", f"a {kind} is not a change", f"Read it with {kind.title()}.from_dict(data)"
            )
        if kind not in _SIDES:
            self.fail("event", f"{kind!r} is none of {', '.join(_SIDES)}")
        return kind

    def expect(self, kind: str) -> None:
        found = self.take("event", str)
        if found != kind:
            self.fail(
                "event",
                f"it is {_short(found)}, and not a {kind}",
                "Read it with Change.from_dict(data, metadata)",
            )

    def take(self, name: str, type_: type[Any]) -> Any:
        """Return a member."""
        if name not in self._data:
            self.fail(name, "it is missing")
        value = self._data[name]
        if not isinstance(value, type_) or (type_ is int and isinstance(value, bool)):
            self.fail(name, f"it is {_short(value)}, and should be {_WORDS[type_]}")
        return value

    def part(self, member: str, name: str, *types: type[Any]) -> Any:
        """Return what one of the optional members says of a part; an empty dict if it says nothing.

        :param types: what it may be.
        """
        found = self._data.get(member, {})
        if not isinstance(found, dict):
            self.fail(member, f"it is {_short(found)}, and should be an object")
        of_part = found.get(name)
        if of_part is not None and not isinstance(of_part, types):
            words = " or ".join(_WORDS[type_] for type_ in types)
            self.fail(f"{member}.{name}", f"it is {_short(of_part)}, and should be {words}")
        return of_part or {}

    def names(self, name: str) -> list[str]:
        found: list[str] = self.take(name, list)
        if not all(isinstance(item, str) for item in found):
            self.fail(name, "its items should be the names of attributes")
        return found

    def moment(self, name: str) -> datetime:
        text = self.take(name, str)
        try:
            found = datetime.fromisoformat(text)
        except ValueError:
            found = None
        if found is None or found.tzinfo is None:
            self.fail(name, f"{text[:80]!r} is not a moment in ISO 8601 with its offset from UTC")
        return found

    def position(self) -> Position | None:
        if self._data.get("position") is None:
            return None
        return Position.parse(self.take("position", str))

    def number(self) -> tuple[int, int] | None:
        found = self._data.get("key")
        if found is None:
            return None
        if not isinstance(found, list) or [type(item) for item in found] != [int, int]:
            self.fail("key", f"it is {_short(found)}, and should be two whole numbers")
        return found[0], found[1]


class _ValueReader:
    """Reads the parts of an envelope that hold values."""

    def __init__(self, members: _Members, layout: EntityLayout) -> None:
        self._members = members
        self._layout = layout

    def row(self, side: str) -> Values:
        """Return the values of a row, those that could not be decoded among them."""
        layout, members = self._layout, self._members
        written, forms = members.take(side, dict), members.part("forms", side, dict)
        undecodable = members.part("undecodable", side, dict)
        names = [*written, *undecodable]
        self._check_names(side, names)
        row: list[Any] = [
            self._value(f"{side}.{name}", value, forms.get(name), layout.types[name])
            if (forms and name in forms)
            else value
            for name, value in written.items()
        ]
        row += [self._unread(name, said) for name, said in undecodable.items()]
        positions = {name: place for place, name in enumerate(names)}
        if Unread in map(type, row):
            return PartlyRead(layout.subject, positions, tuple(row))
        return Values(positions, tuple(row))

    def identity(self, part: str) -> tuple[Any, ...]:
        layout, members = self._layout, self._members
        written, forms = members.take(part, list), members.part("forms", part, list)
        if len(written) != len(layout.key) or (forms and len(forms) != len(written)):
            members.fail(
                part,
                f"it has {len(written)} values, and the key of {layout.subject} has {len(layout.key)}",
                "Read it with the models that it was written with",
            )
        keys = [layout.names[place] or "" for place in layout.key]
        values = [
            self._value(part, value, form, layout.types.get(name))
            for value, form, name in zip(written, forms or [None] * len(written), keys)
        ]
        for value in values:
            if isinstance(value, Unread):
                members.fail(part, f"its column cannot read {value!r}")
        return tuple(values)

    def previous_identity(self) -> tuple[Any, ...] | UndecodableValue | None:
        said = self._members.part("undecodable", "previous_identity", dict)
        if said:
            problem = self._unread("previous_identity", said)
            try:
                problem.decoder.one(problem.text, self._layout.subject, "previous_identity")
            except UndecodableValue as error:
                return error
        if self._members._data.get("previous_identity") is None:
            return None
        return self.identity("previous_identity")

    def context(self) -> Mapping[str, Any]:
        members = self._members
        context = members.take("context", dict)
        form = members.part("forms", "context", str, dict) or None
        return MappingProxyType(self._value("context", context, form, None))

    def _value(self, place: str, written: Any, form: Any, type_: TypeEngine[Any] | None) -> Any:
        try:
            return decode(written, form, type_)
        except ColumnForm as refused:
            return self._refused(place, written, refused.__cause__ or refused)
        except _ERRORS as error:
            self._members.fail(
                place,
                f"{_short(written)} is not of the form {_short(form)}: {_short(error)}",
                "Give what to_dict() of a change returned; if a newer version of sa_pgnotify wrote it, update it here",
            )

    def _check_names(self, side: str, names: Iterable[str]) -> None:
        layout = self._layout
        for name in names:
            if name not in layout.types:
                self._members.fail(
                    f"{side}.{name}",
                    f"{layout.subject} has no column attribute of this name. It has: {', '.join(layout.types)}",
                    "Read it with the models that it was written with",
                )

    def _unread(self, name: str, said: Any) -> Unread:
        """Return what raises, when it is read, what was said when it could not be decoded."""
        try:
            column, text, error = said["column"], said["text"], said["error"]
        except (KeyError, TypeError):
            self._members.fail("undecodable", f"{_short(said)} does not say what and why")
        return _raising(self._layout.subject, column, text, ValueError(error))

    def _refused(self, place: str, written: Any, error: BaseException) -> Unread:
        name = place.rpartition(".")[2]
        return _raising(self._layout.subject, name, str(written), error)


def _raising(subject: str, column: str, text: str | None, error: BaseException) -> Unread:
    def refuse(_: Any) -> NoReturn:
        raise error.with_traceback(None)

    return Unread(ColumnDecoder(subject, column, None, refuse), text)


_WORDS: Mapping[type[Any], str] = {
    str: "a text",
    int: "a whole number",
    list: "an array",
    dict: "an object",
}


def _short(value: Any) -> str:
    text = str(value) if isinstance(value, Exception) else reprlib.repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
