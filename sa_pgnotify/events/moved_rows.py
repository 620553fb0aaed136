"""An update that changed the identity of a row, as what it is for a reader of a part of the rows: the
row left the part, or entered it."""

from __future__ import annotations

from typing import Any

from .changes import Deleted, Inserted, Updated
from .entity_layout import EntityLayout
from .message import Message

__all__ = ["entered", "left", "previous_texts"]


def previous_texts(change: Updated) -> list[str] | None:
    """Return PostgreSQL's texts of the identity before a change; None if it did not change."""
    message: Any = change._message
    layout, row = change._entity_layout, change._row
    return (
        _Before(message).identity_texts(layout, row) if message.key_changed(layout, row) else None
    )


def entered(change: Updated) -> Inserted:
    """Return the change as the insert of the row under its new identity."""
    # The JSON of its message is that of an update.
    message: Any = _After(change._message)
    return Inserted(message, change._entity_layout, change._row, change.identity)


def left(change: Updated) -> Deleted:
    """Return the change as the delete of the row under its previous identity."""
    before: Any = _Before(change._message)
    return Deleted(before, change._entity_layout, change._row, change.previous_identity)


class _After:
    """The message of an update, as that of an insert: with the rows after it alone."""

    def __init__(self, message: Any) -> None:
        self._message: Message = message
        self.new = message.new

    def __getattr__(self, name: str) -> Any:
        return getattr(self._message, name)

    def json(self, layout: EntityLayout, row: int) -> None:
        """Return None: the event has to be written value by value."""


class _Before(_After):
    """The message of an update, as that of a delete: with the rows before it."""

    def __init__(self, message: Any) -> None:
        super().__init__(message)
        self.new = message.old

    def identity_texts(self, layout: EntityLayout, row: int) -> list[str]:
        """Return the fields of a row's identity before the update."""
        old, new = self._message.old.columns, self._message.new.columns
        return [str((old if place in old else new)[place][row]) for place in layout.key]
