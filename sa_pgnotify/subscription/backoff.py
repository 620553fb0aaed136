"""How long to wait before the next attempt to connect."""

from __future__ import annotations

import random

__all__ = ["LONGEST_DELAY", "Backoff"]

FIRST_DELAY, LONGEST_DELAY = 0.1, 30.0
"""Seconds: half the upper bound of the first wait, and the upper bound of every wait. The bound
doubles with each attempt."""


class Backoff:
    """Exponential backoff with full jitter, so that a thousand listeners do not reconnect at once (M.
    Brooker, "Exponential Backoff And Jitter", 2015)."""

    def __init__(self) -> None:
        self._attempts = 0

    def delay(self) -> float:
        """Return the seconds to wait before the next attempt."""
        self._attempts += 1
        longest = min(LONGEST_DELAY, FIRST_DELAY * 2 ** min(self._attempts, 20))
        return random.uniform(0, longest)  # noqa: S311 (no secret)

    def settled(self) -> None:
        """Start again with short waits at the next loss, because the connection works."""
        self._attempts = 0
