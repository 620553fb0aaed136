"""What a test says of the events that it has caught, whichever way they came.

It is hard to say that something did not happen: silence for a while proves little and costs the while. So whoever reads events can read
up to now, and know that it has; and what fails names what did come, since that is what one looks for then.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..errors import NotifyConfigError
from ..events import Change, Event, Gap, Notification

__all__ = ["Caught"]

KINDS = (Change, Gap, Notification)
SHOWN = 20
"""Events that a message lists."""


class Caught:
    """Events in their order, and those of them that nobody has expected yet.

    :ivar events: all that came, expected or not.
    """

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._left: list[Event] = []

    def add(self, events: Iterable[Event]) -> None:
        for event in events:
            self.events.append(event)
            self._left.append(event)

    def take(self, what: tuple[Any, ...], fields: dict[str, Any]) -> Event | None:
        """The first event that fits and was not taken before; None if there is none. Those before it are left."""
        for place, event in enumerate(self._left):
            if _fits(event, what, fields):
                return self._left.pop(place)
        return None

    def refuse(self, what: tuple[Any, ...], fields: dict[str, Any]) -> None:
        """
        :raises AssertionError: if an event that nobody has expected fits.
        """
        if found := [event for event in self._left if _fits(event, what, fields)]:
            raise AssertionError(f"expected no {_said(what, fields)}, and there came:\n{_listed(found)}")

    def missing(self, what: tuple[Any, ...], fields: dict[str, Any], where: str) -> AssertionError:
        """What tells that an event did not come, and which ones did.

        :param where: where it was looked for, and how long.
        """
        came = f"there came:\n{_listed(self.events)}" if self.events else "nothing came"
        return AssertionError(f"expected {_said(what, fields)} {where}, and {came}")


def _fits(event: Event, what: tuple[Any, ...], fields: dict[str, Any]) -> bool:
    for one in what:
        if isinstance(one, type) and issubclass(one, KINDS):
            if not isinstance(event, one):
                return False
        elif isinstance(event, Gap):
            return False
        elif isinstance(event, Notification):
            if event.channel != one:
                return False
        elif not (event.table is one or event.entity is one or (isinstance(one, type) and _is_below(event.entity, one))):
            return False
    return all(getattr(event, name, fields) == value for name, value in fields.items())


def _is_below(entity: Any, one: type) -> bool:
    return isinstance(entity, type) and issubclass(entity, one)


def check_what(what: tuple[Any, ...]) -> None:
    """
    :raises NotifyConfigError: if one is a value, where a kind of event, an entity or a channel belongs.
    """
    for one in what:
        if not isinstance(one, type | str) and not hasattr(one, "columns"):
            raise NotifyConfigError(
                "expect", f"{one!r} is no kind of event, no entity and no channel. Give values by name: identity=(1,), changed={{'status'}}"
            )


def _said(what: tuple[Any, ...], fields: dict[str, Any]) -> str:
    parts = [str(getattr(one, "__name__", one)) for one in what] + [f"{name}={value!r}" for name, value in fields.items()]
    return f"event ({', '.join(parts)})" if parts else "event"


def _listed(events: list[Event]) -> str:
    lines = [f"  {event!r}" for event in events[:SHOWN]]
    return "\n".join([*lines, f"  and {len(events) - SHOWN} more"] if len(events) > SHOWN else lines)
