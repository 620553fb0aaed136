"""Which of the processes with one name works, and what the others report while they stand by."""

from __future__ import annotations

from collections.abc import Collection
from logging import WARNING

from ..sql import Execute
from ..states import State, States
from .claim import Claim
from .positions import ConsumerTable, StoredPosition

__all__ = ["Standby"]


class Standby:
    """Decides whether this process works or stands by.

    :ivar works: whether this process is the one that works under its name.
    """

    def __init__(self, states: States) -> None:
        self._states = states
        self._claim = Claim()
        self.works = False
        self._reported: str | None = None  # the last report of how the other one's tables differ

    def stop(self) -> None:
        """Stop working: the connection is lost, and the lock with it."""
        self.works, self._reported = False, None

    def reconnected(self, execute: Execute) -> None:
        """Stand by on a new connection."""
        self._claim.reconnected(execute)

    def take_over(
        self, execute: Execute, table: ConsumerTable, read: Collection[str], wanted: Collection[str]
    ) -> bool:
        """Try to be the process that works, and return whether it is; else report which one is.

        :param read: the tables that the other process reads, ``wanted`` those of this one.
        """
        holder = self._claim.take(execute, table)
        if holder is not None and holder.pid:
            self._report(
                f"another process is consuming under this name: {holder}",
                _difference(read, wanted),
            )
        return holder is None

    def begin(self) -> None:
        """Work from now on."""
        self.works, self._reported = True, None
        self._states.report(State.WORKING)

    def check(self, execute: Execute, stored: StoredPosition) -> bool:
        """Return whether this process still works. It stops if another process has replaced the
        key of the lock."""
        if self.works and stored.lock != self._claim.held_key:
            self._claim.release(execute)
            self.works = False
        return self.works

    def _report(self, detail: str, difference: str) -> None:
        if self._reported != difference:
            self._reported = difference
            level = WARNING if difference else None
            self._states.report(State.STANDING_BY, f"{detail}{difference}", level=level)


def _difference(read: Collection[str], wanted: Collection[str]) -> str:
    """Return how the tables of the process that works differ from those that this one wants, and
    what to do about it; an empty text if they are the same."""
    if set(read) == set(wanted):
        return ""
    return (
        f". It reads {', '.join(read) or 'nothing'}, and this consumer would read {', '.join(sorted(wanted))}, which has to wait until "
        "that process ends. To run both at once, give this consumer another name"
    )
