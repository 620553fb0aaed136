"""A consumer's work and its position are committed as one: committed changes come once, and others
come again, however the work ends."""

from __future__ import annotations

import os
import signal
import threading

import pytest
from consumers import Running, consume, consumer_of, done, numbers, record
from durables import model_of
from sessions import sessions_end, terminate_listener
from sqlalchemy import text
from statements import run

from sa_pgnotify import Consumer as BlockingConsumer
from sa_pgnotify import NotifyConfigError, PgNotifyError


def insert(engine, *ids):
    """A transaction for each row."""
    for number in ids:
        run(engine, f"INSERT INTO items (id, n) VALUES ({number}, {number})")


def test_work_and_position_are_committed_together(engine, Consumer):
    """What a block has done is committed at its end, and the next consumer of the name goes on
    behind it."""
    with Consumer() as consumer:
        insert(engine, 1, 2)
        assert numbers(consume(consumer, 2)) == [1, 2]
        insert(engine, 3)
    insert(engine, 4)
    with Consumer() as consumer:
        assert numbers(consume(consumer, 2)) == [3, 4]
    assert done(engine) == [f"Inserted {i}" for i in (1, 2, 3, 4)]
    sessions_end(engine)


def test_what_raises_is_rolled_back_and_comes_again(engine, Consumer):
    """An error in the block leaves it as it is, takes the work back, and the same changes come
    again: at once, and after a restart."""
    with Consumer() as consumer:
        insert(engine, 1, 2)
        with pytest.raises(ZeroDivisionError):
            for batch in consumer:
                with batch as session:
                    record(session, next(iter(batch)))
                    1 / 0
        assert done(engine) == []
        for batch in consumer:
            again = numbers(batch)
            break
    assert again == [1, 2]
    with Consumer() as consumer:
        assert numbers(consume(consumer, 2)) == [1, 2]


def test_an_error_of_the_commit_is_the_blocks(engine, Consumer):
    """What fails only at the COMMIT, a deferred constraint, is raised where the block ends, and
    nothing is passed."""
    run(
        engine,
        "ALTER TABLE done ADD COLUMN item int REFERENCES items DEFERRABLE INITIALLY DEFERRED",
    )
    with Consumer() as consumer:
        insert(engine, 1)
        with pytest.raises(Exception, match="foreign key"):
            for batch in consumer:
                with batch as session:
                    session.execute(text("INSERT INTO done (item) VALUES (77)"))
        assert numbers(consume(consumer, 1)) == [1]


@pytest.mark.parametrize("ending", ["commit", "rollback", "close"])
def test_the_block_may_not_end_the_transaction(engine, Consumer, ending):
    """A commit or rollback within the block is an error, and the position does not move."""
    with Consumer() as consumer:
        insert(engine, 1)
        with pytest.raises(PgNotifyError, match="was ended within its block"):
            for batch in consumer:
                with batch as session:
                    getattr(session, ending)()
        assert numbers(consume(consumer, 1)) == [1]


def test_savepoints_are_the_programs(engine, Consumer):
    """The block may roll back to a savepoint of its own, and its other work stands."""
    with Consumer() as consumer:
        insert(engine, 1)
        for batch in consumer:
            with batch as session:
                session.execute(text("SAVEPOINT here"))
                session.execute(text("INSERT INTO done (what) VALUES ('lost')"))
                session.execute(text("ROLLBACK TO here"))
                session.execute(text("INSERT INTO done (what) VALUES ('kept')"))
            break
    assert done(engine) == ["kept"]
    with Consumer() as consumer:
        insert(engine, 2)
        assert numbers(consume(consumer, 1)) == [2]


def test_a_batch_must_be_entered(engine, Consumer):
    """Iterating on without processing the batch is an error, and the batch comes again."""
    with Consumer() as consumer:
        insert(engine, 1)
        with pytest.raises(PgNotifyError, match="write `with batch as session:`"):
            for batch in consumer:
                assert numbers(batch) == [1]
        assert numbers(consume(consumer, 1)) == [1]


