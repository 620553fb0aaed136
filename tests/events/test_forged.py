"""Anybody may send on a listener's channels. Whatever arrives, the listener goes on, reports a Gap,
and delivers genuine events."""

from __future__ import annotations

import enum
import time
from typing import Any

import pytest
from forgery import RS, SHAPE, US, message, send, until_real
from orders import ALL, order_class
from receiving import take
from sampling import size
from sqlalchemy import Enum, ForeignKey, Integer
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from statements import run
from waiting import wait_until

from sa_pgnotify import Change, Gap, NotifyOnChange, NotifySpec, UndecodableValue

# One driver that reads texts itself, and the one that has the server read them.
pytestmark = [
    pytest.mark.parametrize("kind", ["psycopg2", "asyncpg"], indirect=True),
    pytest.mark.kinds(1),
]


FORGED = {
    "empty": "",
    "garbage": "hello ' \" \\ %s :x",
    "looks binary": "".join(chr(c) for c in range(1, 256)) * 20,
    "long": "x" * 7999,
    "wide": "😀" * 1999,
    "only separators": RS * 7999,
    "version 2": message().replace("sa1", "sa2"),
    "later part": f"sa1 1 7 1{RS}x",
    "negative part": f"sa1 1 -1 1{RS}x",
    "huge part": f"sa1 1 {'9' * 7000} 1{RS}x",
    "no header": f"sa1 1 0 1{RS}",
    "huge transaction": message(xid="9" * 7000),
    "negative transaction": message(xid=-1),
    "huge moment": message(micros="9" * 18),
    "fraction of a moment": message(micros=1.5),
    "unknown operation": message(operation="X"),
    "no shape": message(shape=""),
    "null": message(shape="null"),
    "a number": message(shape="1"),
    "a bomb": message(shape="[" * 7000),
    "a bomb of objects": message(shape='{"a":' * 1500),
    "a huge number": message(shape='{"columns": ["id"], "key": 1, "carried": ' + "9" * 6000 + "}"),
    "negative carried": message(shape=SHAPE | {"carried": -1}),
    "fraction carried": message(shape=SHAPE | {"carried": 1.5}),
    "float carried": message(shape=SHAPE | {"carried": 2.0}),
    "many carried": message(shape=SHAPE | {"carried": 10**18}),
    "discriminator outside": message(shape=SHAPE | {"discriminator": 5}),
    "negative discriminator": message(shape=SHAPE | {"discriminator": -1}),
    "fraction of a discriminator": message(shape=SHAPE | {"discriminator": 0.5}),
    "columns no list": message(shape=SHAPE | {"columns": 7}),
    "columns nested": message(shape=SHAPE | {"columns": [["id"], {"a": 1}]}),
    "no key column": message(shape=SHAPE | {"columns": ["status", "nothing"]}),
    "thousand columns": message(shape=SHAPE | {"columns": ["id", *("c" for _ in range(1400))], "carried": 1401}),
    "too few fields": message(rows="1"),
    "too many fields": message(rows=US * 50),
    "no mask": message(rows=f"{US}1{US}a", operation="U"),
    "huge mask": message(rows=f"{'9' * 6000}{US}1{US}a{US}b", operation="U"),
    "negative mask": message(rows=f"-1{US}1{US}a{US}b", operation="U"),
    "word for a key": message(rows=f"abc{US}a"),
    "fraction for a key": message(rows=f"1.5{US}a"),
    "huge key": message(rows=f"{'9' * 6000}{US}a"),
    "object for a key": message(rows=f"{{}}{US}a"),
}  # fmt: skip


@pytest.mark.sample(2)
@pytest.mark.parametrize("case", FORGED)
def test_forged_payloads_are_reported_and_survived(engine, case, Listener):
    """One forged payload gives one Gap("undecodable") that stats count; the next real change
    arrives on the same connection."""
    Order = order_class(engine, ALL)
    with Listener(engine, Order) as listener:
        send(engine, FORGED[case])
        events = until_real(engine, listener)
        assert [type(event) for event in events] == [Gap]
        assert (events[0].reason, listener.stats.gaps, listener.stats.reconnects) == (
            "undecodable",
            1,
            0,
        )
        assert events[0].detail
        assert "\n" not in events[0].detail.strip()


HARMLESS = {
    "another table": message().replace("public.orders", "public.other"),
    "no such row": message(),
    "unknown columns": message(shape={"columns": ["id", "nothing"], "carried": 2, "key": 1}),
    "keys of no meaning": message(shape=SHAPE | {"more": {"a": [1]}}),
    "null for a key": message(rows=f"{US}a"),
    "huge transaction": message(xid=10**20 - 1),
    "far future": message(micros=10**17 - 1),
    "context no json": message(context="{"),
    "context a bomb": message(context="[" * 7000),
    "context no object": message(context="[1]"),
    "truncated with rows": message(operation="T", rows=RS.join("xyz")),
    "many rows": message(rows=RS.join(f"1{US}a" for _ in range(1500))),
    "broken escapes": message(rows=f"1{US}\x1b\x1b9\x1b"),
}


