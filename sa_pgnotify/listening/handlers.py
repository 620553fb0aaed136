"""Handlers: functions of the program, called with the events that fit what they were registered for."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from sqlalchemy import Table

from ..caching import remember
from ..errors import NotifyConfigError
from ..events.changes import Change
from ..events.kinds import KINDS, Event, Gap, Notification

__all__ = ["Handlers", "Turn", "concerns", "kinds_of"]

logger = logging.getLogger("sa_pgnotify")

H = TypeVar("H", bound=Callable[[Any], Any])


class Handlers:
    """
    :param listener: the name of the listener's class, for messages.
    :ivar kept: turns that an exception has ended before their last call.
    """

    def __init__(self, listener: str) -> None:
        self._listener = listener
        self._all: list[tuple[tuple[type, ...], list[Any], Callable[[Any], Any]]] = []
        self._known: dict[tuple[Any, ...], list[Callable[[Any], Any]]] = {}
        self.kept: deque[Turn] = deque()

    def on(self, what: tuple[Any, ...], check: Callable[[Any], object]) -> Callable[[H], H]:
        """Return a decorator that registers a handler for ``what``.

        :param check: raises for a handler that cannot be called.
        :raises NotifyConfigError: if a part of ``what`` is something that no event could fit.
        """
        kinds = kinds_of(what)
        targets = [w for w in what if w not in kinds]
        for target in targets:
            if not isinstance(target, type | Table | str):
                raise NotifyConfigError(
                    f"{self._listener}.on",
                    f"{target!r} is not an entity, a kind of event or a channel",
                    "Write @listener.on(Order, Updated), with brackets",
                )

        def register(handler: H) -> H:
            check(handler)
            self._all.append((kinds, targets, handler))
            # A new dict, because another thread may be about to add what was right before.
            self._known = {}
            return handler

        return register

    def of(self, event: Event) -> list[Callable[[Any], Any]]:
        """Return the handlers that fit ``event``, in the order of registration."""
        if isinstance(event, Gap):
            fitting = self._find(event)
            if not fitting:
                logger.warning(
                    "%r, and no handler for it: register one with @listener.on(Gap)", event
                )
            return fitting
        alike: tuple[Any, ...] = (type(event),)
        if isinstance(event, Notification):
            alike = (type(event), event.channel)
        elif isinstance(event, Change):
            alike = (type(event), event.entity, event.table)
        known = self._known
        found = known.get(alike)
        if found is None:
            return remember(known, alike, self._find(event))
        return found

    def _find(self, event: Event) -> list[Callable[[Any], Any]]:
        return [handler for kinds, targets, handler in self._all if _fits(event, kinds, targets)]


class Turn:
    """The calls that are due for one event, which is assigned to :attr:`event` once the turn exists.

    A signal's handler may raise after any call. So an event must not be the result of a call, and the
    turn knows at all times which handlers have not been called.
    """

    event: Event | None = None

    def __init__(self, handlers: Handlers) -> None:
        self._handlers = handlers
        self._left: list[Callable[[Any], Any]] | None = None

    def __iter__(self) -> Iterator[Callable[[Any], Any]]:
        """Yield the handlers that are still to be called."""
        if self._left is None and self.event is not None:
            self._left = list(self._handlers.of(self.event))
        left = self._left
        while left:
            handler = left[0]
            del left[0]  # not pop(), which is a call
            yield handler

    def end(self) -> None:
        """Keep the calls that are left for the next ``run()``."""
        if self.event is not None and self._left != []:
            self._handlers.kept.append(self)


def kinds_of(what: tuple[Any, ...]) -> tuple[type, ...]:
    """Return the kinds of events among ``what``."""
    return tuple(w for w in what if isinstance(w, type) and issubclass(w, (Change, *KINDS)))


def _fits(event: Event, kinds: tuple[type, ...], targets: list[Any]) -> bool:
    if isinstance(event, Gap):  # which concerns all that is listened to
        return Gap in kinds or not (kinds or targets)
    return (not kinds or isinstance(event, kinds)) and (
        not targets or any(concerns(event, target) for target in targets)
    )


def concerns(event: Event, target: Any) -> bool:
    """Return whether an event is one of ``target``: an entity, a class above it, a table or a plain
    channel. A Gap is not."""
    if isinstance(event, Notification):
        return bool(event.channel == target)
    if not isinstance(event, Change):
        return False
    entity = event.entity
    return event.table is target or (
        isinstance(target, type) and isinstance(entity, type) and issubclass(entity, target)
    )
