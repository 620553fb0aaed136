"""Check that a relay delivers into your broker what it promises, and that the members of a stream
consumer handle it once: write, kill, and compare.

::

    from sa_pgnotify.testing import ClusterCheck

    check = ClusterCheck("postgresql+psycopg2:///scratch", to="nats://a,b,c", stream="CHECK", read=read, seconds=60)
    check.run().raise_if_wrong()

The writers are those of :class:`~sa_pgnotify.testing.DeliveryCheck`. Several processes relay under
one name. They are killed at random, often between the broker's confirmation and the commit of the
position; the server's processes for them are ended; and zombies are made: a process is stopped, its
sessions are ended, another one takes over and publishes, and then the stopped one goes on. Your own
disturbances, such as the death of a broker, come between these. In the end the stream must have each
committed change once, in the order of each row, and transactions whole.

With ``members``, that many processes handle the stream (:class:`sa_pgnotify.streaming.StreamConsumer`)
and write down what they were given. They are killed and stopped as well, and must agree with the
stream in the end.

Pass a database that nothing else uses, and a stream that does not exist.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, ClassVar

from sqlalchemy import URL, NullPool, create_engine, make_url
from sqlalchemy.exc import DBAPIError

from ..delivery.check import Report
from ..delivery.readers import GAP, Seen
from ..delivery.tables import EFFECTS, JOURNAL, METADATA, SCHEMA
from ..delivery.writers import END, Load, Writer, Written, insert_rows
from .members import MEMBERS, MemberRows, handled
from .relays import ClusterProcess, RelayRows

__all__ = ["ClusterCheck"]

APPLICATION, MEMBER = "sa_pgnotify relay {}", "sa_pgnotify member {}"
WORKS = 5.0
"""Seconds that a relay may take to begin to work."""


@dataclass
class ClusterCheck:
    """A check of a relay, which :meth:`run` carries out.

    :ivar url: where the writers connect, as a superuser or a role that may end the relays' sessions.
    :ivar to: the URL of the broker; ``stream`` that of the stream, which the relay creates.
    :ivar read: returns the bodies of all messages that the stream has, in their order: JSON.
    :ivar relay_url: where the relays connect, if that is through a proxy.
    :ivar seconds: how long to write; longer, if each disturbance has not been made once by then.
    :ivar at_least_once: whether a change may come more than once; then the first counts.
    :ivar processes: how many relays run under one name.
    :ivar zombies: whether processes are stopped, to go on when another one has taken over.
    :ivar slowness: the most seconds between confirmation and commit, chosen at random.
    :ivar members: how many processes handle the stream.
    :ivar partitions: how many partitions they divide; ``lease`` in seconds, see
        :class:`~sa_pgnotify.streaming.StreamConsumer`.
    :ivar handling: the most seconds that a member takes for a batch, chosen at random, so that it is
        often within one when it is killed.
    :ivar disturbances: functions that are called at random, by their names in the report.
    :ivar every: the mean number of seconds between two disturbances.
    :ivar patience: seconds that may pass without a new message, until the last change has arrived.

    The others are as of a :class:`~sa_pgnotify.testing.DeliveryCheck`.
    """

    url: str | URL
    to: str
    stream: str
    read: Callable[[], Sequence[bytes]]
    relay_url: str | URL | None = None
    seconds: float = 10.0
    at_least_once: bool = False
    processes: int = 2
    zombies: bool = True
    slowness: float = 0.05
    writers: int = 6
    hot_rows: int = 50
    longest: float = 2.0
    seed: int = 0
    batch_size: int = 20
    terminate: bool = True
    members: int = 0
    partitions: int = 8
    lease: float = 1.0
    handling: float = 0.3
    disturbances: Mapping[str, Callable[[], object]] = field(default_factory=dict)
    every: float = 0.5
    patience: float = 60.0

    _job: ClassVar[type[RelayRows]] = RelayRows
    _member: ClassVar[type[MemberRows]] = MemberRows

    @property
    def name(self) -> str:
        """The name of the relay."""
        return self.stream.lower()

    def run(self) -> Report:
        """Write, disturb and compare.

        :raises Exception: what one of ``disturbances`` raised, or the driver if the database cannot
            be used.
        """
        self._engine = create_engine(self.url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
        self._made: Counter[str] = Counter()
        self._chance = random.Random(self.seed)  # noqa: S311 (no secret)
        self._drop()
        self._query(f"CREATE SCHEMA {SCHEMA}")
        METADATA.create_all(self._engine)
        try:
            with ExitStack() as stack:
                relays = [
                    stack.enter_context(ClusterProcess(self._relay(number)))
                    for number in range(self.processes)
                ]
                members = [
                    stack.enter_context(ClusterProcess(self._member_job(number)))
                    for number in range(self.members)
                ]
                self._disturbed(relays, members)
                self._query(insert_rows([-1], END))
                self._wait_for_the_end()
                streams = self._handled() if members else []
            seen = self._seen()  # with what a relay has published after the end
            return self._report(seen, streams)
        finally:
            self._drop()
            self._engine.dispose()

    def _relay(self, number: int) -> RelayRows:
        url = make_url(self.relay_url or self.url).render_as_string(hide_password=False)
        application = APPLICATION.format(number)
        return self._job(
            url, self.name, self.to, self.stream, application, self.batch_size, self.slowness
        )

    def _member_job(self, number: int) -> MemberRows:
        url = make_url(self.relay_url or self.url).render_as_string(hide_password=False)
        application = MEMBER.format(number)
        return self._member(
            url,
            self.to,
            self.stream,
            application,
            self.batch_size,
            self.handling,
            self.partitions,
            self.lease,
        )

    def _query(self, statement: str) -> list[Any]:
        with self._engine.connect() as connection:
            result = connection.exec_driver_sql(statement)
            return list(result) if result.returns_rows else []

    def _drop(self) -> None:
        self._query(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")

    # -- disturbing --------------------------------------------------------------------------------

    def _disturbed(self, relays: list[ClusterProcess], members: list[ClusterProcess]) -> None:
        """Write, and disturb the relays and the members meanwhile."""
        chance, stop = self._chance, threading.Event()
        chosen: dict[str, Callable[[], object]] = dict(self.disturbances)
        chosen["kill"] = lambda: self._kill(relays)
        if self.terminate:
            chosen["terminate"] = lambda: self._terminate(self._worker())
        if self.zombies and len(relays) > 1:
            chosen["zombie"] = lambda: self._zombie(relays)
        prepared = "SELECT setting::int FROM pg_catalog.pg_settings WHERE name = 'max_prepared_transactions'"
        prepares = self._query(prepared)[0][0] >= self.writers
        load = Load(self.writers, self.hot_rows, self.longest, self.seed, prepares=prepares)
        with ThreadPoolExecutor(self.writers + 1) as pool:
            writing = [
                pool.submit(Writer(load, number, stop).run, self._engine)
                for number in range(self.writers)
            ]
            try:
                if members:
                    self._wait_for_members()
                    writing.append(pool.submit(self._disturb_members, members, stop))
                until, order = time.monotonic() + self.seconds, list[str]()
                while (left := until - time.monotonic()) > 0 or chosen.keys() - self._made.keys():
                    time.sleep(min(max(left, 0.1), chance.expovariate(1 / self.every)))
                    order = order or chance.sample(sorted(chosen), len(chosen))
                    name = order.pop()
                    chosen[name]()
                    self._made[name] += 1
            finally:
                stop.set()
        for written in writing:
            written.result()

    def _kill(self, relays: list[ClusterProcess]) -> None:
        relays[self._worker()].kill()

    def _terminate(self, number: int) -> int:
        """End the sessions of a relay, and those of the members; return how many they had."""
        names = [APPLICATION.format(number), *map(MEMBER.format, range(self.members))]
        return len(
            self._query(
                "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity "
                f"WHERE datname = pg_catalog.current_database() AND application_name = ANY(ARRAY{names})"
            )
        )

    def _zombie(self, relays: list[ClusterProcess]) -> None:
        """Stop the relay that works, and let it go on when another one works."""
        working = self._worker()
        relays[working].stop()
        try:
            self._terminate(working)
            self._worker(working)
            time.sleep(0.3)  # the other one publishes
        finally:
            relays[working].go_on()

    def _wait_for_members(self) -> None:
        """Wait until a member has handled something."""
        until = time.monotonic() + self.patience
        while not self._query(f"SELECT FROM {EFFECTS.fullname} LIMIT 1"):
            if time.monotonic() > until:
                return
            time.sleep(0.05)

    def _disturb_members(self, members: list[ClusterProcess], stop: threading.Event) -> None:
        """Kill a member within a batch, or stop it there until the others have its partitions."""
        chance = random.Random(f"{self.seed} members")  # noqa: S311 (no secret)
        within = (
            "SELECT application_name FROM pg_catalog.pg_stat_activity WHERE datname = pg_catalog.current_database() "
            f"AND application_name = ANY(ARRAY{[*map(MEMBER.format, range(self.members))]}) AND state = 'idle in transaction'"
        )
        while not stop.wait(0.05):
            try:
                found = [int(name.rpartition(" ")[2]) for (name,) in self._query(within)]
            except DBAPIError:  # a disturbance has ended the server
                continue
            if not found:
                continue
            member = members[chance.choice(found)]
            if self.zombies and chance.random() < 0.6:
                member.stop()
                stop.wait(2.5 * self.lease)
                member.go_on()
                self._made["zombie member"] += 1
            else:
                member.kill()
                self._made["kill of a member"] += 1
            stop.wait(self.lease * chance.uniform(0.5, 2.0))

    def _worker(self, but: int | None = None) -> int:
        """Wait until a relay works, a little longer, and return its number.

        :param but: the number of one that does not count.
        """
        until = time.monotonic() + WORKS
        while (working := self._working()) in {None, but} and time.monotonic() < until:
            time.sleep(0.02)
        time.sleep(self.every * self._chance.random())
        return working or 0

    def _working(self) -> int | None:
        """Return the number of the relay that holds the claim to work."""
        names = [APPLICATION.format(number) for number in range(self.processes)]
        found = self._query(
            "SELECT a.application_name FROM pg_catalog.pg_locks AS l JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid "
            f"JOIN {SCHEMA}.sa_pgnotify_consumers AS c ON c.name = '{self.name}' AND c.relation = '' "
            "AND (l.classid::bigint << 32) + l.objid::bigint = c.lock "
            "WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1"
        )
        return next((names.index(name) for (name,) in found if name in names), None)

    # -- comparing ---------------------------------------------------------------------------------

    def _seen(self) -> list[Seen]:
        return [_seen(json.loads(body)) for body in self.read()]

    def _wait_for_the_end(self) -> None:
        until, count = time.monotonic() + self.patience, 0
        while time.monotonic() < until:
            seen = self._seen()
            if any(one.change.token == END for one in seen):
                return
            if len(seen) > count:
                until, count = time.monotonic() + self.patience, len(seen)
            time.sleep(0.2)

    def _handled(self) -> list[list[Seen]]:
        """Wait for the members, and return what they have handled in each partition."""
        until = time.monotonic() + self.patience
        effects = f"SELECT seen FROM {EFFECTS.fullname} WHERE name = '{MEMBERS}' ORDER BY number"
        while True:
            streams = handled((text for (text,) in self._query(effects)), self.partitions)
            ((written,),) = self._query(f"SELECT count(*) FROM {JOURNAL.fullname}")
            if sum(map(len, streams)) >= written or time.monotonic() > until:
                return streams
            time.sleep(0.2)

    def _report(self, seen: list[Seen], streams: list[list[Seen]]) -> Report:
        journal = (
            f"SELECT transaction_id, operation, row, token FROM {JOURNAL.fullname} ORDER BY number"
        )
        written = [Written(*row) for row in self._query(journal)]
        gaps = [f"{self.name}: {one.change.token}" for one in seen if one.change.operation == GAP]
        changes = [one for one in seen if one.change.operation != GAP]
        if self.at_least_once:
            changes = list({one.change: one for one in reversed(changes)}.values())[::-1]
        readers: dict[str, Sequence[Sequence[Seen]]] = {self.name: [changes]}
        if streams:
            readers[MEMBERS] = [[s for s in part if s.change.operation != GAP] for part in streams]
            found = [s.change.token for part in streams for s in part if s.change.operation == GAP]
            gaps += [f"{MEMBERS}: {token}" for token in found]
        report = Report.of(written, readers, gaps)
        report.disturbances = self._made
        return report


def _seen(body: dict[str, Any]) -> Seen:
    """Return the change of a message."""
    if body["event"] == "gap":
        return Seen(Written(0, GAP, 0, str(body)))
    values = body["old"] if body["event"] == "deleted" else body["new"]
    operation = {"inserted": "I", "updated": "U", "deleted": "D"}[body["event"]]
    return Seen(Written(body["transaction_id"], operation, body["identity"][0], values["token"]))
