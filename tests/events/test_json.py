"""Events as JSON: what is written, and what comes back of it."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import json
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
from envelopes import envelope_differences, forget_orjson, there_and_back, validator
from hierarchies import order_and_rush
from orders import ALL, marked_class, order_class
from receiving import received, take
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.orm import DeclarativeBase, Session, mapped_column
from statements import run
from test_existing import existing

from sa_pgnotify import (
    Change,
    Deleted,
    Gap,
    Inserted,
    Listener,
    Notification,
    NotifyConfigError,
    NotifyOnChange,
    NotifySpec,
    Truncated,
    UndecodableValue,
    Updated,
    change_context,
    event_schema,
    notify_on_change,
)


class Colour(enum.Enum):
    RED = "r"
    GREEN = "g"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@dataclasses.dataclass(frozen=True)
class Money:
    amount: Decimal
    currency: str


class MoneyType(sa.TypeDecorator[Money]):
    """Writes an object of the program as text."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value, dialect):
        return None if value is None else f"{value.amount} {value.currency}"

    def process_result_value(self, value, dialect):
        if value is None:
            return None
        amount, currency = value.split()
        return Money(Decimal(amount), currency)


class LevelType(sa.TypeDecorator[Level]):
    impl = sa.Integer
    cache_ok = True

    def process_bind_param(self, value, dialect):
        return None if value is None else int(value)

    def process_result_value(self, value, dialect):
        return None if value is None else Level(value)


class ReadOnlyType(sa.TypeDecorator[Money]):
    """Does not write what it reads."""

    impl = sa.Text
    cache_ok = True

    def process_result_value(self, value, dialect):
        return Money(Decimal(1), value)


def test_what_is_written(engine):
    """The envelope is what its page says: plain members, values as JSON has them, and the forms of
    the others beside them; both to_dict() and to_json()."""
    Order = marked_class(engine, total=mapped_column(sa.Numeric), due=mapped_column(sa.Date))
    (event,) = received(
        engine,
        Order,
        "INSERT INTO orders (id, status, total, due) VALUES (7, 'open', 9.90, '2024-02-29')",
    )
    assert event.to_dict() == json.loads(event.to_json()) == {
        "version": 1,
        "event": "inserted",
        "entity": "Marked",
        "table": "orders",
        "identity": [7],
        "new": {"id": 7, "status": "open", "total": "9.90", "due": "2024-02-29"},
        "forms": {"new": {"total": "decimal", "due": "date"}},
        "transaction_id": event.transaction_id,
        "occurred_at": event.occurred_at.isoformat(),
        "backend_pid": event.backend_pid,
        "context": {},
        "position": None,
        "key": None,
    }  # fmt: skip


def test_values_of_the_programs_own_types(engine):
    """The members of enums and the values of TypeDecorators are written as their types write them,
    within arrays too, and come back as the same objects."""
    Thing = marked_class(
        engine,
        colour=mapped_column(sa.Enum(Colour, name="colour")),
        colours=mapped_column(pg.ARRAY(sa.Enum(Colour, name="colour"))),
        level=mapped_column(LevelType),
        price=mapped_column(MoneyType),
        prices=mapped_column(pg.ARRAY(MoneyType, dimensions=1)),
    )
    with Listener(engine, Thing) as listener, Session(engine) as session:
        price = Money(Decimal("1.50"), "EUR")
        session.add(
            Thing(id=1, colour=Colour.RED, colours=[Colour.GREEN, Colour.RED], level=Level.HIGH, price=price, prices=[price, None])
        )  # fmt: skip
        session.add(Thing(id=2))
        session.commit()
        for event in take(listener, 2):
            assert envelope_differences(event, Thing) == {}
            if event.identity == (1,):
                written = event.to_dict()["new"]
                assert (written["colour"], written["colours"]) == ("RED", ["GREEN", "RED"])
                assert (written["level"], written["price"]) == (2, "1.50 EUR")
                assert there_and_back(event, Thing).new["level"] is Level.HIGH


