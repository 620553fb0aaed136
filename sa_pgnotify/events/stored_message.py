"""What stands in for the message of a change that was read from its envelope.

A change reads everything from the message that brought it. A change that comes from JSON has the
values already, so this is a message of one row that holds them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Table

from ..errors import UndecodableValue
from ..log.snapshots import Position
from .entity_layout import EntityLayout
from .values import Values

__all__ = ["StoredMessage"]


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """One row's change, with the attributes that :class:`~sa_pgnotify.events.message.Message` has.

    :ivar new: the values by the only entity that there is; ``old`` those before an update.
    :ivar names: of the attributes that an update changed.
    :ivar previous: the identity before an update; the error, if it could not be decoded.
    :ivar place: the position in the change log after the change; ``number`` its key.
    """

    table: Table
    transaction_id: int
    occurred_at: datetime
    backend_pid: int
    context: Mapping[str, Any]
    new: Mapping[EntityLayout, list[Values]]
    old: Mapping[EntityLayout, list[Values]]
    names: frozenset[str] = frozenset()
    previous: tuple[Any, ...] | UndecodableValue | None = None
    place: Position | None = None
    number: tuple[int, int] | None = None

    def ordinal(self, row: int) -> None:
        """Return None: the envelope does not have it."""

    def json(self, entity: EntityLayout, row: int) -> None:
        """Return None: the change has to be written value by value."""

    def changed(self, entity: EntityLayout, row: int) -> frozenset[str]:
        """Return the names of the attributes that an update changed."""
        return self.names

    def previous_identity(self, entity: EntityLayout, row: int) -> tuple[Any, ...] | None:
        """Return the identity before an update; None if it did not change.

        :raises UndecodableValue: if it could not be decoded.
        """
        if isinstance(self.previous, UndecodableValue):
            raise self.previous.with_traceback(None)
        return self.previous

    def position(self, row: int) -> Position | None:
        """Return the position in the change log just after the change."""
        return self.place

    def key(self, row: int) -> tuple[int, int] | None:
        """Return the number of the log's row, and that of the change in it."""
        return self.number
