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
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count, groupby
from typing import Any, ClassVar

from sqlalchemy import URL, NullPool, create_engine, make_url

from ...consuming.chunks import part_of
from .copies import Copying, MakeCopy
from .readers import APPLICATION, GAP, LEAVE, ConsumeRows, Listening, Seen
from .supervised import KillableProcess, SupervisedThread
from .writers import (
    EFFECTS,
    END,
    JOURNAL,
    METADATA,
    SCHEMA,
    Load,
    Writer,
    Written,
    insert_rows,
)

__all__ = ["DeliveryCheck", "Report", "Seen", "Written"]


@dataclass
class Report:
    """The result of a check. Each finding is a line of text that begins with the reader's name.

    :ivar committed: how many changes were committed.
    :ivar transactions: in how many transactions they were.
    :ivar delivered: how many changes were delivered, by the name of the reader.
    :ivar missing: changes that were committed and not delivered.
    :ivar doubled: changes that were delivered more than once.
    :ivar made_up: changes that were delivered and not committed.
    :ivar out_of_order: changes that were delivered after a later change of the same row.
    :ivar torn: transactions that came in several pieces, or in another order than their own, or
        whose beginning or end was reported at the wrong change.
    :ivar gaps: each :class:`~sa_pgnotify.Gap` that a reader received; a durable entity needs none.
    :ivar misfits: events that did not fit into a copy: a row that was there already, or one that was
        not as it was before the change.
    :ivar differences: rows in which a copy differs from the table in the end.
    :ivar copied: how many changes were committed to the table that is copied.
    :ivar disturbances: how often each disturbance was made.
    """

    committed: int = 0
    transactions: int = 0
    delivered: dict[str, int] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    made_up: list[str] = field(default_factory=list)
    out_of_order: list[str] = field(default_factory=list)
    torn: list[str] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)
    misfits: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    copied: int = 0
    disturbances: Counter[str] = field(default_factory=Counter)

    _FINDINGS = (
        "missing",
        "doubled",
        "made_up",
        "out_of_order",
        "torn",
        "gaps",
        "misfits",
        "differences",
    )

    @classmethod
    def of(
        cls,
        written: Sequence[Written],
        readers: Mapping[str, Sequence[Sequence[Seen]]],
        gaps: Iterable[str] = (),
    ) -> Report:
        """Compare what was written with what each reader has seen.

        :param written: the committed changes in their order.
        :param readers: by name, one stream for each part of the reader.
        """
        report = cls(
            len(written), len({change.transaction_id for change in written}), gaps=list(gaps)
        )
        for name, streams in readers.items():
            report._judge(name, written, streams)
        return report

    def _judge(
        self, name: str, written: Sequence[Written], streams: Sequence[Sequence[Seen]]
    ) -> None:
        places = {change: place for place, change in enumerate(written)}
        times = Counter(seen.change for stream in streams for seen in stream)
        self.delivered[name] = times.total()
        self.missing += [f"{name}: {change}" for change in written if change not in times]
        self.doubled += [
            f"{name}: {change} {number} times" for change, number in times.items() if number > 1
        ]
        self.made_up += [f"{name}: {change}" for change in times if change not in places]
        for stream in streams:
            known = [seen for seen in stream if seen.change in places]
            newest: dict[int, int] = {}
            for change, _, _ in known:
                if places[change] < newest.setdefault(change.row, places[change]):
                    self.out_of_order.append(
                        f"{name}: {change} after {written[newest[change.row]]}"
                    )
                newest[change.row] = max(newest[change.row], places[change])
            over: set[int] = set()
            for transaction, run in groupby(known, key=lambda seen: seen.change.transaction_id):
                whole = list(run)
                order = [places[seen.change] for seen in whole]
                edges = [(seen.begins, seen.ends) for seen in whole if seen.begins is not None]
                right = [(i == 0, i == len(whole) - 1) for i in range(len(edges))]
                if transaction in over or order != sorted(order) or edges != right:
                    self.torn.append(f"{name}: transaction {transaction}: {whole}")
                over.add(transaction)

    @property
    def is_right(self) -> bool:
        """Whether nothing was found."""
        return not any(getattr(self, kind) for kind in self._FINDINGS)

    def raise_if_wrong(self) -> None:
        """Raise an error that shows the report, if anything was found.

        :raises AssertionError: if :attr:`is_right` is false.
        """
        if not self.is_right:
            raise AssertionError(str(self))

    def __str__(self) -> str:
        delivered = ", ".join(f"{number} to {name}" for name, number in self.delivered.items())
        made = (
            ", ".join(f"{number} {kind}" for kind, number in sorted(self.disturbances.items()))
            or "none"
        )
        lines = [
            f"committed: {self.committed} changes in {self.transactions} transactions",
            f"delivered: {delivered}",
            f"disturbances: {made}",
        ]
        if self.copied:
            lines.insert(2, f"changes of the table that is copied: {self.copied}")
        for kind in self._FINDINGS:
            found = getattr(self, kind)
            lines += [
                f"{kind.replace('_', ' ')}: {len(found)}",
                *(f"  {line}" for line in found[:3]),
            ]
        return "\n".join(lines)


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
        METADATA.create_all(self._engine)
        try:
            with ExitStack() as stack:
                listeners = [
                    stack.enter_context(Listening(self._reader_url)) for _ in range(self.listeners)
                ]
                keys = [(name, part) for name in self.names for part in range(self.parts)]
                copying = self._copying()
                jobs = [
                    ConsumeRows(self._reader_url, name, part, self.parts, self.batch_size)
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
                    self._disturbed([*killable, *copiers])
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
        jobs = [self._copy(self._reader_url, name, 0, 1, self.batch_size) for name in copying.names]
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
            f"AND application_name = '{APPLICATION}' ORDER BY pg_catalog.random() LIMIT 1) AS one"
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