class Pickled(sa.TypeDecorator):
    """A type of the program upon a pickle."""

    impl = sa.PickleType
    cache_ok = True


@pytest.mark.parametrize("type_", [sa.PickleType, Pickled])
def test_a_pickle_is_not_loaded(engine, type_):
    """JSON comes from elsewhere, and a pickle executes what it likes: its value is refused, and the
    others are there."""
    Thing = marked_class(engine, kept=mapped_column(type_))
    with Listener(engine, Thing) as listener, Session(engine) as session:
        session.add(Thing(id=1, kept=Boom(), status="open"))
        session.commit()
        (event,) = take(listener, 1)
    data = json.loads(event.to_json())
    LOADED.clear()
    back = Change.from_dict(data, Thing)
    assert back.new["status"] == "open"
    with pytest.raises(UndecodableValue, match="a pickle is not loaded"):
        back.new["kept"]
    assert LOADED == []


LOADED = []


class Boom:
    """Is noticed when it is loaded."""

    def __setstate__(self, state):
        LOADED.append(self)

    def __getstate__(self):
        return {"a": 1}


def test_a_value_that_nothing_writes(engine):
    """A TypeDecorator that only reads is named, with what to do; no half of an event is written."""
    Thing = marked_class(engine, price=mapped_column(ReadOnlyType))
    (event,) = received(engine, Thing, "INSERT INTO orders (id, price) VALUES (1, 'EUR')")
    with pytest.raises(NotifyConfigError, match=r"Marked\.price.*process_bind_param\(\)"):
        event.to_json()


def test_numbers_that_a_reader_may_not_keep(engine):
    """Whole numbers beyond 2**53 and numbers that are not finite are texts, in documents too: a
    reader in JavaScript gets no other number; and no null stands for NaN."""
    Thing = marked_class(
        engine,
        big=mapped_column(sa.BigInteger),
        safe=mapped_column(sa.BigInteger),
        odd=mapped_column(sa.Double),
        document=mapped_column(sa.JSON),
    )
    (event,) = received(
        engine, Thing, f"""INSERT INTO orders (id, big, safe, odd, document) VALUES (1, {2**53}, {2**53 - 1}, 'NaN', '{{"a": [1e999, {2**70}, 1.5]}}')"""
    )  # fmt: skip
    data = event.to_dict()
    assert data["new"]["big"] == str(2**53)
    assert data["new"]["safe"] == 2**53 - 1
    assert data["new"]["odd"] == "NaN"
    assert data["new"]["document"] == {"a": ["Infinity", str(2**70), 1.5]}
    assert data["forms"]["new"]["document"] == {
        "object": {"a": {"list": ["number", "integer", None]}}
    }
    assert envelope_differences(event, Thing) == {}


def test_half_of_a_surrogate_pair(engine):
    """A document of the type json may hold half of a surrogate pair, which UTF-8 cannot."""
    Thing = marked_class(engine, document=mapped_column(sa.JSON))
    (event,) = received(
        engine, Thing, r"""INSERT INTO orders (id, document) VALUES (1, '"\ud800"')"""
    )
    assert event.new["document"] == "\ud800"
    assert envelope_differences(event, Thing) == {}


def test_moments_in_a_zone_whose_hours_come_twice():
    """A moment in a zone is equal to no moment of another zone in the hour that comes twice, so the
    zone is written as well."""
    from sa_pgnotify.events.json_forms import decode, encode

    zone = ZoneInfo("Europe/Berlin")
    for fold in (0, 1):
        moment = dt.datetime(2024, 10, 27, 2, 30, tzinfo=zone, fold=fold)
        written, form = encode(moment, None)
        assert written.startswith("2024-10-27T02:30:00+0")
        assert decode(written, form, None) == moment
        assert decode(written, form, None).utcoffset() == moment.utcoffset()


