"""From a message of a stream to the event that was published, tied to the program's classes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from ..errors import NotifyConfigError, printable
from ..events.changes import Change
from ..events.envelope_reader import Layouts
from ..events.kinds import Gap
from ..marking.sources import expand
from ..relay.messages import KEY
from .reader import Received

__all__ = ["EventReader"]


class EventReader:
    """Reads the events of some entities.

    :param entities: as of a :class:`~sa_pgnotify.Consumer`.
    :raises NotifyConfigError: if they cannot be consumed.
    """

    def __init__(self, entities: Iterable[Any]) -> None:
        wanted = expand(entities)
        if wanted.channels or not wanted.tables:
            raise NotifyConfigError(
                "StreamConsumer",
                f"cannot consume {', '.join(sorted(wanted.channels)) or 'nothing'}",
                "Give mapped classes, Tables, a MetaData or a declarative base",
            )
        self._layouts: Layouts = {}
        self._wanted = {table.fullname: (table, of) for table, of in wanted.tables.items()}

    def read(self, message: Received) -> Change | Gap | None:
        """Return the event; None if it is of another entity, or no relay has published it.

        A message that cannot be read becomes a ``Gap``, so that nothing is lost without a word.
        """
        if KEY not in message.headers:
            return None
        try:
            data = json.loads(message.body)
            data = data["data"] if "specversion" in data else data  # a CloudEvent
            if data["event"] == "gap":
                return Gap.from_dict(data)
            found = self._wanted.get(data["table"])
            if found is None:
                return None
            table, interest = found
            data["position"] = None  # in the log of a database that need not be reachable from here
            change = Change._read(data, table.metadata, self._layouts)
        except Exception as error:  # anybody may have written it
            where = f"message {message.sequence} on {printable(message.subject, 200)}"
            detail = f"{where} cannot be read: {printable(str(error))}"
            return Gap("undecodable", datetime.now(UTC), detail)
        if interest.classes and not interest.accepts(change.entity):
            return None
        return change
