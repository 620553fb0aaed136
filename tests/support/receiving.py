"""The events that a listener receives: exactly so many, or all those of some statements, without
waiting for silence."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine
from statements import run

from sa_pgnotify import (
    Event,
    Listener,
)


def take(listener: Listener, count: int, timeout: float = 10.0) -> list[Event]:
    """Return the next ``count`` events; fail after ``timeout`` seconds without one."""
    events = []
    while len(events) < count:
        event = listener.get(timeout)
        assert event is not None, f"only {len(events)} of {count} events came: {events}"
        events.append(event)
    return events


def received(engine: Engine, source: Any, *statements: str) -> list[Event]:
    """Return all events that ``statements``, run in one transaction, cause.

    A plain notification sent after the transaction marks the end.
    """
    with Listener(engine, source, "end_of_test") as listener:
        run(engine, *statements)
        return until_end(engine, listener)


def until_end(engine: Engine, listener: Listener) -> list[Event]:
    """Return the events before now, of a listener that listens to the channel ``end_of_test``."""
    run(engine, "NOTIFY end_of_test")
    events = []
    while True:
        (event,) = take(listener, 1)
        if getattr(event, "channel", None) == "end_of_test":
            return events
        events.append(event)


def kinds_and_identities(events: list[Any]) -> list[tuple[Any, ...]]:
    """Kind and identity of each event."""
    return [(type(event), *event.identity) for event in events]
