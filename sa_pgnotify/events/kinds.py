"""The kinds of events that a listener yields.

An event is a :class:`~sa_pgnotify.events.changes.Change` of a row, a :class:`Gap` where changes may
be missing, or the :class:`Notification` of a plain channel.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from .changes import Change, Deleted, Existing, Inserted, Truncated, Updated

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


Event = Change | Gap | Notification
KINDS = (Inserted, Updated, Deleted, Truncated, Existing, Gap, Notification)
"""The classes of all events."""
