"""What blocking and asyncio listeners share: sources, handlers, figures, and the checks of their
arguments."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypedDict

from sqlalchemy import Engine, MetaData, Table

from ..arguments import refuse_not_callable, refuse_not_positive
from ..drivers.waiting import Waiting
from ..errors import NotifyConfigError, PgNotifyError
from ..events.changes import E_co
from ..events.kinds import Event
from ..marking.declarations import marked_name
from ..marking.sources import expand
from ..states import OnState, States
from .buffer import Buffer
from .handlers import H, Handlers
from .receiver import Receiver
from .taking import refuse_forked

__all__ = ["BaseListener", "ListenerOptions", "Source", "Stats", "added", "removed"]

Source = type[Any] | Table | MetaData | str
"""What can be listened to."""


class ListenerOptions(TypedDict, total=False):
    """The keyword arguments of both listeners, for the overloads of their constructors."""

    buffer_size: int
    heartbeat: float
    on_error: Callable[[Exception, Event], object] | None
    on_state: OnState | None


logger = logging.getLogger("sa_pgnotify")


@dataclass(frozen=True, slots=True)
class Stats:
    """A listener's figures at one moment.

    :ivar received: events that have arrived since the start, including gaps and dropped events.
    :ivar delivered: events that the program has taken.
    :ivar buffered: events that wait to be taken.
    :ivar gaps: gaps since the start. The program may get one for several in a row that stand for
        unreadable payloads.
    :ivar reconnects: how often the listener has reconnected after a loss.
    :ivar latency: seconds from the last message's statement to its arrival, by the clocks of both
        machines; None before the first.
    :ivar queue_usage: share of PostgreSQL's notification queue in use, 0 to 1, at the last
        heartbeat; None before the first.
    :ivar connected: whether a connection listens.
    """

    received: int
    delivered: int
    buffered: int
    gaps: int
    reconnects: int
    latency: float | None
    queue_usage: float | None
    connected: bool


class BaseListener(Generic[E_co]):
    """What :class:`~sa_pgnotify.Listener` and :class:`~sa_pgnotify.AsyncListener` share."""

    _passes_on_logs = True  # live queries read the logs themselves

    def __init__(
        self,
        engine: Engine,
        sources: tuple[Any, ...],
        buffer_size: int,
        heartbeat: float,
        on_state: OnState | None,
    ) -> None:
        name = type(self).__name__
        refuse_not_positive(name, buffer_size=buffer_size, heartbeat=heartbeat)
        refuse_not_callable(name, "on_state", on_state, "a StateChange")
        _check(sources)
        self._engine = engine
        self._sources = list(sources)
        self._buffer_size = buffer_size
        self._heartbeat = heartbeat
        self._handlers = Handlers(name)
        self._states = States("listener", engine, on_state)
        self._receiver: Receiver | None = None

    @property
    def stats(self) -> Stats:
        """The listener's figures now; zeros before it is started."""
        if self._receiver is None:
            return Stats(0, 0, 0, 0, 0, None, None, False)
        receiver, buffer = self._receiver, self._receiver.buffer
        stream, continuity = receiver.stream, receiver.continuity
        return Stats(
            received=continuity.received + buffer.direct,
            delivered=buffer.taken,
            buffered=buffer.waiting,
            gaps=stream.gaps,
            reconnects=continuity.reconnects,
            latency=stream.latency,
            queue_usage=receiver.heartbeat.queue_usage,
            connected=receiver.link.connection is not None,
        )

    def on(self, *what: Any) -> Callable[[H], H]:
        """Register a handler for ``run()``: ``@listener.on(Order, Updated)``.

        :param what: entities (classes with their subclasses, or Tables), kinds of events, names of
            plain channels. The handler is called for an event that fits one of the entities or
            channels, if any are given, and one of the kinds, if any are given.
        :raises NotifyConfigError: if one of them is something else, or if the handler is a
            coroutine function and the listener is not an AsyncListener.
        """
        return self._handlers.on(what, self._check_handler)

    def _check_handler(self, handler: Any) -> None:
        """Check that this listener can call a handler.

        :raises NotifyConfigError: if it cannot.
        """

    def _receiver_with(self, waiting: Waiting) -> Receiver:
        return Receiver(
            self._engine,
            self._sources,
            waiting,
            self._buffer_size,
            self._heartbeat,
            self._states,
            passes_on_logs=self._passes_on_logs,
        )

    def _may_start(self, *, runs: bool) -> None:
        """Check that the listener may be started.

        :param runs: whether its thread or task still runs. One that was stopped ends by itself.
        :raises PgNotifyError: if the listener was started, and not stopped since.
        """
        if runs and not (self._receiver and self._receiver.link.stopping):
            raise PgNotifyError(
                "this listener has been started already; stop() it first, or make another one"
            )
        self._handlers.kept.clear()

    def _started(self) -> Buffer:
        """Return the buffer that events are taken from.

        :raises PgNotifyError: if the listener was not started, or was started before a fork.
        """
        if self._receiver is None:
            raise PgNotifyError(
                "this listener was not started: use it in a with block, or call start()"
            )
        refuse_forked(self._receiver)
        return self._receiver.buffer


def added(sources: tuple[Any, ...]) -> Callable[[list[Any]], list[Any]]:
    """Return the function by which ``subscribe`` changes a list of sources.

    :raises NotifyConfigError: if one of ``sources`` cannot be listened to.
    """
    _check(sources)
    return lambda known: [*known, *(source for source in sources if not _among(source, known))]


def _check(sources: tuple[Any, ...]) -> None:
    """Refuse what cannot be listened to, and warn of a channel with the name of an entity."""
    for name in expand(sources).channels:
        entity = marked_name(name)
        if entity is not None:
            logger.warning(
                "the listener's source %r is the name of a plain channel, and does not deliver the changes of %s. "
                "Pass the class or the Table itself",
                name,
                entity,
            )


def removed(sources: tuple[Any, ...]) -> Callable[[list[Any]], list[Any]]:
    """Return the function by which ``unsubscribe`` changes a list of sources. It raises
    NotifyConfigError if one of ``sources`` is not in the list."""

    def without(known: list[Any]) -> list[Any]:
        for source in sources:
            if not _among(source, known):
                raise NotifyConfigError(
                    "Listener",
                    f"cannot unsubscribe {source!r}: it is not among the sources, which are {known!r}",
                )
        return [source for source in known if not _among(source, sources)]

    return without


def _among(source: Any, sources: Iterable[Any]) -> bool:
    return any(source is other or source == other for other in sources)
