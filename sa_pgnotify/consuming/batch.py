"""A batch that a consumer has given out, and what becomes of a change in it that fails.

Which change fails is not known at once: the error may come at the flush or at the commit, after all
of the batch has been worked off. So when a batch fails its changes are tried one by one, each in a
transaction of its own, until that batch is passed; and failures are counted in the database, as the
next try may be that of another process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from time import monotonic
from typing import Any, Literal

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from ..errors import NotifyConfigError
from ..events.changes import Change, Gap
from ..log.snapshots import Position
from ..log.tables import LogNames
from ..protocol.wire import RS
from ..sql import execute_on, literal
from ..states import States
from .chunks import Chunk
from .positions import ConsumerKey, ConsumerTable

__all__ = ["FailurePolicy", "OnError", "OpenBatch", "Verdict"]

OUT_OF_TIME = ("25P03", "25P04")
"""The error codes of PostgreSQL's idle_in_transaction_session_timeout and transaction_timeout."""
LONGEST_RETRY = 30.0
"""Seconds between two tries of a change that fails; the first come sooner."""

Verdict = Literal["raise", "retry", "skip", "park"]
"""What ``on_error`` says of a change that failed."""
OnError = Callable[[Exception, Change | Gap, int], Verdict]


class OpenBatch:
    """A batch that was given out: its changes, and the transaction that its position is stored in.

    :ivar session: the program's own, with a transaction in which the position is locked.
    :ivar reached: the place before the batch.
    :ivar pid: the server's process of the session; ``patience`` seconds after which PostgreSQL ends
        it within a transaction, 0.0 if it does not.
    :ivar who: the thread or task that is within its block.
    """

    def __init__(
        self,
        session: Any,
        chunks: list[Chunk],
        reached: Position,
        pid: int = 0,
        patience: float = 0.0,
    ) -> None:
        self.session = session
        self.sync: Any = getattr(session, "sync_session", session)
        self.transaction = self.sync.get_transaction()
        self.chunks = chunks
        self.reached = reached
        self.pid = pid
        self.patience = patience
        self.begun = monotonic()
        self.who: object = None

    @property
    def size(self) -> int:
        """How many changes it passes, those that are not given out included."""
        return sum(len(chunk.events) for chunk in self.chunks)

    @property
    def is_empty(self) -> bool:
        return all(event is None for chunk in self.chunks for event in chunk.events)

    @property
    def after(self) -> Position:
        """The place behind the batch."""
        return self.chunks[-1].after

    @property
    def frees(self) -> tuple[str, ...]:
        """The tables whose places go with it."""
        return tuple(name for chunk in self.chunks for name in chunk.frees)

    @property
    def lost(self) -> int | None:
        """How many changes are known to be missing in the log once it is worked off; None if as
        many as before."""
        return max((chunk.lost for chunk in self.chunks if chunk.lost is not None), default=None)

    def out_of_time(self, error: BaseException) -> str | None:
        """What to do about it if PostgreSQL has ended the session because the block took too long;
        None if that is not why it failed.

        The settings are the operator's, who set them so that no transaction holds locks for long:
        so they are not switched off here.
        """
        if not isinstance(error, DBAPIError) or not self.patience:
            return None
        code = getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None)
        if code not in OUT_OF_TIME and not (
            error.connection_invalidated and monotonic() - self.begun >= self.patience
        ):
            return None
        return (
            f"PostgreSQL ended the batch's session, whose transaction may be idle, or last, for {self.patience:g} s. Take smaller batches "
            "(batch_size), do what takes long outside of the block, or give the session more time: idle_in_transaction_session_timeout and "
            "transaction_timeout, by ALTER ROLE ... SET or by the engine's connect_args"
        )

    def events(self) -> Iterator[Change | Gap]:
        for chunk in self.chunks:
            for event in chunk.events:
                if event is not None:
                    yield event


