"""Members of a stream consumer that are wrong, each in one way, to show that the check finds it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import update

from sa_pgnotify.streaming.places import Places
from sa_pgnotify.streaming.worker import Worker
from sa_pgnotify.testing import ClusterCheck
from sa_pgnotify.testing.cluster.members import MemberRows

__all__ = ["StoresFirstCheck", "UnfencedCheck", "stores_first", "unfenced"]


def unfenced() -> None:
    """Let members move places that another one has taken over: whatever their epoch."""

    def of(self: Places, held: Any, member: str) -> Any:
        p = self._places.c
        return update(self._places).where(self._mine, p.part.in_(list(held)))

    Places._of = of  # type: ignore[method-assign]


def stores_first() -> None:
    """Let members commit their places before the handler has begun."""
    enter = Worker.enter

    def entered(self: Worker, work: Any) -> Any:
        to = work.until, work.stored, self._created
        from sa_pgnotify.streaming.places import Place

        self._database.transact(
            lambda connection: self._database.places.move(
                connection, work.held, self.member, Place(*to)
            )
        )
        return enter(self, work)

    Worker.enter = entered  # type: ignore[method-assign]


@dataclass(frozen=True)
class Unfenced(MemberRows):
    def consume(self, keep: Any) -> Any:
        unfenced()
        return super().consume(keep)


@dataclass(frozen=True)
class StoresFirst(MemberRows):
    def consume(self, keep: Any) -> Any:
        stores_first()
        return super().consume(keep)


class UnfencedCheck(ClusterCheck):
    _member = Unfenced


class StoresFirstCheck(ClusterCheck):
    _member = StoresFirst
