"""Events as JSON: the envelope, version 1, which ``event.v1.schema.json`` describes.

A reader must be able to tell what it has, in any language and years later. So the envelope has a
version and the kind of the event, and beside the values it names the forms of those that JSON
cannot express (:mod:`sa_pgnotify.events.json_forms`). A value that could not be decoded spoils only
itself: it stands apart, as PostgreSQL wrote it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import NotifyConfigError, UndecodableValue
from .column_decoder import Unread
from .entity_layout import EntityLayout
from .json_forms import Form, encode
from .json_texts import VERSION
from .values import Values

if TYPE_CHECKING:
    from .changes import Change, Identity

__all__ = ["VERSION", "change_dict"]


def change_dict(change: Change[Any]) -> dict[str, Any]:
    """Return the envelope of a change.

    :raises NotifyConfigError: if nothing writes a value as JSON, the type of its column included.
    """
    layout, message, identity = change._entity_layout, change._message, change.identity
    envelope: dict[str, Any] = {
        "version": VERSION,
        "event": change._kind,
        "entity": layout.subject,
        "table": message.table.fullname,
        "identity": None,
    }
    parts = _Parts(layout)
    if identity is not None:
        envelope["identity"] = parts.identity("identity", identity)
    if change._kind == "updated":
        envelope["changed"] = sorted(message.changed(layout, change._row))
        envelope["previous_identity"] = parts.previous_identity(change)
    for side in change._sides:
        envelope[side] = parts.values(side, getattr(change, side))
    envelope["transaction_id"] = message.transaction_id
    envelope["occurred_at"] = message.occurred_at.isoformat()
    envelope["backend_pid"] = message.backend_pid
    envelope["context"] = parts.context(dict(message.context))
    position, key = change.position, change.key
    envelope["position"] = None if position is None else str(position)
    envelope["key"] = None if key is None else list(key)
    if parts.forms:
        envelope["forms"] = parts.forms
    if parts.undecodable:
        envelope["undecodable"] = parts.undecodable
    return envelope


class _Parts:
    """Writes the parts of an envelope that hold values.

    :ivar forms: by the name of the part, the forms of its values.
    :ivar undecodable: by the name of the part, what could not be decoded.
    """

    __slots__ = ("forms", "layout", "undecodable")

    def __init__(self, layout: EntityLayout) -> None:
        self.layout = layout
        self.forms: dict[str, Any] = {}
        self.undecodable: dict[str, Any] = {}

    def values(self, part: str, values: Values) -> dict[str, Any]:
        """Return the values of a row that could be decoded."""
        written: dict[str, Any] = {}
        forms: dict[str, Form] = {}
        for name, value in zip(values._positions, values._row):
            kind = type(value)
            if kind is str or value is None or kind is bool:
                written[name] = value
            elif kind is Unread:
                self.undecodable.setdefault(part, {})[name] = _problem(values, name)
            else:
                written[name], form = self._encode(name, value)
                if form is not None:
                    forms[name] = form
        if forms:
            self.forms[part] = forms
        return written

    def identity(self, part: str, identity: Identity) -> list[Any]:
        """Return the values of an identity."""
        layout = self.layout
        encoded = [
            self._encode(layout.names[place] or "", value)
            for place, value in zip(layout.key, identity)
        ]
        forms = [form for _, form in encoded]
        if any(forms):
            self.forms[part] = forms
        return [value for value, _ in encoded]

    def previous_identity(self, change: Change[Any]) -> list[Any] | None:
        """Return the identity before an update; None if it did not change, or cannot be decoded."""
        try:
            previous = change._message.previous_identity(self.layout, change._row)
        except UndecodableValue as error:
            self.undecodable["previous_identity"] = _said(error)
            return None
        return None if previous is None else self.identity("previous_identity", previous)

    def context(self, context: dict[str, Any]) -> dict[str, Any]:
        """Return what the program attached to the transaction."""
        if context:
            context, form = encode(context, None)
            if form is not None:
                self.forms["context"] = form
        return context

    def _encode(self, name: str, value: Any) -> tuple[Any, Form | None]:
        try:
            return encode(value, self.layout.types.get(name))
        except TypeError as error:
            raise NotifyConfigError(
                f"{self.layout.subject}.{name}",
                f"its value cannot be written as JSON: {error}",
                "Let the type's process_bind_param() write it, or leave the attribute out of NotifySpec(values=...)",
            ) from error


def _problem(values: Values, name: str) -> dict[str, Any]:
    try:
        values[name]
    except UndecodableValue as error:
        return _said(error)
    raise AssertionError(name)


def _said(error: UndecodableValue) -> dict[str, Any]:
    """Return what could not be decoded, and why."""
    return {"column": error.column, "text": error.text, "error": str(error.__cause__)}
