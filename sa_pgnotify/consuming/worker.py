"""What a consumer does, whichever way it waits: keep a connection, give out batches, store the
position with the program's work.

The program's work and the position must be committed as one, or not at all, whichever process dies
and whenever: so the position is locked, compared and moved in the transaction that the program
works in. Everything else may be lost and is read again, which :mod:`sa_pgnotify.consuming.follower`
sees to.

It is written as if it blocked, as :mod:`sa_pgnotify.listening.receiver` is, and runs in a thread or
in a greenlet.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, OperationalError

from ..drivers import ListenConnection, connect, errors_of
from ..drivers.waiting import Waiting
from ..errors import (
    ListenUnavailable,
    NotifyConfigError,
    PgNotifyError,
    TriggersMissing,
)
from ..events.stream import EventStream
from ..log.snapshots import Position
from ..log.tables import LogSettings, find_log
from ..marking.sources import expand
from ..marking.spec import marking_of
from ..protocol.presence import Presence
from ..protocol.wire import LOST, MOVED
from ..sql import execute_on
from ..states import OnState, States
from ..subscription.probe import PROBE_SECONDS, greet, probe
from ..subscription.subscribe import listen
from ..subscription.trigger_watch import VERIFY_SECONDS, TriggerWatch
from .batch import FailurePolicy, OnError, OpenBatch
from .follower import LOCKED_SECONDS, Follower
from .positions import ConsumerKey, StoredPosition, free_places, move

__all__ = ["Worker", "settings_of"]

TAKE_OVER_SECONDS = 1.0
"""How often a consumer that stands by asks whether the one that works is still there."""


class Worker:
    """One consumer, from its start to its stop.

    :param engine: of an AsyncEngine, its ``sync_engine``.
    :param make_session: gives a session of the program's, or an AsyncSession, on the database that
        the engine is of.
    :ivar stopping: whether it should stop.
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
        self._heartbeat = heartbeat
        self._states = States(f"consumer {key}", engine, on_state)
        self._protocol = EventStream(1, self._states)
        self._follower = Follower(
            engine,
            key,
            self._protocol,
            self._states,
            settings_of(entities),
            start,
            waiting,
            lambda: self.stopping,
        )
        self._errors: tuple[type[Exception], ...] = (ListenUnavailable,)
        self._connection: ListenConnection | None = None
        self._begun = False
        self._in_transaction = 0
        self._next_beat = self._beat_at = 0.0
        self._watch, self._altered = TriggerWatch(), ""
        self._judge = FailurePolicy(engine, key, on_error, self._states)
        self._work: OpenBatch | None = None

    # -- connection --------------------------------------------------------------------------------

    def begin(self) -> None:
        """Connect, and take or make the position.

        :raises TriggersMissing: if a table has no enabled triggers, or some that do not write to
            the change log.
        :raises ListenUnavailable: if there is no connection, or none that brings notifications, or
            no change log.
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
                # A session whose program has given it up should not wait for a lock on and on.
                connection.execute(
                    f"SELECT pg_catalog.set_config('lock_timeout', '{patience * 800:.0f}', false)"
                )
            probe(connection, lambda: connect(self._engine), self._waiting, lambda: self.stopping)
            with self._waiting.deadline(connection, patience):
                self._listen(connection, strict=strict)
                self._follower.connected(connection)
        except BaseException:
            connection.close()
            raise
        self._connection, self._begun = connection, True
        self._states.report("connected" if strict else "reconnected")

    def _listen(self, connection: ListenConnection, *, strict: bool) -> None:
        known = self._protocol.routes
        self._altered = self._altered or self._watch.changes(connection.execute)
        wanted, states, watch = expand(self._entities), self._states, self._watch
        routes, missing = listen(
            connection, self._engine, wanted, known, Presence(), states, watch, strict=strict
        )
        logs = {route.log: route.sources for route in routes.values() if route.log is not None}
        silent = tuple(
            s.table.fullname
            for route in routes.values()
            if route.log is None
            for s in route.sources.values()
        )
        if len(logs) != 1 or silent or missing is not None:
            tables = silent or tuple(
                s.table.fullname for sources in logs.values() for s in sources.values()
            )
            raise missing or TriggersMissing(
                tables,
                "the triggers that are installed do not write to the change log. Run metadata.create_all(engine), or the migration",
            )
        self._protocol.routes = routes
        ((log, sources),) = logs.items()
        self._follower.use(log, sources)

    def _connection_lost(self, error: BaseException) -> None:
        """The connection, or the attempt to make it, failed: wait before the next one."""
        said, was_connected = str(error).strip().partition("\n")[0], self._connection is not None
        self._disconnect()
        if self.stopping:
            return
        if was_connected:
            self._states.report("lost", said)
        delay = self._protocol.delay()
        self._states.report("reconnecting", "" if was_connected else said, seconds=delay)
        self._pause(delay)

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self.stopping and (left := until - time.monotonic()) > 0:
            self._waiting.wait(None, left)

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    # -- from outside ------------------------------------------------------------------------------

    @property
    def is_ours(self) -> bool:
        """Whether it belongs to this process, and not to the one that this was forked from."""
        return self._pid == os.getpid()

    def look(self) -> None:
        """Look at what is stored, soon: somebody has moved it."""
        self._next_beat = 0.0
        self._waiting.wake()

    def stop(self) -> None:
        """End the iteration as soon as may be: now, if it waits. From any thread, and from a signal
        handler."""
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
                self._states.report("stopped")
            self._disconnect()
            self._waiting.close()

    # -- giving out batches ------------------------------------------------------------------------

    def next_work(self) -> OpenBatch | None:
        """The next batch; None if it was told to stop.

        :raises PgNotifyError: if the batch before was not worked through.
        """
        if self._work is not None:
            self._give_back(self._work)
            raise PgNotifyError(
                "the batch before was not worked through: write `with batch as session:` around what is done with it"
            )
        while not self.stopping:
            try:
                if self._connection is None:
                    self._connect(strict=False)
                work = self._try(self._connection)
                self._protocol.settled()
                if work is not None:
                    return work
            except self._errors as error:
                self._connection_lost(error)
            except TriggersMissing as error:  # also they may come back
                self._connection_lost(error)
            except DBAPIError as error:
                if not (error.connection_invalidated or isinstance(error, OperationalError)):
                    self._disconnect()
                    raise
                self._connection_lost(error)
            except BaseException:
                self._disconnect()  # interrupted anywhere: what was read is read again
                raise
        self.end()
        return None

    def _try(self, connection: ListenConnection | None) -> OpenBatch | None:
        """A batch, if there is one; else wait for what may come."""
        assert connection is not None
        follower = self._follower
        with self._waiting.deadline(connection, max(PROBE_SECONDS, self._heartbeat)):
            self._drain_notifications(connection)
            if time.monotonic() >= self._next_beat:
                self._heartbeat_now(connection)
            if follower.works or follower.take_over(connection):
                follower.fill(connection, self._batch_size)
        if follower.works and follower.chunks:
            work = self._open()
            return None if work is None or work.is_empty else work
        due = follower.due_in if follower.works else TAKE_OVER_SECONDS
        self._waiting.wait(connection, min(self._next_beat - time.monotonic(), due))
        return None

    def _heartbeat_now(self, connection: ListenConnection) -> None:
        """What is to be done from time to time, and finds out a dead connection."""
        self._beat_at = time.monotonic()
        self._next_beat = self._beat_at + self._heartbeat
        if self._watch.changes(connection.execute):
            self._listen(connection, strict=False)  # raises while triggers are missing
            self._follower.register(connection)
        self._follower.beat(connection)
        if self._altered and self._follower.works:
            self._follower.report_loss(
                f"triggers were altered, and changes may be missing: {self._altered}"
            )
            self._altered = ""

    def _drain_notifications(self, connection: ListenConnection) -> None:
        for _, payload, _ in connection.receive():
            if payload == MOVED:
                self._next_beat = min(self._next_beat, self._beat_at + VERIFY_SECONDS)
            elif payload == LOST:
                self._follower.tail.losses.rung()
            self._follower.tail.rung()

    def _refuse_autocommit(self, run: Callable[[str], Any]) -> None:
        """Once: is the lock that was taken in the statement before held still?"""
        if not self._in_transaction:
            ((self._in_transaction,),) = run(
                "SELECT (pg_catalog.pg_current_xact_id_if_assigned() IS NOT NULL)::int"
            )
            if not self._in_transaction:
                raise NotifyConfigError(
                    self.key.name,
                    "the batches' sessions are in autocommit, so that position and work would not be committed as one. Give it an engine, "
                    "or a session_factory, with transactions",
                )

    def _open(self) -> OpenBatch | None:
        """Begin the program's transaction, with the position locked in it; None if somebody else
        has moved it."""
        follower, names = self._follower, self._follower.names
        session = self._make_session()
        sync = getattr(session, "sync_session", session)
        try:
            run = execute_on(sync.connection())
            stored = StoredPosition.load(run, names, self.key, "FOR UPDATE SKIP LOCKED")
            if stored is None:
                if StoredPosition.load(run, names, self.key) is None:
                    raise follower.forgotten()
                follower.is_locked(run)
                sync.close()
                self._waiting.wait(self._connection, LOCKED_SECONDS)
                return None
            follower.is_free()
            self._refuse_autocommit(run)
            if stored.position != follower.stored:
                sync.close()
                follower.go_to(self._connection, stored)
                return None
            taken = follower.cut(1 if self._judge.alone else self._batch_size)
            self._work = OpenBatch(
                session,
                [self._judge.judged(chunk) for chunk in taken],
                stored.position,
                stored.pid,
                stored.patience,
            )
        except BaseException:
            sync.close()
            raise
        if self._work.is_empty:  # all of it is skipped, or not for this consumer
            self.commit(self._work)
        return self._work

    # -- the end of a batch ------------------------------------------------------------------------

    def enter(self, work: OpenBatch, who: object) -> Any:
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
            raise PgNotifyError(
                "seek() waits for the batch that is being worked off, and this is its block. Call it behind the block"
            )

    def finish(self, work: OpenBatch, error: BaseException | None) -> bool:
        """The end of the program's block, by ``error`` if it has raised. Whether the error is seen
        to."""
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

    def commit(self, work: OpenBatch) -> None:
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
            names = self._follower.names
            self._judge.park(run, names, work)
            run(move(names, self.key, work.after, origin=self._follower.origin, lost=work.lost))
            if work.frees:
                run(free_places(names, self.key, work.frees))
            work.sync.commit()
        except BaseException:
            self._give_back(work)
            raise
        self._work, self._follower.stored = None, work.after
        work.sync.close()
        self._judge.passed(work)

    def fail(self, work: OpenBatch, error: BaseException) -> bool:
        """The program's work failed: take it back. Whether the iteration goes on."""
        self._give_back(work)
        wait = self._judge.failed(self._follower.names, work, error)
        if wait is not None:
            self._pause(wait)
        return wait is not None

    def _give_back(self, work: OpenBatch) -> None:
        """Roll back, and have the same changes come again."""
        if self._work is None:
            return  # that is done
        self._work = None
        self._follower.give_back(work.chunks, work.pid)
        work.sync.close()


def settings_of(entities: Iterable[Any]) -> LogSettings:
    """What is to be kept in the log of ``entities``.

    :raises NotifyConfigError: if one of them is nothing that can be consumed.
    """
    if not entities:
        raise NotifyConfigError("Consumer", "it has nothing to consume: name at least one entity")
    if any(isinstance(entity, str) for entity in entities):
        raise NotifyConfigError(
            "Consumer",
            "a plain channel is not kept anywhere, so it cannot be consumed. Give mapped classes or Tables",
        )
    tables = list(expand(entities).tables)
    for table in tables:
        marking = marking_of(table)
        if marking is None or not marking.durable:
            raise NotifyConfigError(
                table.fullname,
                "it is not durable, so nothing keeps its changes. Mark it with NotifySpec(durable=True)",
            )
    logs = {id(table.metadata): find_log(table.metadata) for table in tables}
    found = next(iter(logs.values()), None)
    if len(logs) != 1 or found is None:
        raise NotifyConfigError(
            "Consumer",
            "its entities are of several MetaData, or of none, and each has a log of its own. Consume one",
        )
    return found.settings
