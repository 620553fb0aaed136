"""Messages that anybody may send on a listener's channels: well-formed ones, except for what a test
puts into them."""

from __future__ import annotations

import json
from typing import Any

from receiving import take
from sqlalchemy import text
from statements import run

from sa_pgnotify import Inserted

RS, US = "\x1e", "\x1f"


SHAPE = {"columns": ["id", "status"], "carried": 2, "key": 1}


def message(
    rows: str = f"1{US}a",
    shape: object = SHAPE,
    operation: str = "I",
    xid: object = 1,
    micros: object = 1,
    context: str = "",
) -> str:
    """A well-formed message, but for what a test puts into it."""
    header = [
        operation,
        "public.orders",
        str(xid),
        str(micros),
        shape if isinstance(shape, str) else json.dumps(shape),
        context,
    ]
    return f"sa1 1 0 1{RS}{US.join(header)}{RS}{rows}"


def send(engine, *payloads: str, channel: str = "public.orders") -> None:
    with engine.begin() as connection:
        for payload in payloads:
            connection.execute(
                text("SELECT pg_notify(:channel, :payload)"),
                {"channel": channel, "payload": payload},
            )


def until_real(engine, listener, id_: int = 4711) -> list[Any]:
    """What came before a real event, which comes now."""
    run(engine, f"INSERT INTO orders VALUES ({id_}, 'real')")
    found = []
    while not (isinstance(found[-1:] and found[-1], Inserted) and found[-1].identity == (id_,)):
        found += take(listener, 1)
    assert found[-1].new == {"id": id_, "status": "real"}
    return found[:-1]
