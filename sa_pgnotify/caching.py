"""What is remembered because it recurs, and must not fill the memory where it does not: who forges
messages, or makes a channel for each visitor of a site, brings ever new things to remember."""

from __future__ import annotations

from typing import TypeVar

__all__ = ["MOST_REMEMBERED", "remember"]

MOST_REMEMBERED = 1000
K = TypeVar("K")
V = TypeVar("V")


def remember(memory: dict[K, V], key: K, value: V) -> V:
    """Put ``value`` into ``memory``, which is emptied where it is full; returns ``value``."""
    if len(memory) >= MOST_REMEMBERED:
        memory.clear()
    memory[key] = value
    return value
