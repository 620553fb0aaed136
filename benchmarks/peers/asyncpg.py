"""Bare asyncpg: ``add_listener`` with a callback, and the hand-written row trigger that sends
keys."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import asyncpg

from .protocol import Table, Tally, serve

sys.argv[1:] = ["key"]
from .by_hand import install  # noqa: E402


def listen(tables: list[Table], options: dict[str, Any], tally: Tally) -> None:
    async def run() -> None:
        connection = await asyncpg.connect()
        received = tally.received

        def heard(_connection: Any, _pid: int, _channel: str, payload: str) -> None:
            received(int(payload))

        await connection.add_listener(tables[0].name, heard)
        for _ in range(options.get("subscribers", 1) - 1):
            await connection.add_listener(tables[0].name, _other())
        tally.ready()
        await asyncio.Event().wait()

    asyncio.run(run())


def _other() -> Any:
    return lambda *_: None


if __name__ == "__main__":
    serve(install, listen)
