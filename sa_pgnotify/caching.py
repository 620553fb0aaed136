"""A memory for what recurs, which stays bounded where nothing recurs: forged messages, or a channel
for each visitor of a site, bring new keys without end."""

from __future__ import annotations

from typing import Any, TypeVar

__all__ = ["MOST_REMEMBERED", "BoundedMemory", "remember"]

MOST_REMEMBERED = 1000
"""Entries of a dict that :func:`remember` fills."""
K = TypeVar("K")
V = TypeVar("V")


def remember(memory: dict[K, V], key: K, value: V) -> V:
    """Put ``value`` into ``memory``, which is emptied first if it is full; return ``value``."""
    if len(memory) >= MOST_REMEMBERED:
        memory.clear()
    memory[key] = value
    return value


class BoundedMemory:
    """Several dicts that are bounded together, by the size of what they hold.

    The owner reads the dicts directly and writes to them with :meth:`put`.

    :param limit: the size that all entries may add up to, in units of the owner's choice.
    :param overhead: the size of an entry beside what it holds.
    """

    def __init__(self, limit: int, overhead: int) -> None:
        self._limit = limit
        self._overhead = overhead
        self._size = 0
        self._dicts: list[dict[Any, Any]] = []

    def new_dict(self) -> dict[Any, Any]:
        """Return a new dict that is emptied with the others."""
        new: dict[Any, Any] = {}
        self._dicts.append(new)
        return new

    def put(self, memory: dict[K, V], key: K, value: V, size: int = 0) -> V:
        """Put ``value`` into ``memory`` and return it.

        If the limit is exceeded, all dicts are emptied before; a value that exceeds it alone is not
        remembered.

        :param size: what the entry holds.
        """
        size += self._overhead
        if size > self._limit:
            return value
        self._size += size
        if self._size > self._limit:
            for known in self._dicts:
                known.clear()
            self._size = size
        memory[key] = value
        return value
