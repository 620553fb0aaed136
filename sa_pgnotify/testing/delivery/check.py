"""Check that delivery holds on your server, through your proxy and your failovers: write, disturb,
and compare.

::

    from sa_pgnotify.testing import DeliveryCheck

    report = DeliveryCheck("postgresql+psycopg2:///scratch", seconds=60, processes=2, disturbances={"failover": failover}).run()
    print(report)
    report.raise_if_wrong()

Writers change a few hot rows and many new ones, in transactions with savepoints, rollbacks and long
pauses. Meanwhile consumers and listeners are disturbed at random: the server's processes for them
are ended, their own processes are killed, and your own disturbances are called. Each transaction
also writes what it does into a plain table, which is the truth even if the answer to its COMMIT was
lost, and a consumer writes its effects through its batches' sessions. In the end both must agree:
each committed change once, in the order of each row, transactions whole and in their own order.
With ``copies``, consumers begin with a snapshot of another table, and each must hold what the table
holds in the end; on the way there, each change must fit what was there before.

Pass a database that nothing else uses. Everything that the check makes is in the schema
``sa_pgnotify_delivery``, which is dropped at the end.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count
from typing import Any, ClassVar

from sqlalchemy import URL, NullPool, create_engine, make_url

from ...capture.capture import Capture
from ...capture.slot_stream import APPLICATION as STREAM
from ...consuming.chunks import part_of
from .capturing import CaptureRows
from .copies import Copying, MakeCopy
from .readers import APPLICATION, GAP, LEAVE, ConsumeRows, Listening, Seen
from .report import Report
from .supervised import KillableProcess, SupervisedThread
from .tables import CAPTURED, EFFECTS, JOURNAL, METADATA, SCHEMA
from .writers import END, Load, Writer, Written, insert_rows

__all__ = ["DeliveryCheck", "Report", "Seen", "Written"]


@dataclass
class DeliveryCheck:
    """A check of delivery, which :meth:`run` carries out.

    :ivar url: where the writers connect, by psycopg2 or psycopg, as a superuser or a role that may
        end the readers' sessions.
    :ivar readers_url: where the readers connect, if that is through a proxy or a pooler.
    :ivar seconds: how long to write.
    :ivar writers: how many writers write at the same time.
    :ivar hot_rows: how many rows they contend for.
    :ivar longest: the most seconds that a transaction is held open.
    :ivar seed: the seed of what the writers do.
    :ivar names: the names of the consumers.
    :ivar threads: how many threads of this process consume each part of each name.
    :ivar processes: how many other processes do so; they are killed at random.
    :ivar parts: how many parts each name has.
    :ivar listeners: how many listeners there are.
    :ivar copies: how many consumers begin with a snapshot, and keep a copy of a table whose rows
        change their keys and which is truncated now and then. If there are ``processes``, each is
        one that is killed at random.
    :ivar captures: how many processes capture the tables from the write-ahead log, which have no
        triggers then; they are killed at random. The server needs ``wal_level = logical``.
    :ivar batch_size: the batch size of the consumers.
    :ivar terminate: whether the readers' sessions are ended at random.
    :ivar disturbances: functions that are called at random, by their names in the report. Each
        should return when the server can be reached again.
    :ivar every: the mean number of seconds between two disturbances.
    :ivar patience: seconds that the last change may take to reach all readers, when the disturbances
        have ended.
    """

    url: str | URL
    readers_url: str | URL | None = None
    seconds: float = 10.0
    writers: int = 6
    hot_rows: int = 50
    longest: float = 2.0
    seed: int = 0
    names: Sequence[str] = ("consumer",)
    threads: int = 1
    processes: int = 0
    parts: int = 1
    listeners: int = 0
    copies: int = 0
    captures: int = 0
    batch_size: int = 20
    terminate: bool = True
    disturbances: Mapping[str, Callable[[], object]] = field(default_factory=dict)
    every: float = 0.3
    patience: float = 30.0

    _copy: ClassVar[type[MakeCopy]] = MakeCopy

    def run(self) -> Report:
        """Write, disturb and compare.

        :raises Exception: what one of ``disturbances`` raised, or the driver if the database cannot
            be used.
        """
        self._engine = create_engine(self.url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
        self._made: Counter[str] = Counter()
        self._drop()
        self._query(f"CREATE SCHEMA {SCHEMA}")
        if self.captures:
            CAPTURED.create_all(self._engine)
            Capture(self._engine, CAPTURED).create_slot()
        else:
            METADATA.create_all(self._engine)
        try:
            with ExitStack() as stack:
                url, captured = self._reader_url, self.captures > 0
                capturing = [
                    stack.enter_context(KillableProcess(CaptureRows(url)))
                    for _ in range(self.captures)
                ]
                listeners = [
                    stack.enter_context(Listening(url, captured=captured))
                    for _ in range(self.listeners)
                ]
                keys = [(name, part) for name in self.names for part in range(self.parts)]
                copying = self._copying()
                jobs = [
                    ConsumeRows(url, name, part, self.parts, self.batch_size, captured)
                    for name, part in keys
                ]
                for job in jobs:
                    for _ in range(self.threads):
                        stack.enter_context(SupervisedThread(job, LEAVE))
                killable = [
                    stack.enter_context(KillableProcess(job))
                    for job in jobs
                    for _ in range(self.processes)
                ]
                copiers = self._copiers(stack, copying)
                with copying:
                    self._disturbed([*capturing, *killable, *copiers])
                self._write_the_end()
                self._wait_for_the_end(len(jobs), listeners)
                return self._report(listeners, copying)
        finally:
            self._drop()
            self._engine.dispose()

    def _copying(self) -> Copying:
        """Fill the table of which copies are kept."""
        names = [f"copy {i}" for i in range(1, self.copies + 1)]
        copying = Copying(self._engine, names, self.seed, self.longest)
        if names:
            copying.fill()
        return copying

    def _copiers(self, stack: ExitStack, copying: Copying) -> list[KillableProcess]:
        """Let the copies be kept; return the processes that do it."""
        url, captured = self._reader_url, self.captures > 0
        jobs = [self._copy(url, name, 0, 1, self.batch_size, captured) for name in copying.names]
        if not self.processes:
            for job in jobs:
                stack.enter_context(SupervisedThread(job, LEAVE))
            return []
        return [stack.enter_context(KillableProcess(job)) for job in jobs]

    @property
    def _reader_url(self) -> str:
        return make_url(self.readers_url or self.url).render_as_string(hide_password=False)

    def _query(self, statement: str) -> list[Any]:
        with self._engine.connect() as connection:
            result = connection.exec_driver_sql(statement)
            return list(result) if result.returns_rows else []

    def _drop(self) -> None:
        CAPTURED.drop_all(self._engine)
        self._query(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")

    def _disturbed(self, killable: list[KillableProcess]) -> None:
        """Write, and disturb the readers meanwhile."""
        ((prepared,),) = self._query(
            "SELECT setting::int FROM pg_catalog.pg_settings WHERE name = 'max_prepared_transactions'"
        )
        chosen: dict[str, Callable[[], object]] = dict(self.disturbances)
        if self.terminate:
            chosen["terminate"] = self._terminate
        chance, stop = random.Random(self.seed), threading.Event()  # noqa: S311 (no secret)
        if killable:
            chosen["kill"] = lambda: chance.choice(killable).kill()
        with ThreadPoolExecutor(self.writers) as pool:
            load = Load(
                self.writers,
                self.hot_rows,
                self.longest,
                self.seed,
                prepares=prepared >= self.writers,
            )
            writers = [Writer(load, number, stop) for number in range(self.writers)]
            writing: list[Future[None]] = [
                pool.submit(writer.run, self._engine) for writer in writers
            ]
            try:
                until = time.monotonic() + self.seconds
                while (left := until - time.monotonic()) > 0:
                    time.sleep(min(left, chance.expovariate(1 / self.every)))
                    if chosen:
                        name = chance.choice(sorted(chosen))
                        chosen[name]()
                        self._made[name] += 1
            finally:
                stop.set()
        for written in writing:
            written.result()

    def _terminate(self) -> None:
        self._query(
            "SELECT pg_catalog.pg_terminate_backend(pid) FROM (SELECT pid FROM pg_catalog.pg_stat_activity "
            "WHERE datname = pg_catalog.current_database() "
            f"AND application_name IN ('{APPLICATION}', '{STREAM}') ORDER BY pg_catalog.random() LIMIT 1) AS one"
        )

    def _write_the_end(self) -> None:
        """Write one change for each part, after all others."""
        ids = [
            next(i for i in count(-1, -1) if part_of((str(i),), self.parts) == part)
            for part in range(self.parts)
        ]
        self._query(insert_rows(ids, END))

    def _wait_for_the_end(self, streams: int, listeners: list[Listening]) -> None:
        until = time.monotonic() + self.patience
        ended = f"SELECT pg_catalog.count(DISTINCT (name, part)) FROM {EFFECTS.fullname} WHERE pg_catalog.strpos(seen, '\"{END}\"') > 0"
        for listening in listeners:
            listening.ended.wait(max(0.0, until - time.monotonic()))
        while self._query(ended)[0][0] < streams and time.monotonic() < until:
            time.sleep(0.05)

    def _report(self, listeners: list[Listening], copying: Copying) -> Report:
        written = [
            Written(*row)
            for row in self._query(
                f"SELECT transaction_id, operation, row, token FROM {JOURNAL.fullname} ORDER BY number"
            )
        ]
        streams: dict[str, dict[int, list[Seen]]] = {
            name: {part: [] for part in range(self.parts)} for name in self.names
        }
        for name, part, seen in self._query(
            f"SELECT name, part, seen FROM {EFFECTS.fullname} ORDER BY number"
        ):
            streams[name][part] += [
                Seen(Written(*change), begins, ends) for change, begins, ends in json.loads(seen)
            ]
        readers = {name: list(parts.values()) for name, parts in streams.items()}
        readers |= {f"listener {i}": [listening.seen] for i, listening in enumerate(listeners, 1)}
        gaps = []
        for name, parts in readers.items():
            for stream in parts:
                gaps += [
                    f"{name}: {seen.change.token}"
                    for seen in stream
                    if seen.change.operation == GAP
                ]
                stream[:] = [seen for seen in stream if seen.change.operation != GAP]
        report = Report.of(written, readers, gaps)
        report.disturbances = self._made
        report.differences = copying.differences(time.monotonic() + self.patience)
        report.misfits, report.copied = copying.misfits(), copying.made
        return report
