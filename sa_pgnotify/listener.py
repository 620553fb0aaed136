"""The listener for programs with threads: one thread reads the connection, the program takes events from a buffer.

It is hard because a connection that brings nothing may be quiet or dead, and a program that takes nothing must not stop the reading:
an unread connection holds up PostgreSQL's queue for everybody. So the thread reads always, asks the server at each heartbeat, and
tells what it could not keep.
"""

from __future__ import annotations

import logging
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass
from operator import length_hint
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Engine, Table
from sqlalchemy.exc import OperationalError as SQLAlchemyOperationalError

from .decoding import Batch
from .drivers import ListenConnection, connect
from .errors import ConnectionLost, ListenUnavailable, NotifyConfigError, PgNotifyError
from .events import Change, Event, Gap, Notification
from .protocol import Item, Protocol, size_of
from .sources import expand
from .subscribing import PROBE_SECONDS, greet, listen, probe, read_again

__all__ = ["Listener", "Stats"]

logger = logging.getLogger("sa_pgnotify")

QUEUE_WARNING = 0.1
"""Share of PostgreSQL's notification queue (8 GB) from which on we warn; when it is full, COMMIT fails for everybody."""

Handler = Callable[[Any], object]


@dataclass(frozen=True, slots=True)
class Stats:
    """A listener's figures, at the moment of asking.

    :ivar received: events that came since the start, gaps and dropped ones included; ``delivered``: that the program took;
        ``buffered``: that wait for it; ``gaps``: that were told; ``reconnects``: connections made again.
    :ivar latency: seconds from the last message's statement to its arrival here, by two machines' clocks; None before the first.
    :ivar queue_usage: share of PostgreSQL's notification queue in use, 0 to 1, at the last heartbeat; None before the first.
    :ivar connected: whether a connection listens.
    """

    received: int
    delivered: int
    buffered: int
    gaps: int
    reconnects: int
    latency: float | None
    queue_usage: float | None
    connected: bool


