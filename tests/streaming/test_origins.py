"""From the tables of two databases through relays and one stream to one handler; and in an event loop."""

from __future__ import annotations

import asyncio

import pytest
from durables import model_of
from relays import Running
from sqlalchemy import create_engine, insert, text
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from statements import run
from streams import DONE, done
from waiting import wait_until

from sa_pgnotify.relay import JetStream, Relay
from sa_pgnotify.streaming import AsyncStreamConsumer, StreamConsumer


def test_two_databases_feed_one_stream(engine, nats, sessions):
    """Relays of two databases publish into one stream; a handler gets the changes of both, and which
    is from where. The members need no connection to either."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        other = f"{engine.url.database}_other"
        connection.execute(text(f"CREATE DATABASE {other} TEMPLATE template0"))
    second = create_engine(engine.url.set(database=other))
    models = [model_of(engine), model_of(second)]
    stream = f"T{engine.url.database}"
    names = [f"{stream}_eu", f"{stream}_us"]
    to = {"subjects": [f"{name}.>" for name in names]}
    relays = [
        Relay(e, name, model, to=JetStream(nats.url, stream, **to), start="beginning")
        for e, name, model in zip((engine, second), names, models)
    ]
    try:
        with Running(relays[0]), Running(relays[1]):
            for each in (engine, second):
                run(each, "INSERT INTO items (id, n) SELECT i, i FROM generate_series(1, 20) AS i")
            wait_until(lambda: nats.count(stream) == 40)
        found = []
        consumer = StreamConsumer(
            JetStream(nats.url, stream), "billing", models[0], session_factory=sessions, start="beginning"
        )  # fmt: skip
        with consumer:
            for batch in consumer:
                with batch as session:
                    for message in batch.messages():
                        found.append((message.relay, message.event.new["n"]))
                        row = {"id": message.event.identity[0], "n": 0, "relay": message.relay}
                        session.execute(insert(DONE), row)
                if len(found) == 40:
                    break
            assert consumer.lag().messages == 0
        assert sorted(found) == [(name, i) for name in sorted(names) for i in range(1, 21)]
    finally:
        second.dispose()
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text(f"DROP DATABASE {other} WITH (FORCE)"))


@pytest.mark.sample(1)
@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
def test_in_an_event_loop(nats, stream, published, engine, sessions, Item, driver):
    """The asyncio consumer handles each change once, parks what fails, and stops."""
    published.transaction(range(10))

    async def main():
        own = create_async_engine(engine.url.set(drivername=f"postgresql+{driver}"))
        consumer = AsyncStreamConsumer(
            JetStream(nats.url, stream),
            "billing",
            Item,
            session_factory=async_sessionmaker(own),
            start="beginning",
            on_error=lambda error, change, failures: "park",
        )

        async def handler(session, change):
            if change.identity == (7,):
                raise ValueError("seven")
            row = {"id": change.identity[0], "n": change.new["n"], "relay": ""}
            await session.execute(insert(DONE), row)

        running = asyncio.create_task(consumer.run(handler))
        while len(done(engine)) < 9:
            assert not running.done(), await running
            await asyncio.sleep(0.05)
        consumer.stop()
        await asyncio.wait_for(running, 10)
        assert [parked.error for parked in await consumer.parked()] == ["ValueError: seven"]
        assert (await consumer.lag()).messages == 0
        await own.dispose()

    asyncio.run(main())
    expected = {row: ns for row, ns in published.rows.items() if row != 7}
    assert done(engine) == expected
