"""What happens to a change that the program fails to process.

An error does not show which change caused it: it may come from the flush or the commit, after the
whole batch was processed. So when a batch fails, its changes are tried one by one, each in a
transaction of its own, until the end of that batch. Failures are counted in the database, because
another process may make the next attempt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Literal

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from ..errors import NotifyConfigError
from ..events.changes import Change
from ..events.kinds import Gap
from ..sql import Execute, execute_on
from ..states import State, States
from .batch import OpenBatch
from .chunks import Chunk
from .parked import ParkedTable, Reason
from .positions import ConsumerTable

__all__ = ["FailurePolicy", "OnError", "Verdict"]

FIRST_RETRY, LONGEST_RETRY = 0.1, 30.0
"""Seconds before the second attempt at a change, and the most seconds between two attempts. The
time doubles with each failure."""

Verdict = Literal["raise", "retry", "skip", "park"]
"""What ``on_error`` returns for a change that failed."""
OnError = Callable[[Exception, Change | Gap, int], Verdict]

ChangeKey = tuple[int, int]
"""What identifies a change, see :meth:`sa_pgnotify.consuming.chunks.Chunk.key`."""


NOTHING: Mapping[ChangeKey, Reason] = MappingProxyType({})


class FailurePolicy:
    """Decides for one consumer what happens to changes that fail.

    :param on_error: the program's function; None if each error should be raised.
    :ivar one_by_one: how many changes are still to be tried one by one.
    """

    def __init__(self, engine: Engine, on_error: OnError | None, states: States) -> None:
        self._engine = engine
        self._on_error = on_error
        self._states = states
        self.one_by_one = 0
        self._excluded: dict[ChangeKey, Reason | None] = {}  # None: it is skipped

    def failed(self, table: ConsumerTable, batch: OpenBatch, error: BaseException) -> float | None:
        """Decide what happens after a batch has failed and was rolled back.

        :returns: seconds to wait before the iteration goes on; None if the error should be raised.
        """
        timeout = batch.timeout(error)
        if timeout is not None:
            error.add_note(timeout)
            self._states.report(State.BATCH_FAILED, timeout)
        if self._on_error is None or not isinstance(error, Exception):
            return None
        if isinstance(error, DBAPIError) and error.connection_invalidated and timeout is None:
            self._states.report(
                State.BATCH_FAILED, f"its connection was lost, and it comes again: {error.orig}"
            )
            return 0.0
        changes = [
            (chunk.key(number), event)
            for chunk in batch.chunks
            for number, event in enumerate(chunk.events)
            if event is not None
        ]
        key, change = changes[0]
        if all(other == key for other, _ in changes):  # a TRUNCATE is one change of several events
            return self._change_failed(table, key, change, error, self._on_error)
        self._states.report(
            State.BATCH_FAILED, f"its {len(changes)} changes are tried one by one: {error}"
        )
        self.one_by_one = max(self.one_by_one, batch.size)
        return 0.0

    def _change_failed(
        self,
        table: ConsumerTable,
        key: ChangeKey,
        change: Change | Gap,
        error: Exception,
        on_error: OnError,
    ) -> float | None:
        failures = self._count(table, key)
        verdict = on_error(error, change, failures)
        if verdict not in ("raise", "retry", "skip", "park"):
            raise NotifyConfigError(
                "on_error",
                f"it returned {verdict!r}",
                "Return 'raise', 'retry', 'skip' or 'park'",
            ) from error
        self._states.report(
            State.CHANGE_FAILED, f"{verdict}: {change!r} failed for the {failures}. time: {error}"
        )
        if verdict == "raise":
            return None
        if verdict == "retry":
            return min(LONGEST_RETRY, FIRST_RETRY * 2.0 ** min(failures - 1, 20))
        why = Reason(f"{type(error).__name__}: {error}", failures, change)
        self._excluded[key] = why if verdict == "park" else None
        return 0.0

    def _count(self, table: ConsumerTable, change: ChangeKey) -> int:
        """Count a failure, and return how often the change has failed in all processes."""
        with self._engine.connect() as connection:
            count = table.count_failure(execute_on(connection), "{} {}".format(*change))
            connection.commit()
        if count is None:
            raise table.forgotten()
        return count

    def passed(self, batch: OpenBatch) -> None:
        """Note that a batch was committed."""
        self.one_by_one = max(0, self.one_by_one - batch.size)
        if not self.one_by_one:
            self._excluded.clear()

    def exclude(self, chunk: Chunk, waiting: Mapping[ChangeKey, Reason] = NOTHING) -> Chunk:
        """Return a chunk without the changes that are skipped, parked, or waiting."""
        if not self._excluded and not waiting:
            return chunk
        events = [
            None if (key := chunk.key(number)) in self._excluded or key in waiting else event
            for number, event in enumerate(chunk.events)
        ]
        return replace(chunk, events=events)

    def park(self, execute: Execute, table: ConsumerTable, batch: OpenBatch) -> None:
        """Store those changes of a batch that are parked, and remove those that were given out
        again.

        :param execute: runs SQL in the batch's transaction.
        """
        parked = ParkedTable(table)
        reasons = {**batch.waiting, **self._excluded}
        done: list[int] = []
        for chunk in batch.chunks if reasons or batch.is_retry else ():
            for index in range(chunk.first, chunk.until):
                why = reasons.get(chunk.key(index - chunk.first))
                if chunk.parked is None:
                    if why is not None:
                        parked.add(execute, chunk.row, index, why)
                elif why is None:
                    done.append(chunk.parked)
                else:
                    parked.fail(execute, chunk.parked, why)
        if done:
            parked.remove(execute, done)
