"""What happens to a change of a stream that the program fails to process: it is counted and parked in
the tables of places."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from ..consuming.failures import Failures, OnError
from ..states import States
from .batch import OpenWork
from .places import Places

__all__ = ["LeaseLost", "StreamFailures"]


class LeaseLost(Exception):
    """Another member works the partition by now, so nothing is committed."""


class StreamFailures(Failures):
    """Decides for one member what happens to changes that fail.

    :param transact: calls a function with a connection, in a transaction of its own.
    """

    def __init__(
        self,
        on_error: OnError | None,
        states: States,
        places: Places,
        member: str,
        transact: Callable[[Callable[[Connection], Any]], Any],
    ) -> None:
        super().__init__(on_error, states)
        self._places = places
        self._member = member
        self._transact = transact

    def decide(self, work: OpenWork, error: Exception) -> float | None:
        """See :meth:`Failures.judge`. A batch whose connection was lost comes again, whatever
        ``on_error`` is.

        :raises LeaseLost: if another member works a partition of the batch by now.
        """
        if isinstance(error, DBAPIError) and error.connection_invalidated:
            return self.connection_lost(error)
        return self.judge(work, error, lambda change: self._count(work, change))

    def _count(self, work: OpenWork, change: tuple[int, int]) -> int:
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
            reason = self.excluded.get(item.key(0))
            if reason is not None:
                message = item.message
                subject = "" if message is None else message.subject
                body = "" if message is None else _text(message.body)
                about = (reason.error, reason.failures)
                self._places.park(connection, item.sequence, subject, body, *about)


def _text(body: bytes) -> str:
    """Return a body, which may hold anything, as text that a database accepts."""
    return body.decode(errors="backslashreplace").replace("\0", "\\x00")
