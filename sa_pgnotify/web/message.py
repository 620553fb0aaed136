"""A message to a browser, as a server-sent event or on a WebSocket."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Message"]

RETRY = {"rows": 2_000, "failed": 30_000}
"""The milliseconds after which a browser connects again when the stream has ended. A query that has
failed is likely to fail again."""
PIECE = 64 * 1024
"""The most characters that are given to the server at once, because it holds in memory what a
browser does not read."""


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Message:
    """One event for a browser.

    :ivar event: ``rows``, ``step`` or ``failed``.
    :ivar data: JSON on one line.
    :ivar id: identifies the state of the page after the message, as in ``Last-Event-ID``; empty if
        there is none.
    """

    event: str
    data: str
    id: str = ""

    def as_event(self) -> Iterator[str]:
        """Yield the message as a server-sent event, in pieces."""
        name = f"id: {self.id}\n" if self.id else ""
        retry = f"retry: {RETRY[self.event]}\n" if self.event in RETRY else ""
        head = f"{name}{retry}event: {self.event}\ndata: "
        if len(self.data) <= PIECE:
            yield f"{head}{self.data}\n\n"
            return
        yield head
        for start in range(0, len(self.data), PIECE):
            yield self.data[start : start + PIECE]
        yield "\n\n"

    def as_json(self) -> str:
        """Return the message as a JSON object, for a WebSocket."""
        return f'{{"event":"{self.event}","id":"{self.id}","data":{self.data}}}'
