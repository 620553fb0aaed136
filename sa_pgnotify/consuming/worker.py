"""The loop of a consumer, from its start to its stop: keep a connection, and give out batches.

Whatever is held here may be lost at any moment, and is then read again from the stored position.
Only the transaction of a batch (:mod:`sa_pgnotify.consuming.transaction`) has a lasting effect. The
code is written as if it blocked, as :mod:`sa_pgnotify.listening.receiver` is, and runs in a thread
or in a greenlet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, OperationalError

from ..drivers import ListenConnection
from ..drivers.waiting import Waiting
from ..errors import PgNotifyError, TriggersMissing
from ..log.snapshots import Position
from ..states import OnState, State, States
from ..subscription.link import Link
from .batch import OpenBatch
from .failures import FailurePolicy, OnError
from .follower import Follower, Resume
from .positions import ConsumerKey, ConsumerTable
from .transaction import Transactions
from .upkeep import Upkeep, settings_of

__all__ = ["Worker"]

TAKE_OVER_SECONDS = 1.0
"""Seconds between two attempts of a consumer that stands by to take over."""


class Worker:
    """Runs one consumer.

    :param engine: of an AsyncEngine, its ``sync_engine``.
    :param make_session: creates the program's session, or its AsyncSession, on the database of
        ``engine``.
    :param resume: see :data:`~sa_pgnotify.consuming.follower.Resume`.
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
        resume: Resume | None = None,
        park_key: bool = False,
    ) -> None:
        self.key = key
        self.states = states = States(f"consumer {key}", engine, on_state)
        self._batch_size = batch_size
        self.link = link = Link(engine, waiting, heartbeat, states)
        settings = settings_of(entities)
        self._follower = follower = Follower(
            link, key, settings, start, states, resume, park_key=park_key
        )
        self._upkeep = Upkeep(link, follower, entities, heartbeat, states)
        policy = FailurePolicy(engine, on_error, states)
        self.transactions = Transactions(link, key, follower, policy, make_session, batch_size)

    # -- from outside ------------------------------------------------------------------------------

    def check_soon(self) -> None:
        """Read the stored position again soon, because it was moved."""
        self._upkeep.check_soon()
        self.link.waiting.wake()

    def stop(self) -> None:
        """End the iteration: at once if it waits, else after the current batch.

        Safe from any thread, and from a signal handler.
        """
        self.link.stop()

    def end(self) -> None:
        """Roll back the open batch, if there is one, and close everything."""
        try:
            self.transactions.give_back()
        finally:
            self.link.end()

    # -- connection --------------------------------------------------------------------------------

    def begin(self) -> None:
        """Connect, and load the position, or create it if the name is new.

        :raises TriggersMissing: if a table has no enabled triggers, or if its triggers do not write
            to the change log.
        :raises ListenUnavailable: if no connection can be made, if it does not deliver
            notifications, or if there is no change log.
        """
        self.link.begin(lambda: self._connect(strict=True))

    def _connect(self, *, strict: bool) -> None:
        self.link.connect(lambda connection: self._upkeep.connected(connection, strict=strict))
        self.states.report(State.CONNECTED if strict else State.RECONNECTED)

    @property
    def table(self) -> ConsumerTable:
        """The consumer's rows in the table of consumers."""
        return self._follower.table

    def execute(self, sql: str) -> Iterable[Any]:
        """Run SQL on the connection, which must be there."""
        assert self.link.connection is not None
        return self.link.connection.execute(sql)

    # -- giving out batches ------------------------------------------------------------------------

    def next_work(self) -> OpenBatch | None:
        """Return the next batch; None after :meth:`stop`.

        :raises PgNotifyError: if the previous batch was not processed.
        """
        link = self.link
        if self.transactions.give_back():
            raise PgNotifyError(
                "the previous batch was not processed: write `with batch as session:` around the code that uses it"
            )
        while not link.stopping:
            try:
                if link.connection is None:
                    self._connect(strict=False)
                assert link.connection is not None
                work = self._try(link.connection)
                link.backoff.settled()
                if work is not None:
                    return work
            except link.errors as error:
                link.lost(error)
            except TriggersMissing as error:  # they may be installed again
                link.lost(error)
            except DBAPIError as error:
                if not (error.connection_invalidated or isinstance(error, OperationalError)):
                    link.disconnect()
                    raise
                link.lost(error)
            except BaseException:
                # Anything may be half done here, so reading starts again from the stored position.
                link.disconnect()
                raise
        self.end()
        return None

    def _try(self, connection: ListenConnection) -> OpenBatch | None:
        """Return a batch if there is one; otherwise wait for changes, and return None."""
        follower = self._follower
        self._upkeep.receive(connection)
        # A deadline may be a thread, which costs as much as a small batch.
        if self._upkeep.due_in <= 0 or not (follower.works and follower.has(self._batch_size)):
            with self.link.deadline(connection):
                self._upkeep.run(connection)
                if follower.works or follower.take_over(connection):
                    follower.fill(connection, self._batch_size)
        if follower.works:
            follower.scan(connection, self._batch_size)
        if follower.works and (follower.chunks or follower.retries.due):
            return self.transactions.open()
        due = follower.due_in if follower.works else TAKE_OVER_SECONDS
        self.link.waiting.wait(connection, min(self._upkeep.due_in, due))
        return None
