"""The loop of a relay: take a batch of the log, publish it, store the position, and resume after
whatever broke.

Between the broker's confirmation and the commit of the position, the process may die, or either
connection may break. So whenever something fails, nothing that this process remembers counts any
more: it gives up its claim to work, and whichever process takes over first asks the sink how far the
relay has come (:mod:`sa_pgnotify.relay.place`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from sqlalchemy import Table
from sqlalchemy.exc import DBAPIError, InternalError, OperationalError

from ..consuming.batch import OpenBatch
from ..consuming.consumer import ChangeBatch
from ..consuming.parked import ParkedTable, Reason
from ..consuming.positions import ConsumerTable
from ..consuming.worker import Worker
from ..errors import NotifyConfigError, printable
from ..log.origin import database_and_log, origin_of
from ..sql import Execute, execute_on
from ..states import State
from ..subscription.backoff import Backoff
from .messages import Messages, Refused
from .place import Known, Sealed, newest_of, record
from .resuming import check_known, resume
from .sink import Sink, SinkUnavailable

__all__ = ["Publisher"]


class Publisher:
    """Publishes for one relay.

    :param entities: the classes and Tables whose changes are published, each with its table.
    :ivar published: how many messages were published, and stored as such.
    """

    def __init__(
        self, relay: str, sink: Sink, messages: Messages, entities: Iterable[tuple[Any, Table]]
    ) -> None:
        self._relay = relay
        self._sink = sink
        self._messages = messages
        self._entities = tuple(entities)
        self._backoff = Backoff()
        self._worker: Worker
        self._known: Known
        self._table: ConsumerTable
        self.published = 0

    def check(self) -> None:
        """Connect to the broker, and disconnect again.

        :raises SinkUnavailable: if it cannot be reached.
        :raises NotifyConfigError: if it cannot hold the promise, or would not take the messages.
        """
        try:
            self._connect()
        finally:
            self._sink.close()

    def _connect(self) -> None:
        self._sink.connect(self._relay)
        if why := self._messages.refused_subject(self._entities):
            raise NotifyConfigError(
                self._relay,
                f"{self._sink} would not take its messages: {why}",
                f"Change subject=, or what it takes. A Gap is published as {self._messages.gap_subject!r}",
            )

    def resume(self, execute: Execute, table: ConsumerTable, origin: str) -> str | None:
        """Take the relay over, see :data:`sa_pgnotify.consuming.follower.Resume`."""
        self._table = table
        self._sink.close()
        self._connect()
        self._known, lost = resume(self._sink, execute, table, origin)
        at = self._known.place.position or table.load_known(execute).position
        self._sealed(self._known.next(at, None))  # to report at the start that it is too long
        self._sink.begin()
        return lost

    def _sealed(self, known: Known) -> Sealed:
        """Return a place as the sink gets it.

        :raises NotifyConfigError: if it does not take one of that length.
        """
        sealed, most = known.sealed(), self._sink.limits.place_bytes
        if (size := len(str(sealed))) > most:
            raise NotifyConfigError(
                self._relay,
                f"its place, which names each of its tables, has {size} bytes, and {self._sink} takes {most}",
                "Divide the tables among several relays",
            )
        return sealed

    def run(self, worker: Worker, is_stopped: Callable[[], bool]) -> None:
        """Publish what ``worker`` gives out, until it is stopped.

        :param is_stopped: whether it should not begin.
        """
        self._worker = worker
        try:
            worker.begin()
            origin = origin_of(worker.execute, worker.table.names)
            log = database_and_log(worker.execute, origin)
            check_known(self._sink, worker.execute, worker.table, log)
            while not is_stopped() and self._try():
                pass
        finally:
            worker.stop()
            worker.end()
            self._sink.close()

    def _try(self) -> bool:
        """Publish a batch, or wait before the next attempt; return whether to go on."""
        worker = self._worker
        try:
            work = worker.next_work()
            if work is None:
                return False
            self._publish(work)
            self._backoff.settled()
        except SinkUnavailable as error:
            self._retry(error)
        except DBAPIError as error:
            if not (
                error.connection_invalidated or isinstance(error, OperationalError | InternalError)
            ):
                raise
            worker.link.lost(error)
        except worker.link.errors as error:  # of the driver, on the listening connection
            worker.link.lost(error)
        return True

    def _retry(self, error: SinkUnavailable) -> None:
        """Give up what was read, and wait before the next attempt."""
        link = self._worker.link
        link.disconnect()
        self._sink.close()
        if link.stopping:
            return
        delay = self._backoff.delay()
        self._worker.states.report(State.LOST, f"{self._sink}: {printable(str(error))}")
        self._worker.states.report(State.RECONNECTING, seconds=delay)
        link.pause(delay)

    def _publish(self, work: OpenBatch) -> None:
        messages, refused = self._messages.of(work)
        known = self._known.next(work.after, newest_of(work.chunks))
        sealed = self._sealed(known)
        batch: ChangeBatch[Any] = ChangeBatch(self._worker, work)
        with batch as session:
            for one in refused:
                self._park(one)
            self._sink.publish(messages, str(sealed))
            record(execute_on(session.connection()), self._table, known)
        self._known = known
        self.published += len(messages)

    def _park(self, refused: Refused) -> None:
        """Park a change before its ``Gap`` is published, in a transaction of its own: that of the batch
        may be lost when the ``Gap`` is there already."""
        chunk, number, why = refused
        index = chunk.first + (number if chunk.divisible else 0)
        parked, change = ParkedTable(self._table), chunk.events[number]
        if change is not None and not parked.has(self._worker.execute, chunk.row, index):
            said = f"park: {printable(repr(change), 300)} cannot be published: {why}"
            self._worker.states.report(State.CHANGE_FAILED, said)
            parked.add(self._worker.execute, chunk.row, index, Reason(why, 1, change))
