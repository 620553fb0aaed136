"""sqlalchemy-events-lib: handlers that get the ids of a statement. It installs its triggers when it
starts to listen."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import Any

from sqlalchemy import BigInteger
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import DeclarativeBase, mapped_column
from sqlalchemy_events import (
    SaEvent,
    SQLAlchemyEvents,
    sa_insert_handler,
    sa_update_handler,
    with_events,
)

from .protocol import Table, Tally, ready_when_seen, serve


class Base(DeclarativeBase):
    pass


TALLIES: list[Tally] = []


async def handle(rows: list[Any]) -> None:  # it takes no function of a function
    tally = TALLIES[-1]
    await tally.admitted()
    for key in rows or ():
        tally.received(key)


def events_of(tables: list[Table], tally: Tally) -> SQLAlchemyEvents:
    (table,) = tables
    model = type(
        "Order",
        (Base,),
        {"__tablename__": table.name, "id": mapped_column(BigInteger, primary_key=True)},
    )
    model = with_events([SaEvent.INSERT, SaEvent.UPDATE, SaEvent.DELETE])(model)
    TALLIES.append(tally)
    sa_insert_handler(model)(handle)
    sa_update_handler(model)(handle)
    engine = create_async_engine(
        f"postgresql+asyncpg://{os.environ['PGUSER']}@/{os.environ['PGDATABASE']}"
    )
    return SQLAlchemyEvents(engine=engine, autodiscover_paths=["peers.protocol"], verbose=False)


def install(tables: list[Table]) -> None:
    async def run() -> None:
        events = events_of(tables, Tally("count"))
        await events()
        await events.stop()

    asyncio.run(run())


def listen(tables: list[Table], options: dict[str, Any], tally: Tally) -> None:
    async def run() -> None:
        events = events_of(tables, tally)
        await events()
        threading.Thread(target=ready_when_seen, args=(tally,), daemon=True).start()
        await asyncio.Event().wait()

    asyncio.run(run())


if __name__ == "__main__":
    serve(install, listen)
