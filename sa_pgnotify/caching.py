"""A memory for what recurs, which stays bounded where nothing recurs: forged messages, or a channel
for each visitor of a site, bring new keys without end."""

from __future__ import annotations

from typing import TypeVar

__all__ = ["MOST_REMEMBERED", "remember"]

MOST_REMEMBERED = 1000
K = TypeVar("K")
V = TypeVar("V")


def remember(memory: dict[K, V], key: K, value: V) -> V:
    """Put ``value`` into ``memory``, which is emptied first if it is full; return ``value``."""
    if len(memory) >= MOST_REMEMBERED:
        memory.clear()
    memory[key] = value
    return value
