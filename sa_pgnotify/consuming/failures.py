"""What happens to a change that the program fails to process.

An error does not show which change caused it: it may come from the flush or the commit, after the
whole batch was processed. So when a batch fails, its changes are tried one by one, each in a
transaction of its own, until the end of that batch. Failures are counted in the database, because
another process may make the next attempt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Literal, Protocol, TypeVar

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from ..errors import NotifyConfigError, described, printable
from ..events.changes import Change
from ..events.kinds import Gap
from ..sql import Execute, execute_on
from ..states import State, States
from .batch import OpenBatch
from .parked import ParkedTable, Reason
from .positions import ConsumerTable

__all__ = ["FailurePolicy", "Failures", "OnError", "Verdict"]

FIRST_RETRY, LONGEST_RETRY = 0.1, 30.0
"""Seconds before the second attempt at a change, and the most seconds between two attempts. The
time doubles with each failure."""

Verdict = Literal["raise", "retry", "skip", "park"]
"""What ``on_error`` returns for a change that failed."""
OnError = Callable[[Exception, Change | Gap, int], Verdict]

ChangeKey = tuple[int, int]
"""What identifies a change, see :meth:`sa_pgnotify.consuming.chunks.Chunk.key`."""


NOTHING: Mapping[ChangeKey, Reason] = MappingProxyType({})


class Failed(Protocol):
    """A batch that has failed: of the log, or of a stream."""

    @property
    def chunks(self) -> Sequence[Failable]: ...

    @property
    def size(self) -> int: ...

    def timeout(self, error: BaseException) -> str | None: ...


class Failable(Protocol):
    """What a batch consists of: a frozen dataclass."""

    @property
    def events(self) -> Sequence[Change | Gap | None]: ...

    def key(self, number: int) -> ChangeKey: ...


P = TypeVar("P", bound=Failable)


class Failures:
    """Decides what happens to changes that fail, wherever their failures are counted.

    :param on_error: the program's function; None if each error should be raised.
    :ivar one_by_one: how many changes are still to be tried one by one.
    :ivar excluded: why changes are parked; None for one that is skipped.
    """

    def __init__(self, on_error: OnError | None, states: States) -> None:
        self._on_error = on_error
        self._states = states
        self._stuck = 0
        self.one_by_one = 0
        self.excluded: dict[ChangeKey, Reason | None] = {}

    def judge(
        self, batch: Failed, error: BaseException, count: Callable[[ChangeKey], int]
    ) -> float | None:
        """Decide what happens after a batch has failed and was rolled back.

        :param count: counts a failure of a change, and returns how often it has failed in all
            processes.
        :returns: seconds to wait before the iteration goes on; None if the error should be raised.
        """
        timeout = batch.timeout(error)
        if timeout is not None:
            error.add_note(timeout)
            self._states.report(State.BATCH_FAILED, timeout)
        if self._on_error is None or not isinstance(error, Exception):
            return None
        if isinstance(error, DBAPIError) and error.connection_invalidated and timeout is None:
            return self.connection_lost(error)
        changes = [
            (chunk.key(number), event)
            for chunk in batch.chunks
            for number, event in enumerate(chunk.events)
            if event is not None
        ]
        if not changes:  # all that failed is to store what was skipped or parked
            self._report(f"its place cannot be stored, which is tried again: {described(error)}")
            self._stuck += 1
            return _delay(self._stuck)
        key, change = changes[0]
        if all(other == key for other, _ in changes):  # a TRUNCATE is one change of several events
            return self._change_failed(key, change, error, count(key), self._on_error)
        self._report(f"its {len(changes)} changes are tried one by one: {described(error)}")
        self.one_by_one = max(self.one_by_one, batch.size)
        return 0.0

    def connection_lost(self, error: DBAPIError) -> float:
        """Let a batch come again whose connection was lost."""
        self._report(f"its connection was lost, and it comes again: {printable(str(error.orig))}")
        return 0.0

    def _report(self, detail: str) -> None:
        self._states.report(State.BATCH_FAILED, detail)

    def _change_failed(
        self,
        key: ChangeKey,
        change: Change | Gap,
        error: Exception,
        failures: int,
        on_error: OnError,
    ) -> float | None:
        verdict = on_error(error, change, failures)
        if verdict not in ("raise", "retry", "skip", "park"):
            raise NotifyConfigError(
                "on_error",
                f"it returned {verdict!r}",
                "Return 'raise', 'retry', 'skip' or 'park'",
            ) from error
        what = f"{printable(repr(change), 300)} failed for the {failures}. time"
        self._states.report(State.CHANGE_FAILED, f"{verdict}: {what}: {described(error)}")
        if verdict == "raise":
            return None
        if verdict == "retry":
            return _delay(failures)
        why = Reason(described(error, 2000), failures, change)
        self.excluded[key] = why if verdict == "park" else None
        return 0.0

    def passed(self, batch: Failed) -> None:
        """Note that a batch was committed."""
        self._stuck = 0
        self.one_by_one = max(0, self.one_by_one - batch.size)
        if not self.one_by_one:
            self.excluded.clear()

    def exclude(self, chunk: P, waiting: Mapping[ChangeKey, Reason] = NOTHING) -> P:
        """Return a chunk without the changes that are skipped, parked, or waiting."""
        if not self.excluded and not waiting:
            return chunk
        events = [
            None if (key := chunk.key(number)) in self.excluded or key in waiting else event
            for number, event in enumerate(chunk.events)
        ]
        changed: Any = chunk
        kept: P = replace(changed, events=events)
        return kept


def _delay(failures: int) -> float:
    """Return the seconds before the next attempt."""
    return min(LONGEST_RETRY, FIRST_RETRY * 2.0 ** min(failures - 1, 20))


class FailurePolicy(Failures):
    """Decides for one consumer of the log, in whose tables failures are counted and changes
    parked."""

    def __init__(self, engine: Engine, on_error: OnError | None, states: States) -> None:
        super().__init__(on_error, states)
        self._engine = engine

    def failed(self, table: ConsumerTable, batch: OpenBatch, error: BaseException) -> float | None:
        """See :meth:`judge`."""
        return self.judge(batch, error, lambda key: self._count(table, key))

    def _count(self, table: ConsumerTable, change: ChangeKey) -> int:
        """Count a failure, and return how often the change has failed in all processes."""
        with self._engine.connect() as connection:
            count = table.count_failure(execute_on(connection), "{} {}".format(*change))
            connection.commit()
        if count is None:
            raise table.forgotten()
        return count

    def park(self, execute: Execute, table: ConsumerTable, batch: OpenBatch) -> None:
        """Store those changes of a batch that are parked, and remove those that were given out
        again.

        :param execute: runs SQL in the batch's transaction.
        """
        parked = ParkedTable(table)
        reasons = {**batch.waiting, **self.excluded}
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
