"""A batch that a consumer has given out, and the transaction that stores its position."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from time import monotonic
from typing import Any

from sqlalchemy.exc import DBAPIError

from ..events.changes import Change
from ..events.kinds import Gap
from ..log.snapshots import Position
from ..sql import sqlstate_of
from .chunks import Chunk
from .parked import Reason

__all__ = ["OpenBatch"]

TIMEOUTS = ("25P03", "25P04")
"""The error codes of PostgreSQL's idle_in_transaction_session_timeout and transaction_timeout."""


class OpenBatch:
    """A batch that was given out: its changes, and the transaction that stores its position.

    :ivar session: the program's session, whose transaction has locked the position.
    :ivar sync: the blocking session of an AsyncSession; else the same as ``session``.
    :ivar reached: the position before the batch.
    :ivar pid: the process id of the session's server process.
    :ivar patience: seconds after which PostgreSQL ends the session within a transaction; 0.0 if it
        does not.
    :ivar waiting: why changes of the batch are parked that are not given out, by their keys.
    :ivar owner: the thread or task that is within the batch's block.
    """

    def __init__(
        self,
        session: Any,
        chunks: list[Chunk],
        reached: Position,
        pid: int = 0,
        patience: float = 0.0,
        waiting: Mapping[tuple[int, int], Reason] | None = None,
    ) -> None:
        self.session = session
        self.sync: Any = getattr(session, "sync_session", session)
        self.transaction = self.sync.get_transaction()
        self.chunks = chunks
        self.reached = reached
        self.pid = pid
        self.patience = patience
        self.waiting = waiting or {}
        self.begun = monotonic()
        self.owner: object = None

    @property
    def size(self) -> int:
        """How many changes the batch covers, including those that are not given out."""
        return sum(len(chunk.events) for chunk in self.chunks)

    @property
    def is_empty(self) -> bool:
        """Whether the batch gives out no change."""
        return all(event is None for chunk in self.chunks for event in chunk.events)

    @property
    def is_retry(self) -> bool:
        """Whether the batch gives out parked changes again, and does not move the position."""
        return self.chunks[0].parked is not None

    @property
    def after(self) -> Position:
        """The position after the batch."""
        return self.chunks[-1].after

    @property
    def frees(self) -> tuple[str, ...]:
        """The tables whose places are freed when the batch is committed."""
        return tuple(name for chunk in self.chunks for name in chunk.frees)

    @property
    def lost(self) -> int | None:
        """How many changes are known to be missing in the log once the batch is committed; None if
        as many as before."""
        return max((chunk.lost for chunk in self.chunks if chunk.lost is not None), default=None)

    def events(self) -> Iterator[Change | Gap]:
        """Return the changes that are given out, in order."""
        return filter(None, chain.from_iterable(chunk.events for chunk in self.chunks))

    def timeout(self, error: BaseException) -> str | None:
        """Return what to do if PostgreSQL has ended the session because the block took too long;
        None if the batch failed for another reason.

        The timeouts are not switched off, because an operator sets them to limit how long a
        transaction may hold locks.
        """
        if not isinstance(error, DBAPIError) or not self.patience:
            return None
        code = sqlstate_of(error.orig)
        if code not in TIMEOUTS and not (
            error.connection_invalidated and monotonic() - self.begun >= self.patience
        ):
            return None
        return (
            f"PostgreSQL ended the batch's session, which allows a transaction to be idle, or to last, for {self.patience:g} s. Take "
            "smaller batches (batch_size), do slow work outside of the block, or allow the session more time: set "
            "idle_in_transaction_session_timeout and transaction_timeout with ALTER ROLE ... SET or with the engine's connect_args"
        )
