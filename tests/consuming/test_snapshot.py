"""A consumer that begins with the rows which are there: each comes once, and then what changes after
it was read."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from consumers import consumer_of
from copying import Copy, copied, table_of
from durables import model_of
from sampling import size
from sqlalchemy import NullPool, create_engine, event
from statements import rows, run

from sa_pgnotify import Change, Consumer, Deleted, Existing, Inserted, Truncated, Updated
from sa_pgnotify.scanning import entity_rows


@pytest.fixture(autouse=True)
def small_pages(monkeypatch):
    """A page has as many rows as a batch."""
    monkeypatch.setattr(entity_rows, "PAGE_ROWS", 1)


@pytest.fixture
def Item(engine):
    """A durable class of which twenty rows are there."""
    made = model_of(engine)
    run(engine, "INSERT INTO items SELECT i, i * 10 FROM generate_series(1, 20) AS i")
    return made


def items(engine: Any) -> Any:
    return table_of(engine, "items", "id", "n")


def kinds(changes: list[Any]) -> list[Any]:
    return [(type(change), change.identity) for change in changes]


def test_rows_come_first_and_then_what_changes(engine, Item, kind):
    """With each driver: the rows that are there, in pages, and then the changes."""
    with consumer_of(kind, engine, "c", Item, start="snapshot", batch_size=7) as consumer:
        copy, changes = copied(consumer)
        assert kinds(changes) == [(Existing, (i,)) for i in range(1, 21)]
        run(engine, "UPDATE items SET n = 0 WHERE id = 3", "DELETE FROM items WHERE id = 4")
        copy, changes = copied(consumer, copy=copy)
    assert kinds(changes) == [(Updated, (3,)), (Deleted, (4,))]
    assert copy == items(engine)


def test_a_row_is_an_event_of_its_own(engine, Item):
    """The attributes of a row's event: it does not belong to a transaction, it has a position,
    and it makes an instance."""
    with Consumer(engine, "c", Item, start="snapshot") as consumer:
        for batch in consumer:
            with batch as session:
                first, *_ = batch
                assert (first.key, first.transaction_id, dict(first.context)) == (None, 0, {})
                assert first.table is Item.__table__
                assert first.instance().n == 10
                assert first.load(session).n == 10
                assert first.backend_pid > 0
                ((now,),) = rows(engine, "SELECT clock_timestamp()")
                assert first.occurred_at <= now
                assert repr(first) == "Existing(Items, (1,), new={'id': 1, 'n': 10})"
                assert [len(part.changes) for part in batch.transactions()] == [20]
            break


def test_changes_around_the_place_that_was_reached(engine, Item):
    """Between two pages: rows that were read change, come and go; those that were not come with
    their newest state, or not at all; and rows move across the place in both directions."""
    between = [
        lambda: run(
            engine,
            "UPDATE items SET n = n + 1 WHERE id IN (2, 15)",
            "DELETE FROM items WHERE id IN (3, 16)",
            "INSERT INTO items VALUES (-1, 0), (99, 0)",
            "UPDATE items SET id = 4 + 100 WHERE id = 4",
            "UPDATE items SET id = 17 - 100 WHERE id = 17",
            "UPDATE items SET id = -5 WHERE id = 5",
            "UPDATE items SET id = 118 WHERE id = 18",
        )
    ]
    with Consumer(engine, "c", Item, start="snapshot", batch_size=7) as consumer:
        copy, changes = copied(consumer, between=between)
    assert copy == items(engine)
    assert kinds(changes)[7:13] == [
        (Updated, (2,)),
        (Deleted, (3,)),
        (Inserted, (-1,)),
        (Deleted, (4,)),
        (Inserted, (-83,)),
        (Updated, (-5,)),
    ]
    assert changes[10].old == {"id": 4, "n": 40}
    assert changes[11].new == {"id": -83, "n": 170}
    assert {type(change) for change in changes[13:]} == {Existing}


def test_a_table_that_is_emptied_meanwhile(engine, Item):
    """A TRUNCATE takes what was read; what is written after it comes."""
    between = [lambda: run(engine, "TRUNCATE items", "INSERT INTO items VALUES (1, 0), (30, 0)")]
    with Consumer(engine, "c", Item, start="snapshot", batch_size=7) as consumer:
        copy, changes = copied(consumer, between=between)
    assert copy == items(engine)
    assert kinds(changes)[7:] == [(Truncated, None), (Inserted, (1,)), (Existing, (30,))]


def test_more_changes_than_a_page_of_the_log(engine, Item):
    """Rows are read in the snapshot up to which the changes were read, also where these fill
    several pages of the log, which later snapshots read."""

    def many() -> None:
        run(
            engine,
            f"DO 'BEGIN FOR i IN 1..{size(1500, 1100)} LOOP UPDATE items SET n = i WHERE id = 1 + i % 20; END LOOP; END'",
        )

    with Consumer(engine, "c", Item, start="snapshot", batch_size=7) as consumer:
        between = [many, lambda: run(engine, "UPDATE items SET n = -1 WHERE id IN (5, 12)")]
        copy, _ = copied(consumer, between=between)
    assert copy == items(engine)


@pytest.mark.parametrize(
    "meanwhile",
    [
        "UPDATE items SET n = -1 WHERE id = 9; DELETE FROM items WHERE id = 10; INSERT INTO items VALUES (21, 0)",
        "UPDATE items SET n = -1 WHERE id = 2; UPDATE items SET n = -1 WHERE id = 9; TRUNCATE items; INSERT INTO items VALUES (9, 0)",
        "UPDATE items SET n = -1 WHERE id = 2; ALTER TABLE items ALTER n TYPE bigint",
    ],
    ids=["rows", "truncate", "rewrite"],
)
def test_what_commits_between_the_changes_and_the_rows(engine, Item, meanwhile):
    """The rows are those of the snapshot up to which the changes were read, whatever is committed
    before the SELECT of the rows; and where a TRUNCATE or a rewrite leaves that snapshot an empty
    table, the page is read in another one."""
    wrote = []

    @event.listens_for(engine, "before_cursor_execute")
    def write(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("SELECT items.id") and len(wrote) < 2:
            wrote.append(statement)
            if len(wrote) == 2:  # before the second page
                run(another, *meanwhile.split("; "))

    another = create_engine(engine.url, poolclass=NullPool)
    with Consumer(engine, "c", Item, start="snapshot", batch_size=7) as consumer:
        copy, _ = copied(consumer)
    assert copy == items(engine)


def test_a_long_transaction_does_not_hold_it_up(engine, Item):
    """A transaction that began before the snapshot and commits after it: its changes come once,
    and the snapshot does not wait for it."""
    with engine.connect() as long:
        long.exec_driver_sql("UPDATE items SET n = 1 WHERE id = 1")
        long.exec_driver_sql("UPDATE items SET n = 20 WHERE id = 20")
        long.exec_driver_sql("INSERT INTO items VALUES (21, 21)")
        with Consumer(engine, "c", Item, start="snapshot", batch_size=7) as consumer:
            copy, changes = copied(consumer)
            assert kinds(changes) == [(Existing, (i,)) for i in range(1, 21)]
            long.commit()
            copy, changes = copied(consumer, copy=copy)
    assert kinds(changes) == [(Updated, (1,)), (Updated, (20,)), (Inserted, (21,))]
    assert copy == items(engine)


def test_another_process_goes_on_in_the_middle_of_a_page(engine, Item):
    """The place is committed with the work, and so is the snapshot: a consumer that fails within a
    page gives the rest of it out again, as it is then."""
    consumer = Consumer(engine, "c", Item, start="snapshot", batch_size=7)
    with pytest.raises(ZeroDivisionError), consumer:
        for number, batch in enumerate(consumer):
            with batch:
                if number:
                    1 / 0
    run(engine, "UPDATE items SET n = -8 WHERE id = 8", "UPDATE items SET n = -2 WHERE id = 2")
    seven = Copy({(i,): {"id": i, "n": i * 10} for i in range(1, 8)})
    with Consumer(engine, "c", Item, start="snapshot", batch_size=7) as consumer:
        copy, changes = copied(consumer, copy=seven)
    assert kinds(changes)[:2] == [(Updated, (2,)), (Existing, (8,))]
    assert copy == items(engine)


def test_who_stands_by_goes_on(engine, Item):
    """The consumer that stood by goes on where the one that worked has stopped."""
    with Consumer(engine, "c", Item, start="snapshot", batch_size=7) as first:
        copy, _ = copied(first, until=lambda copy: len(copy) == 7)
        with Consumer(engine, "c", Item, start="snapshot", batch_size=7) as second:
            thread = threading.Thread(target=lambda: copied(second, copy=copy))
            thread.start()
            first.stop()
            first.__exit__(None, None, None)
            thread.join()
    assert copy == items(engine)


def test_parts_divide_the_rows(engine, Item):
    """Each part gets its rows, of those that are there as of those that come."""
    copies = []
    for part in range(3):
        with Consumer(engine, "c", Item, start="snapshot", partition=(part, 3)) as consumer:
            copy, _ = copied(consumer)
            run(engine, f"INSERT INTO items VALUES ({100 + part}, 0)")
            copies.append(copy)
    for part in range(3):
        with Consumer(engine, "c", Item, start="snapshot", partition=(part, 3)) as consumer:
            run(engine, "UPDATE items SET n = n + 1")
            copied(consumer, copy=copies[part])
    for part in range(3):
        with Consumer(engine, "c", Item, start="snapshot", partition=(part, 3)) as consumer:
            if consumer.lag().events:
                copied(consumer, copy=copies[part])
    every = [row for copy in copies for row in copy.items()]
    assert len(every) == 23
    assert dict(every) == items(engine)


def test_a_key_that_moves_to_another_part(engine, Item):
    """The row is gone for the part of its old key, and new for that of its new one, whichever part
    has read it, so that each part has the rows that are its own."""
    copies = [Copy(), Copy()]

    def follow(part: int) -> None:
        with Consumer(
            engine, "c", Item, start="snapshot", batch_size=100, partition=(part, 2)
        ) as consumer:
            copied(consumer, copy=copies[part])

    for part in (0, 1):
        Consumer(engine, "c", Item, start="snapshot", partition=(part, 2)).start().__exit__(
            None, None, None
        )
    follow(0)
    run(engine, *(f"UPDATE items SET id = {i + 100}, n = 1 WHERE id = {i}" for i in range(1, 9)))
    follow(1)
    follow(0)
    run(
        engine, *(f"UPDATE items SET id = {i - 100}, n = 2 WHERE id = {i}" for i in range(101, 109))
    )
    follow(1)
    follow(0)
    assert not set(copies[0]) & set(copies[1])
    assert {**copies[0], **copies[1]} == items(engine)


def test_progress(engine, Item):
    """How many rows were read, and how many the planner expected; nothing more at the end."""
    run(engine, "ANALYZE items")
    with Consumer(engine, "c", Item, start="snapshot", batch_size=7) as consumer:
        assert (consumer.lag().rows_done, consumer.lag().rows_estimate) == (0, 20)
        copied(consumer, until=lambda copy: len(copy) == 14)
        assert (consumer.lag().rows_done, consumer.lag().rows_estimate) == (14, 20)
        copied(consumer)
        assert (consumer.lag().rows_done, consumer.lag().rows_estimate) == (0, 0)


def test_an_empty_table(engine):
    """Nothing is there: the snapshot is over at once, and the changes come."""
    Item = model_of(engine)
    with Consumer(engine, "c", Item, start="snapshot") as consumer:
        run(engine, "INSERT INTO items VALUES (1, 1)")
        copy, _ = copied(consumer)
        assert consumer.lag().rows_estimate == 0
    assert copy == items(engine)


def test_an_entity_that_a_new_version_adds(engine):
    """A version of the program that reads one table more under the same name begins with that
    table's rows, and goes on with the others."""
    Item = model_of(engine, more=["more"])
    More = next(m.class_ for m in Item.registry.mappers if m.class_ is not Item)
    run(engine, "INSERT INTO items VALUES (1, 1)", "INSERT INTO more VALUES (1, 1), (2, 2)")
    with Consumer(engine, "c", Item, start="snapshot") as consumer:
        copied(consumer)
    run(engine, "INSERT INTO items VALUES (2, 2)", "UPDATE more SET n = 3 WHERE id = 2")
    found = []
    with Consumer(engine, "c", Item, More, start="snapshot") as consumer:
        for batch in consumer:
            with batch:
                found += [(type(c), c.entity, c.identity, c.new["n"]) for c in batch]
            if len(found) == 3:
                break
    assert found == [
        (Inserted, Item, (2,), 2),
        (Existing, More, (1,), 1),
        (Existing, More, (2,), 3),
    ]


