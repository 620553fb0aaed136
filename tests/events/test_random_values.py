"""Random values of many types come through every operation as a SELECT through the ORM gives them."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from receiving import take
from selects import ODD_SESSION, attributes_of, row_differences, same, thing_class
from sqlalchemy.dialects import postgresql as pg

pytestmark = pytest.mark.kinds(3)


TEXTS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0")
    | st.sampled_from("\x1b\x1e\x1f0123\\'\"{},"),
    max_size=30,
)


JSONS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)


ZONED = st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(9000, 1, 1), timezones=st.just(dt.UTC))


RANDOM: dict[str, tuple[Any, st.SearchStrategy[Any]]] = {
    "word": (sa.Text(), TEXTS),
    "padded": (sa.CHAR(30), TEXTS),
    "whole": (sa.BigInteger(), st.integers(-(2**63), 2**63 - 1)),
    "exact": (
        sa.Numeric(),
        st.decimals(allow_infinity=False, allow_nan=True).filter(
            lambda d: not d.is_snan() and abs(d.adjusted()) < 100
        ),
    ),
    "inexact": (sa.Double(), st.floats()),
    "short": (sa.REAL(), st.floats(width=32)),
    "moment": (sa.DateTime(), st.datetimes()),
    "zoned": (sa.DateTime(timezone=True), ZONED),
    "day": (sa.Date(), st.dates()),
    "clock": (sa.Time(), st.times()),
    "span": (sa.Interval(), st.timedeltas(dt.timedelta(-(10**5)), dt.timedelta(10**5))),
    "document": (pg.JSON(), JSONS),
    "binary": (pg.JSONB(), JSONS.filter(lambda value: "\\u0000" not in repr(value))),
    "octets": (sa.LargeBinary(), st.binary(max_size=30)),
    "words": (pg.ARRAY(sa.Text()), st.lists(st.none() | TEXTS, max_size=4)),
    "numbers": (pg.ARRAY(sa.Double()), st.lists(st.none() | st.floats(), max_size=4)),
}


ROW = st.fixed_dictionaries({name: st.none() | strategy for name, (_, strategy) in RANDOM.items()})


@pytest.mark.sample(4)
@pytest.mark.usefixtures("for_each")
def test_random_values_equal_a_select(engine, url, kind):
    """Random values of all sorts in one wide row come through insert, update and delete as a SELECT
    gives them."""
    Thing = thing_class({name: type_ for name, (type_, _) in RANDOM.items()})
    Thing.metadata.create_all(engine)
    table, reader = Thing.__table__, kind.engine(url)

    def changed(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
        return {name for name in RANDOM if not same(before[name], after[name])}

    with kind.listener(reader, Thing) as listener, engine.connect() as writer:
        for statement in (*ODD_SESSION, "SET search_path = public"):
            writer.exec_driver_sql(statement)
        writer.commit()

        @given(ROW, ROW)
        def check(first: dict[str, Any], second: dict[str, Any]) -> None:
            writer.execute(table.insert().values(id=1, **first))
            writer.commit()
            before = attributes_of(kind, reader, Thing)
            writer.execute(table.update().values(id=2, **second))
            writer.commit()
            after = attributes_of(kind, reader, Thing)
            writer.execute(table.delete())
            writer.commit()
            inserted, updated, deleted = take(listener, 3)
            assert row_differences([inserted], "new", before) == {}
            assert row_differences([updated], "old", before) == {}
            assert row_differences([updated], "new", after) == {}
            assert row_differences([deleted], "old", after) == {}
            assert (updated.identity, updated.previous_identity) == ((2,), (1,))
            assert changed(before[0], after[0]) <= updated.changed

        check()
