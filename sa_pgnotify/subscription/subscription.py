"""What a link's connection is subscribed to, and whether the triggers behind it are still the same."""

from __future__ import annotations

from sqlalchemy import Engine

from ..drivers import ListenConnection
from ..errors import TriggersMissing
from ..events.stream import Route
from ..marking.sources import Wanted
from ..protocol.presence import Presence
from ..states import States
from .subscribe import apply, build_routes, inspect
from .trigger_watch import TriggerWatch

__all__ = ["Subscription"]


class Subscription:
    """
    :ivar routes: what each channel carries.
    :ivar presence: what writers see of the connection, and which of their transactions it follows.
    :ivar watch: what the triggers were when they were last inspected.
    """

    def __init__(self, engine: Engine, states: States) -> None:
        self.routes: dict[str, Route] = {}
        self.presence = Presence()
        self.watch = TriggerWatch()
        self._engine = engine
        self._states = states

    def renew(self) -> None:
        """Begin anew on a new connection, to which no advisory lock belongs yet."""
        self.presence = Presence()

    def altered(self, connection: ListenConnection) -> str:
        """Return in words how the triggers were altered since :meth:`change`; empty if they were
        not."""
        return self.watch.changes(connection.execute)

    def change(
        self, connection: ListenConnection, wanted: Wanted, *, strict: bool
    ) -> TriggersMissing | None:
        """Listen to what is wanted, and to nothing else.

        :returns: the error for tables without enabled triggers, if there are some.
        :raises TriggersMissing: that error, if ``strict``; nothing has changed then.
        """
        found = inspect(connection, self._engine, wanted.tables, self._states)
        if strict and found.missing is not None:
            raise found.missing
        routes = build_routes(found, wanted, self.routes, connection, self._engine.dialect)
        apply(connection, routes, self.presence)
        self.watch.rely_on(found.states, found.installed, found.sets.values())
        self.routes = routes
        return found.missing
