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
    message, layout, row = change._message, change._entity_layout, change._row
    if message.previous_identity(layout, row) is None:
        return None
    return _Before(message).identity_texts(layout, row)


def entered(change: Updated) -> Inserted:
    """Return the change as the insert of the row under its new identity."""
    return Inserted(change._message, change._entity_layout, change._row, change.identity)


def left(change: Updated) -> Deleted:
    """Return the change as the delete of the row under its previous identity."""
    before: Any = _Before(change._message)
    return Deleted(before, change._entity_layout, change._row, change.previous_identity)


class _Before:
    """The message of an update, with the rows before it in the place of the new ones."""

    def __init__(self, message: Message) -> None:
        self._message = message
        self.new = message.old

    def __getattr__(self, name: str) -> Any:
        return getattr(self._message, name)

    def identity_texts(self, layout: EntityLayout, row: int) -> list[str]:
        old, new = self._message.old.columns, self._message.new.columns
        return [str((old if place in old else new)[place][row]) for place in layout.key]
