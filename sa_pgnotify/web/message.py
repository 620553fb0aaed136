"""What is sent to a browser, whichever way it goes."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Message"]


@dataclass(frozen=True, slots=True)
class Message:
    """
    :ivar event: ``rows``, ``step`` or ``failed``.
    :ivar data: JSON on one line.
    :ivar id: the state of the page after it, as ``Last-Event-ID`` names it; empty for none.
    """

    event: str
    data: str
    id: str = ""

    def as_event(self) -> str:
        """Return it as a server-sent event."""
        name = f"id: {self.id}\n" if self.id else ""
        return f"{name}event: {self.event}\ndata: {self.data}\n\n"

    def as_json(self) -> str:
        """Return it as JSON, for a WebSocket."""
        return f'{{"event":"{self.event}","id":"{self.id}","data":{self.data}}}'
