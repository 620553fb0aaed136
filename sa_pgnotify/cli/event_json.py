"""Write an event as a JSON object on one line, for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from datetime import date, datetime, time, timedelta
from enum import Enum
from typing import Any

from ..errors import UndecodableValue
from ..events.changes import Change, Deleted, Existing, Inserted, Updated
from ..events.kinds import Event, Gap, Notification

__all__ = ["json_line"]


def json_line(event: Event) -> str:
    """Return the event as JSON in ASCII, so that no encoding can change it.

    Null, booleans, whole and floating numbers, texts, arrays and objects are JSON's own. Values
    that JSON cannot express are texts: NaN, Infinity and -Infinity; decimals, UUIDs, addresses,
    ranges; dates and times in ISO 8601; bytes as ``\\x6869``, as PostgreSQL writes them; the member
    of an enum by its name. An interval is a number, its seconds.
    """
    return json.dumps(_object(event))


def _object(event: Event) -> dict[str, Any]:
    if isinstance(event, Gap):
        return {
            "event": "gap",
            "reason": event.reason,
            "since": event.since.isoformat(),
            "detail": event.detail,
        }
    if isinstance(event, Notification):
        return {"event": "notification", **asdict(event)}
    fields: dict[str, Any] = {
        "event": type(event).__name__.lower(),
        "entity": getattr(event.entity, "__name__", None) or event.table.fullname,
        "table": event.table.fullname,
        "identity": None if event.identity is None else _json(event.identity),
    }
    undecodable: list[str] = []
    fields.update(_values(event, undecodable))
    if undecodable:
        fields["undecodable"] = undecodable
    fields.update(
        transaction_id=event.transaction_id,
        occurred_at=event.occurred_at.isoformat(),
        backend_pid=event.backend_pid,
        context=_json(event.context),
    )
    return fields


def _values(change: Change, undecodable: list[str]) -> dict[str, Any]:
    """Return the values that can be decoded, and append what is wrong with the others to
    ``undecodable``."""

    def decodable(values: Mapping[str, Any]) -> dict[str, Any]:
        readable = {}
        for name in values:
            try:
                readable[name] = _json(values[name])
            except UndecodableValue as error:
                undecodable.append(str(error))
        return readable

    if isinstance(change, Updated):
        fields: dict[str, Any] = {"changed": sorted(change.changed)}
        try:
            if change.previous_identity is not None:
                fields["previous_identity"] = _json(change.previous_identity)
        except UndecodableValue as error:
            undecodable.append(str(error))
        return fields | {"old": decodable(change.old), "new": decodable(change.new)}
    if isinstance(change, Inserted | Existing):
        return {"new": decodable(change.new)}
    return {"old": decodable(change.old)} if isinstance(change, Deleted) else {}


def _json(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.name
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {str(name): _json(item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_json(item) for item in value]
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bytes | bytearray | memoryview):
        return f"\\x{bytes(value).hex()}"
    return str(value)
