"""The one loop behind every listener: keep a connection that listens, and put what it brings into a
buffer.

It is hard because a connection that brings nothing may be quiet or dead, and a program that takes
nothing must not stop the reading: an unread connection holds up PostgreSQL's queue for everybody.
So it reads always, asks the server at each heartbeat, and tells what it could not keep.

It is written as if it blocked. In a thread it does; in an event loop it runs in a greenlet, as
SQLAlchemy's own asyncio does, and each wait is an await. Where the two differ,
:class:`~sa_pgnotify.drivers.waiting.Waiting` does.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from sqlalchemy import Engine

from ..drivers import Arrived, ListenConnection, connect, errors_of
from ..drivers.waiting import Waiting
from ..errors import ConnectionLost, ListenUnavailable, PgNotifyError
from ..events.changes import Gap
from ..events.decoding import TableDecoder
from ..events.message import Message
from ..events.stream import EventStream, Item, size_of
from ..log.tables import LogNames
from ..log.tail import Tail
from ..marking.sources import expand
from ..protocol.presence import Presence
from ..states import States
from ..subscription.probe import PROBE_SECONDS, greet, probe
from ..subscription.subscribe import listen, read_again
from ..subscription.trigger_watch import VERIFY_SECONDS, TriggerWatch
from .buffer import Buffer
from .direct_read import DirectRead

__all__ = ["Receiver"]

UNTOLD_SECONDS = 1.0
"""How long to wait, before a listener is said to listen, for the end of transactions that wrote
while nobody did."""
FULL_SECONDS = 0.02
"""How long to wait before we look again whether the buffer has room for what was read in a log."""
FEW = 4096
"""Characters that notifications come to, of which it does not matter who reads them."""
QUEUE_WARNING = 0.1
"""Share of PostgreSQL's notification queue (8 GB) from which on we warn; when it is full, COMMIT
fails for everybody."""


@dataclass(frozen=True)
class _Command:
    """A change to the sources, asked for from outside, and what becomes of it."""

    change: Callable[[list[Any]], list[Any]]
    done: Future[None]


class Receiver:
    """From one start of a listener to its end.

    :param engine: of an AsyncEngine, its ``sync_engine``.
    :param sources: the listener's own list, which commands change.
    :ivar buffer: where everything goes, errors too; ``lending`` who takes from it may read the
        connection by this.
    :ivar stopping: whether it has been told to stop; ``ended`` whether it has; ``connecting``
        whether it is about to connect.
    """

    def __init__(
        self,
        engine: Engine,
        sources: list[Any],
        waiting: Waiting,
        buffer_size: int,
        heartbeat: float,
        states: States,
    ) -> None:
        self._pid = os.getpid()
        self.protocol = EventStream(buffer_size, states)
        self._states = states
        self.buffer = Buffer(self.protocol)
        self.queue_usage: float | None = None
        self.stopping = False
        self._engine = engine
        self._buffer_size = buffer_size
        self._sources = sources
        self._waiting = waiting
        self.lending: DirectRead | None = None
        self._heartbeat = heartbeat
        self._patience = max(PROBE_SECONDS, heartbeat)
        self._errors: tuple[type[Exception], ...] = (ListenUnavailable,)
        self._commands: SimpleQueue[_Command] = SimpleQueue()
        self._connection: ListenConnection | None = None
        self._opened: list[ListenConnection] = []  # what stop() is to interrupt
        self.connecting = self.ended = self._begun = False
        self._early: Arrived = []
        self._presence = Presence()
        self._watch = TriggerWatch()
        self._verified = 0.0  # when
        self._tails: dict[LogNames, Tail] = {}
        self._logged: deque[Item] = deque()  # read in a log, and not yet in the buffer

    @property
    def is_ours(self) -> bool:
        """Whether it belongs to this process, and not to the one that this was forked from."""
        return self._pid == os.getpid()

    @property
    def connected(self) -> bool:
        return self._connection is not None

    # -- from outside ------------------------------------------------------------------------------

    def stop(self) -> None:
        """End every iteration now, and everything else as soon as may be. From any thread, from a
        signal handler, and twice."""
        self.stopping = True
        self.buffer.stop()
        if self.is_ours:
            self._waiting.call(self._break_off)

    def _break_off(self) -> None:
        for connection in list(self._opened):
            connection.interrupt()  # first: in a closed loop, what follows may not work
        self.buffer.wake_takers()  # who waits for events looks up
        self._waiting.wake()
        if self.connecting:
            self._waiting.cancel()

    def ask(self, change: Callable[[list[Any]], list[Any]]) -> Future[None]:
        """Have the sources changed, and listen to what is new, as soon as there is a connection.

        :returns: what is done when the database has confirmed; it fails as ``subscribe`` does.
            Never, if the receiver has ended.
        """
        command = _Command(change, Future())
        self._commands.put(command)
        self._waiting.wake()
        return command.done

    # -- the loop ----------------------------------------------------------------------------------

    def begin(self) -> None:
        """Connect for the first time, with nothing missing.

        :raises TriggersMissing: if a table has no enabled triggers.
        :raises ListenUnavailable: if there is no connection, or none that brings notifications.
        """
        try:
            self._errors = errors_of(self._engine)
            self._connect(strict=True)
        except BaseException as error:
            self._end()
            told = error
            if isinstance(error, self._errors):
                if self.stopping:
                    return  # stop() has broken it off
                if not isinstance(error, ListenUnavailable):
                    told = ListenUnavailable("connection", str(error).strip())
            # who takes events all the same must not wait for ever
            broken_off = PgNotifyError("this listener does not listen: its start() was broken off")
            self.buffer.fail(told if isinstance(told, Exception) else broken_off)
            if told is error:
                raise
            raise told from error

    def run(self) -> None:
        """Receive until :meth:`stop`."""
        try:
            while not self.stopping:
                try:
                    if self._connection is None:
                        self._connect(strict=False)
                    self._read()
                except self._errors as error:
                    self._connection_lost(error)
        except Exception as error:  # a fault of ours must not look like silence
            self._states.report("failed", f"it ends: {error!r}", error=error)
            self.buffer.fail(error)
        except BaseException:
            # somebody cancelled the task; whoever takes events must not wait for ever
            self.buffer.fail(
                ConnectionLost("the task that listens was cancelled, by other means than stop()")
            )
            raise
        finally:
            self._end()

    def _end(self) -> None:
        self.ended = True
        if self._begun and self.stopping and self.is_ours:
            self._states.report("stopped")
        self._disconnect()
        self._waiting.close()
        while not self._commands.empty():
            command = self._commands.get()
            if command.done.set_running_or_notify_cancel():
                command.done.set_exception(ConnectionLost("the listener was stopped"))

    def _connection_lost(self, error: Exception) -> None:
        """The connection, or the attempt to make it, failed: wait before the next one."""
        said, was_connected = str(error).strip().partition("\n")[0], self.connected
        self._disconnect()
        self.protocol.lost()
        if self.stopping:
            return
        if was_connected:
            self._states.report("lost", said)
        delay = self.protocol.delay()
        self._states.report("reconnecting", "" if was_connected else said, seconds=delay)
        until = time.monotonic() + delay
        while not self.stopping and (left := until - time.monotonic()) > 0:
            self._waiting.wait(None, left)

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._close(connection)

    def _close(self, connection: ListenConnection) -> None:
        # in a fork's child, whose asyncio.run() cancels the task as well, it would take leave of
        # the server for both
        if self.is_ours:
            connection.close()

    def _connect(self, *, strict: bool) -> None:
        """Make the connection and let it listen to everything; ``strict`` refuses tables without
        triggers."""
        asked = time.time()
        connection = self._open()
        try:
            with self._waiting.deadline(connection, self._patience):
                greet(connection)
            probe(connection, self._open, self._waiting, lambda: self.stopping)
            with self._waiting.deadline(connection, self._patience):
                altered = self._watch.changes(connection.execute)
            missing = self._listen(connection, self._sources, strict=strict, anew=True)
            self._early = []  # of the connection before
        except BaseException:
            self._close(connection)
            raise
        self._connection = connection
        if strict:
            self._begun = True
            self._states.report("connected", f"listening on {len(self.protocol.routes)} channels")
        self._deliver(
            connection, self.protocol.connected(asked, missing or altered, silent=bool(missing))
        )

    def _open(self) -> ListenConnection:
        """A new connection, which stop() can interrupt as soon as it is there."""
        self.connecting = True
        try:
            connection = connect(self._engine)
        finally:
            self.connecting = False
        self._opened = [*(known for known in self._opened if not known.closed), connection]
        if self.stopping:
            connection.interrupt()
        return connection

    def _read(self) -> None:
        """Deliver what the connection brings, until it is lost or the listener stopped."""
        connection = self._connection
        assert connection is not None
        next_beat = time.monotonic() + self._heartbeat
        while not self.stopping:
            self._run_commands(connection)
            arrived, self._early = self._early or connection.receive(), []
            if self._presence.due <= time.monotonic() or (arrived and self._presence.is_in_doubt):
                self._poll_presence(connection)
            # before later transactions, which may have arrived
            if (since := self._presence.take_ended()) is not None:
                self._deliver(
                    connection, [self.protocol.untold(time.time() - (time.monotonic() - since))]
                )
            self._hand_over(connection, arrived)
            if self.protocol.moved and self._verified + VERIFY_SECONDS <= time.monotonic():
                self._verify(connection)
            self._follow(connection)
            # what is pending is not yet delivered
            if time.monotonic() >= next_beat and not connection.pending():
                self._heartbeat_now(connection)
                next_beat = time.monotonic() + self._heartbeat
            seconds = min([next_beat - time.monotonic(), *self._due()])
            few = sum(len(payload) for _, payload, _ in arrived) < FEW
            if not self._lend(connection, seconds, few=few):
                self._waiting.wait(connection, seconds, lambda: self._delivered(connection))

    def _delivered(self, connection: ListenConnection) -> bool:
        """Deliver what has arrived, as far as that needs nothing else; False if there is more to
        do."""
        if self._early or connection.lendable or self._presence.is_in_doubt:
            return False
        try:
            notes = connection.receive()
            while notes and (item := self._alone(notes[0])) is not None:
                self._deliver(connection, (item,))
                del notes[0]
            self._early = notes
        except self._errors:
            return False  # who asks next meets it again
        except BaseException:
            # Ctrl-C in a callback of the loop, say, which has run() go on: a Gap is to tell what is
            # lost by it
            connection.interrupt()
            raise
        return not notes

    def _alone(self, note: tuple[str, str, int]) -> Item | None:
        try:
            return self.protocol.try_single(*note)
        except Exception:  # a fault of ours, which run() meets again, and tells
            return None

    def _lend(self, connection: ListenConnection, seconds: float, *, few: bool) -> bool:
        """Let the thread that waits for events read the connection, if there is one, and if nothing
        else is to be looked at first."""
        if self.lending is None:
            return False
        self.lending.calm = (
            few and connection.lendable and not self._tails and not self._presence.is_in_doubt
        )
        return self.lending.lend(
            connection, seconds, lambda: self.stopping or not self._commands.empty()
        )

    def _hand_over(self, connection: ListenConnection, notifications: Arrived) -> None:
        """Deliver what notifications bring."""
        for item in self._renewed(connection, self.protocol.notified(notifications)):
            # Any role may send what cannot be read, as fast as it likes. A program that takes the
            # first of several gaps in a row, of which all have arrived, has them all behind it.
            forged = isinstance(item, Gap) and item.reason == "undecodable"
            if not (forged and self.buffer.ends_with_gap("undecodable")):
                self._deliver(connection, [item])
        if self.protocol.rung:
            for tail in self._tails.values():
                tail.rung()
                if self.protocol.missing:
                    tail.losses.rung()
            self.protocol.rung = self.protocol.missing = False

    def _verify(self, connection: ListenConnection) -> bool:
        """Listen anew, with a Gap, if triggers are not what they were; returns whether they are."""
        self.protocol.moved = False
        with self._waiting.deadline(connection, self._patience):
            altered = self._watch.changes(connection.execute)
        self._verified = time.monotonic()
        if altered:
            self._states.report("triggers moved", f"{altered}: listening anew")
            self.protocol.lost()
            asked = time.time()
            missing = self._listen(connection, self._sources, strict=False)
            self._deliver(
                connection, self.protocol.connected(asked, missing or altered, silent=bool(missing))
            )
        return not altered

    def _renewed(self, connection: ListenConnection, items: list[Item]) -> list[Item]:
        """``items``; what came from newer triggers decoded with what is read anew about their
        tables."""
        if not self.protocol.outdated:
            return items
        with self._waiting.deadline(connection, self._patience):
            sources = read_again(connection, self._engine, self.protocol.outdated.values())
        return self.protocol.renewed(sources, items)

    def _follow(self, connection: ListenConnection) -> None:
        """Read on in the change logs, as far as the buffer has room: what does not fit stays in the
        log, and is no loss."""
        for tail in self._tails.values():
            if not self._logged and tail.due_in <= 0:
                place = tail.reader.position
                try:
                    with self._waiting.deadline(connection, self._patience):
                        rows = tail.look(connection.execute)
                    items = self._renewed(
                        connection, self.protocol.logged(rows, self._sources_of(tail))
                    )
                except BaseException:
                    tail.reader.go_to(place)  # what was read is read again
                    raise
                if (problem := tail.losses.new_problem()) is not None:
                    self._states.report("losses unseen", problem)
                if (lost := tail.lost()) is not None:
                    self._logged.append(self.protocol.lost_position(lost))
                self._logged.extend(items)
        while self._logged and self._has_room(self._logged[0]):
            self._deliver(connection, [self._logged[0]])
            self._logged.popleft()

    def _has_room(self, item: Item) -> bool:
        waiting = self.buffer.waiting
        return waiting == 0 or waiting + size_of(item) <= self._buffer_size

    def _due(self) -> list[float]:
        """In how many seconds to look at something: at open transactions, at the triggers, and at
        the logs."""
        due = [self._presence.due - time.monotonic()]
        if self.protocol.moved:
            due.append(max(0.0, self._verified + VERIFY_SECONDS - time.monotonic()))
        if self._logged:
            return [*due, 0.0 if self._has_room(self._logged[0]) else FULL_SECONDS]
        return [*due, *(tail.due_in for tail in self._tails.values())]

    def _sources_of(self, tail: Tail) -> dict[str, TableDecoder]:
        return next(
            route.sources for route in self.protocol.routes.values() if route.log == tail.names
        )

    def _poll_presence(self, connection: ListenConnection) -> None:
        """See which of the transactions have ended that wrote while nobody listened."""
        with self._waiting.deadline(connection, self._patience):
            self._presence.look(connection.execute, time.monotonic())

    def _listen(
        self, connection: ListenConnection, sources: list[Any], *, strict: bool, anew: bool = False
    ) -> str:
        """LISTEN to all sources; what is missing, if ``strict`` does not refuse that. ``anew`` on a
        new connection."""
        if anew:
            self._presence = Presence()
        with self._waiting.deadline(connection, self._patience):
            known = self.protocol.routes
            wanted = expand(sources)
            self.protocol.routes, missing = listen(
                connection,
                self._engine,
                wanted,
                known,
                self._presence,
                self._states,
                self._watch,
                strict=strict,
            )
            self._follow_logs(connection, anew=anew)
        patient_until = time.monotonic() + UNTOLD_SECONDS
        while not self.stopping and self._presence.has_new and self._presence.due < patient_until:
            self._poll_presence(connection)
            if self._presence.has_new:
                self._waiting.wait(None, min(self._presence.due, patient_until) - time.monotonic())
        self._presence.wait_no_longer()
        if missing is not None:
            self._states.report("triggers missing", missing)
        return "" if missing is None else str(missing)

    def _follow_logs(self, connection: ListenConnection, *, anew: bool) -> None:
        """Have a tail for each change log that a route is of: one that was there goes on where it
        was."""
        known, self._tails = self._tails, {}
        for route in self.protocol.routes.values():
            if route.log is None:
                continue
            tail = self._tails[route.log] = known.get(route.log) or Tail(route.log, ())
            tail.reader.relations = tuple(route.sources)
            if not anew and route.log in known:
                tail.verify(connection.execute)
                tail.rung()  # there may be other tables
            elif (lost := tail.connected(connection.execute)) is not None:
                self._logged.append(self.protocol.lost_position(lost))
        for log in known.keys() - self._tails.keys() if not anew else ():
            known[log].leave(connection.execute)

    def _heartbeat_now(self, connection: ListenConnection) -> None:
        """Ask the server something, which finds out a dead connection, and something worth
        knowing."""
        asked = time.time()
        with self._waiting.deadline(connection, self._heartbeat):
            usage = float(
                connection.execute("SELECT pg_catalog.pg_notification_queue_usage()")[0][0]
            )
            for tail in self._tails.values():
                tail.verify(connection.execute)
        if self._verify(connection) and not self._presence.is_in_doubt:
            self.protocol.heartbeat_confirmed(asked)
        for tail in self._tails.values():
            tail.rung()  # for those that write without ringing
        if usage >= QUEUE_WARNING > (self.queue_usage or 0.0):
            self._states.report(
                "queue fills",
                f"PostgreSQL's notification queue is {usage:.0%} full; when it is full, COMMIT fails. Some session listens and does not "
                "read, or is idle in a transaction: see pg_stat_activity",
            )
        elif usage < QUEUE_WARNING <= (self.queue_usage or 0.0):
            self._states.report(
                "queue emptied", f"PostgreSQL's notification queue is {usage:.0%} full"
            )
        self.queue_usage = usage

    def _run_commands(self, connection: ListenConnection) -> None:
        """Do what was asked for from outside."""
        while not self.stopping and not self._commands.empty():
            command = self._commands.get()
            if not command.done.set_running_or_notify_cancel():
                continue  # who asked waits no longer
            try:
                self._verify(connection)  # else what is found now would be relied on without a Gap
                sources = command.change(self._sources)
                self._listen(connection, sources, strict=True)
            except PgNotifyError as error:
                command.done.set_exception(error)
                if isinstance(error, ListenUnavailable):  # half of it is done: connect anew
                    raise
            except BaseException as error:
                command.done.set_exception(ConnectionLost(f"the connection broke: {error}"))
                raise
            else:
                self._sources[:] = sources
                command.done.set_result(None)

    def _deliver(self, connection: ListenConnection, items: Iterable[Item]) -> None:
        for item in items:
            for admitted in self.protocol.admit(item, self.buffer.waiting):
                for ready in self._answered(connection, admitted):
                    self.buffer.put(ready)

    def _answered(self, connection: ListenConnection, item: Item) -> Iterable[Item]:
        """An item as it may be taken: what only the server can read is read."""
        if not isinstance(item, Message) or not item.has_server_read_fields:
            return (item,)
        with self._waiting.deadline(connection, self._patience):
            return item.resolve_on_server(connection.read)
