"""Which member of a consumer works which partition: one small document, which every member reads and
replaces by compare-and-set.

A member may give away only what it holds itself, and what belongs to nobody, so nobody loses a
partition in the middle of its work. Only a member that has been silent for too long loses its
partitions to others. It may still be alive: so each change of owner gets a new epoch, which the
database compares.

Everything here decides and nothing waits.
"""

from __future__ import annotations

import json
import secrets
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple
from zlib import crc32

from ..errors import UnreadableData, printable

__all__ = ["Group", "Lease", "partition_of"]

VERSION = 1
LAST_EPOCH = 1 << 53
"""The greatest accepted epoch. No group reaches it by itself, and it fits into the database."""


class Lease(NamedTuple):
    """Who works a partition.

    :ivar owner: the member; empty if nobody does.
    :ivar epoch: how often the partition has changed its owner.
    """

    owner: str = ""
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class Group:
    """The members of a consumer, and their leases.

    :ivar leases: one for each partition.
    :ivar beats: by member, the number of its last heartbeat.
    """

    leases: tuple[Lease, ...]
    beats: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, partitions: int) -> Group:
        """Return a group without members."""
        return cls((Lease(),) * partitions)

    def held_by(self, member: str) -> dict[int, int]:
        """Return the partitions that a member holds, with their epochs."""
        return {
            part: lease.epoch for part, lease in enumerate(self.leases) if lease.owner == member
        }

    def beaten(self, member: str) -> Group:
        """Return the group after a heartbeat of a member, which joins with its first one.

        It joins with a number of its own: a member that wakes, and joins again with the number that
        others have seen long ago, would be silent to them and be removed again, for ever.
        """
        beat = self.beats[member] + 1 if member in self.beats else secrets.randbits(48)
        return replace(self, beats={**self.beats, member: beat})

    def without(self, members: Collection[str]) -> Group:
        """Return the group after members have left. Their partitions belong to nobody."""
        if not members:
            return self
        leases = (
            lease._replace(owner="") if lease.owner in members else lease for lease in self.leases
        )
        beats = {name: beat for name, beat in self.beats.items() if name not in members}
        return Group(tuple(leases), beats)

    def shared(self, giver: str = "") -> Group:
        """Return the group with each free partition given to the member that has the fewest, and
        with what ``giver`` has above its share.

        :param giver: a member that can give away partitions now; empty if none can.
        """
        if not self.beats:
            return self
        leases, counts = list(self.leases), Counter(dict.fromkeys(self.beats, 0))
        counts.update(lease.owner for lease in leases if lease.owner)

        def give(part: int, to: str) -> None:
            leases[part] = Lease(to, leases[part].epoch + 1)
            counts[to] += 1

        for part, lease in enumerate(leases):
            if not lease.owner:
                give(part, _poorest(counts))
        for part, lease in enumerate(leases):
            to = _poorest(counts)
            if lease.owner == giver and counts[giver] > counts[to] + 1:
                counts[giver] -= 1
                give(part, to)
        return replace(self, leases=tuple(leases))

    def raised(self, part: int, above: int) -> Group:
        """Return the group with the epoch of a partition above that which a database knows, because
        the document was lost and begins at 0 again."""
        leases = list(self.leases)
        leases[part] = leases[part]._replace(epoch=max(leases[part].epoch, above) + 1)
        return replace(self, leases=tuple(leases))

    # -- as a text ---------------------------------------------------------------------------------

    def to_json(self) -> bytes:
        """Return the group as JSON."""
        return json.dumps([VERSION, self.leases, dict(self.beats)]).encode()

    @classmethod
    def parse(cls, text: bytes) -> Group:
        """Return the group that :meth:`to_json` wrote.

        :raises UnreadableData: if it did not.
        """
        try:
            version, leases, beats = json.loads(text)
            if version != VERSION:
                raise ValueError(f"it is of version {version}")
            found = tuple(Lease(str(owner), int(epoch)) for owner, epoch in leases)
            if any(not 0 <= lease.epoch <= LAST_EPOCH for lease in found):
                raise ValueError("an epoch is out of range")
            return cls(found, {str(name): int(beat) for name, beat in beats.items()})
        except Exception as error:  # anybody may have written it
            raise UnreadableData(
                "Group",
                f"{printable(repr(text[:80]), 100)} is not what a StreamConsumer has written ({printable(str(error), 200)})",
                "If a newer version of sa_pgnotify wrote it, run that on all machines",
            ) from None


def _poorest(counts: Mapping[str, int]) -> str:
    return min(sorted(counts), key=lambda name: counts[name])


def partition_of(subject: str, partitions: int) -> int:
    """Return the partition of a subject."""
    return crc32(subject.encode()) % partitions
