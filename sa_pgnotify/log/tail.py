"""Following the change log on one connection: read, sleep until a writer rings, and notice when
changes or the position itself were lost.

A reader that polls is late, or loads the server. A reader that only waits for notifications misses
writers that committed just before it slept, and those that could not write to the log.
:class:`~sa_pgnotify.protocol.doorbell.Doorbell` and :class:`~sa_pgnotify.log.losses.Losses` decide
when to read; :class:`Tail` runs the SQL for them.
"""

from __future__ import annotations

from collections.abc import Iterable
from time import monotonic

from ..errors import ListenUnavailable
from ..protocol.doorbell import Doorbell, bell_channel, doorbell_key
from ..sql import Execute, literal
from .losses import NEXT_ID, Losses
from .origin import current_position, origin_of
from .reader import LogReader, LogRow
from .snapshots import Position, beginning
from .tables import LogNames

__all__ = ["Tail"]

LOST_TO_RETENTION = (
    "the log has removed changes that were not read: they exceeded its max_age or max_size"
)
LOST_TO_RESTORE = (
    "the position belongs to another log: this one was restored, or its tables were created again"
)
LOST_TO_CRASH = (
    "the server has lost changes that were committed and read: it crashed while synchronous_commit was off, or a standby took over that "
    "had not received them"
)