class FailurePolicy:
    """What is to be done about changes that fail.

    :param on_error: the program's word; None if each error is to be raised.
    :ivar alone: how many changes are still to be tried one by one.
    """

    def __init__(
        self, engine: Engine, key: ConsumerKey, on_error: OnError | None, states: States
    ) -> None:
        self._states = states
        self.alone = 0
        self._engine = engine
        self._key = key
        self._on_error = on_error
        self._verdicts: dict[tuple[int, int], tuple[Verdict, str, int]] = {}

    def failed(self, names: LogNames, work: OpenBatch, error: BaseException) -> float | None:
        """The work of a batch has failed, and was taken back.

        :returns: seconds to wait before the iteration goes on; None if it does not, and the error
            is to be raised.
        """
        late = work.out_of_time(error)
        if late is not None:
            error.add_note(late)
            self._states.report("batch failed", late)
        if self._on_error is None or not isinstance(error, Exception):
            return None
        if isinstance(error, DBAPIError) and error.connection_invalidated and late is None:
            self._states.report(
                "batch failed", f"it lost its connection, and comes again: {error.orig}"
            )
            return 0.0
        found = [
            (chunk.key(number), event)
            for chunk in work.chunks
            for number, event in enumerate(chunk.events)
            if event is not None
        ]
        key, change = found[0]  # a TRUNCATE is one change, of several events
        if any(other != key for other, _ in found):
            self._states.report(
                "batch failed", f"its {len(found)} changes are tried one by one: {error}"
            )
            self.alone = max(self.alone, work.size)
            return 0.0
        failures = self._count(names, key)
        verdict = self._on_error(error, change, failures)
        if verdict not in ("raise", "retry", "skip", "park"):
            raise NotifyConfigError(
                "on_error", f"it gave {verdict!r}; it must give 'raise', 'retry', 'skip' or 'park'"
            ) from error
        self._states.report(
            "change failed", f"{verdict}: {change!r} failed for the {failures}. time: {error}"
        )
        if verdict == "raise":
            return None
        if verdict == "retry":
            return min(LONGEST_RETRY, 0.1 * 2.0 ** min(failures - 1, 20))
        self._verdicts[key] = (verdict, f"{type(error).__name__}: {error}", failures)
        return 0.0

    def passed(self, work: OpenBatch) -> None:
        """A batch was committed."""
        self.alone = max(0, self.alone - work.size)
        if not self.alone:
            self._verdicts.clear()

    def _count(self, names: LogNames, change: tuple[int, int]) -> int:
        """How often a change has failed now, also in processes that are gone."""
        with self._engine.connect() as connection:
            table = ConsumerTable(names, self._key)
            count = table.count_failure(execute_on(connection), "{} {}".format(*change))
            connection.commit()
        if count is None:
            raise table.forgotten()
        return count

    def judged(self, chunk: Chunk) -> Chunk:
        """A chunk without the changes that are skipped or parked."""
        if not self._verdicts:
            return chunk
        events = [
            None if chunk.key(number) in self._verdicts else event
            for number, event in enumerate(chunk.events)
        ]
        return replace(chunk, events=events)

    def park(self, run: Callable[[str], Any], names: LogNames, work: OpenBatch) -> None:
        """Keep those changes of a batch that are to be parked.

        :param run: runs SQL in the batch's transaction.
        """
        for chunk in work.chunks if self._verdicts else ():
            for index in range(chunk.first, chunk.until):
                verdict, error, failures = self._verdicts.get(
                    chunk.key(index - chunk.first), ("", "", 0)
                )
                if verdict == "park":
                    row, key = chunk.row, self._key
                    what = f"{literal(row.relation)}, {row.pid}, {literal(row.header)}, {literal(row.text.split(RS)[index])}"
                    run(
                        f"INSERT INTO {names.parked} (name, part, parts, relation, pid, header, rows, error, failures) VALUES "
                        f"({literal(key.name)}, {key.part}, {key.parts}, {what}, {literal(error)}, {failures})"
                    )
