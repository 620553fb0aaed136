"""Emptying the change log at a consumer's heartbeat, and reporting what prevents it."""

from __future__ import annotations

from ..drivers import ListenConnection
from ..log.losses import Losses
from ..log.retention import prune
from ..log.tables import LogNames, LogSettings
from ..states import State, States
from ..subscription.link import Link

__all__ = ["Pruning"]


class Pruning:
    """Empties the change log for one consumer. Each problem is reported once, and so is its end."""

    def __init__(self, link: Link, settings: LogSettings, states: States) -> None:
        self._link = link
        self._settings = settings
        self._states = states
        self._problem: str | None = None

    def run(self, connection: ListenConnection, names: LogNames, losses: Losses) -> None:
        """Remove the changes that every consumer has passed, and report what prevents that."""
        if (problem := losses.new_problem()) is not None:
            self._states.report(State.LOSSES_UNSEEN, problem)
        try:
            state = prune(connection.execute, names, self._settings)
        except self._link.errors as error:
            if connection.closed:
                raise
            self._report(f"the change log is not emptied: {str(error).partition(chr(10))[0]}")
            return
        if state.is_held_up:
            self._report(str(state))
        elif self._problem is not None:
            self._problem = None
            self._states.report(State.HELD_UP_ENDED, state)

    def _report(self, problem: str) -> None:
        if self._problem is None:
            self._states.report(State.HELD_UP, problem)
        self._problem = problem
