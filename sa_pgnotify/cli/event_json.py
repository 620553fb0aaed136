"""Write an event as a JSON object on one line, for programs."""

from __future__ import annotations

import json

from ..events.kinds import Event

__all__ = ["json_line"]


def json_line(event: Event) -> str:
    """Return ``event.to_json()`` in ASCII, so that no terminal's or pipe's encoding can change
    it."""
    text = event.to_json()
    return text if text.isascii() else json.dumps(json.loads(text), separators=(",", ":"))
