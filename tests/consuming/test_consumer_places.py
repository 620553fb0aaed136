"""The position of a consumer: how far it is behind, how it is moved and forgotten, and the overview
of all consumers."""

from __future__ import annotations

import threading

import pytest
from consumers import Running, consume, done, numbers, until
from durables import model_of
from sqlalchemy import text
from statements import run

from sa_pgnotify import Gap, NotifyConfigError, PgNotifyError, consumers, forget
from sa_pgnotify.log.tables import SLOTS
from sa_pgnotify.protocol.wire import US


@pytest.fixture
def Item(engine):
    run(engine, "CREATE TABLE done (id int PRIMARY KEY GENERATED ALWAYS AS IDENTITY, what text)")
    return model_of(engine, more=("shared",))


def insert(engine, first, last):
    run(engine, f"INSERT INTO items SELECT i, 0 FROM generate_series({first}, {last}) AS i")


def test_lag(engine, Consumer):
    """How many committed changes wait, and since when: none, some, in the middle of a divided
    transaction, and none again; those of other tables do not count, nor what is not committed."""
    with Consumer(batch_size=7) as consumer:
        assert (consumer.lag().events, consumer.lag().seconds) == (0, 0.0)
        run(engine, "INSERT INTO shared VALUES (1, 1)")
        assert consumer.lag().events == 0
        for first in (1, 21, 41):
            insert(engine, first, first + 19)
        with engine.connect() as open_one:
            open_one.execute(text("INSERT INTO items VALUES (1000, 0)"))
            lag = consumer.lag()
        assert lag.events == 60
        assert 0.0 < lag.seconds < 60.0
        left, iteration = 60, iter(consumer)
        while left:
            batch = next(iteration)
            with batch:
                left -= len(batch)
            assert consumer.lag().events == left
        assert consumer.lag().seconds == 0.0


def test_lag_is_of_the_oldest_that_is_not_finished(engine, Consumer):
    """The lag's seconds do not count processed changes, even if a window of the log is still
    open."""
    with Consumer(batch_size=1) as consumer:
        insert(engine, 1, 1)
        insert(engine, 2, 2)
        with engine.connect() as connection:
            number, header = connection.execute(
                text("SELECT id, header FROM sa_pgnotify_log_0 ORDER BY id LIMIT 1")
            ).one()
        fields = header.split(US)
        fields[3] = str(int(fields[3]) - 3600 * 1_000_000)
        run(
            engine,
            "UPDATE sa_pgnotify_log_0 SET header = :header WHERE id = :id",
            header=US.join(fields),
            id=number,
        )
        assert consumer.lag().seconds > 3000
        consume(consumer, 1)
        assert consumer.lag().events == 1
        assert consumer.lag().seconds < 3000


def test_lag_of_parts(engine, Consumer):
    """A part's lag counts the changes of all."""
    with Consumer(partition=(0, 2)) as consumer:
        insert(engine, 1, 10)
        assert consumer.lag().events == 10


@pytest.mark.parametrize("running", [False, True])
def test_seek(engine, Consumer, running):
    """To the beginning, to now, and behind a change: also in the middle of its transaction, while
    it runs and while it does not."""
    insert(engine, 1, 3)
    insert(engine, 4, 6)
    consumer = Consumer(start="beginning")
    with consumer:
        changes = consume(consumer, 6)

    def after(place, count):
        if running:
            with consumer:
                consumer.seek(place)
                return numbers(consume(consumer, count))
        consumer.seek(place)
        with consumer:
            return numbers(consume(consumer, count))

    assert after("beginning", 6) == [1, 2, 3, 4, 5, 6]
    for passed in (1, 2, 3, 4, 5):
        assert after(changes[passed - 1].position, 6 - passed) == [1, 2, 3, 4, 5, 6][passed:]
    consumer.seek("beginning")
    consumer.seek("now")
    insert(engine, 7, 7)
    assert after(changes[-1].position, 1) == [7]


def test_seek_reaches_one_that_works_elsewhere(engine, Consumer):
    """A consumer that another one of its name moves goes on from there."""
    with Running(Consumer(heartbeat=0.2)):
        insert(engine, 1, 2)
        until(lambda: len(done(engine)) == 2)
        Consumer().seek("beginning")
        until(lambda: len(done(engine)) == 4)


