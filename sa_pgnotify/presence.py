"""How a trigger knows whether anybody listens, so that a table that nobody listens to costs its writers next to nothing.

It is hard because NOTIFY makes commits wait for each other, whoever listens; and because what is not sent must not be missed by a listener
that comes before the writer has committed. So a listener holds an advisory lock for each of its channels, *present*, which any number
of listeners share, and which goes with its session. A writer tries to take that alone and gives it back at once. If it can, nobody
listens: then it takes another lock, *untold*, which it shares with other writers up to its transaction's end, looks once more, and
sends nothing.

A listener that comes takes *present* first, and then looks who holds *untold*: those looked before it came. None that comes later does.
Usually they have committed a moment later, and the listener has not even started; for one that takes longer it does not wait,
but tells a ``Gap`` when all have ended. The second look is what makes that sure: a writer that sees nobody by then has *untold* already,
so whoever comes later sees it. ``tests/test_presence.py`` goes through all orders in which their steps can fall.

This module decides and never waits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Sequence
from math import inf
from typing import Any

from .channel import HASHED
from .quoting import literal

__all__ = ["PRESENT", "UNTOLD", "Presence", "door", "nobody_listens"]


def _lock_class(name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"sa_pgnotify {name}".encode()).digest()[:4], "big") >> 1


PRESENT, UNTOLD = _lock_class("present"), _lock_class("untold")
"""The first key of the advisory locks; the second says the channel's bucket and the writer's door."""
BUCKETS, DOORS = 8, 8
"""Channels that share a bucket share their listeners, so that one may be told of which nobody hears; and writers that come through
the same door of it, by their process ids, may take each other for a listener, when they look in the same instant. A listener holds the
locks of all doors of its channels' buckets, and of all buckets for a channel whose name does not tell which is its own: 64 at most, however
many its tables, which is what PostgreSQL has room for for each connection (max_locks_per_transaction)."""
LOOK, LONGEST_DOZE = 0.005, 1.0
"""Seconds between two looks for *untold*: a quarter of the time that the last of them has taken already, within these."""

Execute = Callable[[str], Sequence[tuple[Any, ...]]]


def door(channel: str | None) -> str:
    """SQL for the door that a trigger takes to a channel; None: to its table's default one.

    The bucket is that of the table's name, which a trigger has at hand, where the channel's would cost more than all the rest.
    """
    table = "TG_TABLE_NAME" if channel is None else literal(_table(channel))
    return f"{_bucket(table)} + (pg_catalog.pg_backend_pid() & {DOORS - 1})"


def _bucket(table: str) -> str:
    return f"(pg_catalog.hashname({table}) & {(BUCKETS - 1) * DOORS})"


def _table(channel: str) -> str:
    """The name of the table that a channel is the default one of; if it is none, all or some of its own."""
    if channel.startswith('"'):
        return channel.partition('"."')[2][:-1]
    return channel.rpartition(".")[2]


def _is_certain(channel: str) -> bool:
    """Whether its name tells the table's: some are hashed; in some a quote is doubled, or a space stands for another character."""
    return not channel.startswith(HASHED) and not set(_table(channel)) & {'"', " "}


def nobody_listens(door: str) -> str:
    """An SQL condition for the trigger: true if nobody listens, and if whoever comes now will see what this transaction does not tell.

    :param door: SQL for the session's door.
    """
    alone = f"pg_catalog.pg_try_advisory_lock({PRESENT}, {door})"
    given_back = f"pg_catalog.pg_advisory_unlock({PRESENT}, {door})"
    untold = f"pg_catalog.pg_try_advisory_xact_lock_shared({UNTOLD}, {door})"
    return f"(CASE WHEN {alone} AND {given_back} AND {untold} AND {alone} THEN {given_back} ELSE false END)"


class Presence:
    """What one connection of a listener shows, and what it waits for.

    :ivar due: when to look, by the clock that its methods are given; ``math.inf`` if there is nothing to wait for.
    :ivar since: since when something is waited for, the first of it.
    :ivar is_late: whether something has not ended when the listener was said to listen, so that a Gap is to tell the end; who has told
        it sets that back.
    """

    def __init__(self) -> None:
        self.due = inf
        self.since = 0.0
        self.is_late = False
        self._shown: set[str] = set()
        self._doubtful: dict[int, float] = {}  # since when, by place

    def show_on(self, execute: Execute, channels: Iterable[str], now: float) -> None:
        """From now on, writers tell on these channels, and on no other. Then it is to be looked for what others have not told on them."""
        wanted = set(channels)
        new, old, self._shown = wanted - self._shown, self._shown - wanted, wanted
        self._each("unlock", execute, old)
        if new:
            self.since = self.since if self.is_late else now
            self._doubtful = dict.fromkeys(self._each("lock", execute, new), now) | self._doubtful
            self.due = now

    @staticmethod
    def _each(action: str, execute: Execute, channels: Collection[str]) -> set[int]:
        tables = [literal(_table(channel)) for channel in channels if _is_certain(channel)]
        others = sum(not _is_certain(channel) for channel in channels)
        if not tables and not others:
            return set()
        buckets = (
            f"SELECT {_bucket('name')} FROM unnest(ARRAY[{', '.join(tables)}]::pg_catalog.name[]) AS name UNION ALL "
            f"SELECT bucket * {DOORS} FROM generate_series(0, {BUCKETS - 1}) AS bucket, generate_series(1, {others})"
        )
        places = f"SELECT bucket + door AS place FROM ({buckets}) AS b (bucket), generate_series(0, {DOORS - 1}) AS door OFFSET 0"
        rows = execute(f"SELECT place, pg_catalog.pg_advisory_{action}_shared({PRESENT}, place)::text FROM ({places}) AS p")
        return {row[0] for row in rows}

    def wait_no_longer(self) -> None:
        """The listener is said to listen now, whatever has not ended."""
        self.is_late |= bool(self._doubtful)

    @property
    def all_told(self) -> bool:
        """Whether all transactions have ended that wrote and did not tell, as far as is known."""
        return not self._doubtful

    def look(self, execute: Execute, now: float) -> None:
        """See which of them have ended."""
        keys = f"{UNTOLD}, place"
        free = f"CASE WHEN pg_catalog.pg_try_advisory_lock({keys}) THEN pg_catalog.pg_advisory_unlock({keys}) ELSE false END"
        places = f"unnest(ARRAY[{', '.join(map(str, sorted(self._doubtful)))}]) AS place"
        held = {row[0] for row in execute(f"SELECT place FROM {places} WHERE NOT {free}")}
        self._doubtful = {place: since for place, since in self._doubtful.items() if place in held}
        self.due = now + min(LONGEST_DOZE, max(LOOK, (now - max(self._doubtful.values())) / 4)) if self._doubtful else inf