class _End:
    """The last thing in the buffer: the listener was stopped, or its thread ended by an error."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


@dataclass(frozen=True)
class _Command:
    """A change to the sources that the thread is to make, and what becomes of it."""

    change: Callable[[list[Any]], list[Any]]
    done: Future[None]


class Listener:
    """Yields the events of ``sources``.

    ::

        with Listener(engine, Order) as listener:
            for event in listener:
                ...

    Once :meth:`start` has returned, LISTEN is committed: no later change is missed without a :class:`~sa_pgnotify.Gap`.

    :param engine: an engine of PostgreSQL and psycopg2. The listener makes a connection of its own the way the engine does.
    :param sources: mapped classes, Tables, a MetaData or declarative base (all of it that is marked), names of plain channels.
    :param buffer_size: how many events may wait for the program; then comes ``Gap("overflow")``.
    :param heartbeat: seconds between two questions to the server. A silent connection is found out within two of them.
    :param on_error: called with what a handler raised and the event; by default the error leaves :meth:`run`.
    :raises NotifyConfigError: if a source is nothing that can be listened to, or nothing of it is marked.
    """

    def __init__(
        self,
        engine: Engine,
        *sources: Any,
        buffer_size: int = 100_000,
        heartbeat: float = 10.0,
        on_error: Callable[[Exception, Event], object] | None = None,
    ) -> None:
        if not isinstance(engine, Engine):
            raise NotifyConfigError("Listener", f"it takes a synchronous Engine, not {type(engine).__name__}")
        if buffer_size < 1 or heartbeat <= 0:
            raise NotifyConfigError("Listener", "buffer_size and heartbeat must be greater than zero")
        expand(sources)  # what cannot work is refused here
        self._engine = engine
        self._sources = list(sources)
        self._heartbeat = heartbeat
        self._patience = max(PROBE_SECONDS, heartbeat)
        self._buffer_size = buffer_size
        self._on_error = on_error
        self._handlers: list[tuple[tuple[type, ...], list[Any], Handler]] = []
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._reset()
        self._close_wake()

    def _reset(self) -> None:
        self._protocol = Protocol(self._buffer_size)
        self._buffer: SimpleQueue[Item | _End] = SimpleQueue()
        self._current: Iterator[Event] = iter(())  # what is being taken: a list's or tuple's iterator, which threads may share
        self._taking = threading.Lock()
        self._commands: SimpleQueue[_Command] = SimpleQueue()
        self._connection: ListenConnection | None = None
        self._opened: list[ListenConnection] = []  # what stop() is to interrupt
        self._connecting = self._stopping = False
        self._pid = os.getpid()
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_write.setblocking(False)
        self._put = self._finished = 0
        self._queue_usage: float | None = None
        self._early: list[tuple[str, str, int]] = []

    # -- life ---------------------------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Connect, LISTEN and make sure that notifications arrive; then read in the background.

        :raises TriggersMissing: if a table has no enabled triggers.
        :raises ListenUnavailable: if there is no connection, on a standby, or through a pooler that swallows LISTEN.
        :raises PgNotifyError: if it has been started already.
        """
        if not self._starting.acquire(blocking=False):
            raise PgNotifyError("this listener is being started already, by another thread")
        try:
            if self._thread is not None and self._thread.is_alive():
                raise PgNotifyError("this listener has been started already; stop() it first, or make another one")
            self._thread = None
            self._reset()
            try:
                self._connect(strict=True)
            except BaseException as error:
                self._close_wake()
                if not isinstance(error, self._driver_errors):
                    raise
                if not self._stopping:  # else stop() has broken it off
                    raise error if isinstance(error, ListenUnavailable) else ListenUnavailable("connection", str(error).strip()) from error
            else:
                self._thread = threading.Thread(target=self._run, name="sa_pgnotify listener", daemon=True)
                self._thread.start()
            return self
        finally:
            self._starting.release()

    def stop(self) -> None:
        """End every iteration now, close the connection and end the thread. Safe from any thread, from a signal handler, and twice;
        while :meth:`start` is at work too, which then returns at once.

        Only an attempt to connect that is under way cannot be broken off: its thread ends with it.
        """
        self._stopping = True
        self._buffer.put(_End())
        thread = self._thread
        if self._pid != os.getpid():
            return  # a fork's child: connection and thread are the parent's
        self._wake()
        for connection in list(self._opened):
            connection.interrupt()
        while thread is not None and thread is not threading.current_thread() and thread.is_alive() and not self._connecting:
            thread.join(0.05)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    @property
    def stats(self) -> Stats:
        """The listener's figures now."""
        protocol = self._protocol
        return Stats(
            protocol.received, self._taken, self._put - self._taken, protocol.gaps, protocol.reconnects, protocol.latency,
            self._queue_usage, self._connection is not None,
        )  # fmt: skip

    # -- taking events ------------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Event]:
        return self.events()

    def events(self, timeout: float | None = None) -> Iterator[Event]:
        """Events until :meth:`stop`, or until ``timeout`` seconds have passed without one."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            current = self._current  # another thread may put the next one in its place
            for event in current:
                if self._stopping:
                    return
                yield event
                deadline = None if timeout is None else time.monotonic() + timeout
            if not self._next_item(current, deadline):
                return

    def get(self, timeout: float | None = None) -> Event | None:
        """The next event; None after ``timeout`` seconds without one, or when the listener is stopped.

        Several threads may take events from one listener; each event goes to one of them.
        """
        return next(self.events(timeout), None)

    def _next_item(self, seen: Iterator[Event], deadline: float | None) -> bool:
        """Put the events of the buffer's next item in the place of ``seen``; False if there is none in time, or no more at all."""
        if self._stopping:
            return False
        if self._thread is None:
            raise PgNotifyError("this listener does not listen: use it in a with block, or call start()")
        if self._pid != os.getpid():
            raise PgNotifyError("this listener was started before a fork, and listens in the parent. Start one in this process")
        if not self._taking.acquire(timeout=-1 if deadline is None else max(0.0, deadline - time.monotonic())):
            return False
        try:
            if self._current is not seen:
                return not self._stopping  # another thread has done it
            item = self._buffer.get(timeout=None if deadline is None else max(0.0, deadline - time.monotonic()))
            if isinstance(item, _End):
                self._buffer.put(item)  # for whoever else waits
                if item.error is not None:
                    raise item.error
                return False
            self._finished += size_of(item)
            self._current = iter(self._protocol.events(item) if isinstance(item, Batch) else (item,))
            return True
        except Empty:
            return False
        finally:
            self._taking.release()

    @property
    def _taken(self) -> int:
        """How many events the program has taken; those of the item at hand are counted as it goes."""
        return self._finished - length_hint(self._current)

    # -- handlers -----------------------------------------------------------------------------------------------------

    def on(self, *what: Any) -> Callable[[Handler], Handler]:
        """Register a handler for :meth:`run`: ``@listener.on(Order, Updated)``.

        :param what: entities (classes, with those below them, or Tables), kinds of events, names of plain channels. A handler is
            called for what fits one of the entities or channels, if any are given, and one of the kinds, if any are given.
        """
        kinds = tuple(w for w in what if isinstance(w, type) and issubclass(w, Change | Gap | Notification))
        targets = [w for w in what if w not in kinds]
        for target in targets:
            if not isinstance(target, type | Table | str):
                raise NotifyConfigError(
                    "Listener.on",
                    f"{target!r} is no entity, no kind of event and no channel. Write @listener.on(Order, Updated), with brackets",
                )

        def register(handler: Handler) -> Handler:
            self._handlers.append((kinds, targets, handler))
            return handler

        return register

    def run(self) -> None:
        """Call the handlers that fit each event, in the order of registration, until :meth:`stop`.

        What a handler raises goes to ``on_error``, by default out of this method; the next call goes on with the next event.
        """
        for event in self:
            handled = False
            for kinds, targets, handler in self._handlers:
                if _fits(event, kinds, targets):
                    handled = True
                    try:
                        handler(event)
                    except Exception as error:
                        if self._on_error is None:
                            raise
                        self._on_error(error, event)
            if not handled and isinstance(event, Gap):
                logger.warning("%r, and no handler for it: register one with @listener.on(Gap)", event)

    # -- subscriptions ------------------------------------------------------------------------------------------------

    def subscribe(self, *sources: Any) -> None:
        """Listen to more; returns when the database has confirmed. From any thread.

        :raises TriggersMissing, NotifyConfigError: as the constructor and :meth:`start`; nothing has changed then.
        :raises ConnectionLost: if the connection broke meanwhile, or the listener was stopped; nothing has changed then.
        """
        expand(sources)
        self._command(lambda known: [*known, *(source for source in sources if not _among(source, known))])

    def unsubscribe(self, *sources: Any) -> None:
        """Listen to ``sources`` no longer; returns when the database has confirmed. What is buffered is still yielded.

        :raises NotifyConfigError: if one of them is not what was given to the constructor or to :meth:`subscribe`.
        """

        def without(known: list[Any]) -> list[Any]:
            for source in sources:
                if not _among(source, known):
                    raise NotifyConfigError("Listener", f"{source!r} is none of its sources, which are {known!r}. Unsubscribe one of those")
            return [source for source in known if not _among(source, sources)]

        self._command(without)

    def _command(self, change: Callable[[list[Any]], list[Any]]) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._sources = change(self._sources)
            return
        command = _Command(change, Future())
        self._commands.put(command)
        self._wake()
        while not command.done.done() and self._thread.is_alive():
            wait([command.done], timeout=1.0)
        if not command.done.done():  # it came when the thread had looked for the last time
            raise ConnectionLost("the listener was stopped")
        command.done.result()

    def _wake(self) -> None:
        with suppress(OSError):  # full: the thread will wake anyway; closed: there is none
            self._wake_write.send(b"w")

    # -- the thread ---------------------------------------------------------------------------------------------------

    @property
    def _driver_errors(self) -> tuple[type[Exception], ...]:
        dbapi: Any = self._engine.dialect.loaded_dbapi
        return (dbapi.Error, SQLAlchemyOperationalError, OSError, ListenUnavailable)

    def _run(self) -> None:
        try:
            while not self._stopping:
                try:
                    if self._connection is None:
                        self._connect(strict=False)
                    self._read()
                except self._driver_errors as error:
                    self._lose(error)
        except Exception as error:  # a fault of ours must not look like silence
            logger.exception("the listener's thread ends")
            self._buffer.put(_End(error))
        finally:
            self._disconnect()
            self._close_wake()
            while not self._commands.empty():
                self._commands.get().done.set_exception(ConnectionLost("the listener was stopped"))

    def _lose(self, error: Exception) -> None:
        """The connection, or the attempt to make it, failed: wait before the next one."""
        self._disconnect()
        self._protocol.lost()
        if self._stopping:
            return
        delay = self._protocol.delay()
        logger.warning("not connected, next attempt in %.1f s: %s", delay, str(error).partition("\n")[0])
        until = time.monotonic() + delay
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake_read, selectors.EVENT_READ)
            while not self._stopping and (left := until - time.monotonic()) > 0:
                if selector.select(left):
                    self._wake_read.recv(4096)

    def _close_wake(self) -> None:
        self._wake_read.close()
        self._wake_write.close()

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _connect(self, *, strict: bool) -> None:
        """Make the connection and let it listen to everything; ``strict`` refuses tables without triggers."""
        asked = time.time()
        connection = self._open()
        try:
            with connection.deadline(self._patience):
                greet(connection)
            missing = self._listen(connection, strict=strict)
            self._early = probe(connection, self._open, lambda: self._stopping)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        self._deliver(self._protocol.connected(asked, missing))

    def _open(self) -> ListenConnection:
        """A new connection, which stop() can interrupt as soon as it is there."""
        self._connecting = True
        try:
            connection = connect(self._engine)
        finally:
            self._connecting = False
        self._opened = [*(known for known in self._opened if not known.closed), connection]
        if self._stopping:
            connection.interrupt()
        return connection

    def _read(self) -> None:
        """Deliver what the connection brings, until it is lost or the listener stopped."""
        connection = self._connection
        assert connection is not None
        self._hand_over(connection, self._early)
        self._early = []
        self._obey(connection)  # what was asked for while there was no connection
        next_beat = time.monotonic() + self._heartbeat
        with selectors.DefaultSelector() as selector:
            selector.register(connection, selectors.EVENT_READ)
            selector.register(self._wake_read, selectors.EVENT_READ)
            while not self._stopping:
                wait = 0.0 if connection.pending() else max(0.0, next_beat - time.monotonic())
                ready = {key.fileobj for key, _ in selector.select(wait)}
                if self._wake_read in ready:
                    self._wake_read.recv(4096)
                    self._obey(connection)
                if connection in ready or connection.pending():
                    self._hand_over(connection, connection.receive())
                if time.monotonic() >= next_beat and not connection.pending():  # what is pending is not yet delivered
                    self._beat(connection)
                    next_beat = time.monotonic() + self._heartbeat

    def _hand_over(self, connection: ListenConnection, notifications: list[tuple[str, str, int]]) -> None:
        """Deliver what notifications tell; and where tables or triggers were altered since we listen, do what that asks for."""
        items = self._protocol.notified(notifications)
        if self._protocol.outdated:
            with connection.deadline(self._patience):
                sources = read_again(connection, self._engine, self._protocol.outdated.values())
            items = self._protocol.renewed(sources, items)
        self._deliver(items)
        if self._protocol.moved:
            logger.warning("triggers were dropped, or tell on another channel: listening anew")
            self._protocol.lost()
            asked = time.time()
            missing = self._listen(connection, strict=False)
            self._deliver(self._protocol.connected(asked, missing or "the triggers of a table tell on another channel"))

    def _listen(self, connection: ListenConnection, *, strict: bool) -> str:
        """LISTEN to all sources; what is missing, if ``strict`` does not refuse that."""
        with connection.deadline(self._patience):
            known = self._protocol.routes
            self._protocol.routes, missing = listen(connection, self._engine, expand(self._sources), known, strict=strict)
        if missing is not None:
            logger.error("%s", missing)
        return "" if missing is None else str(missing)

    def _beat(self, connection: ListenConnection) -> None:
        """Ask the server something, which finds out a dead connection, and something worth knowing."""
        asked = time.time()
        with connection.deadline(self._heartbeat):
            usage = float(connection.execute("SELECT pg_catalog.pg_notification_queue_usage()")[0][0])
        self._protocol.answered(asked)
        if usage >= QUEUE_WARNING > (self._queue_usage or 0.0):
            logger.warning(
                "PostgreSQL's notification queue is %.0f %% full; when it is full, COMMIT fails. Some session listens and does not read, "
                "or is idle in a transaction: see pg_stat_activity",
                usage * 100,
            )
        self._queue_usage = usage

    def _obey(self, connection: ListenConnection) -> None:
        """Do what other threads have asked for."""
        while not self._stopping and not self._commands.empty():
            command = self._commands.get()
            try:
                sources = command.change(self._sources)
                with connection.deadline(self._patience):
                    self._protocol.routes, _ = listen(connection, self._engine, expand(sources), self._protocol.routes, strict=True)
            except PgNotifyError as error:
                command.done.set_exception(error)
            except Exception as error:
                command.done.set_exception(ConnectionLost(f"the connection broke: {error}"))
                raise
            else:
                self._sources = sources
                command.done.set_result(None)

    def _deliver(self, items: Iterable[Item]) -> None:
        for item in items:
            for admitted in self._protocol.admit(item, self._put - self._taken):
                self._put += size_of(admitted)
                self._buffer.put(admitted)


def _among(source: Any, sources: Iterable[Any]) -> bool:
    return any(source is other or source == other for other in sources)


def _fits(event: Event, kinds: tuple[type, ...], targets: list[Any]) -> bool:
    if isinstance(event, Gap):  # it concerns whatever is listened to
        return Gap in kinds or not (kinds or targets)
    return (not kinds or isinstance(event, kinds)) and (not targets or any(_concerns(event, target) for target in targets))


def _concerns(event: Change | Notification, target: Any) -> bool:
    if isinstance(event, Notification):
        return bool(event.channel == target)
    entity = event.entity
    return event.table is target or (isinstance(target, type) and isinstance(entity, type) and issubclass(entity, target))
