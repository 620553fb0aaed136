"""A live page of open orders with FastAPI and server-sent events.

It needs ``fastapi``, ``uvicorn`` and ``psycopg``. Create the tables and the role, run the program,
and open http://127.0.0.1:8000/?user=1 and http://127.0.0.1:8000/?user=2, which show different
orders. Then run the SQL statements, and watch the pages change::

    export DATABASE_URL=postgresql+psycopg:///shop
    python examples/live_orders/tables.py
    uvicorn --app-dir examples/live_orders app:app --workers 2 --timeout-graceful-shutdown 1

    INSERT INTO orders (customer_id, total, status) VALUES (1, 36.00, 'open'), (2, 12.50, 'open');
    UPDATE customers SET name = 'Ada King' WHERE id = 1;
    UPDATE orders SET status = 'paid' WHERE id = 1;
    DELETE FROM memberships WHERE user_id = 2;

Each user sees the orders of certain customers, by the row-level security policy in tables.py. The
statement joins two tables and filters the rows, and PostgreSQL evaluates it. Each process has one
listening connection for all of its browsers.
"""

import os
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, Response
from sqlalchemy import select
from sqlalchemy.ext.asyncio import create_async_engine
from tables import Customer, Order

from sa_pgnotify.web import Hub, RowSecurity

engine = create_async_engine(os.environ.get("DATABASE_URL", "postgresql+psycopg:///shop"))
hub = Hub(engine, authorize=RowSecurity(role="shop_user", setting="shop.user_id"))
app = FastAPI()


@app.get("/")
async def page() -> FileResponse:
    return FileResponse(Path(__file__).with_name("index.html"))


@app.get("/orders")
async def orders(request: Request, user: int) -> Response:  # take the user from the session
    open_orders = (
        select(Order.id, Customer.name, Order.total, Order.status)
        .join(Order.customer)
        .where(Order.status != "paid")
    )
    return hub.events(open_orders, as_=str(user), request=request)
