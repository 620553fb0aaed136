"""Captures that run while a test writes, and what they have appended to the log."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from logs import SLOTS
from statements import rows

from sa_pgnotify import Capture
from sa_pgnotify.log.captures import covers
from sa_pgnotify.log.tables import LogNames
from sa_pgnotify.protocol.wire import RS, US
from sa_pgnotify.sql import execute_on

SECONDS = 30


def capturing(engine: sa.Engine, metadata: Any, reader: sa.Engine | None = None) -> Capture:
    """A capture that runs in a thread as long as the block; what it raised is raised there.

    :param reader: the capture's own engine, if that is another one.
    """
    return Capture(reader or engine, metadata)


def until_captured(engine: sa.Engine, names: LogNames | None = None) -> None:
    """Wait until the log has everything that was committed before."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        done = covers(execute_on(connection), names or LogNames(), SECONDS)
        assert done, "the capture does not come on"


def changes_in_log(engine: sa.Engine, relation: str) -> list[tuple[str, ...]]:
    """Each change that the log has of a table: operation, transaction id, shape, context and row."""
    union = " UNION ALL ".join(f"SELECT * FROM {slot}" for slot in SLOTS)
    found = rows(
        engine,
        f"SELECT header, rows FROM ({union}) AS log WHERE relation = '{relation}' ORDER BY id",
    )
    changes: list[tuple[str, ...]] = []
    for header, text in found:
        if header.startswith("failed"):
            changes.append((header,))
            continue
        operation, _, xid, _, shape, context = header.split(US)
        changes += [(operation, xid, shape, context, row) for row in text.split(RS)]
    return changes
