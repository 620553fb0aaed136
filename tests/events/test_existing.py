"""``Existing``: a row as it was when it was read, made by the machinery that makes changes."""

from __future__ import annotations

from forgery import message, send, until_real
from orders import ALL, order_class
from receiving import received
from sqlalchemy.orm import Session

from sa_pgnotify import Existing, Gap, Listener
from sa_pgnotify.events.message import Message
from sa_pgnotify.protocol.wire import EXISTING, Rows


def existing(inserted) -> Existing:
    """The event of a row that was read with the values of an INSERT."""
    rows = Rows(inserted._message.header._replace(operation=EXISTING), "1\x1fopen", 1)
    (event,) = Message(inserted._message.source, rows, 0.0).events()
    return event


def test_an_existing_row_has_what_an_insert_has(engine):
    """A row read from the table becomes an event with identity and values, like an INSERT's; it can
    be loaded, matched and built."""
    Order = order_class(engine, ALL)
    (inserted,) = received(engine, Order, "INSERT INTO orders VALUES (1, 'open')")
    event = existing(inserted)
    match event:
        case Existing(entity, identity, new=new):
            assert (entity, identity, new) == (Order, (1,), {"id": 1, "status": "open"})
    with Session(engine) as session:
        assert event.load(session).status == "open"
    assert event.instance().status == "open"
    assert repr(event) == "Existing(Order, (1,), new={'id': 1, 'status': 'open'})"


def test_existing_cannot_be_forged(engine):
    """Nobody can send an existing row on a channel: a program would take it for the table's
    state."""
    Order = order_class(engine, ALL)
    with Listener(engine, Order) as listener:
        send(engine, message(operation=EXISTING))
        (gap,) = until_real(engine, listener)
        assert isinstance(gap, Gap)
        assert gap.reason == "undecodable"
