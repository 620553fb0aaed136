"""Parked changes that are given out again: once, in the order of each row, whatever dies."""

from __future__ import annotations

import threading

import pytest
from consumers import Running, done, until
from durables import model_of
from sqlalchemy import text
from statements import run

from sa_pgnotify import Consumer as BlockingConsumer
from sa_pgnotify import (
    Deleted,
    Existing,
    Inserted,
    PgNotifyError,
    Truncated,
    Updated,
    consumers,
)


class Work:
    """Work that fails for the rows of ``broken``, until they are taken out.

    :ivar seen: what it was given, failed attempts included.
    """

    def __init__(self, *broken):
        self.broken = set(broken)
        self.seen = []

    def __call__(self, session, change):
        key = None if change.identity is None else change.identity[0]
        self.seen.append((type(change).__name__, key, change.key))
        if key in self.broken:
            raise LookupError(key)
        session.execute(text(f"INSERT INTO done (what) VALUES ('{len(self.seen)} {key}')"))

    def kinds(self, key):
        return [kind for kind, other, _ in self.seen if other == key]


def park(error, change, failures):
    return "park"


def parked(consumer):
    return [(change.operation, change.failures) for change in consumer.parked()]


def test_a_parked_change_is_given_out_again(engine, Consumer):
    """It comes once more with the same key, after which it is not parked any longer; what fails
    again stays parked, with its failures counted; and the position does not move by it."""
    work = Work(2, 3)
    with Running(Consumer(on_error=park), work) as running:
        run(engine, "INSERT INTO items SELECT i, 0 FROM generate_series(1, 4) AS i")
        until(lambda: consumers(engine)[0].parked == 2)
        work.broken = {3}
        before = len(work.seen)
        assert running.consumer.retry_parked() == 2
        until(lambda: consumers(engine)[0].parked == 1)
        until(lambda: parked(running.consumer) == [("I", 2)])
        run(engine, "INSERT INTO items VALUES (5, 0)")
        until(lambda: len(done(engine)) == 4)
    assert running.error is None
    keys = {key: key_of for _, key, key_of in work.seen[:before]}
    again = [(key, key_of) for _, key, key_of in work.seen[before:] if key in (2, 3)]
    assert set(again) == {(2, keys[2]), (3, keys[3])}
    assert [what.split()[1] for what in done(engine)] == ["1", "4", "2", "5"]


@pytest.mark.parametrize("park_key", [True, False])
def test_later_changes_of_a_parked_row(engine, Consumer, park_key):
    """With ``park_key``, later changes of the row wait, also in a new process, and come in order
    when it is retried; changes of other rows do not wait. Without it they come at once."""
    work = Work(1)
    with Running(Consumer(on_error=park, park_key=park_key), work):
        run(engine, "INSERT INTO items VALUES (1, 0), (2, 0)")
        until(lambda: consumers(engine)[0].parked == 1 and len(done(engine)) == 1)
    work.broken.clear()
    with Running(Consumer(on_error=park, park_key=park_key), work) as running:
        run(engine, "UPDATE items SET n = 1", "UPDATE items SET id = 3 WHERE id = 1")
        run(engine, "UPDATE items SET n = 2 WHERE id = 3", "INSERT INTO items VALUES (4, 0)")
        until(lambda: work.kinds(4))
        until(lambda: consumers(engine)[0].lag.events == 0)
        assert work.kinds(2) == ["Inserted", "Updated"]
        if not park_key:
            assert work.kinds(3) == ["Updated", "Updated"]
            return
        assert work.kinds(3) == []
        assert [failures for _, failures in parked(running.consumer)] == [1, 0, 0, 0]
        assert running.consumer.retry_parked() == 4
        until(lambda: consumers(engine)[0].parked == 0)
        run(engine, "DELETE FROM items WHERE id = 3")
        until(lambda: work.kinds(3)[-1:] == ["Deleted"])
    assert work.kinds(1)[2:] == ["Inserted", "Updated"]  # the first two attempts failed
    assert work.kinds(3) == ["Updated", "Updated", "Deleted"]


def test_what_fails_again_holds_up_what_is_behind_it(engine, Consumer):
    """If the first change of a row fails again, the others of that row stay parked, and are not
    given out; those of other rows are."""
    work = Work(1, 2)
    with Running(Consumer(on_error=park, park_key=True), work) as running:
        run(engine, "INSERT INTO items VALUES (1, 0), (2, 0)", "UPDATE items SET n = 1")
        until(lambda: consumers(engine)[0].parked == 4)
        work.broken = {1}
        running.consumer.retry_parked()
        until(lambda: parked(running.consumer) == [("I", 2), ("U", 0)])
        assert work.kinds(2)[-2:] == ["Inserted", "Updated"]
        assert set(work.kinds(1)) == {"Inserted"}


def test_a_truncate_waits_for_all_rows(engine, Consumer):
    """A TRUNCATE waits behind a parked change of any row, and changes of all rows wait behind it."""
    work = Work(1)
    with Running(Consumer(on_error=park, park_key=True), work) as running:
        run(engine, "INSERT INTO items VALUES (1, 0)")
        until(lambda: consumers(engine)[0].parked == 1)
        run(engine, "TRUNCATE items", "INSERT INTO items VALUES (2, 0)")
        until(lambda: consumers(engine)[0].parked == 3)
        work.broken.clear()
        running.consumer.retry_parked()
        until(lambda: consumers(engine)[0].parked == 0)
    assert [kind for kind, _, _ in work.seen[-3:]] == ["Inserted", "Truncated", "Inserted"]


