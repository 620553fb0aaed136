"""Events written as JSON and read back, and how what comes back differs."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import jsonschema
from selects import same

from sa_pgnotify import Change, UndecodableValue, event_schema
from sa_pgnotify.events import json_encoder

ATTRIBUTES = (
    "entity", "table", "identity", "transaction_id", "occurred_at", "backend_pid", "context", "position", "key", "changed", "previous_identity"
)  # fmt: skip


@cache
def validator() -> jsonschema.Draft202012Validator:
    schema = event_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(
        schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
    )


def there_and_back(event: Any, models: Any) -> Any:
    """The event that the JSON of an event makes; the JSON is valid, and both encoders write it."""
    data = json.loads(event.to_json())
    assert data == json.loads(json.dumps(event.to_dict())), "the two encoders differ"
    validator().validate(data)
    return Change.from_dict(data, models)


def envelope_differences(event: Any, models: Any) -> dict[str, tuple[Any, Any]]:
    """By name, what the event has, and what came back in its place."""
    back = there_and_back(event, models)
    found: dict[str, Any] = {}
    if type(back) is not type(event):
        found["type"] = (type(event), type(back))
    for name in ATTRIBUTES:
        if hasattr(event, name) and getattr(event, name) != getattr(back, name):
            found[name] = (getattr(event, name), getattr(back, name))
    for side in ("new", "old"):
        if hasattr(event, side):
            had, has = getattr(event, side), getattr(back, side)
            if set(had) != set(has):
                found[side] = (list(had), list(has))
            found |= {
                f"{side}.{name}": (read(had, name), read(has, name))
                for name in had
                if not equal(read(had, name), read(has, name))
            }
    return found


def read(values: Any, name: str) -> Any:
    """A value; of one that cannot be decoded, its text."""
    try:
        return values[name]
    except UndecodableValue as error:
        return UndecodableValue, error.attribute, error.column, error.text


def equal(had: Any, has: Any) -> bool:
    """Whether a value came back: equal, and of its type, but for what is read as Python's own
    classes: a buffer, asyncpg's UUID and record."""
    return same(had, has) or same(_usual(had), _usual(has))


def _usual(value: Any) -> Any:
    name = type(value).__name__
    if name in ("memoryview", "bytearray"):
        return bytes(value)
    if name == "UUID":
        return str(value)
    if name == "Record":
        return tuple(value)
    if isinstance(value, list) and type(value) is list:
        return [_usual(item) for item in value]
    return value


def forget_orjson(monkeypatch: Any) -> None:
    """As where orjson is not installed."""
    monkeypatch.setattr(json_encoder, "orjson_dumps", lambda: None)
