"""One member's part in its group: heartbeats, and the leases that it holds.

It runs in the loop of the client, so a member whose handler takes long keeps its leases. Silence is
measured by each member's own clock: a heartbeat is a number that changes, so the machines' clocks
need not agree.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

from ..errors import NotifyConfigError, UnreadableData
from .group import Group
from .stream_client import BUCKET, StreamClient

__all__ = ["Membership"]

BEATS = 5
"""How many heartbeats a lease lasts."""
ATTEMPTS, LONGEST_RETRY = 30, 0.1
"""How often a heartbeat tries to replace the document, which others replace as well; and the most
seconds between two attempts."""


class Membership:
    """A member of a group.

    :param key: of the group's document.
    :param lease: seconds of silence after which a member loses its partitions.
    :param changed: called when the leases have changed.
    :ivar held: the partitions that this member holds, with their epochs, as far as it knows.
    :ivar owes: whether another member should have a partition of it, as soon as it is not busy.
    :ivar members: how many members there are.
    """

    def __init__(
        self,
        client: StreamClient,
        key: str,
        member: str,
        partitions: int,
        lease: float,
        changed: Callable[[], object],
    ) -> None:
        self._client = client
        self._key = key
        self._member = member
        self._partitions = partitions
        self._lease = lease
        self._changed = changed
        self._heard: dict[str, tuple[int, float]] = {}
        self._task: Future[None] | None = None
        self._bucket: Any = None
        self.held: Mapping[int, int] = {}
        self.members = 0
        self.owes = False
        # held while a batch is in work, and while partitions are given away
        self._hands = threading.Lock()
        self._is_busy = False

    def join(self) -> None:
        """Join the group, and send heartbeats from now on.

        :raises SinkUnavailable: if the broker does not answer.
        :raises NotifyConfigError: if the group has another number of partitions.
        """
        self._heard = {}
        self._client.run(self._begin())
        self._task = self._client.spawn(self._run())

    def check(self) -> None:
        """Raise what has ended the heartbeats, if anything has."""
        if self._task is not None:
            self._client.check(self._task)

    def keep(self) -> None:
        """Give away no partition until :meth:`settle` or :meth:`let_go`, because a batch is in work."""
        self._client.blocking(self._hands.acquire)
        self._is_busy = True

    def let_go(self) -> None:
        """End what :meth:`keep` began, if it did."""
        if self._is_busy:
            self._is_busy = False
            self._hands.release()

    def settle(self) -> None:
        """Give away now, between two batches, what others should have."""
        self.let_go()
        if self.owes:
            self._client.run(self._beat())

    def leave(self) -> None:
        """Leave the group; the others take the partitions at once.

        :raises SinkUnavailable: if the broker does not answer.
        """
        self.forget()
        self._client.run(self._leave())

    def forget(self) -> None:
        """Send no more heartbeats."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self.held = {}

    def raise_epoch(self, part: int, above: int) -> None:
        """Get an epoch for a partition that is higher than what the database knows."""
        self._client.run(self._raise(part, above))

    # -- in the client's loop ----------------------------------------------------------------------

    async def _begin(self) -> None:
        self._bucket = await self._client.bucket()
        await self._beat()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._lease / BEATS)
            await self._beat()

    async def _beat(self) -> None:
        gives = self._hands.acquire(blocking=False)
        try:
            await self._replace(lambda group: self._next(group, self._member if gives else ""))
        finally:
            if gives:
                self._hands.release()

    def _next(self, group: Group, giver: str) -> Group:
        return group.without(self._silent(group)).beaten(self._member).shared(giver)

    async def _leave(self) -> None:
        await self._replace(lambda group: group.without({self._member}).shared())

    async def _raise(self, part: int, above: int) -> None:
        await self._replace(
            lambda group: (
                group.raised(part, above) if group.leases[part].owner == self._member else group
            )
        )

    async def _replace(self, change: Callable[[Group], Group]) -> None:
        """Replace the document by what ``change`` makes of it."""
        for attempt in range(ATTEMPTS):
            text, revision = await self._client.load(self._bucket, self._key)
            group = Group.of(self._partitions) if text is None else self._parsed(text)
            self._check_partitions(group)
            group = change(group)
            if await self._client.replace(self._bucket, self._key, group.to_json(), revision):
                break
            longest = min(LONGEST_RETRY, 0.005 * 2 ** min(attempt, 10))
            await asyncio.sleep(random.uniform(0, longest))  # noqa: S311 (no secret)
        else:
            return  # the next heartbeat tries again
        held = group.held_by(self._member)
        self.owes = self._member in group.beats and group.shared(self._member) != group
        is_changed, self.held, self.members = held != self.held, held, len(group.beats)
        if is_changed:
            self._changed()

    def _parsed(self, text: bytes) -> Group:
        try:
            return Group.parse(text)
        except UnreadableData as error:
            name = self._key.rpartition(".")[2]
            reset = f"UPDATE sa_pgnotify_stream_places SET epoch = 0 WHERE name = '{name}'"
            raise UnreadableData(
                f"the key {self._key} of the bucket {BUCKET}",
                error.problem,
                f"{error.fix}. If somebody else wrote it, stop the members, remove it (nats kv del {BUCKET} {self._key}), and let "
                f"nobody else write there. If that does not help, also {reset}",
            ) from None

    def _check_partitions(self, group: Group) -> None:
        if len(group.leases) != self._partitions:
            raise NotifyConfigError(
                self._key.rpartition(".")[2],
                f"its members have {len(group.leases)} partitions, and this one wants {self._partitions}",
                "Give all members the same partitions=. To change them, take a new name",
            )

    def _silent(self, group: Group) -> set[str]:
        """Return the members whose heartbeats have stopped."""
        now = time.monotonic()
        heard, self._heard = self._heard, {}
        for name, beat in group.beats.items():
            known = heard.get(name)
            self._heard[name] = known if known is not None and known[0] == beat else (beat, now)
        return {
            name
            for name, (_, since) in self._heard.items()
            if name != self._member and now - since > self._lease
        }
