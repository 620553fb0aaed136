"""What an AsyncListener must not leave behind: tasks of the loop and sessions of the database."""

from __future__ import annotations

import asyncio

from sqlalchemy import text
from statements import run


def backends(engine) -> int:
    """How many sessions the database has, but for the one that asks."""
    with engine.connect() as connection:
        return connection.scalar(
            text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
                 " AND backend_type = 'client backend'")
        )  # fmt: skip


async def nothing_left(engine) -> None:
    """Wait until no task but this one is there, and no session; fails if they stay."""
    async with asyncio.timeout(10):
        while (  # noqa: ASYNC110
            left := asyncio.all_tasks() - {asyncio.current_task()}
        ) or await asyncio.to_thread(backends, engine):
            await asyncio.sleep(0.01)  # sessions end on the server's side
    assert not left


async def write(engine, *statements) -> None:
    await asyncio.to_thread(run, engine, *statements)
