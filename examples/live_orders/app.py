"""A page of orders that changes with the table, in every browser: FastAPI and server-sent events.

It needs ``fastapi``, ``uvicorn`` and ``psycopg``, and creates its table. Run it, open
http://127.0.0.1:8000, and run the statements in psql::

    DATABASE_URL=postgresql+psycopg:///shop uvicorn --app-dir examples/live_orders app:app --timeout-graceful-shutdown 1

    INSERT INTO orders (customer, total, status) VALUES ('Ada', 36.00, 'new'), ('Grace', 12.50, 'new');
    UPDATE orders SET status = 'paid' WHERE customer = 'Ada';
    DELETE FROM orders WHERE customer = 'Grace';

Each process has one listening connection for all its browsers. A stream begins with all orders and
continues with the changes. All orders are sent again after a Gap, and to a browser that is too
slow. The same happens when a browser reconnects, so that case needs no code of its own. Without the
time limit for its shutdown, uvicorn would wait until the last browser has left; with it, uvicorn
logs the streams that it cut off.
"""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.responses import FileResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from sqlalchemy import Numeric, select
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from sa_pgnotify import AsyncListener, Deleted, Event, Inserted, NotifyOnChange, NotifySpec, Updated


class Base(DeclarativeBase): ...


class Order(NotifyOnChange, Base):
    __tablename__ = "orders"
    __notify__ = NotifySpec(values="all")
    id: Mapped[int] = mapped_column(primary_key=True)
    customer: Mapped[str]
    total: Mapped[Decimal] = mapped_column(Numeric(10, 2))
    status: Mapped[str]


QUEUE = 100
"""How many changes a browser may be behind; if it falls further behind, it gets all orders again."""

engine = create_async_engine(
    os.environ.get("DATABASE_URL", "postgresql+psycopg:///shop"), pool_pre_ping=True
)
browsers: set[asyncio.Queue[ServerSentEvent | None]] = set()


def message(name: str, data: Any) -> ServerSentEvent:
    # encoded once, for all browsers
    return ServerSentEvent(event=name, raw_data=json.dumps(data, default=str))


def message_of(event: Event) -> ServerSentEvent | None:
    """Return what to send to browsers about an event; None if they need all orders again."""
    match event:
        case Inserted():
            return message("inserted", dict(event.new))
        case Updated(previous_identity=None):
            return message("updated", {**event.new, "changed": sorted(event.changed)})
        case Deleted(_, (number,)):
            return message("deleted", {"id": number})
    return None  # Gap, Truncated, and the rare Updated of a key


async def fan_out(listener: AsyncListener) -> None:
    try:
        async for event in listener:
            news = message_of(event) if browsers else None
            for queue in browsers:
                if news is None or queue.full():
                    while not queue.empty():
                        queue.get_nowait()
                    queue.put_nowait(None)
                else:
                    queue.put_nowait(news)
    except Exception:
        signal.raise_signal(signal.SIGTERM)  # pages that no longer change must not look alive
        raise


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    async with AsyncListener(engine, Order) as listener:
        fanning_out = asyncio.create_task(fan_out(listener))
        yield
    await fanning_out
    await engine.dispose()


app = FastAPI(lifespan=lifespan)


@app.get("/")
async def page() -> FileResponse:
    return FileResponse(Path(__file__).with_name("index.html"))


# FastAPI sends a comment every 15 seconds, so that nothing closes an idle stream
@app.get("/events", response_class=EventSourceResponse)
async def events() -> AsyncIterator[ServerSentEvent]:
    queue: asyncio.Queue[ServerSentEvent | None] = asyncio.Queue(QUEUE)
    # before the orders are read: a change meanwhile is then sent after them, perhaps twice
    browsers.add(queue)
    try:
        while True:
            async with engine.connect() as connection:
                orders = await connection.execute(select(Order.__table__).order_by(Order.id))
                everything = message("orders", [dict(order) for order in orders.mappings()])
            yield everything
            while news := await queue.get():
                yield news
    finally:
        browsers.discard(queue)
