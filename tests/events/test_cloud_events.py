"""Events as CloudEvents 1.0, as another implementation reads them."""

from __future__ import annotations

import datetime as dt
import json

import pytest
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from durables import model_of
from envelopes import validator
from orders import ALL, order_class
from receiving import received, take
from statements import run
from test_existing import existing

from sa_pgnotify import (
    Change,
    CloudEvents,
    Gap,
    Listener,
    Notification,
    NotifyConfigError,
    event_schema,
)

WRAP = CloudEvents(source="/shop")


def read(text: str) -> CloudEvent:
    """As the SDK of the CloudEvents project reads and validates it."""
    return JSONFormat().read(CloudEvent, text)


def test_another_implementation_reads_it(engine):
    """The attributes are those that the specification asks for, and the data is the envelope, from
    which the change comes back."""
    Order = order_class(engine, ALL)
    (event,) = received(engine, Order, "INSERT INTO orders VALUES (7, 'é')")
    found = read(WRAP.to_json(event))
    assert json.loads(WRAP.to_json(event)) == WRAP.to_dict(event)
    assert (found.get_specversion(), found.get_source()) == ("1.0", "/shop")
    assert (found.get_type(), found.get_subject()) == ("sa_pgnotify.inserted", "orders/7")
    assert found.get_time() == event.occurred_at
    assert (found.get_datacontenttype(), found.get_dataschema()) == (
        "application/json",
        event_schema()["$id"],
    )
    validator().validate(found.get_data())
    back = Change.from_dict(found.get_data(), Order)
    assert (back.identity, back.new) == (event.identity, event.new)


def test_a_durable_change_has_one_id(engine):
    """The id is the key of the change: the same each time that it is read, so that a receiver
    recognises what comes again; no two changes have one."""
    Item = model_of(engine)
    with Listener(engine, Item) as first, Listener(engine, Item) as second:
        run(
            engine,
            "INSERT INTO items SELECT i, i FROM generate_series(1, 3) AS i",
            "UPDATE items SET n = 7",
        )
        ids = [
            [WRAP.to_dict(event)["id"] for event in take(listener, 6)]
            for listener in (first, second)
        ]
    assert ids[0] == ids[1]
    assert len(set(ids[0])) == 6


def test_an_ephemeral_change_has_one_id(engine):
    """The id is the transaction and the ordinal in it: the same for two listeners and each time that
    an event is written; no two changes have one, whichever statement of the transaction made
    them."""
    Order = order_class(engine, ALL)
    with Listener(engine, Order) as first, Listener(engine, Order) as second:
        for last in (400, 800):
            run(
                engine,
                f"INSERT INTO orders SELECT i FROM generate_series({last - 399}, {last}) AS i",
                f"UPDATE orders SET status = 'x' WHERE id = {last}",
                f"DELETE FROM orders WHERE id = {last}",
            )
        received = [take(listener, 804) for listener in (first, second)]
    ids = [[WRAP.to_dict(event)["id"] for event in events] for events in received]
    assert ids[0] == ids[1] == [WRAP.to_dict(event)["id"] for event in received[0]]
    assert len(set(ids[0])) == 804
    assert ids[0][401] == f"tx-{received[0][401].transaction_id}-401"


def test_other_events(engine):
    """A gap, a notification, a TRUNCATE and an existing row are CloudEvents too; those that nothing
    identifies have an id of their own."""
    Order = order_class(engine, ALL)
    inserted, truncated = received(
        engine, Order, "INSERT INTO orders VALUES (1, 'open')", "TRUNCATE orders"
    )
    gap = Gap("overflow", dt.datetime(2024, 2, 29, tzinfo=dt.UTC))
    notification = Notification("channel", "payload", 7)
    subjects = {}
    for event in (gap, notification, truncated, existing(inserted)):
        found = read(WRAP.to_json(event))
        validator().validate(found.get_data())
        subjects[found.get_type()] = found.get_subject()
    assert subjects == {
        "sa_pgnotify.gap": None,
        "sa_pgnotify.notification": "channel",
        "sa_pgnotify.truncated": "orders",
        "sa_pgnotify.existing": "orders/1",
    }
    assert WRAP.to_dict(notification)["id"] != WRAP.to_dict(notification)["id"]
    assert WRAP.to_dict(existing(inserted))["id"] == WRAP.to_dict(existing(inserted))["id"]


@pytest.mark.parametrize(
    "arguments",
    [
        {"source": ""},
        {"source": "a shop"},
        {"source": None},
        {"source": "/s", "prefix": ""},
        {"source": "/s", "prefix": "é"},
    ],
)
def test_arguments_that_cannot_work(arguments):
    """The specification asks for a source and a type; what is none is refused at once, with what to
    give."""
    with pytest.raises(NotifyConfigError, match="Give one"):
        CloudEvents(**arguments)
