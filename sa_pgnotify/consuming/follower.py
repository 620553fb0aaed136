"""What a consumer reads next, and where it is: the part of it that has nothing to do with the
program's transactions.

Everything that is held here may be lost at any moment, with the connection or the process, and is
read again from what is stored. So nothing is passed that was not stored before: a position moves
without a batch only over changes that are not for this consumer, and a ``Gap`` is given out anew
until a batch that contains it is committed.

It is written as if it blocked, as :mod:`sa_pgnotify.listening.receiver` is.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from logging import WARNING
from math import inf

from sqlalchemy import Engine

from ..drivers import ListenConnection, errors_of
from ..drivers.waiting import Waiting
from ..errors import NotifyConfigError, PgNotifyError
from ..events.decoding import TableDecoder
from ..events.stream import EventStream
from ..log.origin import current_position, resolve
from ..log.reader import LogRow
from ..log.retention import prune
from ..log.snapshots import Position
from ..log.tables import LogNames, LogSettings
from ..log.tail import LOST_TO_RESTORE, Tail
from ..sql import Execute
from ..states import States
from ..subscription.subscribe import read_again
from .chunks import Chunk, cut
from .claim import Claim, lock_holder
from .decoded import chunk_of
from .places import arranged, is_arranged
from .positions import ConsumerKey, ConsumerTable, StoredPosition

__all__ = ["LOCKED_SECONDS", "Follower"]

LOCKED_SECONDS = 0.2
"""How often a consumer asks for a position that somebody else has locked."""
LOCKED_LONG = 5.0
"""Seconds after which it says that another session has locked the position."""
FILL_SECONDS = 1.0
"""How long a batch is read for at most, if most of what there is is not for this consumer."""


class Follower:
    """Reads the log for one consumer.

    :param start: where a new name begins, or a table that is new under it.
    :param stopped: whether to read no more.
    :ivar works: whether it is the one that works under its name.
    :ivar table: its rows in the table of consumers.
    :ivar stored: the position that is stored, as far as is known; ``chunks`` what was read behind
        it and not yet given out.
    """

    def __init__(
        self,
        engine: Engine,
        key: ConsumerKey,
        protocol: EventStream,
        states: States,
        settings: LogSettings,
        start: str | Position,
        waiting: Waiting,
        stopped: Callable[[], bool],
    ) -> None:
        self._engine = engine
        self._key = key
        self._protocol = protocol
        self._states = states
        self._settings = settings
        self._start = start
        self._waiting = waiting
        self._stopped = stopped
        self.works = False
        self.stored: Position | None = None
        self.chunks: deque[Chunk] = deque()  # decoded, and not yet given out
        self._rows: deque[LogRow] = deque()  # read, and not yet decoded
        self._tail: Tail | None = None
        self.table: ConsumerTable
        self._sources: dict[str, TableDecoder] = {}
        self._claim = Claim()
        self._locked_since: float | None = None
        # the server's processes of batches that were given back
        self._given_up: deque[int] = deque(maxlen=16)
        self._doubtful = True  # whether tables that have a place may be gone
        self._gaps = 0
        self._said: str | None = None  # as what it stands by
        self._warned: str | None = None

    def use(self, log: LogNames, sources: dict[str, TableDecoder]) -> None:
        """The tables to read, by their names in messages, and their log."""
        if self._tail is None or self._tail.names != log:
            self._tail = Tail(log, None)
            self.table = ConsumerTable(log, self._key)
        self._sources, self._doubtful = sources, True

    @property
    def tail(self) -> Tail:
        assert self._tail is not None
        return self._tail

    @property
    def names(self) -> LogNames:
        return self.tail.names

    @property
    def origin(self) -> str:
        assert self.tail.origin is not None
        return self.tail.origin

    @property
    def due_in(self) -> float:
        """Seconds until :meth:`fill` may find something."""
        return 0.0 if self._rows else self.tail.due_in

    def forgotten(self) -> PgNotifyError:
        return PgNotifyError(f"the consumer {self._key} was forgotten: its position is gone")

    # -- where it is -------------------------------------------------------------------------------

    def connected(self, connection: ListenConnection) -> None:
        """There is a new connection."""
        self.works, self._said = False, None
        before = self.tail.origin
        self.tail.attach(connection.execute)
        # a role that may not read the log finds out now
        self.tail.reader.note_newest(connection.execute)
        self._load(connection, made_anew=before is not None and before != self.origin)
        self._claim.connected(connection.execute)

    def _load(self, connection: ListenConnection, *, made_anew: bool = False) -> None:
        """Go to the position that is stored; if there is none, store one.

        :param made_anew: whether the log is another one than before.
        """
        names, execute = self.names, connection.execute
        stored = self.table.load(execute)
        if stored is None:
            if self.stored is not None and not made_anew:
                raise self.forgotten()
            self._refuse_other_parts(connection)
            execute(
                f"INSERT INTO {names.head} (id, removed, lost) VALUES (0, 0, 0) ON CONFLICT DO NOTHING"
            )
            # One that had a place in a log that was made anew has lost it.
            start, origin = (self._start, self.origin) if self.stored is None else ("now", "")
            lost = self.tail.losses.before(execute)
            at = replace(
                resolve(execute, names, start),
                tables=tuple((name, None) for name in sorted(self._sources)),
            )
            self.table.create(execute, origin, at, lost)
        stored = self.register(connection)
        self.go_to(connection, stored)

    def register(self, connection: ListenConnection) -> StoredPosition:
        """Give a place to each table that has none under the name: nothing of it is passed by from
        now on, whichever process works."""
        stored = self._stored(connection)
        if unknown := self._sources.keys() - set(stored.known):
            beginning = (
                None
                if self._start == "now"
                else resolve(connection.execute, self.names, self._start)
            )
            self.table.register(connection.execute, unknown, beginning)
            stored = self._stored(connection)
        return stored

    def _stored(self, connection: ListenConnection) -> StoredPosition:
        stored = self.table.load(connection.execute)
        if stored is None:
            raise self.forgotten()
        return stored

    def _refuse_other_parts(self, connection: ListenConnection) -> None:
        parts = self.table.other_parts(connection.execute)
        if parts is not None:
            raise NotifyConfigError(
                self._key.name,
                f"this consumer is divided into {parts} parts, and not into {self._key.parts}. Let those read all, forget() them, "
                "start the others, and seek() from there",
            )

    def go_to(self, connection: ListenConnection | None, stored: StoredPosition) -> None:
        """Read on from a place; what was read before does not count."""
        self.stored = stored.position
        self._rows.clear()
        self.chunks.clear()
        self.tail.go_to(stored.position, stored.lost)
        if stored.origin == self.origin or connection is None:
            return
        at, lost = stored.position, stored.lost
        if stored.origin:  # else the place is good, and one of its tables has lost its own
            lost = self.tail.losses.before(connection.execute)
            at = Position(
                current_position(connection.execute).last,
                tables=tuple((name, None) for name in at.names),
            )
            self.tail.go_to(at, lost)
        self.chunks.append(self._lost(LOST_TO_RESTORE, at, lost=lost))

    def _lost(self, why: str, at: Position, **more: object) -> Chunk:
        """A gap at a place in the log."""
        self._gaps += 1  # each is another one for on_error
        row = LogRow(-self._gaps, -self._gaps, 0, 0, "", "", "", 0, at, at)
        return replace(Chunk(row, [self._protocol.lost_position(why)], 0, 1), **more)  # type: ignore[arg-type]

    def report_loss(self, why: str) -> None:
        """Give out a gap behind what was read."""
        self.chunks.append(
            self._lost(why, self._rows[0].before if self._rows else self.tail.reader.position)
        )

    def _is_arranged(self, connection: ListenConnection) -> bool:
        """Whether the tables are read together from here. If they stand elsewhere, they are moved
        once all that was read is given out."""
        at = self.tail.reader.position
        if is_arranged(at, self._sources) and not self._doubtful:
            return True
        if self.chunks:
            return False
        stored = self.register(connection)
        if stored.position != self.stored:
            self.go_to(connection, stored)
            return False
        foreign = {
            name for name in self._sources if stored.origins.get(name, self.origin) != self.origin
        }
        apart = {name: place for name, place in stored.apart.items() if name not in foreign}
        position, keep = (
            (at, stored.apart)
            if is_arranged(at, self._sources)
            else arranged(at, apart, self._sources)
        )
        if position != self.stored:
            origin = "" if foreign and stored.origin == self.origin else None
            if not self.table.arrange(
                connection.execute, stored, position, keep=keep, origin=origin
            ):
                self.is_locked(connection.execute)
                self._waiting.wait(None, LOCKED_SECONDS)
                self.tail.rung()
                return False
            self.is_free()
            self.stored = position
            self.tail.reader.go_to(position)
            self.tail.rung()
            if origin is not None:
                self.chunks.append(self._lost(LOST_TO_RESTORE, position))
        self._doubtful = False
        self._leave(
            connection, {name: place for name, place in keep.items() if name not in position.names}
        )
        return not self.chunks

    def _leave(self, connection: ListenConnection, places: dict[str, Position]) -> None:
        """Give up the places of tables that are not there any more; what was not read of their
        changes is lost."""
        found = self.table.dropped(connection.execute, places)
        if read := [name for name, unread in found.items() if not unread]:
            self.table.free(connection.execute, read)
        if unread := tuple(name for name, unread in found.items() if unread):
            what = f"{', '.join(unread)} has another name now, or was dropped: what was not read of its changes is not delivered"
            self.chunks.append(self._lost(what, self.tail.reader.position, frees=unread))

    # -- who works ---------------------------------------------------------------------------------

    def take_over(self, connection: ListenConnection) -> bool:
        """Be the one that works under this name, if no other one is."""
        holder = self._claim.take(connection.execute, self.table)
        if holder is None:
            self._load(connection)
            self.works, self._said, self._doubtful = True, None, True
            self._states.report("working")
        elif holder.pid:
            self._stand_by(f"another one of this name works: {holder}")
        return self.works

    def _stand_by(self, why: str) -> None:
        other = self._difference()
        if self._said != other:
            self._said = other
            self._states.report("standing by", f"{why}{other}", level=WARNING if other else None)

    def _difference(self) -> str:
        """In what the one that works reads other tables, and what to do about it; empty if it reads
        the same."""
        read = () if self.stored is None else self.stored.names
        if set(read) == set(self._sources):
            return ""
        return (
            f". It reads {', '.join(read) or 'nothing'}, and this one would read {', '.join(sorted(self._sources))}: that waits until the "
            "other one ends. If both should work at once, give this one another name"
        )

    def beat(self, connection: ListenConnection) -> None:
        """What is to be done from time to time, and finds out a dead connection."""
        stored = self._stored(connection)
        self.tail.rung()  # for those that write without ringing
        self.tail.losses.rung()
        if self.works and stored.lock != self._claim.number:
            self._claim.give_up(connection.execute)
            self.works = False
        if not self.works:
            self.stored = stored.position
            return
        seen = self.tail.losses.seen
        if stored.position != self.stored:
            self.go_to(connection, stored)
        elif not self._rows and not self.chunks:
            # what there was, if anything, was not for this consumer
            passed = self.tail.reader.position
            lost = seen if stored.lost < 0 <= seen else None
            if (passed != self.stored or lost is not None) and self.table.arrange(
                connection.execute, stored, passed, lost=lost
            ):
                self.stored = passed
        if (problem := self.tail.losses.new_problem()) is not None:
            self._states.report("losses unseen", problem)
        self._prune(connection)

    def is_free(self) -> None:
        """The position could be locked."""
        self._locked_since = None

    def is_locked(self, execute: Execute) -> None:
        """Another session has the position: say so if it does not give it back, and end it if it is
        one of ours that was given up."""
        now = time.monotonic()
        since, self._locked_since = self._locked_since, self._locked_since or now
        if since is None or now - since < LOCKED_LONG:
            return
        holder = lock_holder(execute, self.table)
        if holder is not None and holder.pid in self._given_up:
            list(execute(f"SELECT pg_catalog.pg_terminate_backend({holder.pid})::int"))
            self._locked_since = None
            return
        self._locked_since = inf  # said once
        who = "another session" if holder is None else str(holder)
        self._states.report(
            "standing by",
            f"{who} has locked the position for more than {LOCKED_LONG:.0f} s. Have it end its transaction",
            level=WARNING,
        )

    def _prune(self, connection: ListenConnection) -> None:
        try:
            state = prune(connection.execute, self.names, self._settings)
        except errors_of(self._engine) as error:
            if connection.closed:
                raise
            self._warn(f"the change log is not emptied: {str(error).partition(chr(10))[0]}")
            return
        if state.is_held_up:
            self._warn(str(state))
        elif self._warned is not None:
            self._warned = None
            self._states.report("held up ended", state)

    def _warn(self, what: str) -> None:
        if self._warned is None:
            self._states.report("held up", what)
        self._warned = what

    # -- what it reads -----------------------------------------------------------------------------

    def cut(self, size: int) -> list[Chunk]:
        """Take about so many changes, see :func:`sa_pgnotify.consuming.chunks.cut`."""
        return cut(self.chunks, size)

    def give_back(self, chunks: Iterable[Chunk], pid: int) -> None:
        """What was taken comes again.

        :param pid: the server's process of the session in which the position was locked for it.
        """
        self._given_up.append(pid)
        self.chunks.extendleft(reversed(list(chunks)))

    def fill(self, connection: ListenConnection, size: int) -> None:
        """Read, and decode, as much as a batch of ``size`` takes, or what can be had in a while."""
        ready = sum(len(chunk.events) for chunk in self.chunks)
        until = time.monotonic() + FILL_SECONDS
        while ready < size and not self._stopped() and time.monotonic() < until:
            if not self._rows:
                if not self._is_arranged(connection) or self.tail.due_in > 0:
                    break
                rows = self.tail.look(connection.execute)
                if (lost := self.tail.lost()) is not None:
                    seen = self.tail.losses.seen
                    self.chunks.append(
                        self._lost(
                            lost, rows[0].before if rows else self.tail.reader.position, lost=seen
                        )
                    )
                if not rows:
                    break
                self._rows.extend(rows)
            chunk = self._decoded(connection, self._rows.popleft())
            if self.chunks or any(event is not None for event in chunk.events):
                self.chunks.append(chunk)
                ready += len(chunk.events)

    def _decoded(self, connection: ListenConnection, row: LogRow) -> Chunk:
        protocol = self._protocol
        items = protocol.logged([row], self._sources)
        if protocol.outdated:
            items = protocol.renewed(
                read_again(connection, self._engine, protocol.outdated.values()), items
            )
        return chunk_of(row, items, protocol, self._key, connection.read)