def test_seek_waits_for_a_batch(engine, Consumer):
    """A batch that is being processed is committed first; then the consumer is where seek() has put
    it."""
    with Consumer(heartbeat=0.2) as consumer:
        insert(engine, 1, 1)
        for batch in consumer:
            with batch:
                seeking = threading.Thread(target=Consumer().seek, args=("beginning",))
                seeking.start()
                waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
                with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                    until(lambda: connection.scalar(text(waits)))
            seeking.join()
            break
        assert numbers(consume(consumer, 1)) == [1]


def test_places_that_are_none(engine, Consumer):
    """An invalid place is refused, and so is an unknown consumer."""
    with pytest.raises(PgNotifyError, match="not known in this database"):
        Consumer().seek("now")
    with pytest.raises(PgNotifyError, match="not known in this database"):
        Consumer().lag()
    with Consumer() as consumer, pytest.raises(ValueError, match="is not a position"):
        consumer.seek("end")


def test_all_consumers(engine, Item, Consumer):
    """The overview names each, its part, how far behind it is, and what it fails at."""
    with Consumer("a") as a, Consumer("b", partition=(1, 2)):
        insert(engine, 1, 3)
        consume(a, 3)
        found = consumers(engine)
        assert [(c.name, c.partition, c.lag.events, c.failures, c.parked) for c in found] == [
            ("a", (0, 1), 0, 0, 0),
            ("b", (1, 2), 3, 0, 0),
        ]
        with engine.connect() as connection:
            assert consumers(connection)[0].moved_at.tzinfo is not None


def test_forget(engine, Item, Consumer):
    """A consumer that was forgotten starts anew; one that runs at that moment ends with an
    error."""
    with Consumer(heartbeat=0.1) as consumer:
        insert(engine, 1, 1)
        assert forget(engine, Item.metadata, "c") == 1
        assert forget(engine, Item.metadata, "c") == 0
        assert consumers(engine) == []
        with pytest.raises(PgNotifyError, match="was forgotten"):
            consume(consumer, 1)
    with Consumer(start="beginning") as consumer:
        assert numbers(consume(consumer, 1)) == [1]


def test_another_number_of_parts_is_refused(engine, Item, Consumer):
    """A name that is divided otherwise is not begun a second time beside that; once it is
    forgotten, it may be."""
    with Consumer(partition=(0, 2)):
        pass
    for partition in [(0, 1), (0, 3)]:
        with (
            pytest.raises(NotifyConfigError, match="divided into 2 parts"),
            Consumer(partition=partition),
        ):
            pass
    with Consumer(partition=(1, 2)):
        pass
    assert forget(engine, Item.metadata, "c") == 2
    with Consumer(partition=(0, 3)):
        pass


@pytest.mark.parametrize("loss", ["retention", "tables"])
def test_a_lost_place_is_reported_once(engine, Item, Consumer, loss):
    """If the log has removed unread changes, or is another log, one Gap comes in its place, and
    later changes follow."""
    with Consumer() as consumer:
        insert(engine, 1, 1)
        consume(consumer, 1)
    insert(engine, 2, 2)
    if loss == "retention":
        run(
            engine,
            "UPDATE sa_pgnotify_log SET removed = (SELECT max(xid) FROM sa_pgnotify_log_0)",
            "TRUNCATE sa_pgnotify_log_0",
        )
    else:
        names = ["sa_pgnotify_log", *(f"sa_pgnotify_log_{slot}" for slot in range(SLOTS))]
        tables = [Item.metadata.tables[name] for name in names]
        Item.metadata.drop_all(engine, tables=tables)
        Item.metadata.create_all(engine)
    with Consumer() as consumer:
        if loss == "retention":
            insert(engine, 3, 3)
        for batch in consumer:
            with batch:
                gap = next(iter(batch))
                rest = numbers(list(batch)[1:])
            break
        assert (type(gap), gap.reason) == (Gap, "lost_position")
        insert(engine, 4, 4)
        changes = [*rest]
        if changes[-1:] != [4]:
            for batch in consumer:
                with batch:
                    changes += numbers(batch)
                if changes[-1:] == [4]:
                    break
        assert changes == ([3, 4] if loss == "retention" else [4])
