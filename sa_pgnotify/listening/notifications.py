"""Notifications, from the connection to the buffer, by the thread or task that receives."""

from __future__ import annotations

import time

from ..drivers import Arrived, ListenConnection
from ..events.stream import Item
from ..subscription.link import Link
from .continuity import Continuity
from .intake import Intake
from .source_list import SourceList

__all__ = ["Notifications"]

FEW = 4096
"""Characters of payload, up to which it does not matter which thread reads them."""


class Notifications:
    """
    :ivar few: whether what arrived last was little, so that the program's thread may as well read it.
    """

    def __init__(
        self, link: Link, sources: SourceList, continuity: Continuity, intake: Intake
    ) -> None:
        self.few = True
        self._link = link
        self._sources = sources
        self._continuity = continuity
        self._intake = intake
        self._received: Arrived = []  # and not yet delivered

    def connected(self) -> None:
        """Forget what the connection before delivered."""
        self._received = []

    @property
    def due_in(self) -> float:
        """Seconds until :meth:`run` has something to do, if nothing arrives before."""
        return self._sources.presence.due - time.monotonic()

    def run(self, connection: ListenConnection) -> None:
        """Deliver what has arrived."""
        arrived, self._received = self._received or connection.receive(), []
        presence = self._sources.presence
        if presence.due <= time.monotonic() or (arrived and presence.is_in_doubt):
            self._sources.poll_presence(connection)
        # Its Gap comes before later transactions, which may have arrived.
        if (since := presence.take_ended()) is not None:
            moment = time.time() - (time.monotonic() - since)
            self._intake.deliver(connection, [self._continuity.silent_writers_ended(moment)])
        self._intake.process(connection, arrived)
        self.few = sum(len(payload) for _, payload, _ in arrived) < FEW

    def deliver_singles(self, connection: ListenConnection) -> bool:
        """Deliver what has arrived, as far as that needs nothing else, from within a wait.

        :returns: False if there is more to do, and the wait has to end.
        """
        if self._received or connection.lendable or self._sources.presence.is_in_doubt:
            return False
        try:
            notes = connection.receive()
            while notes and (item := self._single(notes[0])) is not None:
                self._intake.deliver(connection, (item,))
                del notes[0]
            self._received = notes
        except self._link.errors:
            return False  # the next question to the connection raises it again
        except BaseException:
            # Ctrl-C in a callback of the loop, for example, after which run() goes on: with the
            # connection broken, a Gap covers what was lost.
            connection.interrupt()
            raise
        return not notes

    def _single(self, note: tuple[str, str, int]) -> Item | None:
        try:
            return self._continuity.try_single(*note)
        except Exception:  # a fault of ours, which run() meets again, and reports
            return None
