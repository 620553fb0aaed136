"""Events as JSON: the values that JSON cannot express, and those that depend on a column's type."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import json
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
from envelopes import envelope_differences, there_and_back, validator
from orders import marked_class
from receiving import received, take
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.orm import Session, mapped_column
from statements import run

from sa_pgnotify import (
    Change,
    Listener,
    NotifyConfigError,
    UndecodableValue,
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
