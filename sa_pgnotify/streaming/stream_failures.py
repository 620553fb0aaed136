"""What happens to a change of a stream that the program fails to process: the policy of a consumer,
which counts and parks in the tables of places."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection

from ..consuming.failures import FailurePolicy, OnError
from ..states import States
from .batch import OpenWork
from .places import Places

__all__ = ["LeaseLost", "StreamFailures"]


class LeaseLost(Exception):
    """Another member works the partition by now, so nothing is committed."""


class StreamFailures(FailurePolicy):
    """Decides for one member what happens to changes that fail.

    :param transact: calls a function with a connection, in a transaction of its own.
    :ivar work: the batch that is tried.
    """

    def __init__(
        self,
        on_error: OnError | None,
        states: States,
        places: Places,
        member: str,
        transact: Callable[[Callable[[Connection], Any]], Any],
    ) -> None:
        super().__init__(None, on_error, states)  # type: ignore[arg-type]  # for counting, which is done here
        self._places = places
        self._member = member
        self._transact = transact

    def decide(self, work: OpenWork, error: BaseException) -> float | None:
        """See :meth:`FailurePolicy.failed`.

        :raises LeaseLost: if another member works a partition of the batch by now.
        """
        lent: Any = work
        return self.failed(lent, lent, error)

    def _count(self, table: Any, change: tuple[int, int]) -> int:
        work: OpenWork = table
        sequence, part = change
        part = part if part in work.held else min(work.held)
        count: int | None = self._transact(
            lambda connection: self._places.count_failure(
                connection, part, work.held[part], self._member, sequence
            )
        )
        if count is None:
            raise LeaseLost
        return count

    def put_aside(self, connection: Connection, work: OpenWork) -> None:
        """Store those changes of a batch that are parked."""
        for item in work.chunks:
            excluded = self._excluded.get(item.key(0))
            if excluded is not None:
                message = item.message
                subject = "" if message is None else message.subject
                body = "" if message is None else message.body.decode()
                about = (excluded.error, excluded.failures)
                self._places.park(connection, item.sequence, subject, body, *about)

    def without_excluded(self, item: Any) -> Any:
        """Return an item without its event, if that is skipped or parked."""
        chunk: Any = item
        return self.exclude(chunk)
