"""What a test says of the events that it has caught, whichever way they came.

It is hard to say that something did not happen: silence for a while proves little and costs the
while. So whoever reads events can read up to now, and know that it has; and what fails names what
did come, since that is what one looks for then. A question that no event could answer, by a slip of
the pen, would never fail either, and so is refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ...errors import NotifyConfigError
from ...events.changes import Deleted, Inserted, Truncated, Updated
from ...events.kinds import Event, Gap, Notification
from ...listening.handlers import concerns, kinds_of
from ...marking.sources import Wanted

__all__ = ["Caught"]

ALL = (Inserted, Updated, Deleted, Truncated, Gap, Notification)
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
        """The first event that fits and was not taken before; None if there is none. Those before
        it are left."""
        for place, event in enumerate(self._left):
            if _fits(event, what, fields):
                return self._left.pop(place)
        return None

    def refuse(self, what: tuple[Any, ...], fields: dict[str, Any]) -> None:
        """
        :raises AssertionError: if an event that nobody has expected fits.
        """
        if found := [event for event in self._left if _fits(event, what, fields)]:
            raise AssertionError(
                f"expected no {_said(what, fields)}, and there came:\n{_listed(found)}"
            )

    def missing(self, what: tuple[Any, ...], fields: dict[str, Any], where: str) -> AssertionError:
        """What tells that an event did not come, and which ones did.

        :param where: where it was looked for, and how long.
        """
        came = f"there came:\n{_listed(self.events)}" if self.events else "nothing came"
        return AssertionError(f"expected {_said(what, fields)} {where}, and {came}")


def _fits(event: Event, what: tuple[Any, ...], fields: dict[str, Any]) -> bool:
    kinds = kinds_of(what)
    others = [one for one in what if one not in kinds]
    return (
        (not kinds or isinstance(event, kinds))
        and (
            not others
            or (not isinstance(event, Gap) and any(concerns(event, one) for one in others))
        )
        and all(getattr(event, name, fields) == value for name, value in fields.items())
    )


def check_what(wanted: Wanted, what: tuple[Any, ...], fields: dict[str, Any]) -> None:
    """
    :param wanted: what is captured.
    :raises NotifyConfigError: if no event can fit: one is a value, where a kind of event, an entity
        or a channel belongs, or is not captured, or has no such attribute.
    """
    kinds = kinds_of(what)
    for one in what:
        if not isinstance(one, type | str) and not hasattr(one, "columns"):
            raise NotifyConfigError(
                "expect",
                f"{one!r} is no kind of event, no entity and no channel. Give values by name: identity=(1,), changed={{'status'}}",
            )
        if one not in kinds and not _is_captured(wanted, one):
            raise NotifyConfigError(
                "expect",
                f"{_name(one)} is not captured here, so it would never come. Capture it too",
            )
    for name in fields:
        if not any(hasattr(kind, name) for kind in ALL if not kinds or issubclass(kind, kinds)):
            raise NotifyConfigError(
                "expect",
                f"no such event has an attribute {name!r}, so none would fit. Values are in old and new",
            )


def _is_captured(wanted: Wanted, one: Any) -> bool:
    if isinstance(one, str):
        return one in wanted.channels
    if not isinstance(one, type):
        return one in wanted.tables
    classes = [class_ for interest in wanted.tables.values() for class_ in interest.classes]
    return any(issubclass(class_, one) or issubclass(one, class_) for class_ in classes)


def _name(one: Any) -> str:
    return str(getattr(one, "__name__", one))


def _said(what: tuple[Any, ...], fields: dict[str, Any]) -> str:
    parts = [_name(one) for one in what] + [f"{name}={value!r}" for name, value in fields.items()]
    return f"event ({', '.join(parts)})" if parts else "event"


def _listed(events: list[Event]) -> str:
    lines = [f"  {event!r}" for event in events[:SHOWN]]
    return "\n".join(
        [*lines, f"  and {len(events) - SHOWN} more"] if len(events) > SHOWN else lines
    )
