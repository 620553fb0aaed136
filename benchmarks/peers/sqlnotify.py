"""sqlnotify: watchers of a model's operations that send its key, as it does by default."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from sqlalchemy import BigInteger
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import DeclarativeBase, mapped_column
from sqlnotify import Notifier, Operation

from .protocol import Table, Tally, serve


class Base(DeclarativeBase):
    pass


def notifier_of(tables: list[Table], tally: Tally) -> Notifier:
    (table,) = tables
    model = type(
        "Order",
        (Base,),
        {"__tablename__": table.name, "id": mapped_column(BigInteger, primary_key=True)},
    )
    engine = create_async_engine(
        f"postgresql+asyncpg://{os.environ['PGUSER']}@/{os.environ['PGDATABASE']}"
    )
    notifier = Notifier(db_engine=engine, use_logger=False)

    async def handle(event: Any) -> None:
        await tally.admitted()
        tally.received(event["id"])

    for operation in (Operation.INSERT, Operation.UPDATE):
        notifier.watch(model, operation)
        notifier.subscribe(model, operation)(handle)
    return notifier


def install(tables: list[Table]) -> None:
    async def run() -> None:
        notifier = notifier_of(tables, Tally("count"))
        await notifier.astart()
        await notifier.astop()

    asyncio.run(run())


def listen(tables: list[Table], options: dict[str, Any], tally: Tally) -> None:
    async def run() -> None:
        await notifier_of(tables, tally).astart()
        tally.ready()
        await asyncio.Event().wait()

    asyncio.run(run())


if __name__ == "__main__":
    serve(install, listen)
