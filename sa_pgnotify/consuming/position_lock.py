"""What a consumer does while another session has locked its position.

The other session processes a batch, runs ``seek()``, or is an earlier session of this consumer
whose connection broke without the server noticing. An earlier session of this consumer is ended;
any other one is reported if it holds the lock for long.
"""

from __future__ import annotations

import time
from collections import deque
from logging import WARNING
from math import inf

from ..sql import Execute
from ..states import State, States
from .claim import lock_holder
from .positions import ConsumerTable

__all__ = ["LOCKED_SECONDS", "PositionLock"]

LOCKED_SECONDS = 0.2
"""Seconds between two attempts to lock a position that another session has locked."""
LOCKED_LONG = 5.0
"""Seconds after which such a session is reported, or ended."""


class PositionLock:
    """Watches the lock on the position of one consumer."""

    def __init__(self, states: States) -> None:
        self._states = states
        self._locked_since: float | None = None
        self._given_up: deque[int] = deque(maxlen=16)

    def give_up(self, pid: int) -> None:
        """Remember a session of this consumer whose batch was rolled back, because its connection may
        be broken.

        :param pid: the process id of its server process.
        """
        self._given_up.append(pid)

    def note_free(self) -> None:
        """Note that the position could be locked."""
        self._locked_since = None

    def note_locked(self, execute: Execute, table: ConsumerTable) -> None:
        """Note that another session has locked the position."""
        now = time.monotonic()
        since, self._locked_since = self._locked_since, self._locked_since or now
        if since is None or now - since < LOCKED_LONG:
            return
        holder = lock_holder(execute, table)
        if holder is not None and holder.pid in self._given_up:
            list(execute(f"SELECT pg_catalog.pg_terminate_backend({holder.pid})::int"))
            self._locked_since = None
            return
        self._locked_since = inf  # reported once
        holding = "another session" if holder is None else f"the {holder}"
        self._states.report(
            State.STANDING_BY,
            f"{holding} has locked the position for more than {LOCKED_LONG:.0f} s. End its transaction",
            level=WARNING,
        )
