"""What a consumer's batches hold: whole transactions, every kind of change, equal to what a SELECT
gives."""

from __future__ import annotations

from collections import Counter
from datetime import date
from decimal import Decimal
from typing import ClassVar

import pytest
from consumers import consume, consumer_of, numbers
from durables import model_of
from sqlalchemy import ForeignKey, Numeric, String, TypeDecorator, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from statements import run

from sa_pgnotify import (
    Consumer,
    Deleted,
    Gap,
    Inserted,
    NotifyOnChange,
    NotifySpec,
    Truncated,
    Updated,
    change_context,
)


@pytest.fixture(autouse=True)
def _done(engine):
    run(engine, "CREATE TABLE done (id int PRIMARY KEY GENERATED ALWAYS AS IDENTITY, what text)")


def taken(consumer, count, sizes=None):
    """The batches that bring ``count`` changes, as lists of their transactions."""
    batches, have = [], 0
    for batch in consumer:
        with batch:
            have += len(batch)
            batches.append(list(batch.transactions()))
            assert [change for part in batches[-1] for change in part.changes] == list(batch)
        if have >= count:
            return batches
    raise AssertionError


def series(first, last):
    return f"INSERT INTO items (id, n) SELECT i, 0 FROM generate_series({first}, {last}) AS i"


def test_batches_hold_whole_transactions(engine, kind):
    """A batch ends between two transactions, unless one alone is longer; that one is divided, and
    it is said where it begins and ends."""
    Item = model_of(engine)
    with consumer_of(kind, engine, "c", Item, batch_size=10) as consumer:
        for first, last in [(1, 4), (5, 8), (9, 12), (13, 37), (38, 40)]:
            run(engine, series(first, last))
        batches = taken(consumer, 40)
    flags = [
        [(numbers(part.changes)[0], len(part.changes), part.begins, part.ends) for part in batch]
        for batch in batches
    ]
    assert flags == [
        [(1, 4, True, True), (5, 4, True, True)],
        [(9, 4, True, True)],
        [(13, 10, True, False)],
        [(23, 10, False, False)],
        [(33, 5, False, True), (38, 3, True, True)],
    ]
    ids = {
        change.transaction_id
        for batch in batches
        for part in batch
        for change in part.changes
        if 13 <= change.identity[0] <= 37
    }
    assert ids == {batches[2][0].transaction_id}


def test_a_divided_transaction_goes_on_after_a_restart(engine, kind):
    """A consumer that stops in the middle of a transaction, and of a row of the log, goes on there:
    also if much came in the meantime."""
    Item = model_of(engine)
    seen = []
    with consumer_of(kind, engine, "c", Item):
        pass
    run(engine, series(1, 25))
    for _ in range(4):
        with consumer_of(kind, engine, "c", Item, batch_size=7) as consumer:
            seen += consume(consumer, 7)
        run(engine, series(len(seen) + 100, len(seen) + 100))
    assert numbers(seen[:25]) == list(range(1, 26))
    assert len(set(numbers(seen))) == len(seen)


def test_every_kind_of_change(engine, kind):
    """Inserts, updates with the values of before and after, deletes and TRUNCATE; each with its
    context and place; savepoints that were rolled back left no trace; and values equal a SELECT."""

    class Base(DeclarativeBase):
        pass

    class Price(NotifyOnChange, Base):
        __tablename__ = "prices"
        __notify__: ClassVar = NotifySpec(durable=True, values="all")
        id: Mapped[int] = mapped_column(primary_key=True)
        name: Mapped[str | None]
        amount: Mapped[Decimal] = mapped_column(Numeric(10, 3))

    Base.metadata.create_all(engine)
    with consumer_of(kind, engine, "c", Price) as consumer:
        with Session(engine) as session, change_context(session, {"user": "änn"}):
            session.add(Price(id=1, name="é\x1f", amount=Decimal("1.500")))
            session.commit()
        with engine.connect() as connection:
            row = connection.execute(select(Price.__table__)).mappings().one()
        run(
            engine,
            "SAVEPOINT a",
            "INSERT INTO prices VALUES (9, 'x', 9)",
            "ROLLBACK TO a",
            "UPDATE prices SET amount = 2, name = NULL",
        )
        run(engine, "UPDATE prices SET id = 2")
        run(engine, "DELETE FROM prices")
        run(engine, "TRUNCATE prices")
        inserted, updated, moved, deleted, truncated = consume_all(consumer, 5)
    assert (type(inserted), inserted.new, inserted.context["user"]) == (Inserted, dict(row), "änn")
    assert (type(updated), updated.changed) == (Updated, {"amount", "name"})
    assert dict(updated.old) == dict(row)
    assert dict(updated.new) == {"id": 1, "name": None, "amount": Decimal("2.000")}
    assert str(updated.new["amount"]) == "2.000"
    assert (moved.previous_identity, moved.identity) == ((1,), (2,))
    assert (type(deleted), dict(deleted.old)) == (
        Deleted,
        {"id": 2, "name": None, "amount": Decimal("2.000")},
    )
    assert (type(truncated), truncated.identity, truncated.entity) == (Truncated, None, Price)
    assert len({change.position for change in (inserted, updated, moved, deleted, truncated)}) == 5
    assert len({change.backend_pid for change in (inserted, updated)}) == 2


