"""Moving what a connection delivers into the buffer, in one order for everything.

Other modules decide about decoding (:mod:`sa_pgnotify.events.stream`), and about losses and room
(:mod:`sa_pgnotify.listening.continuity`). This one runs the queries that they need.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..drivers import Arrived, ListenConnection
from ..events.kinds import Gap
from ..events.message import Message
from ..events.stream import EventStream, Item, size_of
from ..subscription.link import Link
from ..subscription.subscribe import read_again
from .buffer import Buffer
from .continuity import Continuity

__all__ = ["Intake"]


class Intake:
    """Fills one listener's buffer.

    :param buffer_size: how many events may wait for the program.
    """

    def __init__(
        self,
        link: Link,
        stream: EventStream,
        continuity: Continuity,
        buffer: Buffer,
        buffer_size: int,
    ) -> None:
        self._link = link
        self._stream = stream
        self._continuity = continuity
        self._buffer = buffer
        self._buffer_size = buffer_size

    def process(self, connection: ListenConnection, notifications: Arrived) -> None:
        """Decode notifications, and deliver their items."""
        for item in self.decoded(connection, self._stream.notified(notifications)):
            # Any role may send notifications that cannot be read, at any rate. So of several such
            # gaps in a row only the first is kept. The others have arrived when the program takes
            # it, so it covers them.
            is_forged = isinstance(item, Gap) and item.reason == "undecodable"
            if not (is_forged and self._buffer.ends_with_gap("undecodable")):
                self.deliver(connection, [item])

    def decoded(self, connection: ListenConnection, items: list[Item]) -> list[Item]:
        """Return ``items``, with those decoded again whose tables have newer triggers than known."""
        if not self._stream.outdated:
            return items
        with self._link.deadline(connection):
            sources = read_again(connection, self._link.engine, self._stream.outdated.values())
        return self._stream.renewed(sources, items)

    def deliver(self, connection: ListenConnection, items: Iterable[Item]) -> None:
        """Put ``items`` into the buffer, as far as it admits them."""
        for item in items:
            for admitted in self._continuity.admit(item, self._buffer.waiting):
                for ready in self._resolved(connection, admitted):
                    self._buffer.put(ready)

    def has_room(self, item: Item) -> bool:
        """Return whether the buffer takes an item without an overflow."""
        waiting = self._buffer.waiting
        return waiting == 0 or waiting + size_of(item) <= self._buffer_size

    def _resolved(self, connection: ListenConnection, item: Item) -> Iterable[Item]:
        """Return an item whose fields are all read, including those that only the server can read."""
        if not isinstance(item, Message) or not item.has_server_read_fields:
            return (item,)
        with self._link.deadline(connection):
            return item.resolve_on_server(connection.read)
