"""The JSON Schema of the envelope of events, which is a file of the package."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

from .json_texts import VERSION

__all__ = ["event_schema"]


def event_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of what ``to_dict()`` of an event returns."""
    found = files("sa_pgnotify.events").joinpath(f"event.v{VERSION}.schema.json")
    schema: dict[str, Any] = json.loads(found.read_text("utf-8"))
    return schema
