"""The layout of messages and the putting together of their parts, without a server."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sa_pgnotify.protocol.wire import Header, Malformed, MessageReader, Rows, unescaped

ESC, RS, US = "\x1b", "\x1e", "\x1f"


TEXTS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0")
    | st.sampled_from([ESC, RS, US, "0", "1", "2", "3"])
)


FIELDS = st.none() | TEXTS


ROWS = st.lists(st.lists(FIELDS, min_size=1, max_size=5), min_size=1, max_size=8)


SHAPE = json.dumps({"columns": ["id"], "carried": 1, "key": 1})


def encoded_field(value: str | None) -> str:
    """A field, as the docstring of ``sa_pgnotify.protocol.wire`` lays it down."""
    if value is None:
        return ""
    return (
        "".join(
            {ESC: ESC + "1", RS: ESC + "2", US: ESC + "3"}.get(character, character)
            for character in value
        )
        or ESC + "0"
    )


def encoded_row(fields: list[str | None]) -> str:
    return US.join(encoded_field(field) for field in fields)


def encoded_message(rows: list[str], context: str = "", operation: str = "I") -> str:
    header = [
        operation,
        "public.t",
        "4711",
        "1700000000000000",
        SHAPE,
        encoded_field(context or None),
    ]
    return RS.join([US.join(header), *rows])


def cut(message: str, places: list[int], sequence: int = 1) -> list[str]:
    """The payloads of a message cut at ``places``."""
    bounds = [0, *sorted(p % (len(message) + 1) for p in places), len(message)]
    pieces = [message[a:b] for a, b in zip(bounds, bounds[1:])]
    return [
        f"sa1 {sequence} {i} {int(i == len(pieces) - 1)}{RS}{piece}"
        for i, piece in enumerate(pieces)
    ]


def read_all(
    reader: MessageReader, payloads: list[str], pid: int = 7
) -> tuple[list[str], list[str]]:
    """The rows that come out, and the complaints."""
    rows, complaints = [], []
    for payload in payloads:
        for found in reader.read("c", payload, pid):
            if isinstance(found, Rows):
                assert found.size == found.text.count(RS) + 1
                rows += found.text.split(RS)
            else:
                complaints.append(found.detail)
    return rows, complaints


def still_works(reader: MessageReader) -> bool:
    """Whether the last of two messages is read whole; the first may be what ends a message left
    open."""
    for sequence in (9_000_001, 9_000_002):
        rows, complaints = read_all(
            reader, cut(encoded_message(["a", "b", "c"]), [3, 70, 90], sequence)
        )
    return rows == ["a", "b", "c"] and not complaints and reader.reset() is None


@given(ROWS, st.lists(st.integers(0, 10_000), max_size=6), TEXTS)
def test_a_message_survives_any_cut(rows, places, context):
    """Whatever the rows hold and wherever the message is cut, the same rows come out, in order,
    under the same header."""
    reader = MessageReader()
    found = []
    for payload in cut(encoded_message([encoded_row(r) for r in rows], context), places):
        found += reader.read("c", payload, 7)
    assert all(isinstance(f, Rows) for f in found)
    assert [fields for f in found for fields in f.split()] == rows
    assert {f.header for f in found} == {
        Header("c", "I", "public.t", 4711, 1700000000000000, SHAPE, context, 7)
    }
    assert reader.reset() is None


HEADER = Header("c", "I", "public.t", 1, 1, SHAPE, "", 7)


@given(
    st.integers(1, 4).flatmap(
        lambda width: st.lists(
            st.lists(FIELDS, min_size=width, max_size=width), min_size=1, max_size=6
        )
    )
)
def test_fields_of_rows(rows):
    """NULL, the empty text and every control character are distinguished, row by row and column by
    column."""
    given = Rows(HEADER, RS.join(encoded_row(row) for row in rows), len(rows))
    assert given.split() == rows
    assert given.columns(len(rows[0])) == [list(column) for column in zip(*rows)]
    assert [row.split() for row in given.each()] == [[row] for row in rows]
    for count in range(1, len(rows) + 1):
        assert given.first(count).split() == rows[:count]


@given(ROWS, st.integers(1, 9))
def test_pieces_of_rows(rows, size):
    """Rows cut into pieces are the same rows in the same order, each counted once; a row is never
    cut."""
    pieces = list(Rows(HEADER, RS.join(encoded_row(row) for row in rows), len(rows)).pieces(size))
    assert [row for piece in pieces for row in piece.split()] == rows
    assert all(len(piece.split()) == piece.size for piece in pieces)


def test_a_message_of_many_rows_is_given_out_in_pieces():
    """So few rows are given out at a time that their events do not set off Python's garbage
    collector."""
    rows = [str(100_000 + i) for i in range(1100)]
    (payload,) = cut(encoded_message(rows), [])
    found = MessageReader().read("c", payload, 7)
    assert [row for piece in found for row in piece.text.split(RS)] == rows
    assert max(piece.size for piece in found) <= 301


@pytest.mark.parametrize("rows", [[["1", "2"], ["3"]], [["1"], ["2"]], [["1", "2", "3"]]], ids=str)
def test_rows_of_another_width_make_no_columns(rows):
    """Rows that do not have the fields that the message announces are refused."""
    given = Rows(HEADER, RS.join(encoded_row(row) for row in rows), len(rows))
    with pytest.raises(ValueError, match="fields"):
        given.columns(2)


@given(FIELDS)
def test_unescaping_a_field(value):
    """An escaped field says what it said before, and holds no separator while it is escaped."""
    field = encoded_field(value)
    assert RS not in field
    assert US not in field
    assert unescaped(field) == value


@given(TEXTS)
def test_any_field_can_be_unescaped(field):
    """A forged field with broken escapes is some text or NULL, and no error."""
    assert unescaped(field) is None or isinstance(unescaped(field), str)
    (fields,) = Rows(HEADER, field.replace(RS, ""), 1).split()
    assert len(fields) == field.count(US) + 1


@given(ROWS, st.lists(st.integers(0, 10_000), min_size=2, max_size=6), st.data())
def test_a_lost_part_is_reported(rows, places, data):
    """A part missing anywhere gives a complaint, rows are never made from what stands around the
    hole, and the next message is read."""
    payloads = cut(encoded_message([encoded_row(r) for r in rows]), places)
    lost = data.draw(st.integers(0, len(payloads) - 1))
    reader = MessageReader()
    given_rows, complaints = read_all(reader, payloads[:lost] + payloads[lost + 1 :])
    dangling = reader.reset()
    assert complaints or dangling
    assert given_rows == [encoded_row(r) for r in rows][: len(given_rows)]
    assert still_works(reader)


@given(ROWS, st.lists(st.integers(0, 10_000), min_size=1, max_size=5), st.data())
def test_parts_out_of_order_or_twice(rows, places, data):
    """Parts shuffled or doubled never raise and never yield a row that was not sent; the next
    message is read."""
    payloads = cut(encoded_message([encoded_row(r) for r in rows]), places)
    order = data.draw(st.lists(st.sampled_from(payloads), min_size=1, max_size=12))
    reader = MessageReader()
    given_rows, complaints = read_all(reader, order)
    sent = [encoded_row(r) for r in rows]
    assert set(given_rows) <= set(sent)
    assert (
        complaints or reader.reset() or len(given_rows) == len(sent) * (len(order) // len(payloads))
    )
    assert still_works(reader)


def test_a_message_within_another_ends_it():
    """A message that begins before another one has ended is read; the other one is reported as
    broken, exactly once."""
    reader = MessageReader()
    first, second = (
        cut(encoded_message([name * 3]), [90], sequence) for sequence, name in ((1, "x"), (2, "y"))
    )
    rows, complaints = read_all(reader, [first[0], second[0], second[1], first[1]])
    assert rows == ["yyy"]
    assert complaints == [
        "channel 'c', pid 7: a message ended before its last part",
        "channel 'c', pid 7: part 1 of a message whose beginning never came",
    ]
    assert still_works(reader)


@pytest.mark.parametrize(("channel", "pid"), [("c", 8), ("d", 7)])
def test_parts_of_another_sender(channel, pid):
    """A part with the right number from another process or channel does not continue a message."""
    reader = MessageReader()
    first, second = cut(encoded_message(["a"]), [10])
    assert reader.read("c", first, 7) == []
    found = reader.read(channel, second, pid)
    assert [type(f) for f in found] == [Malformed, Malformed]
    assert still_works(reader)


@given(
    st.lists(
        st.tuples(
            st.sampled_from("cd"),
            TEXTS | TEXTS.map(lambda t: f"sa1 1 0 0{RS}{t}"),
            st.integers(0, 3),
        ),
        max_size=8,
    )
)
def test_random_payloads(notifications):
    """Random text gives complaints or nothing, never an error, and leaves a reader that works."""
    reader = MessageReader()
    for notification in notifications:
        for found in reader.read(*notification):
            assert isinstance(found, Malformed), found
    assert still_works(reader)


@pytest.mark.parametrize(
    "payload",
    [
        "", " ", RS, "sa1", "sa1 1 0 1", "sa1 -1 0 1" + RS, "sa1 1 0 2" + RS, "sa2 1 0 1" + RS, "sa1 1 1 1" + RS, "sa1 1 0 1" + RS,
        "sa1 1 0 1" + RS + "x", "sa1 ٣ 0 1" + RS, "sa1 99999999999999999999999 0 1" + RS, "sa1 1 99999999999999999999 1" + RS,
        "sa1 1 0 1\n" + RS, "sa1 1 0 1" + RS + encoded_message(["a"]).replace("4711", "-1"),
        "sa1 1 0 1" + RS + encoded_message(["a"]).replace("4711", "9" * 5000), "sa1 1 0 1" + RS + encoded_message(["a"], operation="X"),
        "sa1 1 0 1" + RS + encoded_message(["a"]).replace("1700000000000000", "1e9"), "sa1 failed 22012 division by zero", "sa1 failed ",
    ],
)  # fmt: skip
def test_what_is_no_message(payload):
    """Each of these causes exactly one complaint, in one line that names channel and process."""
    reader = MessageReader()
    (found,) = reader.read("c", payload, 7)
    assert isinstance(found, Malformed)
    assert found.detail.startswith("channel 'c', pid 7: ")
    assert still_works(reader)


def test_rows_come_before_the_last_part():
    """A reader gives rows as they are complete and keeps only the one that is not."""
    reader = MessageReader()
    head, body = encoded_message(["1", "2", "3"]).split(RS, 1)
    assert reader.read("c", f"sa1 1 0 0{RS}{head}", 7) == []
    assert read_all(reader, [f"sa1 1 1 0{RS}{RS}1{RS}2"]) == (["1"], [])
    assert read_all(reader, [f"sa1 1 2 1{RS}2{RS}3"]) == (["22", "3"], [])


def test_a_row_without_end(monkeypatch):
    """A row that never ends is given up at a limit, so that nobody fills the listener's memory with
    it."""
    monkeypatch.setattr("sa_pgnotify.protocol.wire.LONGEST_ROW", 50_000)
    reader = MessageReader()
    payloads = [f"sa1 1 0 0{RS}{encoded_message([''])}"] + [
        f"sa1 1 {i} 0{RS}{'x' * 7900}" for i in range(1, 9)
    ]
    rows, complaints = read_all(reader, payloads)
    assert rows == []
    assert complaints[0] == "channel 'c', pid 7: a row without end"
    assert len(reader._held) == 0
    assert still_works(reader)
