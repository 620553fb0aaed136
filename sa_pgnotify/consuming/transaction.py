"""The transaction of a batch: the program does its work in it, and the position moves in it.

Both must be committed together or not at all, whichever process dies, and at whatever moment. So
the position is locked, compared and moved in the transaction of the program's work.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import NotifyConfigError, PgNotifyError
from ..sql import Execute, execute_on
from ..subscription.link import Link
from .batch import OpenBatch
from .chunks import Chunk
from .failures import FailurePolicy
from .follower import Follower
from .parked import Reason
from .position_lock import LOCKED_SECONDS
from .positions import ConsumerKey, StoredPosition

__all__ = ["Transactions", "refuse_ended"]


class Transactions:
    """The batches of one consumer, one at a time, each in a session of the program.

    :param make_session: creates a session, or an AsyncSession, on the database of ``link``.
    :param batch_size: about how many changes a batch has.
    """

    def __init__(
        self,
        link: Link,
        key: ConsumerKey,
        follower: Follower,
        policy: FailurePolicy,
        make_session: Callable[[], Any],
        batch_size: int,
    ) -> None:
        self._link = link
        self._key = key
        self._follower = follower
        self._policy = policy
        self._make_session = make_session
        self._batch_size = batch_size
        self._is_transactional = False
        self._work: OpenBatch | None = None

    # -- the beginning of a batch ------------------------------------------------------------------

    def open(self) -> OpenBatch | None:
        """Begin the transaction of the next batch, and lock the position in it.

        :returns: None if another session has locked or moved the position, or if the batch has no
            change for this consumer.
        """
        follower = self._follower
        session = self._make_session()
        sync = getattr(session, "sync_session", session)
        try:
            run = execute_on(sync.connection())
            stored = follower.table.lock(run, skip_locked=True)
            if stored is None:
                self._refuse_forgotten(run)
                follower.note_locked(run)
                sync.close()
                self._link.waiting.wait(self._link.connection, LOCKED_SECONDS)
                return None
            follower.note_free()
            self._refuse_autocommit(run)
            if stored.position != follower.stored:
                sync.close()
                follower.go_to(self._link.connection, stored)
                return None
            taken = self._take(run, stored)
            if not taken:
                sync.commit()
                sync.close()
                return None
            waiting = self._waiting(run, taken)
            chunks = [self._policy.exclude(chunk, waiting) for chunk in taken]
            work = OpenBatch(session, chunks, stored.position, stored.pid, stored.patience, waiting)
        except BaseException:
            sync.close()
            raise
        self._work = work
        if work.is_empty:  # all changes are skipped, or are not for this consumer
            self.commit(work)
            return None
        return work

    def _take(self, run: Execute, stored: StoredPosition) -> list[Chunk]:
        """Return the changes of the next batch: parked ones that should be given out again, or
        those of the log.

        :returns: nothing if there are none, or if the position should be read again.
        """
        follower = self._follower
        size = 1 if self._policy.one_by_one else self._batch_size
        if not follower.retries.note(stored):
            return follower.cut(size)
        assert self._link.connection is not None
        return follower.retries.take(self._link.connection, run, follower.table, stored, size)

    def _waiting(self, run: Execute, taken: list[Chunk]) -> dict[tuple[int, int], Reason]:
        """Return the changes that have to wait behind parked ones."""
        if taken[0].parked is not None:  # these have waited
            return {}
        return self._follower.retries.waiting(run, self._follower.table, taken)

    def _refuse_forgotten(self, run: Callable[[str], Any]) -> None:
        if self._follower.table.load(run) is None:
            raise self._follower.table.forgotten()

    def _refuse_autocommit(self, run: Callable[[str], Any]) -> None:
        """Check, once, that the lock which the previous statement took is still held.

        :raises NotifyConfigError: if it is not, because the session is in autocommit.
        """
        if self._is_transactional:
            return
        assigned = "SELECT (pg_catalog.pg_current_xact_id_if_assigned() IS NOT NULL)::int"
        ((found,),) = run(assigned)
        if not found:
            raise NotifyConfigError(
                self._key.name,
                "the batches' sessions are in autocommit, so position and work would not be committed together",
                "Give it an engine, or a session_factory, with transactions",
            )
        self._is_transactional = True

    # -- the program's block -----------------------------------------------------------------------

    def enter(self, work: OpenBatch, owner: object) -> Any:
        """Begin the program's block in the thread or task ``owner``, and return the session.

        :raises PgNotifyError: if the batch was finished or rolled back already.
        """
        if work is not self._work:
            raise PgNotifyError(
                "this batch was finished already, or rolled back: take the next one"
            )
        work.owner = owner
        return work.session

    def refuse_within_block(self, owner: object, method: str) -> None:
        """Refuse a call that would wait for its own batch.

        :param method: the method that was called.
        :raises PgNotifyError: if the thread or task ``owner`` is within a batch's block.
        """
        if self._work is not None and self._work.owner == owner:
            raise PgNotifyError(
                f"{method}() waits for the batch that is being processed, and was called within its block",
                "Call it after the block",
            )

    # -- the end of a batch ------------------------------------------------------------------------

    def finish(self, work: OpenBatch, error: BaseException | None) -> bool:
        """End the program's block.

        :param error: the exception that the block raised; None if it raised none.
        :returns: whether the exception is handled, so that the iteration goes on.
        """
        if work is not self._work:
            raise PgNotifyError("this batch was finished already")
        if error is not None:
            return self.fail(work, error)
        try:
            self.commit(work)
        except Exception as failed:
            if not self.fail(work, failed):
                raise
        return False

    def commit(self, work: OpenBatch) -> None:
        """Store the position after the batch, and commit it together with the program's work.

        :raises PgNotifyError: if the transaction was ended within the block.
        """
        try:
            refuse_ended(work)
            work.sync.flush()
            run = execute_on(work.sync.connection())
            table = self._follower.table
            self._policy.park(run, table, work)
            after = work.after
            table.move(run, after, origin=self._follower.origin, lost=work.lost)
            if work.frees:
                table.free(run, work.frees)
            work.sync.commit()
        except BaseException:
            self._roll_back(work)
            raise
        self._work = None
        self._follower.moved_to(after)
        work.sync.close()
        self._policy.passed(work)

    def fail(self, work: OpenBatch, error: BaseException) -> bool:
        """Roll back a batch that failed, and return whether the iteration goes on."""
        self._roll_back(work)
        wait = self._policy.failed(self._follower.table, work, error)
        if wait is not None:
            self._link.pause(wait)
        return wait is not None

    def give_back(self) -> bool:
        """Roll back the batch that was given out, and return whether there was one."""
        work = self._work
        if work is not None:
            self._roll_back(work)
        return work is not None

    def _roll_back(self, work: OpenBatch) -> None:
        """Roll back, so that the same changes are given out again."""
        if self._work is None:
            return  # it has been rolled back already
        self._work = None
        self._follower.give_back(() if work.is_retry else work.chunks, work.pid)
        work.sync.close()


def refuse_ended(work: Any) -> None:
    """Refuse to commit a batch whose transaction was ended within its block.

    :param work: what holds the batch's ``sync`` session, and the ``transaction`` that it began with.
    :raises PgNotifyError: if it was.
    """
    now = work.sync.get_transaction()
    if now is not work.transaction:
        raise PgNotifyError(
            "the batch's transaction was ended within its block: what was committed there stays committed, and the same "
            "changes come again",
            "Leave commit() and rollback() to the batch",
        )
    if not work.transaction.is_active:
        raise PgNotifyError(
            "an error has ended the transaction of the batch, but its block went on: nothing is committed, "
            "and the same changes come again",
            "Let the error leave the block, or use a savepoint for work that may fail",
        )
