"""Rounds of writing, disturbing and comparing.

Writers change ephemeral and durable tables, while listeners and consumers, their connections, and
the servers are disturbed one after the other. Then all is calm, each table gets a last row, and
when that has reached the readers their streams are compared with the journal. What is chosen
follows from the seed; when it happens does not, so that a seed repeats the kind of a run and not
the run.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from sqlalchemy import create_engine

from sa_pgnotify.testing.delivery.supervised import KillableProcess, SupervisedThread

from .load import (
    DURABLE,
    EFFECTS,
    EPHEMERAL,
    JOURNAL,
    METADATA,
    SCHEMA,
    Change,
    Load,
    Outcome,
    Writer,
    insert_row,
)
from .readers import END, LEAVE, ConsumeDurable, Listening
from .verdict import Entry, Judge, Verdict
from .world import DATABASE, World

HEAVY = (
    "kill -9 a backend",
    "crash",
    "crash, prepared left",
    "crash, commits lost",
    "failover",
    "triggers disabled",
)


@dataclass
class Round:
    """
    :param seed: of what is chosen, and the name of the round.
    :param seconds: how long it is written and disturbed, unless ``schedule`` gives the disturbances
        one by one.
    :param every: mean seconds of quiet between two disturbances.
    :param patience: seconds that the last rows may take to reach all readers.
    """

    world: World
    seed: str
    seconds: float = 60.0
    every: float = 2.0
    schedule: Sequence[str] = ()
    writers: int = 4
    heartbeat: float = 0.5
    patience: float = 40.0
    pause: float = 0.2

    def run(self) -> Verdict:
        world, chance = self.world, random.Random(self.seed)
        world.lossy = False
        world.run(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE", f"CREATE SCHEMA {SCHEMA}")
        engine = create_engine(world.primary.url.set(database=DATABASE))
        METADATA.create_all(engine)
        engine.dispose()
        stop = threading.Event()
        load = Load(self.seed, self.writers, world.connect, world.hold, stop, pause=self.pause)
        writers = [Writer(load, number) for number in range(self.writers)]
        with ExitStack() as stack:
            first, second = world.urls
            listeners = [
                stack.enter_context(Listening(f"{name}, {kind}", kind, url, tables, self.heartbeat))
                for name, kind, url, tables in (
                    ("ephemeral", "psycopg2", first, EPHEMERAL),
                    ("ephemeral", "asyncpg", second, EPHEMERAL),
                    ("both", "psycopg", second, [*EPHEMERAL, *DURABLE]),
                    ("durable", "psycopg2", second, DURABLE),
                    ("durable", "psycopg-asyncio", first, DURABLE),
                )
            ]
            jobs = [
                ConsumeDurable(first, "whole", 0, 1, self.heartbeat),
                *[ConsumeDurable(second, "divided", part, 2, self.heartbeat) for part in range(2)],
            ]
            for job in jobs:
                stack.enter_context(SupervisedThread(job, LEAVE))
            process = stack.enter_context(KillableProcess(jobs[0]))
            threads = [threading.Thread(target=writer.run, daemon=True) for writer in writers]
            for thread in threads:
                thread.start()
            try:
                disturbed = self._disturb(chance, listeners, process)
            finally:
                world.calm()
                stop.set()
                for thread in threads:
                    thread.join()
            outcomes = {
                name: outcome for writer in writers for name, outcome in writer.outcomes.items()
            }
            self._write_the_end(outcomes, listeners, jobs)
        return self._verdict(outcomes, listeners, disturbed)

    def _disturb(
        self, chance: random.Random, listeners: list[Listening], process: KillableProcess
    ) -> list[tuple[float, str]]:
        kinds: dict[str, Callable[[], object]] = {
            **self.world.disturbances(chance),
            "restart a listener": lambda: chance.choice(listeners).restart(),
            "kill a consumer's process": process.kill,
        }
        names = sorted(kinds)
        weights = [1 if name in HEAVY else 2 for name in names]
        given = iter(self.schedule)
        until_ = time.monotonic() + self.seconds
        made = []
        while True:
            time.sleep(chance.expovariate(1 / self.every) if not self.schedule else self.every)
            name = next(given, None) if self.schedule else chance.choices(names, weights)[0]
            if name is None or (not self.schedule and time.monotonic() > until_):
                return made
            made.append((time.time(), name))
            kinds[name]()

    def _write_the_end(
        self, outcomes: dict[str, Outcome], listeners: list[Listening], jobs: list[ConsumeDurable]
    ) -> None:
        """Write a last row into each table, and again while a listener that reconnects may have
        missed it."""
        deadline, number = time.monotonic() + self.patience, 0
        while True:
            number += 1
            for table in (*EPHEMERAL, *DURABLE):
                token = f"{END}.{number}.{table.name}"
                outcomes[token] = Outcome(time.time())
                self.world.run(insert_row(table.name, -number, token))
                outcomes[token].latest = time.time()
            try:
                until_true(
                    lambda: (
                        all(listener.has_ended() for listener in listeners) and self._consumed(jobs)
                    ),
                    min(2.0, self.patience),
                )
                return
            except TimeoutError:
                if time.monotonic() > deadline:
                    for listener in listeners:
                        if not listener.has_ended():
                            listener.streams[-1].errors.append(
                                f"the last rows did not come within {self.patience} s"
                            )
                    return  # what a consumer lacks is found by the comparison

    def _consumed(self, jobs: list[ConsumeDurable]) -> bool:
        """Whether each consumer has had as many changes as were made."""
        ((written,),) = self.world.run(
            f"SELECT count(*) FROM {JOURNAL.fullname} WHERE relation LIKE 'kept%' AND NOT silent"
        )
        counts = dict(
            self.world.run(
                f"SELECT reader, count(*) FROM {EFFECTS.fullname} WHERE operation IN ('I', 'U', 'D') GROUP BY reader"
            )
        )
        return all(counts.get(name, 0) >= written for name in {job.name for job in jobs})

    def _verdict(
        self,
        outcomes: dict[str, Outcome],
        listeners: list[Listening],
        disturbed: list[tuple[float, str]],
    ) -> Verdict:
        journal = [
            Entry(Change(*change), transaction, silent)
            for *change, transaction, silent in self.world.run(
                f"SELECT relation, operation, row, token, transaction, silent FROM {JOURNAL.fullname} ORDER BY number"
            )
        ]
        judge = Judge(
            journal,
            outcomes,
            lossy=self.world.lossy,
            label=f"seed {self.seed}",
            disturbed=disturbed,
        )
        for listener in listeners:
            judge.listener(listener.name, listener.streams)
        effects: dict[str, list[Change]] = {"whole": [], "divided": []}
        for reader, *change in self.world.run(
            f"SELECT reader, relation, operation, row, token FROM {EFFECTS.fullname} ORDER BY number"
        ):
            effects[reader].append(Change(*change))
        for reader, changes in effects.items():
            judge.consumer(f"consumer, {reader}", changes)
        judge.verdict.disturbances.update(name for _, name in disturbed)
        return judge.verdict


def until_true(met: Callable[[], bool], seconds: float) -> None:
    """
    :raises TimeoutError: if it is not met within ``seconds``.
    """
    deadline = time.monotonic() + seconds
    while not met():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.1)
