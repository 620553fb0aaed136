"""One member at work: take the leases, read the stream, give out batches, commit them with their
places, and begin anew after whatever broke.

The only memory that counts is the database's. So after each failure, whatever it was, the member
forgets what it has read and where it was, and reads its places again.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError

from ..consuming.failures import OnError
from ..consuming.transaction import refuse_ended
from ..drivers.waiting import Waiting
from ..errors import NotifyConfigError, PgNotifyError, printable
from ..relay.jetstream import STREAM_NOT_FOUND
from ..relay.nats_client import NatsRefused
from ..relay.sink import SinkUnavailable
from ..states import State, States
from ..subscription.backoff import Backoff
from .assembly import Assembly, Cut
from .batch import OpenWork
from .database import HandlerDatabase
from .event_reader import EventReader
from .membership import Membership
from .places import Place
from .reader import Reader
from .stream_client import StreamClient
from .stream_failures import LeaseLost, StreamFailures

__all__ = ["Worker"]

WAIT = 0.5
"""Seconds after which a member that waits looks whether its connection is still there."""
GATHER = 0.05
"""Seconds that a batch may wait for messages that are on their way."""
LONGEST_PAUSE = 5.0
SKIPPED, SKIPPED_SECONDS = 20_000, 5.0
"""After how many messages of other partitions, or how many seconds, the place is stored although
nothing was handled."""


class Worker:
    """Works for one consumer, as one member of it.

    :ivar member: identifies the member.
    :param start: ``"now"`` or ``"beginning"``, for a new consumer.
    """

    def __init__(
        self,
        client: StreamClient,
        database: HandlerDatabase,
        events: EventReader,
        waiting: Waiting,
        states: States,
        *,
        name: str,
        member: str,
        partitions: int,
        batch_size: int,
        start: str,
        lease: float,
        on_error: OnError | None,
    ) -> None:
        self._client, self._database, self._events = client, database, events
        self._waiting, self._states = waiting, states
        self.member, self._partitions, self._start = member, partitions, start
        self._batch_size = batch_size
        self._membership = Membership(
            client, f"{client.stream}.{name}", member, partitions, lease, self._wake
        )
        self._reader = Reader(client, self._arrived)
        self._policy = StreamFailures(on_error, states, database.places, member, database.transact)
        self._backoff = Backoff()
        self._assembly: Assembly | None = None
        self._adopted: dict[int, int] | None = None
        self._created = ""
        self._work: OpenWork | None = None
        self._moved = 0.0
        self._is_connected = self._is_waiting = self._is_checked = False
        self.stopping = False

    # -- the beginning and the end -----------------------------------------------------------------

    def begin(self) -> None:
        """Connect, and join the group.

        :raises SinkUnavailable: if the broker cannot be reached.
        :raises NotifyConfigError: if there is no such stream, or the members do not agree.
        """
        try:
            self._connect()
        except NatsRefused as error:
            if error.err_code != STREAM_NOT_FOUND:
                raise
            raise NotifyConfigError(
                "StreamConsumer",
                f"there is no stream {self._client.stream}",
                "Start the relay first, which creates it, or correct the name",
            ) from None

    def _connect(self) -> None:
        self._client.close()
        self._client.connect()
        state = self._client.state()
        at = (state.last, state.stored) if self._start == "now" else (state.first - 1, 0)
        self._database.prepare(self._partitions, Place(*at, state.created))
        self._membership.join()
        self._is_connected = True
        self._states.report(State.CONNECTED, self._client.stream)

    def stop(self) -> None:
        """End the work. Any thread and any signal handler may call this."""
        self.stopping = True
        self._waiting.call(self._waiting.wake)

    def end(self) -> None:
        """Leave the group, and disconnect."""
        if self._work is not None:
            self._roll_back(self._work)
        self._disconnect()
        self._waiting.close()
        self._states.report(State.STOPPED)

    def _disconnect(self) -> None:
        self._forget()
        if self._is_connected and self._client.is_connected:
            with suppress(SinkUnavailable):
                self._membership.leave()
        self._membership.forget()
        self._reader.close()
        self._client.close()
        self._is_connected = False

    # -- waiting -----------------------------------------------------------------------------------

    def _arrived(self) -> None:
        if self._is_waiting:
            self._wake()

    def _wake(self) -> None:
        self._is_waiting = False
        self._waiting.call(self._waiting.wake)

    def _wait(self, seconds: float) -> None:
        self._is_waiting = True
        self._waiting.wait(None, seconds)
        self._is_waiting = False

    def pause(self, seconds: float) -> None:
        """Wait, unless :meth:`stop` is called."""
        until = time.monotonic() + seconds
        while not self.stopping and (left := until - time.monotonic()) > 0:
            self._waiting.wait(None, left)

    # -- the next batch ----------------------------------------------------------------------------

    def next_work(self) -> OpenWork | None:
        """Return the next batch; None after :meth:`stop`."""
        if self._work is not None:
            self._roll_back(self._work)  # its block was never entered, or never left
        while not self.stopping:
            try:
                if not self._is_connected:
                    self._connect()
                work = self._look()
                if work is not None:
                    return work
            except SinkUnavailable as error:
                self._retry("the broker", error)
            except DBAPIError as error:
                kinds = (OperationalError, InterfaceError)
                if not (error.connection_invalidated or isinstance(error, kinds)):
                    raise
                self._retry("the database", error)
        return None

    def _retry(self, what: str, error: Exception) -> None:
        """Leave the group, so that members for which it works take over, and wait."""
        if self._work is not None:
            self._roll_back(self._work)
        self._disconnect()
        if self.stopping:
            return
        delay = min(LONGEST_PAUSE, self._backoff.delay())
        self._states.report(State.LOST, f"{what}: {printable(str(error))}")
        self._states.report(State.RECONNECTING, seconds=delay)
        self.pause(delay)

    def _look(self) -> OpenWork | None:
        self._membership.check()
        held = dict(self._membership.held)
        if held != self._adopted:
            self._adopt(held)
        if self._assembly is None:
            self._wait(WAIT)
            return None
        cut = self._next_cut(self._assembly)
        return None if cut is None else self._open(cut, self._assembly)

    def _adopt(self, held: dict[int, int]) -> None:
        """Take over the partitions that the group has given to this member."""
        self._forget()
        state = self._client.state()
        found = self._database.adopt(held, self.member, self._client, state)
        for part, epoch in found.outdated.items():
            self._membership.raise_epoch(part, epoch)
        if found.outdated:
            self._wait(0.1)
            return
        self._adopted, self._created = held, state.created
        if not found.places:
            self._states.report(State.STANDING_BY, f"{self._membership.members} members")
            return
        assembly = Assembly(self._events, self._partitions, found.places)
        if found.lost:
            self._states.report(State.LOST_POSITION, found.lost)
            assembly.report(assembly.until, found.lost)
        self._reader.start(assembly.until + 1)
        self._assembly, self._moved = assembly, time.monotonic()
        self._states.report(
            State.WORKING, f"partitions {', '.join(map(str, held))} of {self._partitions}"
        )

    def _forget(self) -> None:
        """Forget what was read and where it was."""
        self._assembly = self._adopted = None

    def _next_cut(self, assembly: Assembly) -> Cut | None:
        """Return the next batch; None if it needs messages that have not come yet."""
        one_by_one = bool(self._policy.one_by_one)
        size = 1 if one_by_one else self._batch_size
        begun = assembly.until
        while (cut := assembly.cut(size, divide=one_by_one)) is None:
            message = self._reader.take()
            if message is None:
                break
            assembly.add(message)
            if not len(assembly) and assembly.until - begun > SKIPPED:
                return assembly.rest()
        if cut is not None:
            return cut
        silence = self._reader.silence
        if len(assembly):
            is_all = assembly.is_last or silence > GATHER
            if is_all and (assembly.is_whole or silence > WAIT):
                return assembly.rest()
        elif assembly.is_behind and time.monotonic() - self._moved > SKIPPED_SECONDS:
            return assembly.rest()
        self._is_waiting = True  # from before the last look on
        if not self._reader.has_some:
            self._wait(GATHER if len(assembly) else WAIT)
        return None

    def _open(self, cut: Cut, assembly: Assembly) -> OpenWork | None:
        """Begin the transaction of a batch; return None if nothing in it is given out."""
        adopted = self._adopted or {}
        held = {part: adopted[part] for part in assembly.not_beyond(cut.until)}
        self._membership.keep()
        if (
            self._membership.held != adopted
        ):  # given away in the meantime, so the next look begins anew
            self._membership.let_go()
            return None
        session = self._database.make_session()
        sync = getattr(session, "sync_session", session)
        try:
            connection = sync.connection()
            if not self._is_checked:
                self._database.refuse_autocommit(connection)
                self._is_checked = True
            items = [self._policy.exclude(item) for item in cut.items]
            work = OpenWork(session, cut._replace(items=items), held)
        except BaseException:
            sync.close()
            self._membership.let_go()
            raise
        self._work = work
        self._backoff.settled()
        if work.is_empty:
            self.finish(work, None)
            return None
        return work

    # -- the end of a batch ------------------------------------------------------------------------

    def enter(self, work: OpenWork) -> Any:
        """Return the session of a batch.

        :raises PgNotifyError: if the batch was finished or rolled back already.
        """
        if work is not self._work:
            raise PgNotifyError(
                "this batch was finished already, or rolled back: take the next one"
            )
        return work.session

    def finish(self, work: OpenWork, error: BaseException | None) -> bool:
        """End the program's block.

        :param error: the exception that the block raised; None if it raised none.
        :returns: whether the exception is handled, so that the iteration goes on.
        """
        if work is not self._work:
            raise PgNotifyError("this batch was finished already")
        try:
            if error is not None:
                return self._fail(work, error)
            try:
                self._commit(work)
            except Exception as failed:
                if not self._fail(work, failed):
                    raise
            return False
        finally:
            with suppress(SinkUnavailable):  # the next look at the broker raises it again
                self._membership.settle()

    def _commit(self, work: OpenWork) -> None:
        """Store the places, and commit them together with the program's work.

        :raises LeaseLost: if another member works one of the partitions by now.
        """
        try:
            refuse_ended(work)
            work.sync.flush()
            connection = work.sync.connection()
            self._policy.put_aside(connection, work)
            to = Place(work.until, work.stored, self._created)
            if not self._database.places.move(connection, work.held, self.member, to):
                raise LeaseLost
            work.sync.commit()
        except BaseException:
            self._roll_back(work)
            raise
        self._work = None
        work.sync.close()
        self._policy.passed(work)
        self._moved = time.monotonic()
        if self._assembly is not None:
            self._assembly.passed(work.until)

    def _fail(self, work: OpenWork, error: BaseException) -> bool:
        """Roll back a batch that failed, and return whether the iteration goes on."""
        self._roll_back(work)
        if not isinstance(error, Exception):
            return False
        try:
            if isinstance(error, LeaseLost) or self._is_replaced(work):
                raise LeaseLost
            wait = self._policy.decide(work, error)
        except LeaseLost:
            self._states.report(
                State.BATCH_FAILED,
                "another member has taken a partition over; what this one did is rolled back",
            )
            return True
        if wait is not None:
            self.pause(wait)
        return wait is not None

    def _is_replaced(self, work: OpenWork) -> bool:
        with suppress(SQLAlchemyError):  # the database is away, so the batch's own error counts
            return self._database.is_replaced(work.held, self.member)
        return False

    def _roll_back(self, work: OpenWork) -> None:
        """Roll back, so that the same changes are given out again."""
        if work is self._work:
            self._work = None
            with suppress(DBAPIError):  # the connection is broken
                work.sync.close()
        self._forget()
        self._membership.let_go()
