"""What a link's connection is subscribed to, and whether its triggers are still the same."""

from __future__ import annotations

from sqlalchemy import Engine

from ..drivers import ListenConnection
from ..errors import TriggersMissing
from ..events.stream import Route
from ..marking.sources import Wanted
from ..protocol.presence import Presence
from ..states import States
from .late_comparison import LateComparison
from .subscribe import apply, build_routes, inspect
from .trigger_watch import TriggerWatch

__all__ = ["Subscription"]


class Subscription:
    """The channels and tables that one reader listens to.

    :ivar routes: what each channel carries.
    :ivar presence: shows the connection to writers, and follows those of their transactions that
        did not see it.
    :ivar watch: the state of the triggers when they were last inspected.
    :ivar comparison: of the triggers' functions with the models, which its owner continues.
    """

    def __init__(self, engine: Engine, states: States) -> None:
        self.routes: dict[str, Route] = {}
        self.presence = Presence()
        self.watch = TriggerWatch()
        self.comparison = LateComparison(states)
        self._engine = engine
        self._states = states

    def renew(self) -> None:
        """Start again on a new connection, which holds no advisory lock yet."""
        self.presence = Presence()

    def altered(self, connection: ListenConnection) -> str:
        """Return a description of how the triggers were altered since :meth:`change`; empty if they
        were not."""
        return self.watch.changes(connection.execute)

    def change(
        self, connection: ListenConnection, wanted: Wanted, *, strict: bool
    ) -> TriggersMissing | None:
        """Listen to what is wanted, and to nothing else.

        :returns: the error for tables without enabled triggers; None if there are none.
        :raises TriggersMissing: that error, if ``strict``; nothing has changed then.
        """
        found = inspect(connection, self._engine, wanted.tables, self._states)
        if strict and found.missing is not None:
            raise found.missing
        routes = build_routes(found, wanted, self.routes, connection, self._engine.dialect)
        apply(connection, routes, self.presence)
        self.watch.rely_on(found.states, found.installed, found.sets.values())
        self.routes = routes
        self.comparison.begin(
            (triggers, there, table.fullname)
            for table, triggers in found.sets.items()
            if (there := found.installed.get(triggers)) is not None
        )
        return found.missing
