"""A consumer from its start to its stop, however it waits: keep a connection, and give out batches.

Whatever is held here may be lost at any moment, and is read again from the stored position; only the
transaction of a batch counts (:mod:`sa_pgnotify.consuming.transaction`). The code is written as if it
blocked, as :mod:`sa_pgnotify.listening.receiver` is, and runs in a thread or in a greenlet.
"""

from __future__ import annotations

from collections.abc import Callable
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
from .follower import Follower
from .positions import ConsumerKey
from .transaction import Transactions
from .upkeep import Upkeep, settings_of

__all__ = ["Worker"]

TAKE_OVER_SECONDS = 1.0
"""How often a consumer that stands by asks whether the one that works is still there."""


class Worker:
    """
    :param engine: of an AsyncEngine, its ``sync_engine``.
    :param make_session: returns a session of the program's, or an AsyncSession, on the database that
        the engine is of.
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
        self.key = key
        self._states = states = States(f"consumer {key}", engine, on_state)
        self._batch_size = batch_size
        self.link = link = Link(engine, waiting, heartbeat, states)
        self._follower = follower = Follower(link, key, settings_of(entities), start, states)
        self._upkeep = Upkeep(link, follower, entities, heartbeat, states)
        policy = FailurePolicy(engine, on_error, states)
        self.transactions = Transactions(link, key, follower, policy, make_session, batch_size)

    # -- from outside ------------------------------------------------------------------------------

    def look(self) -> None:
        """Look soon at the position that is stored, because it was moved."""
        self._upkeep.check_soon()
        self.link.waiting.wake()

    def stop(self) -> None:
        """End the iteration: at once if it waits, else after the batch. Safe from any thread, and
        from a signal handler."""
        self.link.stop()

    def end(self) -> None:
        """Take back the batch that is open, and close everything."""
        try:
            self.transactions.give_back()
        finally:
            self.link.end()

    # -- connection --------------------------------------------------------------------------------

    def begin(self) -> None:
        """Connect, and take or make the position.

        :raises TriggersMissing: if a table has no enabled triggers, or some that do not write to the
            change log.
        :raises ListenUnavailable: if there is no connection, or none that delivers notifications, or
            no change log.
        """
        self.link.begin(lambda: self._connect(strict=True))

    def _connect(self, *, strict: bool) -> None:
        self.link.connect(lambda connection: self._upkeep.connected(connection, strict=strict))
        self._states.report(State.CONNECTED if strict else State.RECONNECTED)

    # -- giving out batches ------------------------------------------------------------------------

    def next_work(self) -> OpenBatch | None:
        """Return the next batch; None after :meth:`stop`.

        :raises PgNotifyError: if the batch before was not worked through.
        """
        link = self.link
        if self.transactions.give_back():
            raise PgNotifyError(
                "the batch before was not worked through: write `with batch as session:` around what is done with it"
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
            except TriggersMissing as error:  # they may come back as well
                link.lost(error)
            except DBAPIError as error:
                if not (error.connection_invalidated or isinstance(error, OperationalError)):
                    link.disconnect()
                    raise
                link.lost(error)
            except BaseException:
                link.disconnect()  # interrupted anywhere: what was read is read again
                raise
        self.end()
        return None

    def _try(self, connection: ListenConnection) -> OpenBatch | None:
        """Return a batch, if there is one; otherwise wait for what may come."""
        follower = self._follower
        with self.link.deadline(connection):
            self._upkeep.run(connection)
            if follower.works or follower.take_over(connection):
                follower.fill(connection, self._batch_size)
        if follower.works:
            follower.scan(connection, self._batch_size)
        if follower.works and follower.chunks:
            return self.transactions.open()
        due = follower.due_in if follower.works else TAKE_OVER_SECONDS
        self.link.waiting.wait(connection, min(self._upkeep.due_in, due))
        return None