def test_keys_that_change_and_contexts(engine):
    """A composite key that JSON does not express, its change, the old values, the context and the
    durable event's position and key come back."""

    class Base(DeclarativeBase):
        pass

    class Stock(NotifyOnChange, Base):
        __tablename__ = "stock"
        __notify__ = NotifySpec(values="all", durable=True)
        place = mapped_column(sa.Uuid, primary_key=True)
        day = mapped_column(sa.Date, primary_key=True)
        count = mapped_column(sa.Integer)

    Base.metadata.create_all(engine)
    place = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"
    with Listener(engine, Stock) as listener:
        with (
            engine.begin() as connection,
            change_context(connection, {"user": "Ann", "n": [1, None]}),
        ):
            for statement in (
                f"INSERT INTO stock VALUES ('{place}', '2024-01-01', 1)",
                "UPDATE stock SET day = '2024-01-02', count = 2",
                "DELETE FROM stock",
                "TRUNCATE stock",
            ):
                connection.exec_driver_sql(statement)
        events = take(listener, 4)
    assert [type(event) for event in events] == [Inserted, Updated, Deleted, Truncated]
    for event in events:
        assert event.position is not None
        assert envelope_differences(event, Base) == {}
    updated = events[1].to_dict()
    assert updated["identity"] == [place, "2024-01-02"]
    assert updated["previous_identity"] == [place, "2024-01-01"]
    assert updated["forms"]["identity"] == ["uuid", "date"]
    assert updated["context"] == {"user": "Ann", "n": [1, None]}
    assert there_and_back(events[3], Base).identity is None


def test_the_most_specific_class_comes_back(engine):
    """With joined inheritance the event is of the class that the row is of."""
    Order, Rush = order_and_rush(engine)
    with Listener(engine, Order) as listener, Session(engine) as session:
        session.add(Rush(id=1, status="open", days=2))
        session.commit()
        (event,) = take(listener, 1)
    assert event.entity is Rush
    assert envelope_differences(event, Order.metadata) == {}


def test_core_tables_and_classes_without_a_marker(engine):
    """An event of a Core table comes back as of the table; a program whose class is not marked
    reads it by its declarative base."""
    metadata = sa.MetaData()
    table = notify_on_change(
        sa.Table(
            "orders",
            metadata,
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("status", sa.Text),
        ),
        ALL,
    )
    metadata.create_all(engine)
    (event,) = received(engine, table, "INSERT INTO orders VALUES (1, 'open')")
    assert envelope_differences(event, metadata) == {}
    assert there_and_back(event, metadata).entity is table

    class Elsewhere(DeclarativeBase):
        pass

    class Order(Elsewhere):
        __tablename__ = "orders"
        id = mapped_column(sa.Integer, primary_key=True)
        status = mapped_column(sa.Text)

    back = Change.from_dict(event.to_dict() | {"entity": "Order"}, Elsewhere)
    assert (back.entity, back.new) == (Order, {"id": 1, "status": "open"})


def test_what_comes_back_can_do_what_an_event_does(engine):
    """A change from JSON loads, expires and builds objects, matches, and shows itself as before; a
    row that was read does so too."""
    Order = order_class(engine, ALL)
    events = received(
        engine, Order, "INSERT INTO orders VALUES (1, 'open')", "UPDATE orders SET status = 'paid'"
    )
    inserted, updated = (there_and_back(event, Order) for event in events)
    assert repr(inserted) == repr(events[0])
    assert repr(updated) == repr(events[1])
    match updated:
        case Updated(entity, (id_,), changed=changed):
            assert (entity, id_, changed) == (Order, 1, {"status"})
    with Session(engine) as session:
        held = updated.load(session)
        assert held.status == "paid"
        updated.expire(session)
        assert "status" in sa.inspect(held).expired_attributes
    assert updated.instance().status == "paid"
    assert there_and_back(updated, Order).new == updated.new
    assert envelope_differences(existing(events[0]), Order) == {}


