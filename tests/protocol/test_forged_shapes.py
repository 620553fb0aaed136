"""Forged messages whose shape or rows make no sense: undecodable, and the memory that they fill is
bounded."""

from __future__ import annotations

import json
import tracemalloc

import pytest
from sqlalchemy import Column, Integer, MetaData, Table
from sqlalchemy.dialects.postgresql.psycopg2 import PGDialect_psycopg2

from sa_pgnotify import Change
from sa_pgnotify.drivers import TextReader
from sa_pgnotify.events.decoding import TableDecoder
from sa_pgnotify.events.layout import Undecodable
from sa_pgnotify.events.message import Message
from sa_pgnotify.protocol.wire import Header, Rows

ESC, RS, US = "\x1b", "\x1e", "\x1f"


def source() -> TableDecoder:
    table = Table(
        "t",
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column("a", Integer),
        Column("b", Integer),
    )
    return TableDecoder(table, None, lambda _: True, ("id",), PGDialect_psycopg2(), {"id": 23, "a": 23, "b": 23},
                  {23: TextReader(int, lambda texts: [int(text) for text in texts])}, None)  # fmt: skip


def events(source: TableDecoder, shape: object, row: str, operation: str = "I") -> list[Change]:
    """The events of a message of one row."""
    header = Header(
        "c",
        operation,
        "public.t",
        1,
        1,
        shape if isinstance(shape, str) else json.dumps(shape),
        "",
        7,
    )
    return list(Message(source, Rows(header, row, 1), 0.0).events())


@pytest.mark.thorough
def test_forged_shapes_are_not_hoarded():
    """Shapes, classes and masks are remembered for speed; a million different forged ones must not
    fill the memory."""
    forged = source()
    tracemalloc.start()
    try:
        for i in range(3000):
            shape = {
                "columns": ["id", f"forged{i}", *(f"c{i}_{n}" for n in range(40))],
                "carried": 1,
                "key": 1,
            }
            events(forged, shape, "1")
            events(
                forged,
                shape,
                f"{i + 1}{US}0{US}1{US}1" if (i + 1) & 1 else f"{i + 1}{US}0{US}1",
                "U",
            )
        used = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert used < 25_000_000


def test_large_forged_masks_and_discriminators_are_not_hoarded():
    """Of the widest table, thousands of different masks do not fill the memory, and neither do long
    texts in the place of a discriminator."""
    forged = source()
    wide = json.dumps({"columns": ["id", *(f"c{i}" for i in range(1599))], "carried": 1, "key": 1})
    kinds = json.dumps({"columns": ["id", "kind"], "carried": 2, "key": 1, "discriminator": 1})
    for i in range(500):
        masks = US.join(["2147483646", *["2147483647"] * 50, str(i)])
        events(forged, wide, f"{masks}{US}1", "U")
        events(forged, kinds, f"1{US}{i:010000}")
    assert sum(map(len, forged._masks.values())) <= 500_000
    assert sum(len(discriminator or "") for _, discriminator in forged._entity_layouts) <= 500_000
    events(forged, kinds, f"1{US}{'x' * 600_000}")
    assert max(len(discriminator or "") for _, discriminator in forged._entity_layouts) <= 500_000


def test_large_forged_shapes_are_not_hoarded():
    """The memory for remembered shapes is bounded in bytes too: a few hundred forged shapes of a
    megabyte do not stay."""
    forged = source()
    tracemalloc.start()
    try:
        for i in range(100):
            shape = json.dumps(
                {"columns": ["id", f"{i}" + "x" * 1_000_000], "carried": 1, "key": 1}
            )
            with pytest.raises(Undecodable, match="characters"):
                events(forged, shape, "1")
        used = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert used < 50_000_000


@pytest.mark.parametrize(
    "shape",
    [
        "", "null", "[]", "7", '"x"', "{", "[" * 100_000, '{"columns": ' + "[" * 100_000, {}, {"columns": None, "carried": 1, "key": 1},
        {"columns": [1], "carried": 1, "key": 1}, {"columns": ["id"], "carried": 2, "key": 1}, {"columns": ["id"], "carried": 1, "key": 2},
        {"columns": ["id"], "carried": -1, "key": -1}, {"columns": ["id"], "carried": 0, "key": 0},
        {"columns": ["id", "a"], "carried": 1.5, "key": 1}, {"columns": ["id"], "carried": 1.0, "key": 0.5},
        {"columns": ["id"], "carried": "1", "key": 1}, {"columns": ["id"], "carried": 1, "key": 1, "discriminator": 2},
        {"columns": ["id"], "carried": 1, "key": 1, "discriminator": -1}, {"columns": ["id"], "carried": 1, "key": 1, "discriminator": 0.5},
        {"columns": ["id"], "carried": 1, "key": 1, "discriminator": "id"}, {"columns": ["id"], "carried": [1], "key": 1},
        {"columns": ["nothing"], "carried": 1, "key": 1}, '{"columns": ["id"], "carried": 1e999, "key": 1}',
        '{"columns": ["id"], "carried": NaN, "key": 1}', '{"columns": ["id"], "carried": ' + "9" * 5000 + ', "key": 1}',
    ],
    ids=lambda shape: str(shape)[:60],
)  # fmt: skip
@pytest.mark.parametrize("operation", "IUDT")
def test_forged_shapes(shape, operation):
    """A shape that makes no sense is undecodable, whichever operation it claims; it is never
    another error."""
    row = {"U": f"1{US}1{US}2"}.get(operation, "1")
    with pytest.raises(Undecodable):
        events(source(), shape, row, operation)


@pytest.mark.parametrize(
    "row",
    [
        "",
        US,
        "1",
        "x",
        f"1{US}2{US}3{US}4{US}5",
        f"0{US}1",
        f"-1{US}1",
        f"x{US}1",
        f"8{US}1",
        f"{'9' * 5000}{US}1",
        f"1{US}x{US}y",
        f"1{US}1",
    ],
    ids=repr,
)
def test_forged_rows_of_an_update(row):
    """Masks that are no numbers, negative, too large or at odds with the number of fields are
    undecodable."""
    with pytest.raises(Undecodable):
        events(source(), {"columns": ["id", "a", "b"], "carried": 1, "key": 1}, row, "U")
