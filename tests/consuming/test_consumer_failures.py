"""Changes that the program fails to process: which one it is, how often it has failed, and what
on_error does about it."""

from __future__ import annotations

import time
from typing import ClassVar

import pytest
from consumers import Running, consume, done, numbers, record, until
from sqlalchemy import text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from statements import run

from sa_pgnotify import Consumer as BlockingConsumer
from sa_pgnotify import Gap, NotifyConfigError, NotifyOnChange, NotifySpec, consumers


def insert(engine, first, last):
    run(engine, f"INSERT INTO items SELECT i, 0 FROM generate_series({first}, {last}) AS i")


class Asked:
    """An ``on_error`` that returns the given verdicts in turn, and the last one for ever.

    :ivar calls: what it was called with: the error's type, the identity, and how often it has
        failed.
    """

    def __init__(self, *verdicts):
        self.verdicts = list(verdicts)
        self.calls = []

    def __call__(self, error, change, failures):
        self.calls.append((type(error).__name__, change.identity[0], failures))
        return self.verdicts.pop(0) if len(self.verdicts) > 1 else self.verdicts[0]


def failing(*ids):
    """Work that fails for some rows."""

    def work(session, change):
        record(session, change)
        if change.identity[0] in ids:
            raise LookupError(change.identity[0])

    return work


@pytest.mark.parametrize("verdict", ["skip", "park"])
def test_skip_and_park(engine, Consumer, verdict):
    """Only the changes that fail are skipped, each by itself; all others are processed once and in
    order, and parked changes are kept."""
    asked = Asked(verdict)
    with Running(Consumer(on_error=asked), failing(2, 5, 6)) as running:
        insert(engine, 1, 6)
        insert(engine, 7, 8)
        until(lambda: len(done(engine)) == 5)
        parked = running.consumer.parked()
    assert running.error is None
    assert done(engine) == [f"Inserted {i}" for i in (1, 3, 4, 7, 8)]
    assert asked.calls == [("LookupError", i, 1) for i in (2, 5, 6)]
    if verdict == "park":
        assert [
            (p.relation, p.operation, p.row.split("\x1f")[0], p.error, p.failures) for p in parked
        ] == [("public.items", "I", str(i), f"LookupError: {i}", 1) for i in (2, 5, 6)]
        assert consumers(engine)[0].parked == 3
    else:
        assert parked == []


def test_retry(engine, Consumer):
    """What is tried again keeps its place before all that follows, and comes at last."""
    asked = Asked("retry", "retry", "skip")
    with Running(Consumer(on_error=asked), failing(2)):
        insert(engine, 1, 3)
        until(lambda: len(done(engine)) == 2)
    assert asked.calls == [("LookupError", 2, failures) for failures in (1, 2, 3)]
    assert done(engine) == ["Inserted 1", "Inserted 3"]


def test_raise(engine, Consumer):
    """The error leaves the iteration as it is, the changes before it stand, and it comes again."""
    asked = Asked("raise")
    consumer = Consumer(on_error=asked)
    with Running(consumer, failing(2)) as running:
        insert(engine, 1, 3)
        running.thread.join()
    assert isinstance(running.error, LookupError)
    assert done(engine) == ["Inserted 1"]
    with Consumer() as again:
        assert numbers(consume(again, 2)) == [2, 3]


def test_failures_are_counted_over_restarts(engine, Consumer):
    """If the consumer is restarted again and again while more is committed, failures of a change
    are still counted. The count of a change that was passed is dropped, and the next change has its
    own."""
    for failures in (1, 2, 3):
        insert(engine, failures * 10, failures * 10)
        asked = Asked("raise")
        with Running(Consumer(on_error=asked, start="beginning"), failing(10)) as running:
            running.thread.join()
        assert asked.calls == [("LookupError", 10, failures)]
        assert consumers(engine)[0].failures == failures
    asked = Asked("skip", "raise")
    with Running(Consumer(on_error=asked), failing(10, 30)) as running:
        running.thread.join()
    assert asked.calls == [("LookupError", 10, 4), ("LookupError", 30, 1)]
    assert done(engine) == ["Inserted 20"]


def test_what_fails_at_the_flush_is_found(engine, Consumer):
    """An error that comes only when the batch is flushed or committed is the one of the change that
    causes it."""
    run(
        engine,
        "CREATE TABLE allowed (id int PRIMARY KEY)",
        "INSERT INTO allowed SELECT generate_series(0, 100)",
        "DELETE FROM allowed WHERE id = 3",
    )
    run(
        engine,
        "ALTER TABLE done ADD COLUMN item int REFERENCES allowed DEFERRABLE INITIALLY DEFERRED",
    )

    def work(session, change):
        session.execute(
            text(
                f"INSERT INTO done (what, item) VALUES ('{change.identity[0]}', {change.identity[0]})"
            )
        )

    asked = Asked("skip")
    with Running(Consumer(on_error=asked), work):
        insert(engine, 1, 5)
        until(lambda: len(done(engine)) == 4)
    assert asked.calls == [("IntegrityError", 3, 1)]
    assert done(engine) == ["1", "2", "4", "5"]


