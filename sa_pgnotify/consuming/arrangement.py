"""Bringing the tables of a consumer together, although each may have a place of its own.

Versions of a program that run under one name need not read the same tables. The tables that this
version reads are brought to one position, and each other table keeps its place until a version
comes that reads it: :mod:`sa_pgnotify.consuming.places` computes these places, and this module
stores them. Tables are moved only after everything that was read has been given out and committed.
"""

from __future__ import annotations

from ..drivers import ListenConnection
from ..log.snapshots import Position
from ..log.tail import LOST_TO_RESTORE
from ..subscription.link import Link
from .checkpoint import Checkpoint
from .places import arrange, is_arranged
from .position_lock import LOCKED_SECONDS, PositionLock
from .positions import StoredPosition
from .read_ahead import ReadAhead

__all__ = ["Arrangement"]


class Arrangement:
    """Brings the tables of one consumer to one position."""

    def __init__(
        self, checkpoint: Checkpoint, ahead: ReadAhead, lock: PositionLock, link: Link
    ) -> None:
        self._checkpoint = checkpoint
        self._ahead = ahead
        self._lock = lock
        self._link = link
        self._is_checked = False

    def recheck(self) -> None:
        """Check again, before the next page, whether tables that have a place were dropped."""
        self._is_checked = False

    def is_ready(self, connection: ListenConnection) -> bool:
        """Return whether all tables may be read from the current position.

        Tables that are elsewhere are moved there, once everything that was read is given out.
        """
        ahead, checkpoint = self._ahead, self._checkpoint
        if self._is_checked and is_arranged(ahead.position, ahead.sources):
            return True
        if ahead.chunks:
            return False
        stored = checkpoint.register(connection)
        if stored.position != checkpoint.position:
            checkpoint.go_to(connection, stored)
            return False
        keep = self._join(connection, stored)
        if keep is None:
            return False
        self._is_checked = True
        self._free_dropped(connection, keep)
        return not ahead.chunks

    def _join(
        self, connection: ListenConnection, stored: StoredPosition
    ) -> dict[str, Position] | None:
        """Move the tables to one position, and return the places of the others; None if another
        transaction has locked the position."""
        ahead, at = self._ahead, self._ahead.position
        foreign = {
            name for name in ahead.sources if stored.origins.get(name, ahead.origin) != ahead.origin
        }
        position, keep = at, dict(stored.apart)
        if not is_arranged(at, ahead.sources):
            apart = {name: place for name, place in keep.items() if name not in foreign}
            position, keep = arrange(at, apart, ahead.sources)
        elsewhere = {name: place for name, place in keep.items() if name not in position.names}
        if position == self._checkpoint.position:
            return elsewhere
        # An empty origin says that the position is valid, and that a table has lost its place.
        origin = "" if foreign and stored.origin == ahead.origin else None
        execute, table = connection.execute, self._checkpoint.table
        if not table.arrange(execute, stored, position, keep=keep, origin=origin):
            self._lock.note_locked(execute, table)
            self._link.waiting.wait(None, LOCKED_SECONDS)
            ahead.tail.wake()
            return None
        self._lock.note_free()
        self._checkpoint.position = position
        ahead.tail.reader.go_to(position)
        ahead.tail.wake()
        if origin is not None:
            ahead.add_gap(LOST_TO_RESTORE, position)
        return elsewhere

    def _free_dropped(self, connection: ListenConnection, places: dict[str, Position]) -> None:
        """Free the places of tables that no longer exist. A ``Gap`` stands for their unread
        changes."""
        table = self._checkpoint.table
        dropped = table.dropped(connection.execute, places)
        if read := [name for name, unread in dropped.items() if not unread]:
            table.free(connection.execute, read)
        if unread := tuple(name for name, unread in dropped.items() if unread):
            self._ahead.add_gap(
                f"{', '.join(unread)} has another name now, or was dropped: its unread changes are not delivered",
                self._ahead.position,
                frees=unread,
            )
