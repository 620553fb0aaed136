"""Forged messages, and memory and time: what anybody may send costs a listener no more than what
PostgreSQL really sends."""

from __future__ import annotations

import gc
import json
import sys
import time
from typing import Any

import pytest
from forgery import RS, SHAPE, US, message, send, until_real
from orders import ALL, order_class
from receiving import take
from sqlalchemy import text
from statements import run
from waiting import wait_until

from sa_pgnotify import Change, Gap, Inserted
from sa_pgnotify.protocol.wire import MessageReader

pytestmark = [
    pytest.mark.parametrize("kind", ["psycopg2", "asyncpg"], indirect=True),
    pytest.mark.kinds(1),
]


BEGINNING = message(rows="").replace("sa1 1 0 1", "sa1 1 0 0")


def parts(chunk: str, count: int) -> str:
    """SQL that sends parts of a row that does not end; they come after :data:`BEGINNING`, in the
    same transaction."""
    return f"SELECT pg_notify('public.orders', concat('sa1 1 ', i, ' 0', chr(30), {chunk})) FROM generate_series(1, {count}) AS i"


def send_parts(engine: Any, chunk: str, count: int) -> None:
    with engine.begin() as connection:
        connection.execute(
            text("SELECT pg_notify('public.orders', :payload)"), {"payload": BEGINNING}
        )
        connection.exec_driver_sql(parts(chunk, count))


def until_sent(engine: Any, listener: Any) -> list[Any]:
    """The events of what was sent before now."""
    run(engine, "NOTIFY sent")
    events = []
    while getattr((event := take(listener, 1)[0]), "channel", None) != "sent":
        events.append(event)
    return events


def held() -> int:
    """How many bytes the listener's reader holds of a message that has not ended."""
    (reader,) = [
        each for each in gc.get_objects() if type(each) is MessageReader and each._open is not None
    ]
    return sum(
        sys.getsizeof(part)
        for value in vars(reader).values()
        for part in [value, *(value if isinstance(value, list) else [])]
    )


@pytest.mark.parametrize(
    ("chunk", "count", "most"),
    [
        ("repeat('x', 7900)", 100, 1_000_000),
        ("repeat('x', 7890) || '😀'", 100, 1_000_000),
        ("'xy'", 3000, 20_000),
        ("''", 3000, 5000),
    ],
    ids=["long", "one wide character", "short", "empty"],
)
def test_parts_of_a_message_that_never_ends(engine, Listener, chunk, count, most):
    """The parts of a row that has not ended are held as the bytes that were sent, however short or
    wide they are; one Gap says that it was broken off, and a real change comes whole."""
    Order = order_class(engine, ALL)
    with Listener(engine, Order) as listener:
        send_parts(engine, chunk, count)
        wait_until(
            lambda: any(
                each._parts == count + 1 for each in gc.get_objects() if type(each) is MessageReader
            )
        )
        assert held() < most
        (gap,) = until_real(engine, listener)
        assert (gap.reason, "before its last part" in gap.detail) == ("undecodable", True)


def test_the_bound_is_one_of_bytes(engine, Listener, monkeypatch):
    """A row that does not end is given up when it has more bytes than PostgreSQL could send, and
    not as many characters."""
    monkeypatch.setattr("sa_pgnotify.protocol.wire.LONGEST_ROW", 200_000)
    Order = order_class(engine, ALL)
    with Listener(engine, Order, "sent") as listener:
        send_parts(engine, "repeat('😀', 1900)", 30)
        gaps = until_sent(engine, listener)
        assert "a row without end" in gaps[0].detail
        # each part after it is one without a beginning
        assert listener.stats.gaps == 30 - 200_000 // 7600
        assert until_real(engine, listener) == []


def test_messages_that_interrupt_each_other(engine, Listener):
    """Only one message is held at a time: parts that others interrupt are Gaps, and nothing of them
    stays."""
    Order = order_class(engine, ALL)
    with Listener(engine, Order, "sent") as listener:
        beginning = "concat('sa1 ', i, ' 0 0', chr(30), 'I', chr(31), repeat('x', 7000))"
        run(
            engine,
            f"SELECT pg_notify('public.orders', {beginning}) FROM generate_series(1, 100) AS i",
        )
        assert {type(event) for event in until_sent(engine, listener)} == {Gap}
        assert listener.stats.gaps == 99
        assert held() < 15_000
        assert [type(event) for event in until_real(engine, listener)] == [Gap]


