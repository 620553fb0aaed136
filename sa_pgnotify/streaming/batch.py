"""A batch of a stream that was given out, and the transaction that stores its place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Generic, NamedTuple, cast

from ..consuming.interface import Consumed
from ..events.changes import E_co
from ..relay.messages import KEY
from .assembly import Cut, Item

__all__ = ["BaseStreamBatch", "OpenWork", "StreamMessage"]


class StreamMessage(NamedTuple, Generic[E_co]):
    """An event, with the message that brought it.

    :ivar event: the change, or a ``Gap``.
    :ivar sequence: the number of the message in the stream.
    :ivar subject: where it was published; empty for a gap of the stream.
    :ivar relay: the name of the relay that published it: says which PostgreSQL it is from, if several
        feed the stream.
    :ivar key: identifies the change among all of the stream, the same whenever it comes again.
    """

    event: Consumed[E_co]
    sequence: int
    subject: str
    relay: str
    key: str


class OpenWork:
    """A batch that was given out.

    :ivar chunks: its events, see :class:`Item`.
    :ivar until: the number of the last message that it covers, ``stored`` when it was stored.
    :ivar held: the partitions whose places it moves, with their epochs.
    :ivar session: the program's session; ``sync`` the blocking one of an AsyncSession.
    """

    def __init__(self, session: Any, cut: Cut, held: Mapping[int, int]) -> None:
        self.session = session
        self.sync: Any = getattr(session, "sync_session", session)
        self.transaction = self.sync.get_transaction()
        self.chunks, self.until, self.stored = cut
        self.held = held

    @property
    def size(self) -> int:
        return len(self.chunks)

    @property
    def is_empty(self) -> bool:
        return all(item.events[0] is None for item in self.chunks)

    def timeout(self, error: BaseException) -> str | None:
        """Return None: no timeout of PostgreSQL is known, for the database may be another one."""
        return None


class BaseStreamBatch(Generic[E_co]):
    """Changes of a stream, in order, with the transaction in which they are processed.

    Iterating returns each :class:`~sa_pgnotify.Change`, and a :class:`~sa_pgnotify.Gap` where
    something is missing.
    """

    def __init__(self, worker: Any, work: OpenWork) -> None:
        self._worker = worker
        self._work = work

    def __iter__(self) -> Iterator[Consumed[E_co]]:
        return cast("Iterator[Consumed[E_co]]", (item.events[0] for item in self._given))

    def __len__(self) -> int:
        return sum(1 for _ in self._given)

    @property
    def _given(self) -> Iterator[Item]:
        return (item for item in self._work.chunks if item.events[0] is not None)

    def messages(self) -> Iterator[StreamMessage[E_co]]:
        """Return the changes with the messages that brought them."""
        for item in self._given:
            event: Any = item.events[0]
            message = item.message
            subject = "" if message is None else message.subject
            key = "" if message is None else message.headers.get(KEY, "")
            yield StreamMessage(event, item.sequence, subject, subject.partition(".")[0], key)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self)} changes, up to message {self._work.until}>"
