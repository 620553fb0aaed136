"""Changes of state of listeners and consumers: one line each in the log ``sa_pgnotify``, and one
record each for the program's callback.

An operator who is woken at night wants one line that says what happened, but a lost connection may
come with a thousand events that fail. So only changes of state are reported, never single events;
what lasts is reported when it begins and when it ends.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Self
from urllib.parse import quote

from sqlalchemy import Engine

__all__ = ["OnState", "State", "StateChange", "States"]

logger = logging.getLogger("sa_pgnotify")


class State(StrEnum):
    """A state, and the level of its line in the log."""

    level: int

    def __new__(cls, name: str, level: int) -> Self:
        state = str.__new__(cls, name)
        state._value_ = name
        state.level = level
        return state

    def __repr__(self) -> str:
        return repr(self.value)  # programs see a text

    CONNECTED = "connected", logging.INFO
    LOST = "lost", logging.WARNING
    RECONNECTING = "reconnecting", logging.WARNING
    RECONNECTED = "reconnected", logging.INFO
    """It is a warning if something was missed."""
    STOPPED = "stopped", logging.INFO
    FAILED = "failed", logging.ERROR
    OVERFLOW = "overflow", logging.WARNING
    OVERFLOW_ENDED = "overflow ended", logging.INFO
    QUEUE_FILLS = "queue fills", logging.WARNING
    QUEUE_EMPTIED = "queue emptied", logging.INFO
    TRIGGERS_MISSING = "triggers missing", logging.ERROR
    TRIGGERS_DIFFER = "triggers differ", logging.WARNING
    TRIGGERS_MOVED = "triggers moved", logging.WARNING
    UNDECODABLE = "undecodable", logging.WARNING
    LOST_POSITION = "lost position", logging.ERROR
    WORKING = "working", logging.INFO
    STANDING_BY = "standing by", logging.INFO
    BATCH_FAILED = "batch failed", logging.WARNING
    CHANGE_FAILED = "change failed", logging.WARNING
    HELD_UP = "held up", logging.WARNING
    HELD_UP_ENDED = "held up ended", logging.INFO
    LOSSES_UNSEEN = "losses unseen", logging.WARNING


@dataclass(frozen=True, slots=True)
class StateChange:
    """A listener or consumer is now in another state than before.

    :ivar state: the new state, a text.

        - Of a listener or consumer: ``connected``, ``lost``, ``reconnecting`` (before each
          attempt), ``reconnected``, ``stopped``, ``failed`` (its thread or task ended by an
          error), ``overflow`` and ``overflow ended``, ``queue fills`` and ``queue emptied``
          (PostgreSQL's queue of notifications), ``triggers missing``, ``triggers differ``,
          ``triggers moved``, ``undecodable`` (at most once a minute), ``lost position``.
        - Of a consumer only: ``working``, ``standing by`` (another consumer of its name works),
          ``batch failed``, ``change failed``, ``held up`` and ``held up ended`` (the change log
          is not emptied).
        - Of each reader of a change log: ``losses unseen`` (it would not notice changes that a
          trigger could not log).

    :ivar who: ``"listener"``, or ``"consumer"`` with its name and part.
    :ivar detail: the rest of the line in the log, without the database's password; may be empty.
    :ivar seconds: seconds until the next attempt; None unless the state is ``reconnecting``.
    :ivar missed: whether events were missed: then a :class:`~sa_pgnotify.Gap` stands in their place.
    :ivar level: the level of the line in the log, one of ``logging``'s.
    :ivar at: when it happened, by the clock of this machine.
    """

    state: State
    who: str
    detail: str
    seconds: float | None = None
    missed: bool = False
    level: int = logging.WARNING
    at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __str__(self) -> str:
        after = "" if self.seconds is None else f" in {self.seconds:.1f} s"
        return f"{self.who}: {self.state}{after}{f': {self.detail}' if self.detail else ''}"


OnState = Callable[[StateChange], object]
"""The program's callback. It is called where the change is noticed, in the thread or loop that
reads, and must not block."""


class States:
    """Reports the changes of state of one listener or consumer.

    :param engine: the engine whose password must not appear in any message.
    """

    def __init__(
        self, who: str = "listener", engine: Engine | None = None, on_state: OnState | None = None
    ) -> None:
        self._who = who
        password = "" if engine is None else str(engine.url.password or "")
        # as it is, and as URLs quote it
        self._secrets = [password, quote(password, safe=" +")] if password else []
        self._on_state = on_state

    def report(
        self,
        state: State,
        detail: object = "",
        *,
        seconds: float | None = None,
        missed: bool = False,
        error: BaseException | None = None,
        level: int | None = None,
    ) -> None:
        """Log a change of state and call the program's callback.

        :param error: the error that caused it, which is logged with its traceback.
        :param level: the level of the line in the log, if it is not the state's own.
        """
        said = str(detail).strip()
        for secret in self._secrets:
            said = said.replace(secret, "***")
        if level is None:
            is_warning = state is State.RECONNECTED and missed
            level = logging.WARNING if is_warning else state.level
        change = StateChange(state, self._who, said, seconds, missed, level)
        logger.log(level, "%s", change, exc_info=error)
        if self._on_state is not None:
            try:
                self._on_state(change)
            except Exception:  # raised by the program's callback; reading must go on
                logger.exception("on_state failed with %s", change)
