"""What is not the envelope of a change is refused, with the member that is wrong and what to do."""

from __future__ import annotations

import copy
import re

import pytest
import sqlalchemy as sa
from orders import marked_class
from receiving import received
from sqlalchemy.orm import mapped_column

from sa_pgnotify import Change, CloudEvents, Gap, Notification, UnreadableData

GONE = object()
CASES = {
    "another version": ({"version": 2}, r"event\.version: it is 2, and this version .* reads 1\..*update sa_pgnotify"),
    "no version": ({"version": GONE}, r"event\.version: it is None"),
    "a version of another type": ({"version": True}, r"event\.version: it is True"),
    "an unknown event": ({"event": "changed"}, r"event\.event: 'changed' is none of inserted, updated"),
    "a gap": ({"event": "gap"}, r"a gap is not a change\. Read it with Gap\.from_dict"),
    "a notification": ({"event": "notification"}, r"Read it with Notification\.from_dict"),
    "an unknown table": ({"table": "bills"}, r"event\.table: 'bills' is not in the MetaData, which has: orders\..*Give the MetaData"),
    "an unknown class": ({"entity": "Bill"}, r"event\.entity: no class 'Bill' is mapped to the table 'orders', only Marked\. Import"),
    "no table": ({"table": GONE}, r"event\.table: it is missing"),
    "a table that is none": ({"table": 7}, r"event\.table: it is 7, and should be a text"),
    "an unknown attribute": ({"new": {"id": 1, "colour": "red"}}, r"event\.new\.colour: Marked has no column attribute of this name\. It has: .*status"),
    "values that are none": ({"new": []}, r"event\.new: it is \[\], and should be an object"),
    "no values": ({"new": GONE}, r"event\.new: it is missing"),
    "a longer key": ({"identity": [1, 2]}, r"event\.identity: it has 2 values, and the key of Marked has 1"),
    "no key": ({"identity": None}, r"event\.identity: it is None, and should be an array"),
    "an unknown form": ({"forms": {"new": {"total": "roman"}}}, r"event\.new\.total: '9\.90' is not of the form 'roman'.*newer version"),
    "another form": ({"forms": {"new": {"total": "date"}}}, r"event\.new\.total: '9\.90' is not of the form 'date'"),
    "a form for a number": ({"forms": {"new": {"id": "decimal", "total": {"range": None}}}}, r"event\.new\.total"),
    "a form that is none": ({"forms": {"new": {"total": 7}}}, r"event\.new\.total"),
    "a form with two names": ({"forms": {"new": {"total": {"a": 1, "b": 2}}}}, r"event\.new\.total"),
    "an odd decimal": ({"new": {"total": "nine"}}, r"event\.new\.total: 'nine' is not of the form 'decimal'"),
    "forms that are none": ({"forms": []}, r"event\.forms: it is \[\]"),
    "forms of a part that are none": ({"forms": {"new": [1]}}, r"event\.forms\.new"),
    "a bomb of forms": ({"forms": {"new": {"total": {}}}}, r"event\.new\.total"),
    "no moment": ({"occurred_at": "yesterday"}, r"event\.occurred_at: 'yesterday' is not a moment"),
    "a moment without offset": ({"occurred_at": "2024-02-29T12:00:00"}, r"event\.occurred_at"),
    "an odd transaction": ({"transaction_id": "7"}, r"event\.transaction_id: it is '7', and should be a whole number"),
    "a true process": ({"backend_pid": True}, r"event\.backend_pid: it is True"),
    "an odd context": ({"context": "Ann"}, r"event\.context"),
    "an odd position": ({"position": "here"}, r"Position: 'here' is not a position"),
    "an odd key": ({"key": [1]}, r"event\.key: it is \[1\], and should be two whole numbers"),
    "an odd problem": ({"undecodable": {"new": {"status": "x"}}}, r"event\.undecodable: 'x' does not say what and why"),
    "odd problems": ({"undecodable": 7}, r"event\.undecodable: it is 7"),
}  # fmt: skip


@pytest.fixture
def written(engine):
    Order = marked_class(engine, total=mapped_column(sa.Numeric))
    (event,) = received(engine, Order, "INSERT INTO orders (id, total) VALUES (1, 9.90)")
    return Order, event


def test_each_wrong_member(written):
    """Each error names the member, says what it is, and ends with what to do; a ValueError catches
    it."""
    Order, event = written
    good = event.to_dict()
    for case, (change, expected) in CASES.items():
        data = {name: value for name, value in (good | change).items() if value is not GONE}
        if case == "an odd decimal":
            data["new"] = {"total": "nine"}
        if case == "a bomb of forms":
            data["forms"]["new"]["total"] = form = {}
            for _ in range(100_000):
                form["column"] = form = {}
        with pytest.raises(UnreadableData) as raised:
            Change.from_dict(data, Order)
        assert re.search(expected, str(raised.value)), (case, str(raised.value))
        assert isinstance(raised.value, ValueError), case
        assert raised.value.fix, case
        assert len(str(raised.value)) < 800, case
    assert Change.from_dict(copy.deepcopy(good), Order).identity == (1,)


def test_what_is_no_envelope(written):
    """A text, a CloudEvent or something without a MetaData is refused as well; so is the envelope of
    another event by Gap and Notification."""
    Order, event = written
    for data, expected in (
        (event.to_json(), "str is not an object. Give json.loads"),
        (None, "NoneType is not an object"),
        (
            CloudEvents(source="/shop").to_dict(event),
            'this is a CloudEvent. Give its member "data"',
        ),
    ):
        with pytest.raises(UnreadableData, match=re.escape(expected)):
            Change.from_dict(data, Order)
    with pytest.raises(TypeError, match="neither a MetaData nor a declarative base"):
        Change.from_dict(event.to_dict(), "Order")
    for kind in (Gap, Notification):
        with pytest.raises(
            UnreadableData, match=r"not a (gap|notification)\. Read it with Change\.from_dict"
        ):
            kind.from_dict(event.to_dict())
    with pytest.raises(UnreadableData, match="'bored' is none of started, reconnected"):
        Gap.from_dict(
            {
                "version": 1,
                "event": "gap",
                "reason": "bored",
                "since": "2024-02-29T12:00:00Z",
                "detail": "",
            }
        )
