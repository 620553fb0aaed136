"""``str(position)`` and ``Position.parse``: a resume token that a program keeps where it likes."""

from __future__ import annotations

import base64
import json
import re

import pytest
from durables import model_of
from hypothesis import given
from hypothesis import strategies as st
from receiving import take
from sqlalchemy.exc import SQLAlchemyError
from statements import run

from sa_pgnotify import Consumer, Listener, Position, UnreadableData
from sa_pgnotify.log.scans import Scan

NUMBERS = st.integers(0, 2**63 - 1)
SNAPSHOTS = st.builds(
    lambda xmin, xmax, running: f"{xmin}:{xmax}:{','.join(map(str, running))}",
    NUMBERS,
    NUMBERS,
    st.lists(NUMBERS, max_size=3),
)
TABLES = st.lists(st.tuples(st.text(), st.none() | SNAPSHOTS), max_size=3).map(tuple)
SCANS = st.lists(
    st.builds(
        Scan,
        st.text(),
        st.booleans(),
        st.text(),
        st.none() | st.lists(st.text(), max_size=3).map(tuple),
        NUMBERS,
        NUMBERS,
        st.booleans(),
    ),
    max_size=2,
).map(tuple)


@given(
    st.builds(
        Position,
        SNAPSHOTS,
        st.none() | SNAPSHOTS,
        NUMBERS,
        NUMBERS,
        NUMBERS,
        TABLES,
        TABLES,
        SCANS,
    )
)
def test_there_and_back(position):
    """Any position comes back equal, from text that a URL takes as it is."""
    token = str(position)
    assert re.fullmatch(r"[A-Za-z0-9._~-]+", token)
    assert Position.parse(token) == position


def token_of(*snapshots, scans="[]"):
    written = json.dumps([*snapshots, scans])
    written = base64.urlsafe_b64encode(written.encode()).decode().rstrip("=")
    return f"1.0.0.0.{written}"


GOOD = token_of("1:2:", None, [], [])
BAD = {
    "empty": "",
    "a number": 7,
    "none": None,
    "a newer version": GOOD.replace("1.", "2.", 1),
    "cut off": GOOD[:-3],
    "huge number": f"1.{'9' * 5000}.0.0.{GOOD.rpartition('.')[2]}",
    "another document": token_of("1:2:"),
    "no snapshot": token_of("now", None, [], []),
    "SQL for a snapshot": token_of("1:2:3) OR (1=1", None, [], []),
    "SQL within a table's": token_of("1:2:", None, [["orders", "1:2:;"]], []),
    "a table without a name": token_of("1:2:", None, [[1, None]], []),
    "tables that are none": token_of("1:2:", None, 7, []),
    "scans that are none": token_of("1:2:", None, [], [], scans="7"),
    "a scan of nothing": token_of("1:2:", None, [], [], scans='[[1, true, "", null, 0, 0, false]]'),
    "a scan after numbers": token_of(
        "1:2:", None, [], [], scans='[["orders", true, "", [1], 0, 0, false]]'
    ),
    "a bomb": "1.0.0.0." + base64.urlsafe_b64encode(b"[" * 100_000).decode(),
    "a line after it": GOOD + "\n",
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_not_a_position(case):
    """A token may come back from a browser, so it is checked whole: nothing but a position passes,
    and the error says what to give."""
    assert Position.parse(GOOD) == Position("1:2:")
    with pytest.raises(
        UnreadableData, match=r"Give the text that str\(position\) returned"
    ) as raised:
        Position.parse(BAD[case])
    assert isinstance(raised.value, ValueError)
    assert isinstance(raised.value, SQLAlchemyError)
    assert len(str(raised.value)) < 600


def test_a_consumer_continues_at_a_token(engine):
    """A consumer that is moved to a position which was kept as text reads what follows it, within
    a statement too."""
    Item = model_of(engine)
    with Listener(engine, Item) as listener:
        run(engine, "INSERT INTO items SELECT i, i FROM generate_series(1, 3) AS i")
        token = str(take(listener, 3)[1].position)
    with Consumer(engine, "resumed", Item) as consumer:
        consumer.seek(Position.parse(token))
        for batch in consumer:
            with batch:
                assert [change.identity for change in batch] == [(3,)]
            consumer.stop()
