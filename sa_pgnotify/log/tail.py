"""Following the change log on one connection: read, linger, sleep until rung; and know when the
place in it was lost."""

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
    "the log is not the one that the position is of: it was restored, or its tables were made anew"
)
LOST_TO_CRASH = (
    "the server has lost changes that were committed and read: it crashed while synchronous_commit was off, or a standby took over that "
    "had not received them"
)


class Tail:
    """A reader of the log and its doorbell, on a connection in autocommit that LISTENs on
    :attr:`channel`.

    :param relations: as of :class:`~sa_pgnotify.log.reader.LogReader`.
    :ivar reader: where it is; ``losses`` what it knows of changes that are missing in the log.
    """

    def __init__(self, names: LogNames, relations: Iterable[str] | None) -> None:
        self.names = names
        self.reader = LogReader(names, relations, Position(str(beginning(0))))
        self.losses = Losses(names)
        self._origin: str | None = None
        self._doorbell = Doorbell()
        self._shown: tuple[str, ...] = ()  # the tables for which it shows that it sleeps
        self._reported_removed = -1
        self._missing: str | None = None

    @staticmethod
    def channel(execute: Execute, names: LogNames) -> str:
        """The channel on which readers of the log are rung."""
        ((channel,),) = execute(f"SELECT {bell_channel(f'{literal(names.head)}::regclass::oid')}")
        return str(channel)

    def connected(self, execute: Execute) -> str | None:
        """There is a new connection: go on where it was; the first time, begin now.

        :returns: why the place was lost, if it was.
        """
        was = self._origin
        self.use_connection(execute)
        if was == self._origin and self.reader.resume(execute):
            self.losses.wake()
            return None
        self._reported_removed, self._missing = -1, None
        self.losses.start(self.losses.before(execute))
        self.reader.begin(execute, current_position(execute))
        return None if was is None else LOST_TO_CRASH if was == self._origin else LOST_TO_RESTORE

    def use_connection(self, execute: Execute) -> None:
        """There is a new connection, for a reader that knows its place by other means."""
        self._doorbell.reset()
        self._origin = origin_of(execute, self.names)

    def go_to(self, position: Position, seen: int) -> None:
        """Read on from a place; what was reported since then is reported again.

        :param seen: how many changes are known to be missing in the log, see :attr:`Losses.seen`.
        """
        self._reported_removed, self._missing = -1, None
        self.reader.go_to(position)
        self.losses.start(seen)
        self.wake()

    def verify(self, execute: Execute) -> None:
        """Find out whether the log is still the one that is followed: of another, its writers ring
        elsewhere.

        :raises ListenUnavailable: if it is not.
        """
        if origin_of(execute, self.names) != self._origin:
            raise ListenUnavailable(
                "log", f"the tables of the change log {self.names.head} were made anew"
            )
        self.reader.note_newest(execute)
        self.losses.wake()

    def leave(self, execute: Execute) -> None:
        """Follow it no more, on a connection that stays: nobody is to ring for it."""
        if self._doorbell.shown:
            self._unlock(execute, self._shown)
        self._doorbell.reset()

    def _lock(self, execute: Execute) -> bool:
        """Take the lock of each table, or none if one cannot be had: any role may hold it, so it is
        not waited for."""
        had = self._each(execute, "try_advisory_lock_shared", self._shown)
        if len(had) < len(self._shown):
            self._unlock(execute, had)
        return len(had) == len(self._shown)

    def _unlock(self, execute: Execute, names: Iterable[str]) -> None:
        self._each(execute, "advisory_unlock_shared", names)

    def _each(self, execute: Execute, function: str, names: Iterable[str]) -> list[str]:
        """For which names the lock function gave true."""
        assert self._origin is not None
        key = doorbell_key("name", self._origin.split(":")[1])
        listed = f"unnest(ARRAY[{', '.join(map(literal, names))}]::text[]) AS name"
        done = execute(f"SELECT name FROM {listed} WHERE pg_catalog.pg_{function}({key})")
        return [name for (name,) in done]

    @property
    def origin(self) -> str | None:
        return self._origin

    def wake(self) -> None:
        """Read at once, because there may be something new."""
        self._doorbell.rung()

    @property
    def asleep(self) -> bool:
        return self._doorbell.asleep

    @property
    def due_in(self) -> float:
        """Seconds until :meth:`read` is to be called; ``math.inf`` until somebody rings."""
        return max(0.0, min(self._doorbell.due, self.losses.due) - monotonic())

    def read(self, execute: Execute) -> list[LogRow]:
        """Read the next page; none if nothing is new."""
        bell = self._doorbell
        if bell.shown and self._shown != self.reader.relations:
            self.leave(execute)  # it is for other tables now that it may sleep
        if bell.wants_to_sleep(monotonic()):
            self._shown = self.reader.relations
            if self._lock(execute):
                ((next_id,),) = execute(NEXT_ID)
                bell.show(int(next_id), monotonic())
            else:
                bell.refuse()
        rows = self.reader.read(execute)
        # A change that could not be logged may be older than one of these, and its notification
        # still on its way.
        if rows or self.losses.due <= monotonic():
            self._missing = self.losses.check(execute, monotonic()) or self._missing
        more = self.reader.position.target is not None
        if bell.looked(self.reader.snapshot.xmin, monotonic(), found=bool(rows), more=more):
            self._unlock(execute, self._shown)
        return rows

    def take_loss(self) -> str | None:
        """Why changes are missing before what :meth:`read` gave last, if some are; each reason
        once."""
        why, self._missing = self._missing, None
        if self.reader.lost is not None and self.reader.lost > self._reported_removed:
            self._reported_removed = self.reader.lost
            return LOST_TO_RETENTION if why is None else f"{LOST_TO_RETENTION}; and {why}"
        return why
