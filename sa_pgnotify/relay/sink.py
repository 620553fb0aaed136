"""The interface between a relay and a broker, and how to write a sink for another one.

A transaction of PostgreSQL cannot commit messages in a broker. So what has been published is known
for certain only in the broker. There, a sink keeps one text for each relay, its *place*, which it
stores in the same atomic step as the messages that lead to it. The relay writes the text and reads it
back; to the sink it means nothing. It holds a complete position in the log, with the end of the
window that was being read (see :mod:`sa_pgnotify.log.reader`): a process that comes after a crash
reads on in the same order, and neither repeats nor omits a change.

To write a sink, derive from :class:`Sink`::

    class Queue(Sink):
        guarantee = Guarantee.EXACTLY_ONCE
        default_subject = "{relay}.{table}"

        def connect(self, relay): ...         # connect, check the promise, set limits
        def resume(self): ...                 # lock out earlier processes, return the stored place
        def begin(self): ...                  # create what is missing
        def publish(self, messages, place): . # store messages and place, all or nothing
        def close(self): ...
        def __str__(self): return "queue orders"

- **Exactly once**: ``publish`` stores all messages and the place, or nothing, and refuses with
  :class:`SinkFenced` if another process has published under the relay's name since this one's
  ``resume``. JetStream does it with an atomic batch and the expected last sequence, Kafka with a
  transaction and a transactional id, Redis with a script that compares, appends and stores.
- **At least once**: a broker that cannot do that keeps no place. ``resume`` returns None, the relay
  continues from the database's record, and a reader recognises a message that comes again by
  :attr:`Message.key`.

All methods block and are called from one thread, one at a time. A method that cannot reach the broker
raises :class:`SinkUnavailable`: the relay then closes the sink, waits, and begins again with
``connect`` and ``resume``, so a ``publish`` whose outcome is unknown is resolved by the place that
``resume`` returns. Each call should end within :data:`SINK_SECONDS`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from ..errors import PgNotifyError

__all__ = [
    "SINK_SECONDS",
    "Guarantee",
    "Limits",
    "Message",
    "Sink",
    "SinkFenced",
    "SinkUnavailable",
]

SINK_SECONDS = 5.0
"""Seconds after which a call to a broker should be given up. It must be less than what the relay's
connection to PostgreSQL allows for a query, which is 10 s or more."""


class Guarantee(StrEnum):
    """How often a reader of the broker sees a committed change."""

    EXACTLY_ONCE = "exactly once"
    AT_LEAST_ONCE = "at least once"
    """A change may come again after a failure, with the same :attr:`Message.key`."""


@dataclass(frozen=True, slots=True)
class Message:
    """A change as a broker gets it.

    :ivar subject: where it is published: a NATS subject, a Kafka topic, a Redis stream, or a routing
        key.
    :ivar body: JSON in UTF-8.
    :ivar key: identifies the change among all that the relay publishes: the same text whenever the
        change is published again. ASCII.
    :ivar row: the table and the identity, as ``"orders/7"``: messages of the same row must keep their
        order. The table alone for a TRUNCATE; empty for a ``Gap``, which concerns every row.
    :ivar headers: names and values, ASCII. They include the key; see :mod:`sa_pgnotify.relay.messages`.
    """

    subject: str
    body: bytes
    key: str
    row: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a broker takes.

    :ivar messages: the most messages that one :meth:`Sink.publish` may store. A transaction with more
        changes is divided, and its messages are marked.
    :ivar message_bytes: the most bytes of a message, with its headers; None if there is no limit. A
        larger one is parked.
    :ivar place_bytes: the most bytes of the place. It grows with the number of tables, to about 10 to
        20 bytes for each, and a relay whose place is longer is refused.
    """

    messages: int = 1000
    message_bytes: int | None = None
    place_bytes: int = 65_536


class SinkUnavailable(PgNotifyError):
    """The broker cannot be reached, or does not take messages now. The relay tries again."""


class SinkFenced(SinkUnavailable):
    """Another process has published under the relay's name, so this one has not."""


class Sink(ABC):
    """Publishes the messages of one relay into one broker. See the module for how to write one.

    :cvar default_subject: the template of the subject, if the relay is given none; see
        :class:`~sa_pgnotify.relay.Relay`.
    :ivar guarantee: what it promises; may depend on the broker's version, and is certain after
        :meth:`connect`.
    :ivar limits: what the broker takes; valid after :meth:`connect`.
    """

    default_subject: str = "{relay}.{table}.{id}"
    guarantee: Guarantee = Guarantee.EXACTLY_ONCE
    limits: Limits = Limits()

    @abstractmethod
    def __str__(self) -> str:
        """Return what the messages go into, as ``"JetStream stream SHOP"``.

        The text is stored with the position. A relay of the same name with another one is refused, so
        it names the stream and not an address that may change.
        """

    @abstractmethod
    def connect(self, relay: str) -> None:
        """Connect, and check that the broker can hold the promise.

        It must not disturb another process that publishes under the same name, because a relay that
        will stand by connects as well, to report what is wrong at its start.

        :param relay: the relay's name, under which the place is kept.
        :raises SinkUnavailable: if the broker cannot be reached.
        :raises NotifyConfigError: if it cannot hold the promise; says what to change.
        """

    @abstractmethod
    def resume(self) -> str | None:
        """Take over from any earlier process of the relay, and return the place that is stored.

        :returns: the text that was given to :meth:`publish` last, by whichever process; None if the
            relay has published nothing, or if the broker keeps no place (at least once); any other
            text, such as an empty one, if another program has damaged it.
        :raises SinkUnavailable: if the broker cannot be reached.
        """

    def begin(self) -> None:  # noqa: B027 (most sinks have nothing to do)
        """Create what is missing, and return when messages can be published.

        It is called after :meth:`resume`, once the relay knows that nothing that it has published
        is missing. So anything that does not exist now never existed. The default does nothing.

        :raises SinkUnavailable: if the broker cannot be reached.
        :raises NotifyConfigError: if it cannot be created.
        """

    def place_found(self) -> tuple[str, str]:
        """Return where the place that :meth:`resume` returned is stored, and how to remove it, for
        the message of the error that another program has written it."""
        return str(self), "Restore what the relay has written last"

    def refusal(self, message: Message) -> str | None:
        """Return why the broker would never take a message; None if it would.

        The message is then parked. The default compares its size with :attr:`limits`.
        """
        most = self.limits.message_bytes
        if most is None:
            return None
        size = len(message.body) + sum(len(k) + len(v) + 4 for k, v in message.headers.items())
        return None if size <= most else f"it has {size} bytes, and {self} takes {most}"

    @abstractmethod
    def publish(self, messages: Sequence[Message], place: str) -> None:
        """Publish messages in their order, store ``place``, and return when the broker has confirmed.

        :param messages: at least one, and at most ``limits.messages``, none of which :meth:`refusal`
            refuses.
        :param place: ASCII on one line, at most ``limits.place_bytes``.
        :raises SinkFenced: if another process has published since :meth:`resume`; nothing is stored.
        :raises SinkUnavailable: if the broker does not confirm; the outcome may be unknown.
        """

    @abstractmethod
    def close(self) -> None:
        """Disconnect. :meth:`connect` may follow. Does nothing if it is not connected."""
