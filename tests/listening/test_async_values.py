"""Values of events that asyncpg reads in the program's own way, or that only the server can read."""

from __future__ import annotations

import asyncio
import json
import uuid
from decimal import Decimal

import pytest
import sqlalchemy as sa
from asyncio_leftovers import write
from kinds import driver_url
from sqlalchemy import event, text
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import DeclarativeBase, mapped_column

from sa_pgnotify import (
    AsyncListener,
    Gap,
    NotifyOnChange,
    NotifySpec,
    UndecodableValue,
)


def things(engine, **columns):
    """A class with columns, marked with all values, installed."""

    class Base(DeclarativeBase):
        pass

    body = {name: mapped_column(type_) for name, type_ in columns.items()}
    body |= {
        "__tablename__": "things",
        "__notify__": NotifySpec(values="all"),
        "id": mapped_column(sa.Integer, primary_key=True),
    }
    Thing = type("Thing", (NotifyOnChange, Base), body)
    Thing.metadata.create_all(engine)
    return Thing


def test_the_programs_own_json_reader_is_used(engine, url):
    """An engine's json_deserializer reads the JSON of events as it reads that of a SELECT."""
    Thing = things(engine, a=pg.JSONB(), b=sa.JSON())
    async_engine = create_async_engine(
        driver_url(url, "asyncpg"), json_deserializer=lambda s: json.loads(s, parse_float=Decimal)
    )

    async def main():
        async with AsyncListener(async_engine, Thing) as listener:
            await write(
                engine,
                """INSERT INTO things VALUES ('{"x": [1.10]}', '{"y": 2.20}', 1), ('"\\u001e"', 'null', 2)""",
            )
            first, second = await listener.get(10), await listener.get(10)
        assert dict(first.new) == {
            "a": {"x": [Decimal("1.10")]},
            "b": {"y": Decimal("2.20")},
            "id": 1,
        }
        assert dict(second.new) == {"a": "\x1e", "b": None, "id": 2}

    asyncio.run(main())


def test_the_programs_own_json_reader_is_used_also_where_it_seldom_differs(engine, url):
    """A json_deserializer that makes something else of some documents only, by an object_hook,
    reads the JSON of events."""
    Thing = things(engine, a=pg.JSONB(), b=sa.JSON())
    hook = {"object_hook": lambda found: Decimal(found["money"]) if "money" in found else found}
    async_engine = create_async_engine(
        driver_url(url, "asyncpg"), json_deserializer=lambda text: json.loads(text, **hook)
    )

    async def main():
        async with AsyncListener(async_engine, Thing) as listener:
            await write(
                engine,
                """INSERT INTO things VALUES ('{"x": {"money": "1.10"}}', '{"y": [2.5]}', 1)""",
            )
            event = await listener.get(10)
        assert dict(event.new) == {"a": {"x": Decimal("1.10")}, "b": {"y": [2.5]}, "id": 1}
        await async_engine.dispose()

    asyncio.run(main())


def test_the_programs_own_codecs_are_used(engine, url):
    """Codecs that the program sets for types on its connections make the values of events too."""
    Thing = things(
        engine, n=sa.Numeric(asdecimal=False), u=sa.Uuid(), e=sa.Enum("aB", "Ab", name="mixed")
    )
    async_engine = create_async_engine(driver_url(url, "asyncpg"))
    number = uuid.uuid4()

    async def codecs(raw):
        await raw.set_type_codec(
            "numeric", encoder=str, decoder=lambda text: float(text) * 2, schema="pg_catalog"
        )
        await raw.set_type_codec("mixed", encoder=str, decoder=str.swapcase, schema="public")

    event.listen(async_engine.sync_engine, "connect", lambda dbapi, _: dbapi.run_async(codecs))

    async def main():
        async with (
            async_engine.connect() as connection,
            AsyncListener(async_engine, Thing) as listener,
        ):
            await write(engine, f"INSERT INTO things VALUES (1.5, '{number}', 'aB', 1)")
            selected = (await connection.execute(sa.text("SELECT n, u, e FROM things"))).one()
            assert tuple(selected) == (3.0, number, "Ab")
            assert dict((await listener.get(10)).new) == {"n": 3.0, "u": number, "e": "Ab", "id": 1}
        await async_engine.dispose()

    asyncio.run(main())


