"""Edge cases of the log: long rows, odd transactions, positions that are deleted, keys that stay
the same."""

import threading

import pytest
import sqlalchemy as sa
from durables import model_of
from logs import sleepers
from sessions import terminate_listener
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool
from statements import run
from waiting import wait_until

from sa_pgnotify import (
    Consumer,
    Gap,
    Listener,
    NotifyConfigError,
    NotifySpec,
    PgNotifyError,
    notify_on_change,
    prune,
)
from sa_pgnotify.log import reader


def texts(engine) -> sa.Table:
    table = sa.Table(
        "texts",
        sa.MetaData(),
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("t", sa.Text),
    )
    notify_on_change(table, NotifySpec(durable=True, values="all")).metadata.create_all(engine)
    return table


def take(consumer, count):
    """Return the identities, or the reasons of gaps, of the next ``count`` events, which are
    processed."""
    found = []
    for batch in consumer:
        with batch:
            found.extend(
                event.reason if isinstance(event, Gap) else event.identity for event in batch
            )
        if len(found) >= count:
            return found


@pytest.mark.parametrize(
    "lengths", [(900, 1), (1, 900, 1), (900, 900), (450, 450, 450, 1), (1, 2000, 2000, 1, 1)]
)
def test_rows_longer_than_a_page(engine, monkeypatch, lengths):
    """A row of the log that is longer than what is read at once is delivered, and so is what comes
    after it, also to a Listener."""
    monkeypatch.setattr(reader, "PAGE_BYTES", 800)
    table, expected = texts(engine), [(number,) for number in range(len(lengths))]
    with Listener(engine, table) as listener, Consumer(engine, "a", table) as consumer:
        with engine.begin() as connection:
            for number, length in enumerate(lengths):
                connection.execute(
                    text("INSERT INTO texts VALUES (:id, repeat('x', :length))"),
                    {"id": number, "length": length},
                )
        assert take(consumer, len(lengths)) == expected
        assert [listener.get(10).identity for _ in lengths] == expected
        for number, length in enumerate(lengths):
            run(engine, f"INSERT INTO texts VALUES ({number + 10}, repeat('x', {length}))")
        assert take(consumer, len(lengths)) == [(number + 10,) for number in range(len(lengths))]
    with Consumer(engine, "b", table, start="beginning", batch_size=1) as consumer:
        assert len(take(consumer, 2 * len(lengths))) == 2 * len(lengths)


def test_prune_in_a_transaction_with_an_old_snapshot_is_refused(engine):
    """It would not see what was committed since, and remove it unread; prune() on an engine with
    such a default works."""
    Item = model_of(engine)
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        with pytest.raises(DBAPIError, match="READ COMMITTED only"):
            prune(connection, Item.metadata)
    assert (
        prune(
            create_engine(engine.url, poolclass=NullPool, isolation_level="REPEATABLE READ"),
            Item.metadata,
        ).filled
        == 0
    )


def test_autocommit_is_refused(engine):
    """Without transactions the position and the work could not be committed together."""
    Item = model_of(engine)
    run(engine, "INSERT INTO items VALUES (1, 1)")
    with Consumer(
        create_engine(engine.url, poolclass=NullPool, isolation_level="AUTOCOMMIT"),
        "a",
        Item,
        start="beginning",
    ) as consumer:
        with pytest.raises(NotifyConfigError, match="autocommit"):
            next(iter(consumer))


def test_the_key_of_a_change_stays(engine):
    """A change that comes again has the key that it had, though more was committed since; no other
    one has it."""
    Item = model_of(engine)
    with Consumer(engine, "a", Item) as consumer:
        run(engine, "INSERT INTO items VALUES (1, 1), (2, 1)")
        batch = next(iter(consumer))
        with pytest.raises(RuntimeError), batch:
            before = {event.identity: event.key for event in batch}
            raise RuntimeError
    run(engine, "INSERT INTO items VALUES (3, 1)")
    with Consumer(engine, "a", Item, batch_size=1) as consumer:
        after = {}
        for batch in consumer:
            with batch:
                after |= {event.identity: event.key for event in batch}
            if len(after) == 3:
                break
    assert before.items() <= after.items()
    assert len(set(after.values())) == 3


@pytest.mark.parametrize("anew", [False, True])
def test_a_position_that_goes_under_a_running_consumer(engine, anew):
    """The consumer does not silently start again: a forgotten position is an error, and a log that
    was created again is a gap."""
    Item = model_of(engine)
    found, errors = [], []

    def consume():
        try:
            for batch in consumer:
                with batch:
                    found.extend(
                        event.reason if isinstance(event, Gap) else event.identity
                        for event in batch
                    )
        except PgNotifyError as error:
            errors.append(str(error))

    with Consumer(engine, "a", Item, heartbeat=10 if anew else 0.2) as consumer:
        thread = threading.Thread(target=consume)
        thread.start()
        run(engine, "INSERT INTO items VALUES (1, 1)")
        wait_until(lambda: found == [(1,)])
        if anew:
            # To read all tables while they are dropped would be a deadlock.
            sleepers(engine)
            Item.metadata.drop_all(engine)
            Item.metadata.create_all(engine)
            terminate_listener(engine)
            wait_until(lambda: found[1:])
            run(engine, "INSERT INTO items VALUES (2, 1)")
            wait_until(lambda: found[-1] == (2,))
            # A gap for the log, and another one if the triggers were seen to have changed before.
            assert set(found[1:-1]) == {"lost_position"}
            consumer.stop()
        else:
            run(engine, "DELETE FROM sa_pgnotify_consumers")
        thread.join(20)
        assert not thread.is_alive()
    assert anew or "was forgotten" in errors[0]


def test_a_lost_connection_is_no_fault_of_the_change(engine):
    """on_error is not called if the batch's own connection is lost: the batch comes again."""
    Item = model_of(engine)
    asked, identities, cut = [], [], threading.Event()
    with Consumer(
        engine, "a", Item, on_error=lambda *given: asked.append(given) or "park"
    ) as consumer:
        run(engine, "INSERT INTO items VALUES (1, 1)")
        for batch in consumer:
            with batch as session:
                if not cut.is_set():
                    cut.set()
                    pid = session.scalar(text("SELECT pg_backend_pid()"))
                    run(engine, f"SELECT pg_terminate_backend({pid})")
                    session.execute(text("SELECT 1"))
                identities.extend(event.identity for event in batch)
            if identities:
                break
    assert (identities, asked) == ([(1,)], [])


def test_stop_ends_a_wait_for_a_position_that_is_locked(engine):
    """stop() ends the iteration even if another session has locked the position."""
    Item = model_of(engine)
    with Consumer(engine, "a", Item) as consumer, engine.connect() as other:
        other.execute(text("SELECT * FROM sa_pgnotify_consumers FOR UPDATE"))
        run(engine, "INSERT INTO items VALUES (1, 1)")
        timer = threading.Timer(0.5, consumer.stop)
        timer.start()
        assert list(consumer) == []
        timer.join()
        other.rollback()


def test_what_cannot_work_is_refused(engine):
    """No entities, and arguments that are not what they should be, are refused where they are
    given."""
    Item = model_of(engine)
    for entities, options in (
        ((), {}),
        ((Item,), {"on_error": "skip"}),
        ((Item,), {"partition": 3}),
        ((Item,), {"batch_size": "5"}),
    ):
        with pytest.raises(NotifyConfigError):
            Consumer(engine, "a", *entities, **options)
