"""What a consumer does, whichever way it waits: read on, give out batches, store the position with the program's work.

It is hard because the program's work and the position must be committed as one, or not at all, whoever dies and whenever: so the
position is locked, compared and moved in the transaction that the program works in. Everything else may be lost and is read again.

It is written as if it blocked, as :mod:`sa_pgnotify.receiver` is, and runs in a thread or in a greenlet.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, OperationalError

from .changelog import LogNames, LogSettings, find_log
from .chunks import Chunk, cut
from .decoding import Source
from .drivers import ListenConnection, connect, errors_of
from .errors import ListenUnavailable, NotifyConfigError, PgNotifyError, TriggersMissing
from .logreader import LogRow, Position
from .positions import ConsumerKey, Stored, move, reads, unread_of_gone, where
from .presence import Presence
from .protocol import Protocol
from .quoting import literal
from .reflection import execute_on
from .retention import prune
from .sources import expand
from .spec import marking_of
from .states import OnState, States
from .subscribing import PROBE_SECONDS, greet, listen, probe, read_again
from .tail import LOST_TO_RESTORE, Tail
from .taking import chunk_of
from .trigger_watch import TriggerWatch
from .waiting import Waiting
from .wire import MOVED
from .work import Judge, OnError, Work

__all__ = ["Worker", "settings_of"]

TAKE_OVER_SECONDS = 1.0
"""How often a consumer that stands by asks whether the one that works is still there."""
LOCKED_SECONDS = 0.2
"""How often it asks for a position that somebody else has locked."""
VERIFY_SECONDS = 0.25
"""How often the catalog is looked at, at most, because a notification says that triggers have moved, which anybody may send."""
FILL_SECONDS = 1.0
"""How long a batch is read for at most, if most of what there is is not for this consumer."""


class Worker:
    """One consumer, from its start to its stop.

    :param engine: of an AsyncEngine, its ``sync_engine``.
    :param make_session: gives a session of the program's, or an AsyncSession, on the database that the engine is of.
    :ivar stopping: whether it has been told to stop.
    """

    def __init__(
        self,
        engine: Engine,
        key: ConsumerKey,
        entities: tuple[Any, ...],
        waiting: Waiting,
        make_session: Callable[[], Any],
        *,
        batch_size: int,
        start: str | Position,
        heartbeat: float,
        on_error: OnError | None,
        on_state: OnState | None,
    ) -> None:
        self._pid = os.getpid()
        self.stopping = False
        self.key = key
        self._engine = engine
        self._entities = entities
        self._waiting = waiting
        self._make_session = make_session
        self._batch_size = batch_size
        self._start = start
        self._heartbeat = heartbeat
        self._settings = settings_of(entities)
        self._states = States(f"consumer {key}", engine, on_state)
        self._protocol = Protocol(1, self._states)
        self._errors: tuple[type[Exception], ...] = (ListenUnavailable,)
        self._connection: ListenConnection | None = None
        self._tail: Tail | None = None
        self._stored: Position | None = None
        self._works = self._stands_by = self._begun = False
        self._in_transaction = 0
        self._next_beat = self._beat_at = 0.0
        self._watch, self._altered = TriggerWatch(), ""
        self._rows: deque[LogRow] = deque()  # read, and not yet decoded
        self._chunks: deque[Chunk] = deque()  # decoded, and not yet given out
        self._judge = Judge(engine, key, on_error, self._states)
        self._work: Work | None = None
        self._warned: str | None = None

    # -- connection ---------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Connect, and take or make the position.

        :raises TriggersMissing: if a table has no enabled triggers, or some that do not write to the change log.
        :raises ListenUnavailable: if there is no connection, or none that brings notifications, or no change log.
        """
        self._errors = errors_of(self._engine)
        try:
            self._connect(strict=True)
        except self._errors as error:
            if isinstance(error, ListenUnavailable):
                raise
            raise ListenUnavailable("connection", str(error).strip()) from error

    def _connect(self, *, strict: bool) -> None:
        connection = connect(self._engine)
        patience = max(PROBE_SECONDS, self._heartbeat)
        try:
            with self._waiting.deadline(connection, patience):
                greet(connection)
            probe(connection, lambda: connect(self._engine), self._waiting, lambda: self.stopping)
            with self._waiting.deadline(connection, patience):
                self._listen(connection, strict=strict)
                self._load(connection)
        except BaseException:
            connection.close()
            raise
        self._connection, self._works, self._stands_by, self._begun = connection, False, False, True
        self._states.tell("connected" if strict else "reconnected")

    def _listen(self, connection: ListenConnection, *, strict: bool) -> None:
        known = self._protocol.routes
        self._altered = self._altered or self._watch.changes(connection.execute)
        wanted, states, watch = expand(self._entities), self._states, self._watch
        routes, missing = listen(connection, self._engine, wanted, known, Presence(), states, watch, strict=strict)
        logs = {route.log: route.sources for route in routes.values() if route.log is not None}
        silent = tuple(s.table.fullname for route in routes.values() if route.log is None for s in route.sources.values())
        if len(logs) != 1 or silent or missing is not None:
            tables = silent or tuple(s.table.fullname for sources in logs.values() for s in sources.values())
            raise missing or TriggersMissing(
                tables, "the triggers that are installed do not write to the change log. Run metadata.create_all(engine), or the migration"
            )
        self._protocol.routes = routes
        ((log, sources),) = logs.items()
        if self._tail is None or self._tail.names != log:
            self._tail = Tail(log, sources)
        self._tail.reader.relations = tuple(sources)

    @property
    def tail(self) -> Tail:
        assert self._tail is not None
        return self._tail

    @property
    def _names(self) -> LogNames:
        return self.tail.names

    @property
    def _sources(self) -> dict[str, Source]:
        return next(route.sources for route in self._protocol.routes.values() if route.log == self._names)

    def _load(self, connection: ListenConnection) -> None:
        """Go to the position that is stored; if there is none, store one."""
        names, execute = self._names, connection.execute
        tail, relations = self.tail, tuple(sorted(self._sources))
        before = tail.origin
        tail.connected(execute)
        assert tail.origin is not None
        stored = Stored.load(execute, names, self.key)
        if stored is None:
            if self._stored is not None and before == tail.origin:
                raise self._forgotten()
            self._refuse_other_parts(connection)
            execute(f"INSERT INTO {names.head} (id, removed, lost) VALUES (0, 0, 0) ON CONFLICT DO NOTHING")
            # One that had a place in a log that was made anew has lost it.
            start, origin = (self._start, tail.origin) if self._stored is None else ("now", "")
            execute(Stored(origin, where(execute, names, start), relations).create(names, self.key))
            stored = Stored.load(execute, names, self.key)
            assert stored is not None
        gone = unread_of_gone(execute, names, stored, relations)
        if stored.relations != relations and stored.position.target is None and not gone:
            execute(reads(names, self.key, relations))
        self._go_to(stored)
        if gone:
            what = f"{', '.join(gone)} has another name now, or was dropped: what was not read of its changes is not told"
            self._chunks.append(self._lost(what, stored.position))
        if stored.origin != tail.origin:
            tail.reader.go_to(now := Tail.now(execute))
            self._chunks.append(self._lost(LOST_TO_RESTORE, now))

    def _refuse_other_parts(self, connection: ListenConnection) -> None:
        others = f"SELECT parts FROM {self._names.consumers} WHERE name = {literal(self.key.name)} AND parts <> {self.key.parts} LIMIT 1"
        for (parts,) in connection.execute(others):
            raise NotifyConfigError(
                self.key.name,
                f"this consumer is divided into {parts} parts, and not into {self.key.parts}. Let those read all, forget() them, "
                "start the others, and seek() from there",
            )

    def _go_to(self, stored: Stored) -> None:
        """Read on from a place; what was read before does not count."""
        self._stored = stored.position
        self._rows.clear()
        self._chunks.clear()
        self.tail.reader.go_to(stored.position, stored.relations)
        self.tail.rung()

    def _lost(self, why: str, at: Position) -> Chunk:
        """A gap at a place in the log."""
        row = LogRow(-1, -1, 0, 0, "", "", "", 0, at, at, self.tail.reader.relations)
        return Chunk(row, [self._protocol.lost_position(why)], 0, 1)

    def _lose(self, error: BaseException) -> None:
        """The connection, or the attempt to make it, failed: wait before the next one."""
        said, was_connected = str(error).strip().partition("\n")[0], self._connection is not None
        self._disconnect()
        if self.stopping:
            return
        if was_connected:
            self._states.tell("lost", said)
        delay = self._protocol.delay()
        self._states.tell("reconnecting", "" if was_connected else said, seconds=delay)
        self._pause(delay)

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self.stopping and (left := until - time.monotonic()) > 0:
            self._waiting.wait(None, left)

    def _disconnect(self) -> None:
        connection, self._connection, self._works = self._connection, None, False
        if connection is not None:
            connection.close()

    # -- from outside -------------------------------------------------------------------------------------------------

    @property
    def is_ours(self) -> bool:
        """Whether it belongs to this process, and not to the one that this was forked from."""
        return self._pid == os.getpid()

    def look(self) -> None:
        """Look at what is stored, soon: somebody has moved it."""
        self._next_beat = 0.0
        self._waiting.wake()

    def stop(self) -> None:
        """End the iteration as soon as may be: now, if it waits. From any thread, and from a signal handler."""
        self.stopping = True
        self._waiting.call(self._break_off)

    def _break_off(self) -> None:
        self._waiting.wake()
        connection = self._connection
        if connection is not None:
            connection.interrupt()

    def end(self) -> None:
        """The last thing: nothing is left behind."""
        try:
            if self._work is not None:
                self._give_back(self._work)
        finally:
            if self._begun and self.stopping:
                self._begun = False
                self._states.tell("stopped")
            self._disconnect()
            self._waiting.close()

    # -- giving out batches -------------------------------------------------------------------------------------------

    def next_work(self) -> Work | None:
        """The next batch; None if it was told to stop.

        :raises PgNotifyError: if the batch before was not worked through.
        """
        if self._work is not None:
            self._give_back(self._work)
            raise PgNotifyError("the batch before was not worked through: write `with batch as session:` around what is done with it")
        while not self.stopping:
            try:
                if self._connection is None:
                    self._connect(strict=False)
                work = self._try(self._connection)
                self._protocol.settled()
                if work is not None:
                    return work
            except self._errors as error:
                self._lose(error)
            except TriggersMissing as error:  # also they may come back
                self._lose(error)
            except DBAPIError as error:
                if not (error.connection_invalidated or isinstance(error, OperationalError)):
                    self._disconnect()
                    raise
                self._lose(error)
            except BaseException:
                self._disconnect()  # interrupted anywhere: what was read is read again
                raise
        self.end()
        return None

    def _try(self, connection: ListenConnection | None) -> Work | None:
        """A batch, if there is one; else wait for what may come."""
        assert connection is not None
        with self._waiting.deadline(connection, max(PROBE_SECONDS, self._heartbeat)):
            self._hear(connection)
            if time.monotonic() >= self._next_beat:
                self._beat(connection)
            if not self._works:
                self._works = self._take_over(connection)
            if self._works:
                self._fill(connection)
        if self._chunks:
            work = self._open()
            return None if work is None or work.is_empty else work
        due = (0.0 if self._rows else self.tail.due_in) if self._works else TAKE_OVER_SECONDS
        wait = min(self._next_beat - time.monotonic(), due)
        self._waiting.wait(connection, wait)
        return None

    def _hear(self, connection: ListenConnection) -> None:
        for _, payload, _ in connection.receive():
            if payload == MOVED:
                self._next_beat = min(self._next_beat, self._beat_at + VERIFY_SECONDS)
            self.tail.rung()

    def _take_over(self, connection: ListenConnection) -> bool:
        """Be the one that works under this name; the lock goes with the connection."""
        said = f"{self.tail.origin}\0{self.key.name}\0{self.key.part}\0{self.key.parts}"
        number = int.from_bytes(hashlib.sha256(said.encode()).digest()[:8], "big", signed=True)
        ((mine,),) = connection.execute(f"SELECT pg_catalog.pg_try_advisory_lock({number})::int")
        if mine:
            self._load(connection)
            self._states.tell("working")
        elif not self._stands_by:
            self._stands_by = True
            self._states.tell("standing by", "another one of this name works")
        return bool(mine)

    def _beat(self, connection: ListenConnection) -> None:
        """What is to be done from time to time, and finds out a dead connection."""
        self._beat_at = time.monotonic()
        self._next_beat = self._beat_at + self._heartbeat
        if self._watch.changes(connection.execute):
            self._listen(connection, strict=False)  # raises while triggers are missing
        stored = Stored.load(connection.execute, self._names, self.key)
        if stored is None:
            raise self._forgotten()
        self.tail.rung()  # for those that write without ringing
        if not self._works:
            return
        if stored.position != self._stored:
            self._go_to(stored)
        elif not self._rows and not self._chunks:
            passed = self.tail.reader.position  # what there was, if anything, was not for this consumer
            if passed != self._stored:
                moved = move(
                    self._names, self.key, passed, origin=stored.origin, relations=self.tail.reader.relations, since=stored.position
                )
                connection.execute(moved)
                self._stored = passed  # if somebody has moved it meanwhile, that is found before the next batch
        if self._altered:
            at = self._rows[0].before if self._rows else self.tail.reader.position
            self._chunks.append(self._lost(f"triggers were altered, and changes may be missing: {self._altered}", at))
            self._altered = ""
        self._prune(connection)

    def _prune(self, connection: ListenConnection) -> None:
        try:
            state = prune(connection.execute, self._names, self._settings)
        except self._errors as error:
            if connection.closed:
                raise
            self._warn(f"the change log is not emptied: {str(error).partition(chr(10))[0]}")
            return
        if state.is_held_up:
            self._warn(str(state))
        elif self._warned is not None:
            self._warned = None
            self._states.tell("held up ended", state)

    def _warn(self, what: str) -> None:
        if self._warned is None:
            self._states.tell("held up", what)
        self._warned = what

    def _fill(self, connection: ListenConnection) -> None:
        """Read, and decode, as much as a batch takes, or what can be had in a while."""
        ready = sum(len(chunk.events) for chunk in self._chunks)
        until = time.monotonic() + FILL_SECONDS
        while ready < self._batch_size and not self.stopping and time.monotonic() < until:
            if not self._rows:
                if self.tail.due_in > 0:
                    break
                rows = self.tail.look(connection.execute)
                if (lost := self.tail.lost_to_retention()) is not None:
                    self._chunks.append(self._lost(lost, rows[0].before if rows else self.tail.reader.position))
                if not rows:
                    break
                self._rows.extend(rows)
            chunk = self._decoded(connection, self._rows.popleft())
            if self._chunks or any(event is not None for event in chunk.events):
                self._chunks.append(chunk)
                ready += len(chunk.events)

    def _decoded(self, connection: ListenConnection, row: LogRow) -> Chunk:
        protocol = self._protocol
        items = protocol.logged([row], self._sources)
        if protocol.outdated:
            items = protocol.renewed(read_again(connection, self._engine, protocol.outdated.values()), items)
        return chunk_of(row, items, protocol, self.key, connection.read)

    def _forgotten(self) -> PgNotifyError:
        return PgNotifyError(f"the consumer {self.key} was forgotten: its position is gone")

    def _refuse_autocommit(self, run: Callable[[str], Any]) -> None:
        """Once: is the lock that was taken in the statement before held still?"""
        if not self._in_transaction:
            ((self._in_transaction,),) = run("SELECT (pg_catalog.pg_current_xact_id_if_assigned() IS NOT NULL)::int")
            if not self._in_transaction:
                raise NotifyConfigError(
                    self.key.name,
                    "the batches' sessions are in autocommit, so that position and work would not be committed as one. Give it an engine, "
                    "or a session_factory, with transactions",
                )

    def _open(self) -> Work | None:
        """Begin the program's transaction, with the position locked in it; None if somebody else has moved it."""
        session = self._make_session()
        sync = getattr(session, "sync_session", session)
        try:
            run = execute_on(sync.connection())
            stored = Stored.load(run, self._names, self.key, "FOR UPDATE SKIP LOCKED")
            if stored is None:
                if Stored.load(run, self._names, self.key) is None:
                    raise self._forgotten()
                sync.close()
                self._waiting.wait(self._connection, LOCKED_SECONDS)  # whoever has it is at work, or about to be ended by the server
                return None
            self._refuse_autocommit(run)
            if stored.position != self._stored:
                sync.close()
                self._go_to(stored)
                return None
            taken = cut(self._chunks, 1 if self._judge.alone else self._batch_size)
            self._work = Work(session, [self._judge.judged(chunk) for chunk in taken], stored.position)
        except BaseException:
            sync.close()
            raise
        if self._work.is_empty:  # all of it is skipped, or not for this consumer
            self.commit(self._work)
        return self._work

    # -- the end of a batch -------------------------------------------------------------------------------------------

    def enter(self, work: Work, who: object) -> Any:
        """The program's block begins, in the thread or task ``who``; gives its session.

        :raises PgNotifyError: if the batch was finished, or given back.
        """
        if work is not self._work:
            raise PgNotifyError("this batch was finished already, or given back: take the next one")
        work.who = who
        return work.session

    def refuse_within_block(self, who: object) -> None:
        """
        :raises PgNotifyError: if ``who`` is within a batch's block.
        """
        if self._work is not None and self._work.who == who:
            raise PgNotifyError("seek() waits for the batch that is being worked off, and this is its block. Call it behind the block")

    def finish(self, work: Work, error: BaseException | None) -> bool:
        """The end of the program's block, by ``error`` if it has raised. Whether the error is seen to."""
        if work is not self._work:
            raise PgNotifyError("this batch was finished already")
        if error is None:
            try:
                self.commit(work)
            except Exception as failed:
                if not self.fail(work, failed):
                    raise
            return False
        return self.fail(work, error)

    def commit(self, work: Work) -> None:
        """Store the position behind the batch, and commit it with the program's work.

        :raises PgNotifyError: if the program has ended the transaction itself.
        """
        try:
            if work.sync.get_transaction() is work.transaction and not work.transaction.is_active:
                raise PgNotifyError(
                    "an error within the batch's block has ended its transaction, and the block went on: nothing is committed, and the "
                    "same changes come again. Let the error out of the block, or put what may fail into a savepoint"
                )
            if work.sync.get_transaction() is not work.transaction:
                raise PgNotifyError(
                    "the batch's transaction was ended within its block: what was committed there stands, and the same changes come "
                    "again. Leave commit() and rollback() to the batch"
                )
            work.sync.flush()
            run = execute_on(work.sync.connection())
            self._judge.park(run, self._names, work)
            assert self.tail.origin is not None
            run(move(self._names, self.key, work.after, origin=self.tail.origin, relations=work.chunks[-1].row.relations))
            work.sync.commit()
        except BaseException:
            self._give_back(work)
            raise
        self._work, self._stored = None, work.after
        work.sync.close()
        self._judge.passed(work)

    def fail(self, work: Work, error: BaseException) -> bool:
        """The program's work failed: take it back. Whether the iteration goes on."""
        self._give_back(work)
        wait = self._judge.failed(self._names, work, error)
        if wait is not None:
            self._pause(wait)
        return wait is not None

    def _give_back(self, work: Work) -> None:
        """Roll back, and have the same changes come again."""
        if self._work is None:
            return  # that is done
        self._work = None
        self._chunks.extendleft(reversed(work.chunks))
        work.sync.close()


def settings_of(entities: Iterable[Any]) -> LogSettings:
    """What is to be kept in the log of ``entities``.

    :raises NotifyConfigError: if one of them is nothing that can be consumed.
    """
    if not entities:
        raise NotifyConfigError("Consumer", "it has nothing to consume: name at least one entity")
    if any(isinstance(entity, str) for entity in entities):
        raise NotifyConfigError("Consumer", "a plain channel is not kept anywhere, so it cannot be consumed. Give mapped classes or Tables")
    tables = list(expand(entities).tables)
    for table in tables:
        marking = marking_of(table)
        if marking is None or not marking.durable:
            raise NotifyConfigError(
                table.fullname, "it is not durable, so nothing keeps its changes. Mark it with NotifySpec(durable=True)"
            )
    logs = {id(table.metadata): find_log(table.metadata) for table in tables}
    found = next(iter(logs.values()), None)
    if len(logs) != 1 or found is None:
        raise NotifyConfigError("Consumer", "its entities are of several MetaData, or of none, and each has a log of its own. Consume one")
    return found.settings