def test_a_batch_is_entered_once(engine, Consumer):
    """A batch that was committed is not entered again: its work would be done twice, or not at
    all."""
    with Consumer() as consumer:
        insert(engine, 1)
        for batch in consumer:
            with batch:
                pass
            with pytest.raises(PgNotifyError, match="finished already"), batch:
                pass
            break


def test_break_and_iterate_again(engine, Consumer):
    """An iteration may end anywhere between two blocks, and the next one goes on."""
    with Consumer(batch_size=1) as consumer:
        insert(engine, *range(5))
        for number in range(5):
            for batch in consumer:
                with batch as session:
                    assert numbers(batch) == [number]
                    record(session, next(iter(batch)))
                break
    assert len(done(engine)) == 5


@pytest.mark.parametrize("where", ["thread", "block", "before"])
def test_stop_ends_the_iteration(engine, Consumer, where):
    """From another thread at once; from within a block behind it, which is committed; and before
    the first batch."""
    with Consumer() as consumer:
        if where == "before":
            consumer.stop()
        elif where == "thread":
            threading.Timer(0.05, consumer.stop).start()
        else:
            insert(engine, 1)
        for batch in consumer:
            with batch as session:
                consumer.stop()
                record(session, next(iter(batch)))
    assert done(engine) == (["Inserted 1"] if where == "block" else [])
    sessions_end(engine)


def test_without_a_with_block(engine, Consumer):
    """Started and stopped by hand, the iteration leaves no session behind, and it can be started
    again."""
    consumer = Consumer()
    for number in (1, 2):
        consumer.start()
        insert(engine, number)
        for batch in consumer:
            with batch as session:
                record(session, next(iter(batch)))
                consumer.stop()
        sessions_end(engine)
    assert done(engine) == ["Inserted 1", "Inserted 2"]


def test_stop_from_a_signal_handler(engine, Item):
    """A signal ends the iteration that waits."""
    before = signal.signal(signal.SIGUSR1, lambda *_: consumer.stop())
    try:
        with BlockingConsumer(engine, "c", Item) as consumer:
            threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1)).start()
            assert list(consumer) == []
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.sample(2)
# One that falls within a weak reference's callback does not leave it, and the interpreter says so.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("delay", [0.0, 0.001, 0.003, 0.01, 0.03, 0.1])
def test_an_interrupt_loses_nothing(engine, Item, delay):
    """After Ctrl-C at any point, again and again, each change is processed once, and the consumer
    goes on."""
    insert(engine, *range(20))
    with BlockingConsumer(engine, "c", Item, batch_size=3, start="beginning") as consumer:
        for _ in range(100):
            timer = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGINT))
            try:
                try:
                    timer.start()
                    consume(consumer, 20 - len(done(engine)))
                finally:
                    timer.cancel()
                    timer.join()
            except (KeyboardInterrupt, PgNotifyError):
                pass  # the latter, if it came between the batch and its block
            if len(done(engine)) == 20:
                break
            delay += 0.002
    assert done(engine) == [f"Inserted {i}" for i in range(20)]


def test_start(engine, Consumer):
    """A new name begins where ``start`` says; a known one continues at its position, whatever
    ``start`` says."""
    insert(engine, 1)
    with Consumer("now") as now, Consumer("beginning", start="beginning") as beginning:
        insert(engine, 2)
        assert numbers(consume(now, 1)) == [2]
        run(engine, "DELETE FROM done")
        assert numbers(consume(beginning, 2)) == [1, 2]
    insert(engine, 3)
    with Consumer("now", start="beginning") as now:
        assert numbers(consume(now, 1)) == [3]
    with Consumer("beginning", start="now") as beginning:
        run(engine, "DELETE FROM done")
        assert numbers(consume(beginning, 1)) == [3]


def test_started_once(Consumer):
    """It is started once at a time, and iterated only while it is."""
    consumer = Consumer()
    with pytest.raises(PgNotifyError, match="use it in a with block"):
        next(iter(consumer))
    with consumer, pytest.raises(PgNotifyError, match="started already"):
        consumer.start()


