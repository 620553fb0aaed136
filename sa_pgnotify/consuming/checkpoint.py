"""The position that is stored for a consumer, and how reading follows it.

A position may be moved from outside at any time, by ``seek()`` or by another process of the same
name, and its log may have been restored from a dump, or created again. So the stored position is
the authority: whenever reading is elsewhere, it goes there.
"""

from __future__ import annotations

from dataclasses import replace

from ..drivers import ListenConnection
from ..errors import NotifyConfigError
from ..log.origin import current_position, resolve
from ..log.scans import Scan
from ..log.snapshots import Position, together
from ..log.tables import LogNames
from ..log.tail import LOST_TO_RESTORE
from ..sql import Execute
from .positions import ConsumerKey, ConsumerTable, StoredPosition
from .read_ahead import ReadAhead
from .retries import Retries

__all__ = ["SNAPSHOT", "Checkpoint"]

SNAPSHOT = "snapshot"
"""The start of a consumer that begins with the rows that are there."""


class Checkpoint:
    """The stored position of one consumer.

    :param start: where to begin reading if the name, or a table under it, is new.
    :ivar table: the consumer's rows in the table of consumers.
    :ivar position: the stored position as far as is known; None before it is loaded.
    """

    def __init__(
        self, key: ConsumerKey, start: str | Position, ahead: ReadAhead, retries: Retries
    ) -> None:
        self._key = key
        self._start = start
        self._ahead = ahead
        self._retries = retries
        self.table: ConsumerTable
        self.position: Position | None = None

    def use(self, log: LogNames) -> None:
        """Store the position in ``log``."""
        self.table = ConsumerTable(log, self._key)

    def stored(self, connection: ListenConnection) -> StoredPosition:
        """Return what is stored.

        :raises PgNotifyError: if the consumer was forgotten.
        """
        stored = self.table.load(connection.execute)
        if stored is None:
            raise self.table.forgotten()
        self._retries.note(stored)
        return stored

    def load(self, connection: ListenConnection, *, recreated: bool = False) -> None:
        """Go to the stored position; if there is none, store one.

        :param recreated: whether the log is not the one that was read before.
        :raises PgNotifyError: if the consumer was forgotten.
        """
        if self.table.load(connection.execute) is None:
            if self.position is not None and not recreated:
                raise self.table.forgotten()
            self._create(connection.execute)
        stored = self.register(connection)
        self._refuse_without_snapshot(stored)
        self.go_to(connection, stored)

    def _refuse_without_snapshot(self, stored: StoredPosition) -> None:
        """
        :raises NotifyConfigError: if the consumer should begin with a snapshot, and the name has read
            one of its entities without one.
        """
        places = (stored.position, *stored.apart.values())
        begun = {scan.relation for place in places for scan in place.scans if scan.starts}
        other = [root for root in self._ahead.scanner.roots() if root not in begun]
        if self._start == SNAPSHOT and other:
            raise NotifyConfigError(
                self._key.name,
                f"start={SNAPSHOT!r}, but this consumer has read {', '.join(other)} before, without a snapshot",
                "Leave start out and call backfill(entity), which gives the rows out among the changes; or forget() the consumer, "
                "or take another name, to begin anew",
            )

    def _create(self, execute: Execute) -> None:
        names, ahead = self.table.names, self._ahead
        self._refuse_other_parts(execute)
        execute(
            f"INSERT INTO {names.head} (id, removed, lost) VALUES (0, 0, 0) ON CONFLICT DO NOTHING"
        )
        # A consumer that had a position in a log that was created again has lost it.
        start, origin = (self._start, ahead.origin) if self.position is None else ("now", "")
        lost = ahead.tail.losses.before(execute)
        scans = () if self.position is None else self.position.scans
        if start == SNAPSHOT:
            start, scans = "now", ahead.scanner.beginning()
        at = replace(resolve(execute, names, start), tables=together(ahead.sources), scans=scans)
        self.table.create(execute, origin, at, lost)

    def _refuse_other_parts(self, execute: Execute) -> None:
        parts = self.table.other_parts(execute)
        if parts is not None:
            raise NotifyConfigError(
                self._key.name,
                f"this consumer is divided into {parts} parts, not into {self._key.parts}",
                "Let the old parts read everything, forget() "
                "them, start the new parts, and seek() to where the old ones ended",
            )

    def register(self, connection: ListenConnection) -> StoredPosition:
        """Give a place to each table that has none under the name, and return what is stored.

        From then on no change of these tables is missed, whichever process works.
        """
        stored = self.stored(connection)
        if unknown := self._ahead.sources.keys() - set(stored.known):
            start = self._start
            scans: tuple[Scan, ...] = ()
            if start == SNAPSHOT:
                start = "now"
                scans = self._ahead.scanner.beginning(unknown)
            beginning = (
                None if start == "now" else resolve(connection.execute, self.table.names, start)
            )
            self.table.register(connection.execute, unknown, beginning, scans)
            stored = self.stored(connection)
        return stored

    def go_to(self, connection: ListenConnection | None, stored: StoredPosition) -> None:
        """Discard what was read, and read on from the stored position.

        A position in another log is lost: reading goes on from now, after a ``Gap``.
        """
        self.position = stored.position
        ahead = self._ahead
        ahead.go_to(stored.position, stored.lost)
        if stored.origin == ahead.origin or connection is None:
            return
        at, lost = stored.position, stored.lost
        if stored.origin:  # else the position is valid, and one of its tables has lost its place
            lost = ahead.tail.losses.before(connection.execute)
            now = current_position(connection.execute)
            at = Position(now.last, tables=together(at.names), scans=at.scans)
            ahead.tail.go_to(at, lost)
        ahead.add_gap(LOST_TO_RESTORE, at, lost=lost)

    def pass_over(self, connection: ListenConnection, stored: StoredPosition, seen: int) -> None:
        """Store the position up to which the log was read without a change for this consumer.

        :param seen: how many changes are known to be missing in the log.
        """
        passed = self._ahead.position
        lost = seen if stored.lost < 0 <= seen else None
        if (passed != self.position or lost is not None) and self.table.arrange(
            connection.execute, stored, passed, lost=lost
        ):
            self.position = passed
