"""What is measured: each task takes the arena and fills a sheet."""

from __future__ import annotations

from collections.abc import Callable

from arena import Arena
from sheet import Sheet

from . import bulk, commits, durable, latency, slopes, standing, trouble

Task = Callable[[Arena, Sheet], None]

TASKS: dict[str, tuple[str, Task]] = {
    "bulk": ("100,000 rows in one statement: the write, its delivery, and both", bulk.insert),
    "update": ("UPDATE of 100,000 rows in one statement", bulk.update),
    "statements": (
        "100 transactions of 1,000 rows each, and one row after the other in one transaction",
        bulk.statements,
    ),
    "commits": ("One row in a transaction, while somebody listens", commits.listened),
    "unheard": ("One row in a transaction, while nobody listens", commits.unheard),
    "subscribers": (
        "One row in a transaction by 4 writers, fsync off, by the number of subscribers",
        commits.subscribers,
    ),
    "asleep": ("Latency of a commit to a listener that sleeps", latency.asleep),
    "load": ("Latency under load: 4 writers, together 400 commits a second", latency.load),
    "rows": ("Cost of an INSERT by its rows", slopes.rows),
    "columns": ("Cost of an INSERT of 10,000 rows by the table's columns", slopes.columns),
    "tables": ("Cost by the number of tables listened to", slopes.tables),
    "backlog": ("A backlog of the change log", durable.backlog),
    "idle": ("An idle listener", standing.idle),
    "memory": (
        "Memory while the consumer stands still and 200,000 rows are written",
        standing.memory_task,
    ),
    "cuts": ("The connection is cut 20 times", trouble.cuts),
    "largest": ("The largest row that arrives", trouble.largest),
}
