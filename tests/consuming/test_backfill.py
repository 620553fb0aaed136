"""Rows that a consumer gets once more, among the changes."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from consumers import consumer_of, until
from durables import model_of
from hierarchies import order_and_rush
from sqlalchemy import (
    Column,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    and_,
    func,
    literal,
    literal_column,
    not_,
    or_,
    select,
    text,
)
from sqlalchemy.orm import aliased, declarative_base
from statements import rows, run

from sa_pgnotify import (
    Consumer,
    Deleted,
    Existing,
    Gap,
    NotifyConfigError,
    NotifyOnChange,
    NotifySpec,
    PgNotifyError,
    Updated,
    notify_on_change,
)


@pytest.fixture
def Item(engine):
    """A durable class of which twenty rows are there."""
    made = model_of(engine)
    run(engine, "INSERT INTO items SELECT i, i * 10 FROM generate_series(1, 20) AS i")
    return made


def take(consumer: Any) -> list[Any]:
    """What comes until no backfill is left."""
    found: list[Any] = []
    for batch in consumer:
        with batch:
            found += list(batch)
        if not (consumer.lag().rows_estimate or consumer.lag().events):
            return found
    return found


def test_rows_come_among_the_changes(engine, Item, kind):
    """With each driver: each row comes as it is after the changes before it."""
    with consumer_of(kind, engine, "c", Item, batch_size=7) as consumer:
        run(engine, "UPDATE items SET n = 1 WHERE id = 1")
        consumer.backfill(Item, Item.id < 4)
        run(engine, "DELETE FROM items WHERE id = 2")
        found = take(consumer)
    assert [(type(c), c.identity[0]) for c in found] == [
        (Updated, 1),
        (Deleted, 2),
        (Existing, 1),
        (Existing, 3),
    ]
    assert found[2].new == {"id": 1, "n": 1}


def test_each_condition_gives_what_a_select_gives(engine, Item):
    """All comparisons and their combinations, and values of which the text could be taken for
    SQL."""
    run(
        engine, "ALTER TABLE items ALTER n DROP NOT NULL", "UPDATE items SET n = NULL WHERE id = 20"
    )
    conditions = [
        Item.id == 3,
        Item.id != 3,
        and_(Item.id > 3, Item.id <= 9, Item.n >= 50, Item.n < 80),
        or_(Item.id.in_([1, 2]), Item.n == 200),
        Item.id.not_in([1, 2]),
        Item.n.between(30, 50),
        ~Item.n.between(30, 50),
        not_(and_(Item.id > 3, Item.n > 30)),
        Item.n.is_(None),
        Item.n.is_not(None),
        Item.n.is_distinct_from(10),
        Item.n == Item.id,
        Item.n.is_not_distinct_from(10),
        Item.n.is_distinct_from(Item.n),
        Item.id.in_([]),
        Item.id.not_in([]),
        Item.id.not_in([1, None]),
    ]
    with Consumer(engine, "c", Item) as consumer, engine.connect() as connection:
        for where in conditions:
            consumer.backfill(Item, where)
            wanted = connection.scalars(select(Item.id).where(where).order_by(Item.id)).all()
            found = [c.identity[0] for c in take(consumer)] if wanted else []
            assert found == wanted, str(where)


@pytest.mark.parametrize(
    "where",
    [
        lambda item: func.pg_sleep(item.id) == "",
        lambda item: item.id == select(func.max(item.id)).scalar_subquery(),
        lambda item: item.id.in_(select(item.id)),
        lambda item: aliased(item).id == 1,
        lambda _: text("true"),
        lambda _: literal_column("1") == 1,
        lambda item: item.id + 1 == 2,
        lambda _: "id = 1",
    ],
    ids=["function", "subquery", "in", "alias", "text", "literal", "arithmetic", "str"],
)
def test_what_is_no_comparison_of_its_columns_is_refused(engine, Item, where):
    """Nothing else is stored, and the error says what can be given."""
    with Consumer(engine, "c", Item) as consumer:
        with pytest.raises(NotifyConfigError, match="Use ==, !=, <"):
            consumer.backfill(Item, where(Item))
        assert consumer.lag().rows_estimate == 0


def test_a_value_of_another_type_is_refused(engine, Item):
    """PostgreSQL's own error, before anything is stored."""
    with Consumer(engine, "c", Item) as consumer:
        with pytest.raises(NotifyConfigError, match="invalid input syntax"):
            consumer.backfill(Item, Item.id == literal("x", String))
        assert consumer.lag().rows_estimate == 0


def test_one_class_of_several(engine):
    """A backfill of a class below another gives the rows of that class."""
    Order, Rush = order_and_rush(engine, durable=True)
    run(
        engine,
        "INSERT INTO orders VALUES (1, 'new', 'order'), (2, 'new', 'rush'), (3, 'old', 'rush')",
        "INSERT INTO rushes VALUES (2, 20), (3, 30)",
    )
    with Consumer(engine, "c", Order) as consumer:
        consumer.backfill(Rush, and_(Rush.status == "new", Rush.days > 10))
        (row,) = take(consumer)
    assert (row.entity, row.identity, row.new["days"]) == (Rush, (2,), 20)


def test_what_cannot_be_backfilled(engine, Item):
    """An entity that the consumer does not read, several at once, and a consumer that does not
    exist."""
    Other = model_of(engine, more=["others"])
    other = next(m.class_ for m in Other.registry.mappers if m.class_ is not Other)
    with Consumer(engine, "c", Item) as consumer:
        with pytest.raises(PgNotifyError, match="does not read others"):
            consumer.backfill(other)
        with pytest.raises(NotifyConfigError, match="not one entity"):
            consumer.backfill(Other.metadata)
    with pytest.raises(PgNotifyError, match="not known"):
        Consumer(engine, "other", Item).backfill(Item)