@pytest.mark.parametrize("case", HARMLESS)
def test_forgeries_that_look_real_are_wrong_hints_at_worst(engine, case, Listener):
    """A forgery in the right form is an event like another, every part of which can be read without
    an error."""
    Order = order_class(engine, ALL)
    with Listener(engine, Order) as listener:
        send(engine, HARMLESS[case])
        for event in until_real(engine, listener):
            assert isinstance(event, Change)
            assert repr(event)
            assert isinstance(event.context, dict | type(Order.__dict__))
            assert event.occurred_at.tzinfo is not None
            assert isinstance(event.transaction_id, int)
        assert (listener.stats.gaps, listener.stats.reconnects) == (0, 0)


def real_payloads(engine, Listener, size: int) -> list[str]:
    """The payloads of a real change."""
    with Listener(engine, "public.orders", "end") as listener:
        run(
            engine,
            f"INSERT INTO orders VALUES (1, repeat('é', {size}))",
            "DELETE FROM orders",
            'NOTIFY "end"',
        )
        payloads: list[str] = []
        while (event := take(listener, 1)[0]).channel != "end":
            payloads.append(event.payload)
    return payloads


def test_truncated_copies_of_a_real_payload(engine, Listener):
    """A real payload cut off anywhere never stops the listener, and gives an event of the row or a
    Gap."""
    Order = order_class(engine, ALL)
    payload = real_payloads(engine, Listener, 5)[0]
    with Listener(engine, Order) as listener:
        send(engine, *(payload[:n] for n in range(len(payload))))
        events = until_real(engine, listener)
        assert len(events) <= len(payload)
        assert all(isinstance(event, Gap) or event.identity == (1,) for event in events)
        assert listener.stats.gaps > len(payload) - 20


@pytest.mark.parametrize(
    "order",
    [
        "reversed",
        "first only",
        "last only",
        "without the second",
        "doubled",
        "first again and again",
    ],
)
def test_copies_of_parts_out_of_order(engine, order, Listener):
    """Parts of a real message sent in a wrong order give Gaps, never a row of mixed parts, and hold
    up nothing that follows."""
    Order = order_class(engine, ALL)
    payloads = real_payloads(engine, Listener, 12_000)
    parts = [p for p in payloads if p.split()[1] == payloads[0].split()[1]]
    assert len(parts) == 4
    mixed = {
        "reversed": parts[::-1], "first only": parts[:1], "last only": parts[-1:], "without the second": parts[:1] + parts[2:],
        "doubled": [p for p in parts for _ in range(2)], "first again and again": parts[:1] * 3,
    }[order]  # fmt: skip
    with Listener(engine, Order) as listener:
        for part in mixed:  # a transaction each, for one transaction would send identical ones once
            send(engine, part)
        events = until_real(engine, listener)
        assert events
        assert {getattr(event, "reason", None) for event in events} == {"undecodable"}
        assert listener.stats.gaps >= len(events)


def test_real_messages_within_a_forged_one(engine, Listener):
    """A forged message that never ends costs one Gap; real changes of one part and of several come
    whole."""
    Order = order_class(engine, ALL)
    beginning = f"sa1 1 0 0{RS}I{US}public.orders"
    with Listener(engine, Order) as listener:
        send(engine, beginning)
        run(engine, "INSERT INTO orders VALUES (1, 'a')")
        send(engine, beginning)
        run(engine, "INSERT INTO orders VALUES (2, repeat('b', 20000))")
        first, one, second, two = take(listener, 4)
    assert [first.reason, second.reason] == ["undecodable"] * 2
    assert [one.new["status"], two.new["status"]] == ["a", "b" * 20_000]


def test_a_forged_value_of_the_wrong_type(engine, Listener):
    """A value that its type cannot read raises where it is read, names the attribute, and spoils
    neither repr nor the iteration."""

    class Base(DeclarativeBase):
        pass

    class Order(NotifyOnChange, Base):
        __tablename__ = "orders"
        __notify__ = NotifySpec(values="all")
        id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
        status: Mapped[str | None]
        amount: Mapped[int | None] = mapped_column(deferred=True)

    Base.metadata.create_all(engine)
    run(engine, "ALTER TABLE orders DROP COLUMN amount")
    run(engine, "ALTER TABLE orders ADD COLUMN amount int")
    shape = {"columns": ["id", "amount"], "carried": 2, "key": 1}
    with Listener(engine, Order) as listener:
        send(
            engine,
            message(rows=f"1{US}many", shape=shape),
            message(rows=f"1{US}1{US}2{US}x", shape=shape, operation="U"),
        )
        inserted, updated = take(listener, 2)
    with pytest.raises(UndecodableValue, match=r"Order\.amount .*'amount' holds 'many'") as raised:
        inserted.new["amount"]
    assert (raised.value.attribute, raised.value.text) == ("amount", "many")
    assert inserted.new["id"] == 1
    assert "<undecodable 'many'>" in repr(inserted)
    assert updated.identity == (1,)
    assert updated.new == {"id": 1, "amount": 2}