def test_one_text_that_nobody_can_read(engine, url):
    """A value that the driver cannot read fails when it is asked for, as a SELECT of it does; all
    others of the message are there."""
    Thing = things(engine, d=sa.Date(), r=pg.INT4RANGE())
    async_engine = create_async_engine(driver_url(url, "asyncpg"))

    async def main():
        async with AsyncListener(async_engine, Thing) as listener:
            await write(engine, "INSERT INTO things SELECT CASE i WHEN 5 THEN '4714-11-24 BC' ELSE '2024-02-29'::date END,"
                                " int4range(i, i + 1), i FROM generate_series(1, 9) AS i")  # fmt: skip
            events = [await listener.get(10) for _ in range(9)]
        for number, change in enumerate(events, 1):
            assert change.identity == (number,)
            if number == 5:
                with pytest.raises(UndecodableValue, match="BC"):
                    dict(change.new)
            else:
                assert change.new["r"].lower == number

    asyncio.run(main())


def test_forged_texts_are_asked_for_and_refused(engine, url):
    """A forged message with texts that are none of their type's costs its own rows only; nothing of
    it is run as SQL."""
    Thing = things(engine, r=pg.INT4RANGE(), i=pg.INET())
    async_engine = create_async_engine(driver_url(url, "asyncpg"))
    texts = [
        "[1,2)",
        "'; DROP TABLE things; --",
        "[1,2)}",
        '"',
        "",
        "\\",
        "[9,1)",
        "{}",
        "null",
        "é" * 100,
        "[3,4)",
    ]
    shape = json.dumps({"columns": ["id", "r", "i"], "carried": 3, "key": 1})
    rows = "\x1e".join(f"{number}\x1f{text_}\x1f10.0.0.1" for number, text_ in enumerate(texts))
    header = "\x1f".join(["I", "public.things", "1", "1", shape, ""])

    async def main():
        async with AsyncListener(async_engine, Thing) as listener:

            def forge():
                with engine.begin() as connection:
                    payload = f"sa1 1 0 1\x1e{header}\x1e{rows}"
                    connection.execute(
                        text("SELECT pg_notify('public.things', :payload)"), {"payload": payload}
                    )

            await asyncio.to_thread(forge)
            events = [await listener.get(10) for _ in texts]
            readable = []
            for change in events:
                try:
                    readable.append(change.new["r"])
                except UndecodableValue as error:
                    assert error.attribute == "r"
            assert [change.identity for change in events] == [
                (number,) for number in range(len(texts))
            ]
            assert [r and r.lower for r in readable] == [1, None, 3]  # "" is NULL
            await write(engine, "INSERT INTO things VALUES ('[5,6)', '::1', 1)")
            assert (await listener.get(10)).new["r"].lower == 5

    asyncio.run(main())


def test_a_connection_lost_while_the_server_is_asked(engine, proxy):
    """What was not read yet when the connection went is covered by the Gap."""
    Thing = things(engine, r=pg.INT4RANGE())
    async_engine = create_async_engine(driver_url(proxy.url, "asyncpg"))

    async def main():
        async with AsyncListener(async_engine, Thing, heartbeat=0.3) as listener:
            await write(engine, "INSERT INTO things VALUES ('[1,2)', 1)")
            assert (await listener.get(10)).new["r"].lower == 1
            from sa_pgnotify.drivers.asyncpg import Connection

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(
                    Connection,
                    "_read_there",
                    lambda self, texts: (proxy.cut(), self.execute("SELECT 1")),
                )
                await write(engine, "INSERT INTO things VALUES ('[2,3)', 2)")
                assert isinstance(await listener.get(10), Gap)
            await write(engine, "INSERT INTO things VALUES ('[3,4)', 3)")
            assert (await listener.get(10)).identity == (3,)

    asyncio.run(main())