def test_a_giant_row(engine, Listener):
    """A real row of 14 MB, in parts that each have characters of one, two and four bytes, comes
    whole."""
    Order = order_class(engine, ALL)
    with Listener(engine, Order) as listener:
        run(engine, "INSERT INTO orders VALUES (1, repeat('é😀x', 2000000))")
        (event,) = take(listener, 1)
    assert isinstance(event, Inserted)
    assert event.new["status"] == "é😀x" * 2_000_000


@pytest.mark.parametrize(("names", "expected"), [(1600, Inserted), (1601, Gap)])
def test_as_many_columns_as_a_table_has(engine, Listener, names, expected):
    """A shape has at most as many columns as a table of PostgreSQL; one with more is a Gap."""
    Order = order_class(engine, ALL)
    shape = json.dumps(SHAPE | {"columns": ["id", "status", *(f"c{i}" for i in range(names - 2))]})
    payload = f"I{US}public.orders{US}1{US}1{US}{shape}{US}{RS}1{US}a"
    pieces = [payload[i : i + 7900] for i in range(0, len(payload), 7900)]
    with Listener(engine, Order) as listener:
        send(
            engine,
            *(
                f"sa1 1 {i} {int(i == len(pieces) - 1)}{RS}{piece}"
                for i, piece in enumerate(pieces)
            ),
        )
        (event,) = until_real(engine, listener)
    assert isinstance(event, expected)


def test_what_is_said_of_a_forgery(engine, Listener):
    """What a Gap says is one short line of printable characters, whatever was sent: it goes into
    logs and onto terminals."""
    Order = order_class(engine, ALL)
    lines = "x\nERROR: all is lost \x1b[31m\r\x9b " * 200
    forged = [
        f"sa1 failed 22012 {lines}",
        lines,
        message(rows=f"{lines}{US}a"),
        message(shape=lines),
        message(rows=f"{lines}{US}1{US}a", operation="U"),
    ]
    with Listener(engine, Order, "sent") as listener:
        for number, payload in enumerate(forged, 1):
            send(engine, payload[:3000])
            (gap,) = until_sent(engine, listener)
            assert (gap.reason, listener.stats.gaps) == ("undecodable", number)
            assert gap.detail.isprintable()
            assert len(gap.detail) <= 500


def test_a_large_context_of_many_rows(engine, Listener):
    """A context is read once for all rows of its message: reading it of each event costs no time
    that grows with both."""
    Order = order_class(engine, ALL)
    context = json.dumps({"numbers": list(range(150_000))})
    rows = RS.join(f"{i}{US}a" for i in range(1000))
    payload = f"I{US}public.orders{US}1{US}1{US}{json.dumps(SHAPE)}{US}{context}{RS}{rows}"
    pieces = [payload[i : i + 7900] for i in range(0, len(payload), 7900)]
    with Listener(engine, Order) as listener:
        send(
            engine,
            *(
                f"sa1 1 {i} {int(i == len(pieces) - 1)}{RS}{piece}"
                for i, piece in enumerate(pieces)
            ),
        )
        events = take(listener, 1000)
        started = time.process_time()
        assert {len(event.context["numbers"]) for event in events} == {150_000}
        assert time.process_time() - started < 2.0


def test_shapes_that_contradict_the_columns(engine, Listener):
    """Forged shapes that claim other types of the columns have these read again at most once for
    what has arrived together; a real change comes right."""
    Order = order_class(engine, ALL)
    with Listener(engine, Order) as listener:
        started = time.process_time()
        send(
            engine,
            *(
                message(shape=SHAPE | {"types": types})
                for _ in range(1000)
                for types in ("ii", "tt")
            ),
        )
        events = until_real(engine, listener)
        assert time.process_time() - started < 10.0
    assert all(isinstance(event, Gap | Change) for event in events)