def test_a_fork_does_not_consume(engine, Item):
    """In the child of a fork, the consumer refuses to be used. The parent's consumer goes on."""
    with BlockingConsumer(engine, "c", Item) as consumer:
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                with pytest.raises(PgNotifyError, match="before a fork"):
                    next(iter(consumer))
                consumer.stop()
                consumer.__exit__(None, None, None)
                os.write(write, b"fine")
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        assert os.read(read, 4) == b"fine"
        insert(engine, 1)
        assert numbers(consume(consumer, 1)) == [1]


def test_a_lost_connection_loses_nothing(engine, Consumer):
    """The backend is killed between batches, during a wait and within a block: each change is
    processed once."""
    seen = []
    with Consumer(batch_size=2) as consumer:
        for first in (0, 3, 6):
            insert(engine, *range(first, first + 3))
            terminate_listener(engine)
            while len(seen) < first + 3:
                for batch in consumer:
                    with batch as session:
                        terminate_listener(engine)
                        for change in batch:
                            record(session, change)
                            seen.append(change)
                    break
    assert done(engine) == [f"Inserted {i}" for i in range(9)]


def test_two_of_one_name(engine, Consumer):
    """One works, and the other stands by: it takes over when the first is stopped."""
    with Running(Consumer()) as first, Running(Consumer()) as second:
        insert(engine, 1)
        wait_for(engine, 1)
        working, waiting = (
            (first, second) if first.consumer._worker._follower.works else (second, first)
        )
        assert not waiting.consumer._worker._follower.works
        working.consumer.stop()
        insert(engine, 2)
        wait_for(engine, 2)
    assert done(engine) == ["Inserted 1", "Inserted 2"]
    assert (first.error, second.error) == (None, None)


def test_killed_again_and_again(engine, Consumer):
    """The backends of three consumers of one name are killed while they work: each change is
    processed once."""
    with (
        Running(Consumer(batch_size=2)),
        Running(Consumer(batch_size=2)),
        Running(Consumer(batch_size=2)),
    ):
        for number in range(20):
            insert(engine, number)
            if number % 4 == 0:
                terminate_listener(engine)
        wait_for(engine, 20)
    assert done(engine) == [f"Inserted {i}" for i in range(20)]


def wait_for(engine, count):
    """Wait until ``count`` changes have been processed."""
    while len(done(engine)) < count:
        pass


def test_two_names_are_independent(engine, Consumer):
    """Each name has all changes, and a place of its own."""
    run(engine, "ALTER TABLE done DROP CONSTRAINT done_what_key")
    with Consumer("a") as one, Consumer("b") as other:
        insert(engine, 1)
        assert numbers(consume(one, 1)) == [1]
        insert(engine, 2)
        assert numbers(consume(other, 2)) == [1, 2]
        assert numbers(consume(one, 1)) == [2]


def test_arguments_that_cannot_work(engine, kind, Item):
    """What cannot work is refused where it is written, and says why."""
    other = model_of(engine)
    plain = model_of(engine, durable=False)
    refused = [
        (("c", plain), {}, "not durable"),
        (("c", "channel"), {}, "plain channel"),
        (("c", Item, other), {}, "several MetaData"),
        (("", Item), {}, "not a consumer.s name"),
        (("a\0b", Item), {}, "not a consumer.s name"),
        (("c", Item), {"partition": (2, 2)}, "is not a part"),
        (("c", Item), {"batch_size": 0}, "not a number above zero"),
        (("c", Item), {"heartbeat": "5"}, "not a number above zero"),
        (("c", Item), {"start": "end"}, "not a place to begin at"),
        (("c",), {}, "nothing to consume"),
    ]
    for arguments, options, why in refused:
        with pytest.raises(NotifyConfigError, match=why):
            consumer_of(kind, engine, *arguments, **options)


def test_each_loss_is_a_new_one(engine, Item):
    """After a connection that worked is lost, the consumer reconnects soon, however many were lost
    before."""
    with BlockingConsumer(engine, "c", Item) as consumer:
        for number in range(3):
            terminate_listener(engine)
            insert(engine, number)
            consume(consumer, 1)
            assert consumer._worker.link.backoff._attempts == 0
