"""The kinds of events that a listener yields.

An event is a :class:`~sa_pgnotify.events.changes.Change` of a row, a :class:`Gap` where changes may
be missing, or the :class:`Notification` of a plain channel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias, cast, get_args

from .changes import Deleted, E_co, Existing, Inserted, Truncated, Updated
from .envelope import VERSION
from .envelope_reader import read_gap, read_notification
from .json_encoder import text_of

__all__ = ["KINDS", "Event", "Gap", "Notification", "Reason"]

Reason = Literal["started", "reconnected", "overflow", "undecodable", "lost_position"]


@dataclass(frozen=True, slots=True)
class Gap:
    """Events may be missing at this place: a program that keeps a copy of the data should read it
    again.

    :ivar reason: why events may be missing.

        - ``"started"``: transactions that wrote before the listener came, and sent nothing because
          nobody listened, have ended only now.
        - ``"reconnected"``: the connection was lost and is back, or such transactions of that time
          have ended.
        - ``"overflow"``: the program took events more slowly than they came, and the buffer was
          full.
        - ``"undecodable"``: something came that could not be read, or a trigger failed.
        - ``"lost_position"``: the change log no longer holds all changes after the position that
          was reached.

    :ivar since: nothing that was committed before this moment is missing (aware, in UTC, by the
        clock of this machine). It is the time of the last heartbeat, and so up to one heartbeat
        earlier than necessary.
    :ivar detail: one line for the log.
    """

    reason: Reason
    since: datetime
    detail: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the gap as what JSON can express; see :meth:`Change.to_dict`."""
        return {
            "version": VERSION,
            "event": "gap",
            "reason": self.reason,
            "since": self.since.isoformat(),
            "detail": self.detail,
        }

    def to_json(self) -> str:
        """Return :meth:`to_dict` as JSON, on one line."""
        return text_of(self.to_dict())

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Gap:
        """Return the gap that :meth:`to_dict` wrote.

        :raises UnreadableData: if it is something else, or of an unknown version.
        """
        reason, since, detail = read_gap(data, get_args(Reason))
        return Gap(cast("Reason", reason), since, detail)


@dataclass(frozen=True, slots=True)
class Notification:
    """A notification on a plain channel.

    :ivar channel: the name of the channel.
    :ivar payload: the text as it was sent, empty if none was.
    :ivar pid: the process id of the sender's server process.
    """

    channel: str
    payload: str
    pid: int

    def to_dict(self) -> dict[str, Any]:
        """Return the notification as what JSON can express; see :meth:`Change.to_dict`."""
        return {
            "version": VERSION,
            "event": "notification",
            "channel": self.channel,
            "payload": self.payload,
            "pid": self.pid,
        }

    def to_json(self) -> str:
        """Return :meth:`to_dict` as JSON, on one line."""
        return text_of(self.to_dict())

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Notification:
        """Return the notification that :meth:`to_dict` wrote.

        :raises UnreadableData: if it is something else, or of an unknown version.
        """
        return Notification(*read_notification(data))


Event: TypeAlias = (
    Inserted[E_co]
    | Updated[E_co]
    | Deleted[E_co]
    | Truncated[E_co]
    | Existing[E_co]
    | Gap
    | Notification
)
"""Any event: ``match`` over its classes is exhaustive, and ``Event[Order]`` says of which entity."""
KINDS = (Inserted, Updated, Deleted, Truncated, Existing, Gap, Notification)
"""The classes of all events."""
