"""Moving notifications from the connection to the buffer, in the receiver's thread or task."""

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
"""Characters of payload. Up to here it does not matter which thread reads them."""


class Notifications:
    """The notifications of one listener's connection.

    :ivar few: whether little has arrived the last time, so that the program's thread may read the
        connection directly.
    """

    def __init__(
        self, link: Link, sources: SourceList, continuity: Continuity, intake: Intake
    ) -> None:
        self.few = True
        self._link = link
        self._sources = sources
        self._continuity = continuity
        self._intake = intake
        self._received: Arrived = []  # what was received, and is not delivered yet

    def connected(self) -> None:
        """Forget what was received on the previous connection."""
        self._received = []

    @property
    def due_in(self) -> float:
        """Seconds until :meth:`run` has something to do if nothing arrives before."""
        return self._sources.presence.due - time.monotonic()

    def run(self, connection: ListenConnection) -> None:
        """Deliver what has arrived."""
        arrived, self._received = self._received or connection.receive(), []
        presence = self._sources.presence
        if presence.due <= time.monotonic() or (arrived and presence.is_in_doubt):
            self._sources.poll_presence(connection)
        # The Gap comes before the changes of later transactions, which may have arrived.
        if (since := presence.take_ended()) is not None:
            moment = time.time() - (time.monotonic() - since)
            self._intake.deliver(connection, [self._continuity.silent_writers_ended(moment)])
        self._intake.process(connection, arrived)
        self.few = sum(len(payload) for _, payload, _ in arrived) < FEW

    def deliver_singles(self, connection: ListenConnection) -> bool:
        """Deliver, from within a wait, the notifications that can be delivered without a query.

        :returns: False if there is more to do, so that the wait has to end.
        """
        if self._received or connection.lendable or self._sources.presence.is_in_doubt:
            return False
        try:
            notes = connection.receive()
            while notes and (item := self._try_single(notes[0])) is not None:
                self._intake.deliver(connection, (item,))
                del notes[0]
            self._received = notes
        except self._link.errors:
            return False  # the next query raises it again
        except BaseException:
            # For example Ctrl-C in a callback of the loop, after which run() goes on. The
            # connection is broken on purpose, so that a Gap covers what was lost.
            connection.interrupt()
            raise
        return not notes

    def _try_single(self, note: tuple[str, str, int]) -> Item | None:
        try:
            return self._continuity.try_single(*note)
        except Exception:  # a bug; run() gets the same exception, and reports it
            return None