class Kind(enum.Enum):
    PLAIN = 1
    SPECIAL = 2


@pytest.mark.parametrize("type_", [Integer(), Enum(Kind)], ids=["integer", "enum"])
@pytest.mark.parametrize("operation", "IUDT")
def test_a_forged_discriminator(engine, type_, operation, Listener):
    """A discriminator that its type cannot read gives a Gap or the most general class; it never
    ends the iteration."""
    plain, special = (Kind.PLAIN, Kind.SPECIAL) if isinstance(type_, Enum) else (1, 2)

    class Base(DeclarativeBase):
        pass

    class Order(NotifyOnChange, Base):
        __tablename__ = "orders"
        __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": plain}
        id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
        kind: Mapped[Any] = mapped_column(type_)

    type("Special", (Order,), {"__mapper_args__": {"polymorphic_identity": special}})
    Base.metadata.create_all(engine)
    shape = {"columns": ["id", "kind"], "carried": 2, "key": 1, "discriminator": 1}
    with Listener(engine, Order) as listener:
        for value in ("garbage", "", "9" * 5000):
            row = f"1{US}1{US}{value}{US}1" if operation == "U" else f"1{US}{value}"
            send(engine, message(rows=row, shape=shape, operation=operation))
        run(engine, f"INSERT INTO orders VALUES (4711, '{getattr(plain, 'name', plain)}')")
        found = take(listener, 1)
        while getattr(found[-1], "identity", None) != (4711,):
            found += take(listener, 1)
    assert all(isinstance(event, Gap) or event.entity is Order for event in found)
    assert len(found) == 4


def test_a_discriminator_looked_up_that_this_program_does_not_know(engine, Listener):
    """A value that was added to the Enum of a discriminator in another table, by a newer program or
    a forger, is a Gap; what follows comes."""

    class Base(DeclarativeBase):
        pass

    class Parent(NotifyOnChange, Base):
        __tablename__ = "parents"
        __mapper_args__ = {"polymorphic_on": "kind"}
        id: Mapped[int] = mapped_column(primary_key=True)
        kind: Mapped[Kind]

    class Child(Parent):
        __tablename__ = "children"
        __mapper_args__ = {"polymorphic_identity": Kind.PLAIN}
        id: Mapped[int] = mapped_column(ForeignKey("parents.id"), primary_key=True)
        name: Mapped[str | None]

    type("Grandchild", (Child,), {"__mapper_args__": {"polymorphic_identity": Kind.SPECIAL}})
    Base.metadata.create_all(engine)
    run(engine, "ALTER TYPE kind ADD VALUE 'NEWER'")
    run(
        engine,
        "INSERT INTO parents VALUES (1, 'NEWER'), (2, 'PLAIN')",
        "INSERT INTO children VALUES (1), (2)",
    )
    with Listener(engine, Child) as listener:
        run(engine, *(f"UPDATE children SET name = 'a' WHERE id = {number}" for number in (1, 2)))
        gap, updated = take(listener, 2)
    assert (gap.reason, updated.entity, updated.identity) == ("undecodable", Child, (2,))


@pytest.mark.thorough
def test_a_forged_message_of_many_rows(engine, Listener):
    """A payload full of rows that cannot be read costs no time that grows with its square, and the
    readable row among them is delivered."""
    Order = order_class(engine, ALL)
    rows = ["x"] * 3700
    rows[1000] = f"1{US}a"
    with Listener(engine, Order) as listener:
        started = time.process_time()
        send(engine, *(message(rows=RS.join(rows), xid=i) for i in range(10)))
        events = until_real(engine, listener)
        assert time.process_time() - started < 15.0
    assert {event.identity for event in events if isinstance(event, Change)} == {(1,)}
    assert any(isinstance(event, Gap) for event in events)


MANY = size(3000, 600)
"""Forgeries."""


def test_a_flood_of_forgeries(engine, Listener):
    """Thousands of different forgeries do not keep a real change from arriving, and each is
    counted; those that wait are one Gap, however small the buffer is."""
    Order = order_class(engine, ALL)
    with Listener(engine, Order, buffer_size=2) as listener:
        send(engine, *(f"forged {i}" for i in range(MANY)))
        wait_until(lambda: listener.stats.gaps == MANY)
        assert listener.stats.buffered <= 2  # one may be at hand
        events = until_real(engine, listener)
        assert {getattr(event, "reason", None) for event in events} == {"undecodable"}
        assert len(events) <= 2
        assert (listener.stats.gaps, listener.stats.buffered, listener.stats.delivered) == (
            MANY,
            0,
            len(events) + 1,
        )
    with Listener(engine, Order) as listener:
        send(engine, *(message(shape=SHAPE | {"columns": ["x", f"y{i}"]}) for i in range(MANY)))
        events = until_real(engine, listener, 4712)
        assert {getattr(event, "reason", None) for event in events} == {"undecodable"}
        assert (listener.stats.gaps, listener.stats.buffered, listener.stats.delivered) == (
            MANY,
            0,
            len(events) + 1,
        )
