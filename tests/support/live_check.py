"""Whether live queries follow what is written: their copies are compared with SELECT."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from live_turmoil import Copy
from sqlalchemy import Engine
from sqlalchemy.orm import Session
from statements import run

from sa_pgnotify import LiveQuery
from sa_pgnotify.live.frozen import frozen_row

PATIENCE = 10.0
"""Seconds that a step may take."""


def result(engine: Engine, statement: Any) -> Counter[Any]:
    """Return the rows that a statement gives now."""
    with Session(engine) as session:
        return Counter(frozen_row(row) for row in session.execute(statement))


class Followed:
    """A live query with a copy of its result.

    :param live: started, of ``statement``.
    """

    def __init__(self, live: LiveQuery, statement: Any) -> None:
        self.live = live
        self.statement = statement
        self.copy = Copy()

    def settle(self, engine: Engine) -> None:
        """Take steps until the copy is the result now; fail if none comes that makes it so."""
        expected = result(engine, self.statement)
        for step in self.live.steps(timeout=0):
            self.copy.take(step)
        while Counter(self.copy.rows.values()) != expected:
            for step in self.live.steps(timeout=PATIENCE):
                self.copy.take(step)
                break
            else:
                raise AssertionError(f"{self.copy.rows} stays, not {expected}")
        assert self.copy.wrong == []


def follows(engine: Engine, statements: Sequence[Any], writes: Sequence[str]) -> None:
    """Follow statements together, and compare each with its result after each of ``writes``."""
    with ExitStack() as stack:
        every = [
            Followed(stack.enter_context(LiveQuery(engine, statement)), statement)
            for statement in statements
        ]
        for write in ("SELECT 1", *writes):
            run(engine, write)
            for followed in every:
                followed.settle(engine)