class Tail:
    """A reader of the log with its doorbell, on a connection in autocommit that LISTENs on
    :attr:`channel`.

    :param relations: see :class:`~sa_pgnotify.log.reader.LogReader`.
    :ivar reader: reads the log, and holds the position.
    :ivar losses: finds changes that are missing in the log.
    :ivar has_woken: whether there is something to do for :meth:`settle`.
    """

    def __init__(self, names: LogNames, relations: Iterable[str] | None) -> None:
        self.names = names
        self.reader = LogReader(names, relations, Position(str(beginning(0))))
        self.losses = Losses(names)
        self._origin: str | None = None
        self._doorbell = Doorbell()
        self._locked: tuple[str, ...] = ()  # the tables whose locks show that the reader sleeps
        self.has_woken = False
        self._reported_removed = -1
        self._missing: str | None = None

    @staticmethod
    def channel(execute: Execute, names: LogNames) -> str:
        """Return the channel on which writers wake the readers of the log."""
        ((channel,),) = execute(f"SELECT {bell_channel(f'{literal(names.head)}::regclass::oid')}")
        return str(channel)

    @property
    def origin(self) -> str | None:
        """The log that is read, see :func:`origin_of`; None before the first connection."""
        return self._origin

    # -- the connection ----------------------------------------------------------------------------

    def connected(self, execute: Execute) -> str | None:
        """Follow the log on a new connection, from the same position; the first time, from now.

        If the connection is lost meanwhile, a call on the next one has the same result, because
        nothing moves before everything is known.

        :returns: why the position was lost; None if it was not.
        """
        before, origin = self._origin, origin_of(execute, self.names)
        if before == origin and self.reader.resume(execute):
            self._forget_locks()
            self.losses.wake()
            return None
        seen = self.losses.before(execute)
        self.reader.begin(execute, current_position(execute))
        self._origin = origin
        self._forget_locks()
        self._forget_losses()
        self.losses.start(seen)
        if before is None:
            return None
        return LOST_TO_CRASH if before == origin else LOST_TO_RESTORE

    def use_connection(self, execute: Execute) -> None:
        """Use a new connection; the caller goes to a position that it has stored."""
        self._forget_locks()
        self._origin = origin_of(execute, self.names)

    def go_to(self, position: Position, seen: int) -> None:
        """Read on from a position. Losses after it are reported again.

        :param seen: how many changes are known to be missing in the log, see :attr:`Losses.seen`.
        """
        self._forget_losses()
        self.reader.go_to(position)
        self.losses.start(seen)
        self.wake()

    def _forget_locks(self) -> None:
        """Start awake: the locks of a connection go with it."""
        self._doorbell, self.has_woken = Doorbell(), False

    def _forget_losses(self) -> None:
        self._reported_removed, self._missing = -1, None

    def verify(self, execute: Execute) -> None:
        """Check that the log is still the one that is followed. Writers of another one would not
        wake this reader.

        :raises ListenUnavailable: if it is not.
        """
        if origin_of(execute, self.names) != self._origin:
            raise ListenUnavailable(
                "log", f"the tables of the change log {self.names.head} were created again"
            )
        self.reader.note_newest(execute)
        self.losses.wake()

    def leave(self, execute: Execute) -> None:
        """Stop following, on a connection that stays open, so that no writer rings for this
        reader."""
        self.has_woken = self.has_woken or self._doorbell.shown
        self.settle(execute)
        self._doorbell = Doorbell()

    # -- sleeping ----------------------------------------------------------------------------------

    def wake(self) -> None:
        """Read at once, because there may be something new."""
        self._doorbell.rung()

    @property
    def asleep(self) -> bool:
        """Whether only a writer, or :meth:`wake`, makes it read again."""
        return self._doorbell.asleep

    @property
    def due_in(self) -> float:
        """Seconds until :meth:`read` should be called; ``math.inf`` if not before :meth:`wake`."""
        return max(0.0, min(self._doorbell.due, self.losses.due) - monotonic())

    def _prepare_to_sleep(self, execute: Execute) -> None:
        """If the reader should sleep, show it to writers by the lock of each table that it reads."""
        bell = self._doorbell
        if bell.shown and self._locked != self.reader.relations:
            self.leave(execute)  # so that it sleeps again with the locks of its new tables
        if bell.wants_to_sleep(monotonic()):
            self._locked = self.reader.relations
            if self._lock(execute):
                ((next_id,),) = execute(NEXT_ID)
                bell.show(int(next_id), monotonic())
            else:
                bell.refuse()

    def _lock(self, execute: Execute) -> bool:
        """Take the locks of all tables, or none if one is not free. Do not wait, because any role may
        hold a lock for ever."""
        taken = self._each(execute, "try_advisory_lock_shared", self._locked)
        if len(taken) < len(self._locked):
            self._unlock(execute, taken)
        return len(taken) == len(self._locked)

    def _unlock(self, execute: Execute, names: Iterable[str]) -> None:
        self._each(execute, "advisory_unlock_shared", names)

    def _each(self, execute: Execute, function: str, names: Iterable[str]) -> list[str]:
        """Return the names for which the lock function returned true."""
        assert self._origin is not None
        key = doorbell_key("name", self._origin.split(":")[1])
        listed = f"pg_catalog.unnest(ARRAY[{', '.join(map(literal, names))}]::text[]) AS name"
        done = execute(f"SELECT name FROM {listed} WHERE pg_catalog.pg_{function}({key})")
        return [name for (name,) in done]

    # -- reading -----------------------------------------------------------------------------------

    def read(self, execute: Execute, snapshot: Execute | None = None) -> list[LogRow]:
        """Return the next page; nothing if there is nothing new. Call :meth:`settle` soon.

        :param snapshot: runs SQL in a transaction whose snapshot is the one to read up to; the
            reader does not sleep then.
        """
        self.settle(execute)
        if snapshot is None:
            self._prepare_to_sleep(execute)
        reader, bell, began = self.reader, self._doorbell, monotonic()
        rows = reader.read(execute, self.losses.sign) if snapshot is None else reader.read(snapshot)
        # A change that could not be logged may be older than these rows, while its notification is
        # still on its way.
        if rows or self.losses.due <= monotonic():
            missing = self.losses.check(execute, monotonic(), reader.found_beside)
            self._missing = missing or self._missing
        more, now = reader.position.target is not None, monotonic()
        xmin, took = reader.snapshot.xmin, now - began
        if bell.looked(xmin, now, found=len(rows), more=more, took=took):
            self.has_woken = True
        return rows

    def settle(self, execute: Execute) -> None:
        """If the reader has woken, show writers that it is awake, so that they do not ring. The
        changes that it was woken for need not wait for this."""
        if self.has_woken:
            self.has_woken = False
            self._unlock(execute, self._locked)

    def take_loss(self) -> str | None:
        """Return why changes are missing before the page that :meth:`read` returned last, once for
        each reason; None if none are."""
        why, self._missing = self._missing, None
        if self.reader.lost is not None and self.reader.lost > self._reported_removed:
            self._reported_removed = self.reader.lost
            return LOST_TO_RETENTION if why is None else f"{LOST_TO_RETENTION}; and {why}"
        return why
