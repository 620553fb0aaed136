"""No wake-up is lost: the doorbell, in all orders in which the steps of two writers and two readers
can fall, and on a server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from math import inf
from typing import NamedTuple

import pytest
from durables import model_of
from logs import sleepers
from sessions import HERE
from sqlalchemy import text
from statements import run

from sa_pgnotify import Listener
from sa_pgnotify.log.tables import LogNames
from sa_pgnotify.log.tail import Tail
from sa_pgnotify.protocol.doorbell import FEW, LINGER, LOOK, SOON, Doorbell

LATER = 2 * LINGER


class Writer(NamedTuple):
    """A transaction with one change.

    :ivar step: ``new``, ``numbered``, ``written``, ``holding`` (between taking the lock and giving
        it back), ``checked``, ``committed`` or ``ended``.
    """

    step: str = "new"
    xid: int = 0
    rings: bool = False


class Reader(NamedTuple):
    """
    :ivar step: ``ready``, ``locked`` (and has not asked for the next id), ``reading`` or ``waking``
        (and holds the lock still).
    :ivar bell: the attributes of its Doorbell, whose clock stands still except where it may be
        late.
    :ivar seen: the changes that it has read; ``rung`` whether a notification is on its way to it.
    """

    step: str = "ready"
    bell: tuple[tuple[str, object], ...] = tuple(vars(Doorbell()).items())
    holds: bool = False
    next_id: int = 0
    seen: frozenset[int] = frozenset()
    rung: bool = False


class State(NamedTuple):
    writers: tuple[Writer, ...]
    readers: tuple[Reader, ...]
    next_id: int = 1
    newest_ended: int = 0

    @property
    def snapshot(self) -> tuple[int, int]:
        """What PostgreSQL says in a snapshot: xmin and xmax, the latter one more than the newest id
        that has ended."""
        xmax = self.newest_ended + 1
        return min(
            [
                w.xid
                for w in self.writers
                if w.step not in ("new", "committed", "ended") and w.xid < xmax
            ],
            default=xmax,
        ), xmax

    @property
    def committed(self) -> frozenset[int]:
        return frozenset(w.xid for w in self.writers if w.step == "committed")

    def writes(self, number: int, writer: Writer, **more: int) -> State:
        return self._replace(
            writers=(*self.writers[:number], writer, *self.writers[number + 1 :]), **more
        )

    def reads(self, number: int, reader: Reader) -> State:
        return self._replace(readers=(*self.readers[:number], reader, *self.readers[number + 1 :]))


class Model:
    """The protocol, as the trigger functions and :meth:`sa_pgnotify.log.tail.Tail.read` follow it.

    :ivar Bell: the Doorbell of its readers.
    :ivar atomic: whether writers take the lock and give it back in one step.
    """

    Bell = Doorbell
    atomic = True

    def writer(self, state: State, number: int) -> Iterator[State]:
        w = state.writers[number]
        if w.step == "new":
            if number == state.next_id - 1:  # the other order would be the same again
                yield state.writes(
                    number,
                    w._replace(step="numbered", xid=state.next_id),
                    next_id=state.next_id + 1,
                )
        elif w.step == "numbered":
            yield state.writes(number, w._replace(step="written"))
        elif w.step == "written":
            free = not any(reader.holds for reader in state.readers) and not any(
                other.step == "holding" for other in state.writers
            )
            yield state.writes(
                number,
                w._replace(
                    step="checked" if self.atomic or not free else "holding", rings=not free
                ),
            )
        elif w.step == "holding":
            yield state.writes(number, w._replace(step="checked"))
        elif w.step == "checked":
            yield state.writes(
                number, w._replace(step="ended"), newest_ended=max(state.newest_ended, w.xid)
            )
            done = state.writes(
                number, w._replace(step="committed"), newest_ended=max(state.newest_ended, w.xid)
            )
            heard = tuple(r._replace(rung=r.rung or w.rings) for r in state.readers)
            yield done._replace(readers=heard)

    def bell(self, reader: Reader) -> Doorbell:
        bell = self.Bell()
        vars(bell).update(reader.bell)
        return bell

    def reader(self, state: State, number: int) -> Iterator[State]:
        r = state.readers[number]
        if number == 0:  # the other one's would be the same again
            # its connection broke, and it has a new one
            yield state.reads(number, Reader(seen=r.seen))
        bell = self.bell(r)
        if r.step == "ready":
            if r.rung:
                bell.rung()
                yield state.reads(number, r._replace(bell=tuple(vars(bell).items()), rung=False))
            elif not bell.asleep:
                yield state.reads(number, r._replace(step="reading"))
                if bell.wants_to_sleep(LATER):
                    yield from self.show(state, number)
        elif r.step == "locked":
            bell.show(self.asked(state, r), 0.0)
            yield state.reads(number, r._replace(step="reading", bell=tuple(vars(bell).items())))
        elif r.step == "reading":
            new = state.committed - r.seen
            wakes = bell.looked(state.snapshot[0], 0.0, found=bool(new))
            step = "waking" if wakes else "ready"
            yield state.reads(
                number, r._replace(step=step, bell=tuple(vars(bell).items()), seen=r.seen | new)
            )
        elif r.step == "waking":
            yield state.reads(number, r._replace(step="ready", holds=False))

    def show(self, state: State, number: int) -> Iterator[State]:
        if not any(writer.step == "holding" for writer in state.writers):
            yield state.reads(number, state.readers[number]._replace(step="locked", holds=True))

    def asked(self, state: State, reader: Reader) -> int:
        return state.next_id

    def states(self) -> Iterator[State]:
        """All states that can be reached, those after fewer steps first."""
        known = [State((Writer(), Writer()), (Reader(), Reader()))]
        seen = set(known)
        for state in known:
            yield state
            for step in (self.writer, self.reader):
                for number in (0, 1):
                    for following in step(state, number):
                        if following not in seen:
                            seen.add(following)
                            known.append(following)

    def oversleeps(self, state: State) -> bool:
        """Whether a change is committed that a reader has not seen, and nothing will wake it."""
        return any(
            r.step == "ready"
            and not r.rung
            and dict(r.bell)["due"] == inf
            and not state.committed <= r.seen
            for r in state.readers
        )


class InTwoSteps(Model):
    atomic = False


class NeverDoubts(Model):
    """It waits for no transaction that wrote before it showed that it sleeps."""

    def asked(self, state, reader):
        return 0


class TrustsTheSnapshot(Model):
    """Only those are waited for that a snapshot names as running."""

    def asked(self, state, reader):
        return state.snapshot[1]


class AsksTooEarly(Model):
    """The next id is asked for before the lock is taken."""

    def reader(self, state, number):
        r = state.readers[number]
        if r.step == "ready" and not r.rung and not r.next_id:
            yield state.reads(number, r._replace(next_id=state.next_id))
        yield from super().reader(state, number)

    def asked(self, state, reader):
        return reader.next_id


class ShowsTooLate(Model):
    """It shows that it sleeps after it has read."""

    def reader(self, state, number):
        r = state.readers[number]
        if r.step == "reading" and r.holds:
            bell = self.bell(r)
            bell.looked(state.snapshot[0], 0.0, found=False)
            yield state.reads(number, r._replace(step="ready", bell=tuple(vars(bell).items())))
        else:
            yield from super().reader(state, number)


class NumberedTooLate(Model):
    """Writers look for sleepers before their transaction has an id."""

    def writer(self, state, number):
        w = state.writers[number]
        if w.step == "new":
            yield state.writes(
                number,
                w._replace(step="numbered", rings=any(reader.holds for reader in state.readers)),
            )
        elif w.step == "numbered":
            yield state.writes(
                number, w._replace(step="checked", xid=state.next_id), next_id=state.next_id + 1
            )
        else:
            yield from super().writer(state, number)


class Deaf(Model):
    """A reader that was rung does not look."""

    class Bell(Doorbell):
        def rung(self):
            pass


@pytest.mark.parametrize("model", [pytest.param(Model, marks=pytest.mark.thorough), InTwoSteps])
def test_no_order_loses_a_wake_up(model):
    """Nobody sleeps on while there is something to read; also if a writer takes another one's look
    for a sleeper, and rings for nothing."""
    soundly = 0
    for state in model().states():
        assert not model().oversleeps(state), state
        soundly += all(dict(r.bell)["due"] == inf for r in state.readers)
    assert soundly, "nobody ever slept"


@pytest.mark.parametrize(
    "model", [NeverDoubts, TrustsTheSnapshot, AsksTooEarly, ShowsTooLate, NumberedTooLate, Deaf]
)
def test_the_model_finds_what_is_wrong(model):
    """Each part of the protocol is needed: without it there is an order in which a reader sleeps
    on."""
    assert any(model().oversleeps(state) for state in model().states())


def test_look_does_as_the_model_does():
    """A reader takes the lock, then asks for the next id, then reads; and gives the lock back when
    it has given out what it has found."""
    ran: list[str] = []
    found: list[tuple[object, ...]] = []

    def execute(sql):
        ran.append(next(word for word in ("unlock", "lock_shared", "age", "rows") if word in sql))
        return {"age": [(7,)], "rows": found or [("7:7:", None, "1 1 0", None)]}.get(
            ran[-1], [(None,)]
        )

    tail = Tail(LogNames(), ["t"])
    tail._origin = "system:1:2:3:4:5"
    tail.read(execute)
    tail._doorbell._quiet_since -= LATER
    ran.clear()
    tail.read(execute)
    assert (ran, tail.asleep) == (["lock_shared", "age", "rows"], True)
    ran.clear()
    found.append(("8:8:", None, "1 1 0", 1, 7, 1, "t", "", ""))
    tail.read(execute)
    assert (ran, tail.asleep) == (["rows"], False)  # given out before anything else is asked
    tail.settle(execute)
    tail.settle(execute)
    assert ran == ["rows", "unlock"]


def test_a_reader_looks_soon_where_that_is_cheap():
    """Changes that come one by one are given out at once. A reader that finds many looks seldom, one
    that finds none less and less, and no reader asks a slow server all the time."""
    bell = Doorbell()
    pauses = {}
    for found, took in ((1, 0.0), (FEW, 0.0), (FEW + 1, 0.0), (1, 0.003), (1, 9.0)):
        bell.looked(7, 100.0, found=found, took=took)
        pauses[found, took] = round(bell.due - 100.0, 6)
    assert [*pauses.values()] == [SOON, SOON, LOOK, 0.003, LOOK]
    now, looks = 100.0, 0
    while not bell.wants_to_sleep(now):
        bell.looked(7, now, found=0)
        assert SOON <= round(bell.due - now, 6) <= LOOK
        now, looks = bell.due, looks + 1
    assert looks < 10


def sleeps(engine) -> None:
    """Wait until a reader shows that it sleeps, and has looked once more."""
    asked = text(
        f"SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1 AND mode = 'ShareLock' AND granted AND {HERE}"
    )
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        while not connection.scalar(asked):
            pass


@pytest.mark.parametrize("others", [False, True])
def test_who_wrote_before_anyone_slept_is_not_overslept(engine, others):
    """A change that was made while the reader was awake, and is committed when it sleeps, comes
    without waiting for the heartbeat, also if its transaction is the newest of all and no snapshot
    names it."""
    Item = model_of(engine)
    with Listener(engine, Item, heartbeat=3600.0) as listener, engine.connect() as late:
        run(engine, "INSERT INTO items (id, n) VALUES (1, 0)")
        late.execute(text("INSERT INTO items (id, n) VALUES (2, 0)"))
        assert listener.get(10.0).identity == (1,)
        if others:
            run(engine, "SELECT pg_current_xact_id()")
        sleeps(engine)
        late.commit()
        assert listener.get(30.0).identity == (2,)


def test_a_sleeper_is_woken_by_each_writer(engine):
    """While a reader sleeps, the next change rings; and the one after that, once it sleeps
    again."""
    Item = model_of(engine)
    with (
        Listener(engine, Item, heartbeat=3600.0) as first,
        Listener(engine, Item, heartbeat=3600.0) as second,
    ):
        for number in range(3):
            sleeps(engine)
            writer = threading.Thread(
                target=run, args=(engine, f"INSERT INTO items (id, n) VALUES ({number}, 0)")
            )
            writer.start()
            assert [listener.get(30.0).identity for listener in (first, second)] == [
                (number,),
                (number,),
            ]
            writer.join()


def test_a_sleeper_is_rung_for_its_own_tables_only(engine):
    """A writer of a table that no sleeper reads sends nothing, however long readers of other tables
    sleep; a writer of theirs rings."""
    items = model_of(engine, more=["others"])
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        channel = Tail.channel(lambda sql: connection.exec_driver_sql(sql), LogNames())
        with (
            Listener(engine, channel, heartbeat=60) as bell,
            Listener(engine, items, heartbeat=60) as listener,
        ):
            sleepers(engine)
            run(engine, "INSERT INTO others (id, n) VALUES (1, 1)")
            run(engine, "INSERT INTO items (id, n) VALUES (2, 2)")
            run(engine, f"NOTIFY {channel}, 'end'")
            assert listener.get(10).identity == (2,)
            assert [note.payload for note in (bell.get(10), bell.get(10))] == ["sa1 ring", "end"]
