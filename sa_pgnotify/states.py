"""Changes of state of listeners and consumers: one line each in the log ``sa_pgnotify``, and one
record to the program's callback.

It is hard to be heard and not to flood: whoever is woken at night wants one line for what happened,
and a connection that is lost may come with a thousand events that fail. So only changes of state
are told, none for each event; what goes on is told when it begins and when it ends.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal
from urllib.parse import quote

from sqlalchemy import Engine

__all__ = ["OnState", "State", "StateChange", "States"]

logger = logging.getLogger("sa_pgnotify")

State = Literal[
    "connected", "lost", "reconnecting", "reconnected", "stopped", "failed", "overflow", "overflow ended", "queue fills", "queue emptied",
    "triggers missing", "triggers differ", "triggers moved", "undecodable", "lost position", "working", "standing by", "batch failed",
    "change failed", "held up", "held up ended", "losses unseen",
]  # fmt: skip

LEVELS: dict[str, int] = {
    "connected": logging.INFO,
    "stopped": logging.INFO,
    "working": logging.INFO,
    "standing by": logging.INFO,
    "overflow ended": logging.INFO,
    "queue emptied": logging.INFO,
    "held up ended": logging.INFO,
    "failed": logging.ERROR,
    "triggers missing": logging.ERROR,
    "lost position": logging.ERROR,
}
"""Of the log; the others are warnings. ``reconnected`` is one if something was missed."""


@dataclass(frozen=True, slots=True)
class StateChange:
    """Something about a listener or consumer is now otherwise than before.

    :ivar state: what it is; of a listener ``connected``, ``lost``, ``reconnecting`` (before each
        attempt), ``reconnected``, ``stopped``, ``failed`` (its thread or task ended by an error),
        ``overflow`` and ``overflow ended``, ``queue fills`` and ``queue emptied`` (PostgreSQL's),
        ``triggers missing``, ``triggers differ``, ``triggers moved``, ``undecodable`` (at most once
        a minute), ``lost position``; of a consumer also ``working``, ``standing by`` (another one
        of its name works), ``batch failed``, ``change failed``, ``held up`` and ``held up ended``
        (the log is not emptied); of all that read the log ``losses unseen`` (they would not notice
        changes that a trigger could not log).
    :ivar who: ``"listener"``, or ``"consumer"`` and its name and part.
    :ivar detail: the rest of the line in the log, without the database's password; may be empty.
    :ivar seconds: until the next attempt; None but for ``reconnecting``.
    :ivar missed: whether something was: a :class:`~sa_pgnotify.Gap` tells it in its place.
    :ivar level: of the line in the log, one of ``logging``'s.
    :ivar at: when, by this machine's clock.
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
    """Tells the changes of one listener or consumer.

    :param engine: whose password is in no message.
    """

    def __init__(
        self, who: str = "listener", engine: Engine | None = None, on_state: OnState | None = None
    ) -> None:
        self._who = who
        password = "" if engine is None else str(engine.url.password or "")
        # as it is, and as URLs have it
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
        """
        :param error: what is behind it, with its traceback in the log.
        :param level: of the line in the log, if it is not the state's own.
        """
        said = str(detail).strip()
        for secret in self._secrets:
            said = said.replace(secret, "***")
        level = level or LEVELS.get(
            state, logging.INFO if state == "reconnected" and not missed else logging.WARNING
        )
        change = StateChange(state, self._who, said, seconds, missed, level)
        logger.log(level, "%s", change, exc_info=error)
        if self._on_state is not None:
            try:
                self._on_state(change)
            except Exception:  # the program's own; reading must go on
                logger.exception("on_state failed with %s", change)