def test_it_is_refused_within_a_block(engine, Item):
    """It would wait for the block that it is in."""
    with Consumer(engine, "c", Item) as consumer:
        run(engine, "UPDATE items SET n = 0 WHERE id = 1")
        for batch in consumer:
            with batch, pytest.raises(PgNotifyError, match=r"backfill\(\) waits"):
                consumer.backfill(Item)
            break


@pytest.mark.parametrize(
    "where",
    [
        "true); DROP TABLE items; --",
        '["x"]',
        '["eq"]',
        "[1, 2]",
        '["eq", ["value", "1"], ["value", "1"]]',
        '["eq", ["column", "items", "id"], ["values", "1"]]',
        "[" * 9999 + "]" * 9999,
    ],
    ids=["sql", "name", "operands", "numbers", "no column", "values", "depth"],
)
def test_what_somebody_else_has_stored_is_no_sql(engine, Item, where):
    """A role that may write to the table of consumers gives no SQL to a consumer of another role:
    the backfill is given up, with a Gap, and the changes go on."""
    with Consumer(engine, "c", Item) as consumer:
        consumer.backfill(Item, Item.id == 1)
        stored = '["eq", ["column", "items", "id"], ["value", "1"]]'
        run(
            engine,
            "UPDATE sa_pgnotify_consumers SET scans = replace(scans, to_json(cast(:stored AS text))::text, to_json(cast(:made AS text))::text)",
            stored=stored,
            made=where,
        )
        (gap,) = take(consumer)
        assert isinstance(gap, Gap)
        assert "a backfill is given up" in gap.detail
        run(engine, "UPDATE items SET n = 0 WHERE id = 1")
        (change,) = take(consumer)
    assert isinstance(change, Updated)
    assert rows(engine, "SELECT count(*) FROM items") == [(20,)]


def test_a_condition_that_fails_when_it_is_evaluated(engine):
    """Only some rows show that the pattern is invalid. The backfill is given up, with a Gap, since
    otherwise the consumer would fail at each start."""
    metadata = MetaData()
    words = Table("words", metadata, Column("id", Integer, primary_key=True), Column("word", Text))
    notify_on_change(words, NotifySpec(durable=True))
    metadata.create_all(engine)
    run(engine, "INSERT INTO words VALUES (1, 'eu')")
    with Consumer(engine, "c", words) as consumer:
        consumer.backfill(words, words.c.word.like("e\\"))
        (gap,) = take(consumer)
        assert "given up: LIKE pattern must not end with escape character" in gap.detail
        run(engine, "DELETE FROM words")
        (change,) = take(consumer)
    assert isinstance(change, Deleted)


def test_a_locked_table_does_not_hold_up_the_end(engine, Item):
    """stop() ends the iteration although another session has locked the table, for example in a
    migration; the next consumer gives out the rows."""
    with Consumer(engine, "c", Item) as consumer:
        consumer.backfill(Item, Item.id == 1)
        with engine.connect() as migration:
            migration.exec_driver_sql("LOCK TABLE items")
            reading = threading.Thread(target=take, args=(consumer,))
            reading.start()
            until(
                lambda: rows(
                    engine,
                    "SELECT FROM pg_locks WHERE NOT granted AND relation = 'items'::regclass",
                )
            )
            consumer.stop()
            reading.join(10)
            assert not reading.is_alive()
    with Consumer(engine, "c", Item) as consumer:
        (row,) = take(consumer)
    assert row.identity == (1,)


def test_a_seek_keeps_what_was_begun_since(engine):
    """To seek to a position from before a backfill was asked for, or an entity was added, forgets
    neither."""
    Item = model_of(engine, more=["others"])
    other = next(m.class_ for m in Item.registry.mappers if m.class_ is not Item)
    run(engine, "INSERT INTO items VALUES (3, 0)", "INSERT INTO others VALUES (7, 0)")
    with Consumer(engine, "c", Item, start="snapshot") as consumer:
        position = take(consumer)[-1].position
    with Consumer(engine, "c", Item, other, start="snapshot") as consumer:
        consumer.backfill(Item, Item.id == 3)
        consumer.seek(position)
        assert [c.identity for c in take(consumer)] == [(3,), (7,)]


def test_with_concrete_inheritance_one_table_is_given(engine):
    """Each class has a table of its own, so the class is not one entity; the error names the
    tables."""
    base = declarative_base()

    class Thing(NotifyOnChange, base):
        __tablename__ = "things"
        __notify__ = NotifySpec(durable=True)
        id = Column(Integer, primary_key=True)

    class Special(Thing):
        __tablename__ = "specials"
        __mapper_args__ = {"concrete": True}
        id = Column(Integer, primary_key=True)

    base.metadata.create_all(engine)
    run(engine, "INSERT INTO things VALUES (1)", "INSERT INTO specials VALUES (2)")
    with Consumer(engine, "c", Thing) as consumer:
        with pytest.raises(
            NotifyConfigError, match="the rows of things, specials.*the Table of one"
        ):
            consumer.backfill(Thing)
        consumer.backfill(Thing.__table__)
        (row,) = take(consumer)
    assert (row.entity, row.identity) == (Thing, (1,))


def test_backfills_follow_one_another(engine, Item):
    """Each is finished before the next one, and a snapshot before both."""
    with Consumer(engine, "c", Item, start="snapshot", batch_size=7) as consumer:
        consumer.backfill(Item, Item.id == 20)
        consumer.backfill(Item, Item.id == 1)
        found = take(consumer)
    assert [c.identity[0] for c in found] == [*range(1, 21), 20, 1]
