"""Comparing the contents of trigger functions with the models, while a reader is already reading.

The expected contents of a function have to be generated for each table, which took more than half
of the time to start a listener of 200 tables. A difference is only reported and loses nothing, so
no start has to wait for the comparison.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable

from ..states import State, States
from ..triggers.catalog import Installed
from ..triggers.drift import compare_contents
from ..triggers.trigger_set import TriggerSet

__all__ = ["LateComparison"]

SLICE_SECONDS = 0.005
"""The longest time for which a comparison may keep its reader from reading."""


class LateComparison:
    """The functions that are still to be compared, each with its trigger set and table."""

    def __init__(self, states: States) -> None:
        self._states = states
        self._left: deque[tuple[TriggerSet, Installed, str]] = deque()

    @property
    def is_done(self) -> bool:
        """Whether all functions have been compared."""
        return not self._left

    def begin(self, functions: Iterable[tuple[TriggerSet, Installed, str]]) -> None:
        """Compare ``functions`` from now on, and no others.

        :param functions: for each, what should be there, what is, and the table's name.
        """
        self._left = deque(functions)
        self.run()

    def run(self) -> None:
        """Compare the next functions, and report those that differ."""
        until = time.monotonic() + SLICE_SECONDS
        while self._left:
            for drift in compare_contents(*self._left.popleft()):
                self._states.report(State.TRIGGERS_DIFFER, drift)
            if time.monotonic() > until:
                return
