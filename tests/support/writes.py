"""Three writes to a table ``orders``, which no fault of its triggers may make fail, and what is left
of them: rows and events."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from orders import ALL, order_class
from sqlalchemy.orm import mapped_column

from sa_pgnotify import Deleted, Gap, Inserted, NotifySpec, Updated

ALL_DURABLE = NotifySpec(values="all", durable=True)
WRITES = [
    "INSERT INTO orders VALUES (1, 'a', 1)",
    "UPDATE orders SET status = 'b'",
    "DELETE FROM orders",
]
ALL_EVENTS = [(Inserted, (1,)), (Updated, (1,)), (Deleted, (1,))]
"""The events of :data:`WRITES`, as :func:`gist` gives them."""
LOUD = (
    "DO $$ BEGIN EXECUTE replace(pg_get_functiondef('sa_pgnotify_orders'::regproc), "
    "$q$'client_min_messages', 'error'$q$, $q$'client_min_messages', 'warning'$q$); END $$"
)
"""Lets the function's warnings reach the client."""


def orders(engine: sa.Engine, spec: NotifySpec = ALL) -> Any:
    """Return a marked class ``Order`` on a new table ``orders``."""
    return order_class(engine, spec, columns={"amount": mapped_column(sa.Integer)})


def durable_orders(engine: sa.Engine, spec: NotifySpec = ALL_DURABLE) -> Any:
    """Return the same class, durable."""
    return orders(engine, spec)


def orders_left(engine: sa.Engine) -> list[tuple[Any, ...]]:
    """Return the number and the status of each row."""
    with engine.connect() as connection:
        found = connection.exec_driver_sql("SELECT id, status FROM orders ORDER BY id")
        return [tuple(row) for row in found]


def gist(events: list[Any]) -> list[tuple[Any, ...]]:
    """Return the reason of each gap, the kind and identity of each other event."""
    return [(e.reason,) if isinstance(e, Gap) else (type(e), e.identity) for e in events]


def reasons(events: list[Any]) -> list[Any]:
    """Return the reason of each gap, the kind of each other event."""
    return [event.reason if isinstance(event, Gap) else type(event) for event in events]
