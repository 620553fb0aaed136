"""Events as JSON: what is written, and what comes back of it."""

from __future__ import annotations

import datetime as dt
import json

import sqlalchemy as sa
from envelopes import envelope_differences, forget_orjson, there_and_back, validator
from hierarchies import order_and_rush
from orders import ALL, marked_class, order_class
from receiving import received, take
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
    NotifyOnChange,
    NotifySpec,
    Truncated,
    Updated,
    change_context,
    event_schema,
    notify_on_change,
)


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
