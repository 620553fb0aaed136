"""Whole columns parsed at once: the same values as one by one, with msgspec and without, unless the
program has a parser of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kinds import driver_url
from receiving import take
from sqlalchemy import JSON, NullPool, create_engine
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, mapped_column
from statements import run

from sa_pgnotify import Listener, NotifyOnChange, NotifySpec
from sa_pgnotify.drivers import text_readers

NUMBERS = st.from_regex(
    r"-?(0|[1-9][0-9]{0,40})(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,3})?", fullmatch=True
).filter(str.isascii)
ESCAPES = (
    r'"\ud800"',
    r'"\udc00\ud800"',
    r'"\ud83d\ude00"',
    r'"\u0000"',
    r'"\/\b\f\n\r\t"',
    r'"\u00E9"',
)
STRINGS = st.builds(json.dumps, st.text(), ensure_ascii=st.booleans()) | st.sampled_from(ESCAPES)
SPACE = st.sampled_from(["", " ", "\n", "\t\r"])


def _array(space: str, items: list[str]) -> str:
    return f"{space}[{space}{f'{space},{space}'.join(items)}{space}]{space}"


def _object(space: str, members: list[tuple[str, str]]) -> str:
    return (
        "{"
        + f"{space},".join(f"{space}{name}{space}:{space}{value}" for name, value in members)
        + space
        + "}"
    )


DOCUMENTS = st.recursive(
    NUMBERS
    | STRINGS
    | st.sampled_from(
        ["null", "true", "false", "9" * 5000, "-0", "-0.0", "1e400", "1e-400", str(1 << 64)]
    ),
    # Names are few, so that they repeat: of a name that is there twice, the last value counts.
    lambda inner: (
        st.builds(_array, SPACE, st.lists(inner, max_size=4))
        | st.builds(
            _object,
            SPACE,
            st.lists(
                st.tuples(STRINGS | st.sampled_from(['"a"', '"b"', r'"\u0061"']), inner), max_size=5
            ),
        )
    ),
    max_leaves=12,
)
"""Texts of the type json, which are kept as they were written."""
WITHOUT = text_readers._as_array(json.loads, json.loads)


def outcome(function: Callable[[], Any]) -> str:
    """Values so written that what differs at all differs: types, the order of names, the sign of
    zero."""
    try:
        return repr(function())
    except (ValueError, RecursionError):
        return "an error"


def test_msgspec_is_here():
    """The tests of this file see the extra ``fast`` at work."""
    assert text_readers.Decoder is not None


@pytest.mark.parametrize("every", [text_readers.JSON.all, WITHOUT], ids=["msgspec", "json"])
@given(st.lists(DOCUMENTS, max_size=4))
def test_documents_are_what_json_makes_of_them(every, texts):
    """JSON of a whole column is what json.loads gives for each: floats, integers of any size,
    repeated names, half surrogate pairs."""
    assert outcome(lambda: every(texts)) == outcome(lambda: list(map(json.loads, texts)))


@pytest.mark.parametrize("every", [text_readers.JSON.all, WITHOUT], ids=["msgspec", "json"])
@given(st.text('0123456789-+.eE ,[]{}:"\\aNInfity\t\u00a0'))
def test_what_is_no_document_is_refused(every, text):
    """A forged text is read, or refused, as json.loads does."""
    assert outcome(lambda: every([text])) == outcome(lambda: [json.loads(text)])


@given(st.lists(st.integers().map(str) | st.text('0123456789-+_ ,[]".e\n\u00a0٣'), max_size=4))
def test_integers_are_what_int_makes_of_them(texts):
    """Integers of a whole column are what int() gives for each, of any size; what int() refuses is
    refused."""
    assert outcome(lambda: text_readers.INTEGERS.all(texts)) == outcome(
        lambda: list(map(int, texts))
    )


@pytest.mark.parametrize("driver", ["psycopg2", "psycopg"])
def test_the_programs_own_json_reader_is_used(engine, url, driver):
    """An engine's json_deserializer reads the JSON of events as it reads that of a SELECT."""

    class Base(DeclarativeBase):
        pass

    class Thing(NotifyOnChange, Base):
        __tablename__ = "things"
        __notify__ = NotifySpec(values="all")
        a = mapped_column(JSONB)
        b = mapped_column(JSON)
        id = mapped_column(JSONB(), primary_key=True)

    Base.metadata.create_all(engine)
    reader = create_engine(
        driver_url(url, driver),
        poolclass=NullPool,
        json_deserializer=lambda text: json.loads(text, parse_float=Decimal),
    )
    with Listener(reader, Thing) as listener:
        run(engine, """INSERT INTO things VALUES ('{"x": [1.10]}', '{"y": 2.20}', '3.30')""")
        (event,) = take(listener, 1)
    assert event.new == {
        "a": {"x": [Decimal("1.10")]},
        "b": {"y": Decimal("2.20")},
        "id": Decimal("3.30"),
    }