def test_a_row_that_fails_is_skipped_or_parked(engine, Item):
    """on_error decides for a row as for a change, also after the page was read anew."""
    verdicts = iter(["retry", "retry", "park"])
    failures = []

    def on_error(error: Exception, change: Any, count: int) -> Any:
        failures.append((change.identity, count))
        return next(verdicts) if change.identity == (9,) else "skip"

    done = []
    with Consumer(engine, "c", Item, start="snapshot", batch_size=7, on_error=on_error) as consumer:
        for batch in consumer:
            with batch:
                for change in batch:
                    if change.identity in ((9,), (12,)):
                        raise ValueError("no")
                done += [change.identity[0] for change in batch]
            if 20 in done:
                break
        (parked,) = consumer.parked()
    assert done == [i for i in range(1, 21) if i not in (9, 12)]
    assert failures == [((9,), 1), ((9,), 2), ((9,), 3), ((12,), 1)]
    assert (parked.operation, parked.relation, parked.row) == ("E", "public.items", "9")


def test_events_as_json(engine, Item):
    """A row that was read, and an update that is an insert or a delete for this consumer, are
    written as JSON as what they are, and read back equal."""
    between = [
        lambda: run(
            engine, "UPDATE items SET id = 104 WHERE id = 4", "UPDATE items SET id = 0 WHERE id = 9"
        )
    ]
    with Consumer(engine, "c", Item, start="snapshot", batch_size=7) as consumer:
        _, changes = copied(consumer, between=between)
    for change, kind in zip((changes[0], *changes[7:9]), (Existing, Deleted, Inserted)):
        read: Any = Change.from_dict(json.loads(change.to_json()), Item.metadata)
        assert (type(read), read.identity) == (kind, change.identity)
        assert read.position == change.position
        values = (read.old, change.old) if kind is Deleted else (read.new, change.new)
        assert values[0] == values[1]
