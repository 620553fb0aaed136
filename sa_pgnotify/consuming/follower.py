"""What a consumer reads next, and its position in the log: everything but the program's
transactions.

What is held here may be lost at any moment, with the connection or the process, and is read again
from the stored position. The position moves only with a committed batch, or over changes that are
not for this consumer.

It is written as if it blocked, as :mod:`sa_pgnotify.listening.receiver` is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from ..drivers import ListenConnection
from ..events.decoding import TableDecoder
from ..events.stream import EventStream
from ..log.snapshots import Position
from ..log.tables import LogNames, LogSettings
from ..log.tail import Tail
from ..sql import Execute
from ..states import States
from ..subscription.link import Link
from .arrangement import Arrangement
from .checkpoint import Checkpoint
from .chunks import Chunk
from .position_lock import PositionLock
from .positions import ConsumerKey, ConsumerTable, StoredPosition
from .pruning import Pruning
from .read_ahead import ReadAhead
from .retries import Retries
from .standby import Standby

__all__ = ["Follower", "Resume"]

Resume = Callable[[Execute, ConsumerTable, str], str | None]
"""Called with the connection, the consumer's rows and the log's origin, when this process is the one
that works from now on, before it loads the position, which it may move. Returns why changes are
missing; None if none are."""


class Follower:
    """Follows the log for one consumer.

    :param start: where to begin reading if the name, or a table under it, is new.
    :param resume: see :data:`Resume`.
    :param park_key: whether later changes of a row wait behind a parked one.
    :ivar retries: what is given out again.
    """

    def __init__(
        self,
        link: Link,
        key: ConsumerKey,
        settings: LogSettings,
        start: str | Position,
        states: States,
        resume: Resume | None = None,
        *,
        park_key: bool = False,
    ) -> None:
        self._link = link
        self._resume = resume
        self._loaded_from: str | None = None  # the log whose position was loaded
        self._ahead = ReadAhead(link, key, EventStream(states))
        self.retries = Retries(self._ahead, keeps_order=park_key, is_possible=resume is None)
        self._checkpoint = Checkpoint(key, start, self._ahead, self.retries)
        self._lock = PositionLock(states)
        self._arrangement = Arrangement(self._checkpoint, self._ahead, self._lock, link)
        self._standby = Standby(states)
        self._pruning = Pruning(link, settings, states)

    def use(self, log: LogNames, sources: dict[str, TableDecoder]) -> None:
        """Read the tables ``sources``, by their names in messages, from ``log``."""
        self._ahead.use(log, sources)
        self._checkpoint.use(log)
        self._arrangement.recheck()

    @property
    def tail(self) -> Tail:
        return self._ahead.tail

    @property
    def table(self) -> ConsumerTable:
        """The consumer's rows in the table of consumers."""
        return self._checkpoint.table

    @property
    def origin(self) -> str:
        """The log that is read, see :func:`sa_pgnotify.log.origin.origin_of`."""
        return self._ahead.origin

    @property
    def works(self) -> bool:
        """Whether this process is the one that works under its name."""
        return self._standby.works

    @property
    def stored(self) -> Position | None:
        """The stored position, as far as is known."""
        return self._checkpoint.position

    @property
    def chunks(self) -> deque[Chunk]:
        """What was read after the stored position, and not given out yet."""
        return self._ahead.chunks

    @property
    def due_in(self) -> float:
        """Seconds until :meth:`fill` may find something."""
        return self._ahead.due_in

    def connected(self, connection: ListenConnection) -> None:
        """Follow the log on a new connection, and stand by."""
        self._standby.stop()
        execute, tail = connection.execute, self.tail
        tail.use_connection(execute)
        tail.reader.note_newest(execute)  # fails here if the role may not read the log
        recreated = self._loaded_from not in (None, tail.origin)
        self._checkpoint.load(connection, recreated=recreated)
        self._loaded_from = tail.origin
        self._standby.reconnected(execute)

    def register(self, connection: ListenConnection) -> None:
        """Give a place to each table that has none under the name."""
        self._checkpoint.register(connection)

    def go_to(self, connection: ListenConnection | None, stored: StoredPosition) -> None:
        """Discard what was read, and read on from the stored position."""
        self._checkpoint.go_to(connection, stored)

    def moved_to(self, position: Position) -> None:
        """Note that a batch has stored ``position``."""
        self._checkpoint.position = position

    def report_loss(self, why: str) -> None:
        """Give out a ``Gap`` after what was read."""
        self._ahead.add_gap(why)

    def take_over(self, connection: ListenConnection) -> bool:
        """Try to be the process that works under this name, and return whether it is."""
        checkpoint, wanted = self._checkpoint, self._ahead.sources
        read = () if checkpoint.position is None else checkpoint.position.names
        if self._standby.take_over(connection.execute, self.table, read, wanted):
            resume = self._resume or _nothing
            why = resume(connection.execute, self.table, self.origin)
            checkpoint.load(connection)
            if why is not None:
                self._ahead.add_gap(why)
            self._arrangement.recheck()
            self._standby.begin()
        return self.works

    def heartbeat(self, connection: ListenConnection) -> None:
        """Run the checks that are due at each heartbeat. They also detect a dead connection."""
        checkpoint, tail = self._checkpoint, self.tail
        stored = checkpoint.stored(connection)
        tail.wake()  # for changes whose writers do not ring
        tail.losses.wake()
        if not self._standby.check(connection.execute, stored):
            checkpoint.position = stored.position
            return
        seen = tail.losses.seen
        if stored.position != checkpoint.position:
            checkpoint.go_to(connection, stored)
        elif self._ahead.is_empty:
            checkpoint.pass_over(connection, stored, seen)
        self._pruning.run(connection, self.table.names, tail.losses)

    def note_free(self) -> None:
        """Note that the position could be locked."""
        self._lock.note_free()

    def note_locked(self, execute: Execute) -> None:
        """Note that another session has locked the position."""
        self._lock.note_locked(execute, self.table)

    def has(self, size: int) -> bool:
        """Return whether a batch of ``size`` changes was read already."""
        return self._ahead.ready >= size

    def fill(self, connection: ListenConnection, size: int) -> None:
        """Read and decode the changes of a batch, at most ``size`` and as many as there are."""
        self._ahead.fill(connection, size, lambda: self._arrangement.is_ready(connection))

    def scan(self, connection: ListenConnection, size: int) -> None:
        """Read rows, if there is a scan that is to go on, see :meth:`ReadAhead.read_rows`."""
        if self._ahead.scan is None or self._ahead.chunks:
            return
        with self._link.deadline(connection):
            is_ready = self._arrangement.is_ready(connection)
        if is_ready:
            self._ahead.read_rows(connection, size)

    def cut(self, size: int) -> list[Chunk]:
        """Take about ``size`` changes, see :func:`sa_pgnotify.consuming.chunks.cut`."""
        return self._ahead.cut(size)

    def give_back(self, chunks: Iterable[Chunk], pid: int) -> None:
        """Give out again the chunks of a batch that was rolled back.

        :param pid: the process id of the batch's server process, which had locked the position.
        """
        self._lock.give_up(pid)
        self._ahead.give_back(chunks)


def _nothing(execute: Execute, table: ConsumerTable, origin: str) -> None:
    return