def consume_all(consumer, count):
    return [change for batch in taken(consumer, count) for part in batch for change in part.changes]


class Cased(TypeDecorator):
    """Values whose text is another one in each process."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value, dialect):
        return value.text

    def process_result_value(self, value, dialect):
        return Key(value)


class Key:
    def __init__(self, text):
        self.text = text


@pytest.mark.kinds(1)
@pytest.mark.parametrize("parts", [2, 5])
def test_parts(engine, kind, parts):
    """Each row is in exactly one part, with all of its changes, in order; a TRUNCATE is in all."""
    Item = model_of(engine)
    consumers = [
        consumer_of(kind, engine, "c", Item, partition=(i, parts), batch_size=7)
        for i in range(parts)
    ]
    for consumer in consumers:
        with consumer:
            pass
    run(engine, series(1, 40))
    for n in (1, 2, 3):
        run(engine, f"UPDATE items SET n = {n}")
    run(engine, "TRUNCATE items")
    owners = Counter()
    for consumer in consumers:
        seen: dict[int, list[int]] = {}
        with consumer:
            truncated = False
            for batch in consumer:
                with batch:
                    for change in batch:
                        if isinstance(change, Truncated):
                            truncated = True
                        else:
                            seen.setdefault(change.identity[0], []).append(change.new["n"])
                if truncated:
                    break
        assert set(map(tuple, seen.values())) == {(0, 1, 2, 3)}
        owners.update(seen.keys())
    assert owners == Counter(range(1, 41))


def test_parts_go_by_the_database(engine):
    """A key of a type of the program's is in the same part in each process, whatever its text in
    Python."""

    class Base(DeclarativeBase):
        pass

    class Thing(NotifyOnChange, Base):
        __tablename__ = "things"
        __notify__: ClassVar = NotifySpec(durable=True)
        id: Mapped[Key] = mapped_column(Cased, primary_key=True)

    Base.metadata.create_all(engine)
    run(engine, "INSERT INTO things SELECT i FROM generate_series(1, 30) AS i")
    seen = []
    for part in (0, 1):
        found = []
        for name in ("a", "b"):  # decoded twice, as in two processes
            with Consumer(engine, name, Thing, partition=(part, 2), start="beginning") as consumer:
                for batch in consumer:
                    with batch:
                        found.append({change.identity[0].text for change in batch})
                    break
        assert found[0] == found[1]
        seen += found[0]
    assert sorted(seen) == sorted(map(str, range(1, 31)))


def inherited():
    class Base(DeclarativeBase):
        pass

    class Animal(NotifyOnChange, Base):
        __tablename__ = "animals"
        __notify__: ClassVar = NotifySpec(durable=True, values="all")
        __mapper_args__: ClassVar = {"polymorphic_on": "kind", "polymorphic_identity": "animal"}
        id: Mapped[int] = mapped_column(primary_key=True)
        kind: Mapped[str]

    class Dog(Animal):
        __tablename__ = "dogs"
        __mapper_args__: ClassVar = {"polymorphic_identity": "dog"}
        id: Mapped[int] = mapped_column(
            ForeignKey("animals.id", ondelete="CASCADE"), primary_key=True
        )
        barks: Mapped[bool]

    class Cat(Animal):
        __mapper_args__: ClassVar = {"polymorphic_identity": "cat"}

    return Base, Animal, Dog, Cat


def test_joined_inheritance(engine, kind):
    """A change of one entity is one event, of the entity's class. A consumer of a class skips other
    classes, and changes of columns that only they have."""
    Base, Animal, Dog, Cat = inherited()
    Base.metadata.create_all(engine)
    with (
        consumer_of(kind, engine, "all", Animal) as consumer,
        consumer_of(kind, engine, "cats", Cat, batch_size=2) as cats,
    ):
        with Session(engine) as session:
            session.add_all([Dog(id=i, barks=True) for i in range(1, 6)])
            session.add_all([Cat(id=i) for i in range(11, 14)])
            session.commit()
            session.get(Dog, 1).barks = False
            session.commit()
        changes = consume_all(consumer, 9)
        assert Counter((type(change), change.entity) for change in changes) == {
            (Inserted, Dog): 5,
            (Inserted, Cat): 3,
            (Updated, Dog): 1,
        }
        assert sorted(numbers(consume_all(cats, 3))) == [11, 12, 13]


def test_a_column_that_came_later(engine, kind):
    """Changes that were logged before a column was added, or one dropped, are read after it, as
    they were."""
    Item = model_of(engine)
    with consumer_of(kind, engine, "c", Item):
        pass
    run(engine, "INSERT INTO items VALUES (1, 5)")
    run(engine, "ALTER TABLE items ADD COLUMN later int DEFAULT 7")
    run(engine, "INSERT INTO items VALUES (2, 6)")
    with consumer_of(kind, engine, "c", Item) as consumer:
        assert [dict(change.new) for change in consume_all(consumer, 2)] == [
            {"id": 1, "n": 5},
            {"id": 2, "n": 6},
        ]


def test_what_could_not_be_logged_is_a_gap(engine, kind):
    """If a trigger failed, the write stands, consumers get a Gap in the place of its changes, and
    later changes come."""
    Item = model_of(engine)
    with consumer_of(kind, engine, "c", Item) as consumer:
        run(engine, "INSERT INTO items VALUES (1, 1)")
        with engine.begin() as connection:  # as the trigger function does it
            number = connection.scalar(text("SELECT nextval('sa_pgnotify_log_id_seq')"))
            connection.execute(
                text(
                    f"INSERT INTO sa_pgnotify_log_0 VALUES ({number}, pg_current_xact_id()::text::bigint, pg_backend_pid(), "
                    "'public.items', 'failed 22012 division by zero', '')"
                )
            )
        run(engine, "INSERT INTO items VALUES (2, 2)")
        first, gap, second = consume_all(consumer, 3)
    assert numbers([first, second]) == [1, 2]
    assert (type(gap), gap.reason) == (Gap, "undecodable")
    assert "division by zero" in gap.detail


def test_a_row_that_is_no_change_is_a_gap(engine, kind):
    """A row that cannot be decoded becomes a Gap, and later changes come."""
    Item = model_of(engine)
    with consumer_of(kind, engine, "c", Item):
        pass
    run(engine, "INSERT INTO items VALUES (1, 1)")
    run(engine, "UPDATE sa_pgnotify_log_0 SET rows = rows || chr(31) || 'too much'")
    run(engine, "INSERT INTO items VALUES (2, 2)")
    with consumer_of(kind, engine, "c", Item) as consumer:
        gap, change = consume_all(consumer, 2)
    assert (type(gap), gap.reason, change.identity) == (Gap, "undecodable", (2,))


def test_a_column_of_another_type_is_a_gap(engine, kind):
    """A change that was logged when a column had another type becomes a Gap, and later changes
    come."""
    Item = model_of(engine)
    with consumer_of(kind, engine, "c", Item):
        pass
    run(engine, "INSERT INTO items VALUES (1, 1)")
    run(engine, "ALTER TABLE items ALTER n TYPE date USING '2026-01-01'")

    class Base(DeclarativeBase):
        pass

    class Later(NotifyOnChange, Base):
        __tablename__ = "items"
        __notify__: ClassVar = NotifySpec(durable=True, values="all")
        id: Mapped[int] = mapped_column(primary_key=True)
        n: Mapped[date]

    Base.metadata.create_all(engine)
    run(engine, "INSERT INTO items VALUES (2, '2026-01-02')")
    with consumer_of(kind, engine, "c", Later) as consumer:
        gap, change = consume_all(consumer, 2)
    assert (type(gap), gap.reason) == (Gap, "undecodable")
    assert dict(change.new) == {"id": 2, "n": date(2026, 1, 2)}


def test_another_set_of_entities(engine, kind):
    """A table more in the middle of what is read: nothing comes twice, nothing is lost, and the new
    one's changes come from where the name was when its window was begun."""
    Item = model_of(engine, more=("shared",))
    run(engine, "INSERT INTO shared VALUES (1, 0)")
    Shared = next(mapper.class_ for mapper in Item.registry.mappers if mapper.class_ is not Item)
    with consumer_of(kind, engine, "c", Item):
        pass
    with engine.connect() as one, engine.connect() as other:
        one.execute(text("INSERT INTO items VALUES (1, 1)"))
        other.execute(text("INSERT INTO items VALUES (2, 2)"))
        one.execute(text("UPDATE shared SET n = 1"))
        other.commit()
        one.commit()
    with consumer_of(kind, engine, "c", Item, batch_size=1) as consumer:
        first = consume(consumer, 1)
    with consumer_of(kind, engine, "c", Item, Shared, batch_size=1) as consumer:
        second = consume(consumer, 1)
        run(engine, "UPDATE shared SET n = 2")
        rest = consume(consumer, 1) + consume(consumer, 1)
    assert sorted(numbers(first + second)) == [1, 2]
    assert [(change.entity, change.new["n"]) for change in rest] == [(Shared, 1), (Shared, 2)]
