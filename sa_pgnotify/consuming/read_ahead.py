"""What a consumer has read after its stored position and has not given out yet.

Everything that is held here may be lost at any moment, with the connection or the process, and is
then read again from the stored position. A ``Gap`` is given out again, too, until a batch that has
it is committed.

It is written as if it blocked, as :mod:`sa_pgnotify.listening.receiver` is.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace

from ..drivers import ListenConnection
from ..events.decoding import TableDecoder
from ..events.stream import EventStream
from ..log.captures import covers
from ..log.reader import LogRow
from ..log.scans import Scan
from ..log.snapshots import Position
from ..log.tables import LogNames
from ..log.tail import Tail
from ..scanning.page_reader import Seen
from ..sql import Execute, execute_on
from ..subscription.link import Link
from ..subscription.subscribe import read_again
from .captured_page import go_on_after, place_between
from .chunks import Chunk, cut, decode
from .positions import ConsumerKey
from .scanner import Scanner

__all__ = ["ReadAhead"]

COVER_SECONDS = 1.0
"""The most seconds that a page of rows waits for the capture, before it is given up for now."""
FILL_SECONDS = 1.0
"""The longest time for which one batch is read, if most of the changes are not for this
consumer."""


class ReadAhead:
    """Reads and decodes the log for one consumer.

    :ivar sources: the tables that are wanted, by their names in messages.
    :ivar chunks: decoded changes that were not given out yet.
    """

    def __init__(self, link: Link, key: ConsumerKey, stream: EventStream) -> None:
        self._link = link
        self._key = key
        self._stream = stream
        self.sources: dict[str, TableDecoder] = {}
        self.chunks: deque[Chunk] = deque()
        self._rows: deque[LogRow] = deque()  # rows that were read, and not decoded yet
        self._tail: Tail | None = None
        self.scanner = Scanner(link.engine, key, stream)
        self._made = 0

    def use(self, log: LogNames, sources: dict[str, TableDecoder]) -> None:
        """Read the tables ``sources`` from ``log``."""
        if self._tail is None or self._tail.names != log:
            self._tail = Tail(log, None)
        self.sources = sources
        self.scanner.use(sources)

    @property
    def tail(self) -> Tail:
        assert self._tail is not None
        return self._tail

    @property
    def origin(self) -> str:
        """The log that is read, see :func:`sa_pgnotify.log.origin.origin_of`."""
        assert self.tail.origin is not None
        return self.tail.origin

    @property
    def position(self) -> Position:
        """The position up to which the log was read."""
        return self.tail.reader.position

    @property
    def scan(self) -> Scan | None:
        """The scan that is to go on; None if there is none."""
        return self.scanner.pending(self.position)

    @property
    def is_empty(self) -> bool:
        """Whether everything that was read was given out, or was not for this consumer."""
        return not self._rows and not self.chunks

    @property
    def ready(self) -> int:
        """How many changes were decoded, and not given out yet."""
        return sum(len(chunk.events) for chunk in self.chunks)

    @property
    def due_in(self) -> float:
        """Seconds until :meth:`fill` may find something."""
        return 0.0 if self._rows or self.scan is not None else self.tail.due_in

    def go_to(self, position: Position, lost: int) -> None:
        """Discard what was read, and read on from ``position``.

        :param lost: how many changes are known to be missing in the log, see
            :attr:`sa_pgnotify.log.losses.Losses.seen`.
        """
        self._rows.clear()
        self.chunks.clear()
        self.tail.go_to(position, lost)

    def add_gap(
        self,
        why: str,
        at: Position | None = None,
        *,
        frees: tuple[str, ...] = (),
        lost: int | None = None,
    ) -> None:
        """Give out a ``Gap`` after what was decoded.

        :param at: its position; None for the one up to which the log was decoded.
        :param frees: see :attr:`Chunk.frees`; ``lost``: see :attr:`Chunk.lost`.
        """
        if at is None:
            at = self._rows[0].before if self._rows else self.position
        # a different row for each, because failures are counted by row
        number = self._number()
        row = LogRow(number, number, 0, 0, "", "", "", 0, at, at)
        self.chunks.append(Chunk(row, [self._stream.lost_position(why)], 0, 1, frees, lost))

    def _number(self) -> int:
        """Return a number that no row of the log has, and nothing else that is held here."""
        self._made += 1
        return -self._made

    def cut(self, size: int) -> list[Chunk]:
        """Take about ``size`` changes, see :func:`sa_pgnotify.consuming.chunks.cut`."""
        return cut(self.chunks, size)

    def give_back(self, chunks: Iterable[Chunk]) -> None:
        """Give out again the chunks of a batch that was rolled back."""
        self.chunks.extendleft(reversed(list(chunks)))

    def fill(self, connection: ListenConnection, size: int, may_read: Callable[[], bool]) -> None:
        """Read and decode the changes of a batch, at most ``size``, for at most ``FILL_SECONDS``.

        :param may_read: returns whether the next page may be read.
        """
        ready = self.ready
        until = time.monotonic() + FILL_SECONDS
        while ready < size and not self._link.stopping and time.monotonic() < until:
            if not self._rows and not (may_read() and self._read_page(connection)):
                break
            chunk = self.decode(connection, self._rows.popleft())
            if self.chunks or any(event is not None for event in chunk.events):
                self.chunks.append(chunk)
                ready += len(chunk.events)

    def _read_page(self, connection: ListenConnection) -> bool:
        """Read the next page, and return whether there was one."""
        if self.scan is not None or self.tail.due_in > 0:
            return False
        self._read(connection)
        return bool(self._rows)

    def _read(self, connection: ListenConnection, snapshot: Execute | None = None) -> None:
        rows = self.tail.read(connection.execute, snapshot)
        self.tail.settle(connection.execute)  # the batch may take long
        if (why := self.tail.take_loss()) is not None:
            at = rows[0].before if rows else self.position
            self.add_gap(why, at, lost=self.tail.losses.seen)
        self._rows.extend(rows)

    def read_rows(self, connection: ListenConnection, size: int) -> None:
        """Go on with a scan: read the changes up to a new snapshot, and then, if these are all, the
        next rows as this snapshot sees them.

        :param size: how many changes a batch has.
        """
        scan = self.scan
        if scan is None or self.chunks:
            return
        scanner, reader = self.scanner, self.tail.reader
        with scanner.snapshot() as seen:
            if scanner.is_captured(scan):
                self._read_captured(connection, seen, scan, size)
                return
            self._read(connection, execute_on(seen.connection))
            changes = [self.decode(connection, row) for row in self._rows]
            self._rows.clear()
            chunks = scanner.only_started(seen, self.position, changes)
            self.chunks.extend(
                chunk
                for chunk in chunks
                if chunk is chunks[-1] or any(event is not None for event in chunk.events)
            )
            # A window that was opened before may have ended here: the next one ends with this snapshot.
            if self.position.target is None and self.position.last == seen.snapshot:
                page = scanner.read(seen, scan, self.position, self._number(), size)
                if page is not None:
                    self.chunks.append(page)
                    reader.position = page.after

    def _read_captured(
        self, connection: ListenConnection, seen: Seen, scan: Scan, size: int
    ) -> None:
        """Do the same for a table whose changes the capture appends after they were committed."""
        scanner, reader, start = self.scanner, self.tail.reader, self.position
        page = None
        if start.target is None:
            page = scanner.read(seen, scan, start, self._number(), size)
        if page is not None and not covers(connection.execute, self.tail.names, COVER_SECONDS):
            page = None
        self._read(connection, connection.execute)
        changes = [self.decode(connection, row) for row in self._rows]
        self._rows.clear()
        parts = None
        if page is not None and self.position.target is None:
            parts = scanner.divided(seen, scan, page, changes)
        before, after = parts or (changes, [])
        found = scanner.only_started(seen, self.position, before)
        if page is not None and parts is not None:
            place_between(page, after, self.position)
            found += [page, *scanner.only_started(seen, page.after, go_on_after(page, after))]
            reader.position = replace(self.position, scans=page.after.scans)
        self.chunks.extend(
            chunk
            for chunk in found
            if chunk is found[-1] or any(event is not None for event in chunk.events)
        )

    def decode(self, connection: ListenConnection, row: LogRow) -> Chunk:
        """Return the changes of a row, decoded by the tables' columns as they are now."""
        stream = self._stream
        items = stream.logged([row], self.sources)
        if stream.outdated:
            items = stream.renewed(
                read_again(connection, self._link.engine, stream.outdated.values()), items
            )
        return decode(row, items, stream, self._key, connection.read)
