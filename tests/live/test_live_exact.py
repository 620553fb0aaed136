"""Live queries give the result that the statement gives: a copy that is kept by steps alone equals a
SELECT, for random statements and random writes."""

from __future__ import annotations

import random

import pytest
from live_turmoil import Copy, Schema
from sqlalchemy import create_engine

from sa_pgnotify import LiveQuery

SEEDS = 3
ROUNDS = 12


class Followed:
    """One of the live queries of a test."""

    def __init__(self, engine, statement) -> None:
        self.statement = statement
        self.live = LiveQuery(engine, statement).start()
        self.copy = Copy()

    def settle(self, engine) -> str:
        """Take steps until the copy is the result, and return how it differs if it does not become
        so."""
        difference = "never looked"
        for _ in range(200):
            for step in self.live.steps(timeout=0):
                self.copy.take(step)
            if not (difference := self.copy.differs(engine, self.statement)):
                return ""
            for step in self.live.steps(timeout=0.05):
                self.copy.take(step)
                break
        return difference


def follow(engine, seed: int, durable, queries: int = 8, rounds: int = ROUNDS) -> list[str]:
    """Return what was wrong with the copies of some queries."""
    chance, schema = random.Random(seed), Schema(durable)
    schema.metadata.create_all(engine)
    for _ in range(20):
        schema.write(engine, chance)
    live_engine = create_engine(engine.url)
    followed = [Followed(live_engine, schema.statement(chance)) for _ in range(queries)]
    wrong = []
    try:
        for _ in range(rounds):
            schema.write(engine, chance)
            for one in followed:
                if difference := one.settle(engine):
                    wrong.append(f"{one.statement}: {difference}")
            if chance.random() < 0.2:
                place = chance.randrange(len(followed))
                followed[place].live.stop()
                followed[place] = Followed(live_engine, schema.statement(chance))
    finally:
        for one in followed:
            wrong += [f"{one.statement}: {event}" for event in one.copy.wrong]
            one.live.stop()
        live_engine.dispose()
    return wrong


@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("durable", [(True,) * 3, (False,) * 3, (True, False, True)], ids=str)
def test_the_copy_is_the_result(engine, seed, durable):
    """For each of many histories: filters, joins, aggregates, LIMIT, DISTINCT, subqueries and window
    functions, over durable tables and others; each ``old`` is what the step before said."""
    assert follow(engine, seed, durable) == []


def no_previous_keys(monkeypatch):
    from sa_pgnotify.live import changes

    monkeypatch.setattr(changes, "Updated", ())


def no_second_reading(monkeypatch):
    from sa_pgnotify.live import evaluator

    monkeypatch.setattr(evaluator, "read_window", lambda *_: None)


def every_leaf_is_looked_up(monkeypatch):
    from sa_pgnotify.live import statement

    monkeypatch.setattr(statement.LiveStatement, "looked_up", property(lambda self: self.leaves))


@pytest.mark.parametrize("broken", [no_previous_keys, no_second_reading, every_leaf_is_looked_up])
def test_a_wrong_evaluation_is_found(engine, monkeypatch, broken):
    """The test above fails if keys before a change are left out, if the log is not read in the
    snapshot of the evaluation, or if outer joins are looked up by changed rows."""
    broken(monkeypatch)
    monkeypatch.setattr(Followed, "settle", _settle_soon)
    assert any(follow(engine, seed, (True,) * 3, queries=12, rounds=15) for seed in range(3))


def _settle_soon(self, engine) -> str:
    """As Followed.settle, without patience: what comes is compared once it is quiet."""
    for step in self.live.steps(timeout=0.15):
        self.copy.take(step)
    return self.copy.differs(engine, self.statement)
