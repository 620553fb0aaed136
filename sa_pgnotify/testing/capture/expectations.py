"""What a test expects of the events that it has captured, however they came.

A failed expectation lists the events that did come, because a developer looks for them next. An
expectation that no event could ever meet, such as one with a misspelt attribute, would never fail
in ``none()``, and so it is refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ...errors import NotifyConfigError
from ...events.kinds import KINDS, Event
from ...listening.handlers import concerns, kinds_of
from ...marking.sources import Wanted

__all__ = ["Caught"]

SHOWN = 20
"""The most events that a message lists."""


class Caught:
    """The captured events in their order, and those that were not expected yet.

    :ivar events: all events that came, expected or not.
    """

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._left: list[Event] = []

    def add(self, events: Iterable[Event]) -> None:
        for event in events:
            self.events.append(event)
            self._left.append(event)

    def take(self, what: tuple[Any, ...], fields: dict[str, Any]) -> Event | None:
        """Return the first event that matches and was not taken before; None if there is none. The
        events before it are left."""
        for place, event in enumerate(self._left):
            if _matches(event, what, fields):
                return self._left.pop(place)
        return None

    def refuse(self, what: tuple[Any, ...], fields: dict[str, Any]) -> None:
        """Check that no event matches which was not taken before.

        :raises AssertionError: if one does.
        """
        if found := [event for event in self._left if _matches(event, what, fields)]:
            raise AssertionError(
                f"expected no {_said(what, fields)}, and there came:\n{_listed(found)}"
            )

    def missing(self, what: tuple[Any, ...], fields: dict[str, Any], where: str) -> AssertionError:
        """Return the error for an event that did not come; it lists the events that did.

        :param where: where or how long it was looked for.
        """
        came = f"there came:\n{_listed(self.events)}" if self.events else "nothing came"
        return AssertionError(f"expected {_said(what, fields)} {where}, and {came}")


def _matches(event: Event, what: tuple[Any, ...], fields: dict[str, Any]) -> bool:
    kinds = kinds_of(what)
    others = [one for one in what if one not in kinds]
    return (
        (not kinds or isinstance(event, kinds))
        and (not others or any(concerns(event, one) for one in others))
        and all(getattr(event, name, fields) == value for name, value in fields.items())
    )


def check_what(wanted: Wanted, what: tuple[Any, ...], fields: dict[str, Any]) -> None:
    """Check that an event can match.

    :param wanted: what is captured.
    :raises NotifyConfigError: if no event can match, because ``what`` holds a value instead of a kind
        of event, an entity or a channel, or something that is not captured, or because no such
        event has the attributes of ``fields``.
    """
    kinds = kinds_of(what)
    for one in what:
        if not isinstance(one, type | str) and not hasattr(one, "columns"):
            raise NotifyConfigError(
                "expect",
                f"{one!r} is not a kind of event, an entity or a channel",
                "Pass values by name: identity=(1,), changed={'status'}",
            )
        if one not in kinds and not _is_captured(wanted, one):
            raise NotifyConfigError(
                "expect",
                f"{_name(one)} is not captured here, so it would never come",
                "Capture it too",
            )
    for name in fields:
        if not any(hasattr(kind, name) for kind in KINDS if not kinds or issubclass(kind, kinds)):
            raise NotifyConfigError(
                "expect",
                f"no such event has an attribute {name!r}, so none would match",
                "Values are in old and new",
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