def test_a_verdict_that_is_none(engine, Consumer):
    """What on_error must give is said, with the error that it was asked about."""
    with Running(Consumer(on_error=lambda *_: None), failing(1)) as running:
        insert(engine, 1, 1)
        running.thread.join()
    assert isinstance(running.error, NotifyConfigError)
    assert isinstance(running.error.__cause__, LookupError)


def test_a_handler_of_errors_that_fails(engine, Consumer):
    """An error of on_error leaves the iteration, and nothing is passed."""
    with Running(Consumer(on_error=lambda *_: 1 / 0), failing(1)) as running:
        insert(engine, 1, 1)
        running.thread.join()
    assert isinstance(running.error, ZeroDivisionError)
    with Consumer() as consumer:
        assert numbers(consume(consumer, 1)) == [1]


def test_a_truncate_of_several_classes_is_one_change(engine):
    """A TRUNCATE that is an event for each class fails as one: on_error is asked once for it, and
    it is passed with one verdict."""

    class Base(DeclarativeBase):
        pass

    class Animal(NotifyOnChange, Base):
        __tablename__ = "animals"
        __notify__: ClassVar = NotifySpec(durable=True)
        __mapper_args__: ClassVar = {"polymorphic_on": "kind", "polymorphic_identity": "animal"}
        id: Mapped[int] = mapped_column(primary_key=True)
        kind: Mapped[str]

    class Cat(Animal):
        __mapper_args__: ClassVar = {"polymorphic_identity": "cat"}

    class Dog(Animal):
        __mapper_args__: ClassVar = {"polymorphic_identity": "dog"}

    Base.metadata.create_all(engine)
    counts, worked = [], {}

    def on_error(error, change, failures):
        counts.append(failures)
        return "retry" if failures < 2 else "park"

    def work(session, change):
        if change.identity is None:
            raise LookupError
        worked[change.identity[0]] = True

    with Running(BlockingConsumer(engine, "c", Cat, Dog, on_error=on_error), work) as running:
        run(
            engine,
            "INSERT INTO animals VALUES (1, 'dog')",
            "TRUNCATE animals",
            "INSERT INTO animals VALUES (2, 'cat')",
        )
        until(lambda: len(worked) == 2)
        until(lambda: running.consumer.parked())
        assert [parked.operation for parked in running.consumer.parked()] == ["T"]
    assert counts == [1, 2]
    assert list(worked) == [1, 2]


def test_a_gap_can_be_passed(engine, Consumer):
    """Work that cannot take a Gap fails as any other, and on_error decides."""
    gaps = []

    def on_error(error, change, failures):
        gaps.append(change)
        return "park"

    with Running(Consumer(on_error=on_error)) as running:
        insert(engine, 1, 1)
        until(lambda: len(done(engine)) == 1)
        with engine.begin() as connection:
            number = connection.scalar(text("SELECT nextval('sa_pgnotify_log_id_seq')"))
            xid = "pg_current_xact_id()::text::bigint"
            connection.execute(
                text(
                    f"INSERT INTO sa_pgnotify_log_0 VALUES ({number}, {xid}, 1, 'public.items', 'failed 22012 no', '')"
                )
            )
        insert(engine, 2, 2)
        until(lambda: len(done(engine)) == 2)
        parked = running.consumer.parked()
    assert [type(gap) for gap in gaps] == [Gap]
    assert [(p.operation, p.failures) for p in parked] == [("", 1)]


def test_a_block_that_takes_too_long_for_the_server(engine, Consumer):
    """Where idle_in_transaction_session_timeout ends a batch's session, the error says so and how
    to go on, and so does the state."""
    name = engine.url.database
    run(engine, f"ALTER DATABASE {name} SET idle_in_transaction_session_timeout = '400ms'")
    states = []
    with Consumer(on_state=states.append) as consumer:
        insert(engine, 1, 1)
        with pytest.raises(Exception, match=r".") as raised:
            for batch in consumer:
                with batch as session:
                    time.sleep(1.0)
                    session.execute(text("SELECT 1"))
        assert (
            "which allows a transaction to be idle, or to last, for 0.4 s. Take smaller batches"
            in " ".join(raised.value.__notes__)
        )
        (said,) = [state.detail for state in states if state.state == "batch failed"]
        assert "idle_in_transaction_session_timeout" in said
        assert numbers(consume(consumer, 1)) == [1]


def test_a_batch_that_takes_too_long_is_divided(engine, Consumer):
    """With on_error, the changes of a batch that PostgreSQL has ended for taking too long are tried
    one by one; and about one that takes too long by itself on_error is asked, and not for ever the
    same."""
    name = engine.url.database
    run(engine, f"ALTER DATABASE {name} SET idle_in_transaction_session_timeout = '600ms'")

    def work(session, change):
        time.sleep(1.0 if change.identity[0] == 5 else 0.2)
        if change.identity[0] >= 4:
            record(session, change)

    asked = Asked("skip")
    with Running(Consumer(on_error=asked), work):
        insert(engine, 1, 6)
        until(lambda: len(done(engine)) == 2)
    assert [(identity, failures) for _, identity, failures in asked.calls] == [(5, 1)]
    assert done(engine) == ["Inserted 4", "Inserted 6"]