def test_a_value_that_cannot_be_decoded_spoils_only_itself(engine):
    """It is left out and named with PostgreSQL's text; what comes back raises for it alone, and so
    it does for a previous key."""
    Person = marked_class(
        engine, born=mapped_column(sa.Date, primary_key=True), motto=mapped_column(sa.Text)
    )
    with Listener(engine, Person) as listener:
        run(engine, "INSERT INTO orders (born, motto) VALUES ('0044-03-15 BC', 'veni')")
        take(listener, 1)  # a Gap, as an identity cannot be decoded
        run(engine, "UPDATE orders SET born = '2024-01-01', motto = 'x'")
        (event,) = take(listener, 1)
    data = event.to_dict()
    validator().validate(json.loads(event.to_json()))
    assert data["old"] == {"status": None, "motto": "veni"}
    assert data["undecodable"]["old"]["born"]["text"] == "0044-03-15 BC"
    assert data["previous_identity"] is None
    back = there_and_back(event, Person)
    assert back.new == event.new
    assert back.old["motto"] == "veni"
    for wrong in (lambda: back.old["born"], lambda: back.previous_identity, lambda: dict(back.old)):
        with pytest.raises(UndecodableValue) as raised:
            wrong()
        assert raised.value.text == "0044-03-15 BC"
    assert there_and_back(back, Person).old["motto"] == "veni"
    back.expire(Session(engine))


def test_a_member_that_this_program_does_not_know(engine):
    """A value that the column's type refuses here, such as the new member of an enum, spoils only
    itself."""
    Thing = marked_class(engine, colour=mapped_column(sa.Enum(Colour, name="colour")))
    (event,) = received(
        engine, Thing, "INSERT INTO orders (id, colour, status) VALUES (1, 'RED', 'x')"
    )
    data = event.to_dict()
    data["new"]["colour"] = "BLUE"
    back = Change.from_dict(data, Thing)
    assert back.new["status"] == "x"
    with pytest.raises(UndecodableValue, match=r"Marked\.colour.*BLUE"):
        back.new["colour"]


def test_gaps_and_notifications(engine):
    """A gap and a notification are written and read back as well, and are valid."""
    gap = Gap("overflow", dt.datetime(2024, 2, 29, 12, tzinfo=dt.UTC), "é")
    notification = Notification("a channel", '"payload\n', 7)
    for event in (gap, notification):
        assert json.loads(event.to_json()) == event.to_dict()
        validator().validate(event.to_dict())
        assert type(event).from_dict(json.loads(event.to_json())) == event


def test_the_schema_refuses_what_is_wrong(engine):
    """The schema says something: an event without a member, of another kind, or with a form that is
    none, is not valid."""
    Order = order_class(engine, ALL)
    (event,) = received(engine, Order, "INSERT INTO orders VALUES (1, 'open')")
    good = event.to_dict()
    assert validator().is_valid(good)
    wrong = [
        good | {"event": "changed"},
        good | {"version": 2},
        good | {"identity": None},
        good | {"key": [1]},
        good | {"forms": {"new": {"id": 7}}},
    ]
    wrong += [
        {name: value for name, value in good.items() if name != left_out} for left_out in good
    ]
    for data in wrong:
        assert not validator().is_valid(data), data
    assert event_schema()["$id"] == "urn:sa_pgnotify:event:1"


def test_without_orjson(engine, monkeypatch):
    """orjson is an extra: without it the JSON is the same text."""
    Order = order_class(engine, ALL)
    with Listener(engine, Order) as listener:
        run(engine, "INSERT INTO orders VALUES (1, 'é')")
        (event,) = take(listener, 1)
    texts = []
    for forget in (lambda _: None, forget_orjson):
        forget(monkeypatch)
        event._message._texts.clear()  # what it remembers
        texts.append((event.to_json(), there_and_back(event, Order).to_json()))
    assert texts[0] == texts[1]
    assert "é" in texts[0][0]