def test_the_connection_dies_while_it_is_retried(engine, Consumer):
    """If the server ends the session between the work and its commit, the change is still parked,
    and comes again; the work is done once."""
    work = Work(1)
    killed = []

    def work_that_dies(session, change):
        work(session, change)
        if len(work.seen) > 1 and not killed:
            pid = session.execute(text("SELECT pg_backend_pid()")).scalar()
            killed.append(consumers(engine)[0].parked)
            run(engine, f"SELECT pg_terminate_backend({pid})")

    with Running(Consumer(on_error=park, park_key=True), work_that_dies) as running:
        run(engine, "INSERT INTO items VALUES (1, 0)")
        until(lambda: consumers(engine)[0].parked == 1)
        run(engine, "UPDATE items SET n = 1")
        until(lambda: consumers(engine)[0].parked == 2)
        work.broken.clear()
        running.consumer.retry_parked()
        until(lambda: consumers(engine)[0].parked == 0)
    assert killed == [2]
    assert [what.split()[1] for what in done(engine)] == ["1", "1"]
    assert work.kinds(1)[-2:] == ["Inserted", "Updated"]


def test_another_process_goes_on_with_it(engine, Consumer):
    """What is to be given out again does not need the process that was asked: the next one that
    works has it first, and a process that dies of it leaves it parked."""
    work = Work(1)
    with Running(Consumer(on_error=park), work):
        run(engine, "INSERT INTO items VALUES (1, 0)")
        until(lambda: consumers(engine)[0].parked == 1)
    run(engine, "INSERT INTO items VALUES (2, 0)")
    assert Consumer().retry_parked() == 1
    with Running(Consumer(), work) as running:
        running.thread.join()
    assert isinstance(running.error, LookupError)
    assert consumers(engine)[0].parked == 1
    with Running(Consumer()):
        until(lambda: len(done(engine)) == 2)
    assert done(engine) == ["Inserted 1", "Inserted 2"]
    assert consumers(engine)[0].parked == 0


def test_rows_of_a_snapshot_are_read_again(engine, Consumer):
    """A row of a snapshot that was parked comes as it is now, after its later changes, as from a
    backfill; so what was made of the rows equals the table."""
    run(engine, "INSERT INTO items VALUES (1, 0), (2, 0)")
    copy, broken = {}, {1}
    lock = threading.Lock()

    def work(session, change):
        with lock:
            match change:
                case Existing(_, (key,), new=new) if key not in broken:
                    copy[key] = new["n"]
                case Updated(_, (key,), new=new) | Inserted(_, (key,), new=new):
                    copy[key] = new["n"]
                case Deleted() | Truncated():
                    raise AssertionError(change)
                case _:
                    raise LookupError(change)

    consumer = Consumer(start="snapshot", on_error=park)
    with Running(consumer, work) as running:
        until(lambda: consumers(engine)[0].parked == 1)
        assert parked(running.consumer) == [("E", 1)]
        run(engine, "UPDATE items SET n = 7 WHERE id = 1")
        until(lambda: copy.get(1) == 7)
        copy.pop(1)
        broken.clear()
        running.consumer.retry_parked()
        until(lambda: copy == {1: 7, 2: 0})
        until(lambda: consumers(engine)[0].parked == 0)


def test_what_a_version_does_not_read_stays_parked(engine, Item):
    """A parked change of an entity that this version does not read stays parked, and holds up
    nothing; a version that reads it gives it out."""
    first = model_of(engine, more=["others"])
    both, one = [mapper.class_ for mapper in first.registry.mappers], [first]
    work = Work(1)
    with Running(BlockingConsumer(engine, "c", *both, on_error=park, park_key=True), work):
        run(engine, "INSERT INTO others VALUES (1, 0)")
        until(lambda: consumers(engine)[0].parked == 1)
    work.broken.clear()
    with Running(BlockingConsumer(engine, "c", *one, park_key=True), work) as running:
        assert running.consumer.retry_parked() == 1
        run(engine, "INSERT INTO items VALUES (2, 0)")
        until(lambda: work.kinds(2))
        assert consumers(engine)[0].parked == 1
    with Running(BlockingConsumer(engine, "c", *both, park_key=True), work) as running:
        running.consumer.retry_parked()
        until(lambda: consumers(engine)[0].parked == 0)
    assert work.kinds(1)[-1] == "Inserted"


def test_retry_of_nothing(engine, Item):
    """Nothing to retry is no error; a consumer that is not known is one, and so is a call within the
    block of a batch, which would wait for itself."""
    consumer = BlockingConsumer(engine, "c", Item)
    with pytest.raises(PgNotifyError, match="is not known"):
        consumer.retry_parked()
    with consumer:
        assert consumer.retry_parked() == 0
        run(engine, "INSERT INTO items VALUES (1, 0)")
        for batch in consumer:
            with batch:
                with pytest.raises(PgNotifyError, match="within its block"):
                    consumer.retry_parked()
            break
