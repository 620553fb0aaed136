"""What triggers and trigger functions are called, and how ``pg_trigger`` describes the triggers.

Functions are found by their prefix, and triggers by these four names, so that nothing of the same
schema that belongs to somebody else is ever replaced or dropped.
"""

from __future__ import annotations

import hashlib

from ..sql import literal

__all__ = [
    "COMMENT_PREFIX",
    "FUNCTION_PREFIX",
    "TRIGGERS",
    "TRIGGER_NAMES",
    "TRIGGER_SHAPE",
    "TRIGGER_SHAPES",
    "function_name",
    "is_function_name",
]

FUNCTION_PREFIX = "sa_pgnotify_"
COMMENT_PREFIX = "sa_pgnotify "
"""What the comment on each trigger function begins with."""

NAME_BYTES = 63
"""The longest name that PostgreSQL takes."""

TRIGGER_NAMES = {
    operation: f"sa_pgnotify_{operation}"
    for operation in ("insert", "update", "delete", "truncate")
}
TRIGGERS = ", ".join(literal(name) for name in TRIGGER_NAMES.values())
"""The names of the triggers as a list of SQL literals."""

TRIGGER_SHAPE = "pg_catalog.concat(tgtype, ' ', tgoldtable, ' ', tgnewtable, ' ', tgqual IS NULL)"
"""SQL for the columns of ``pg_trigger`` that CREATE TRIGGER fills."""
TRIGGER_SHAPES = {
    "insert": "4  sa_new_rows t",
    "update": "16 sa_old_rows sa_new_rows t",
    "delete": "8 sa_old_rows  t",
    "truncate": "32   t",
}
"""The :data:`TRIGGER_SHAPE` of each trigger: the bit of the operation (AFTER and FOR EACH STATEMENT
have none), the transition tables, and no WHEN."""


def function_name(table: str, given: str | None = None) -> str:
    """Return the name of the function for a table; a hash stands for the table's name if the name
    would be longer than PostgreSQL allows.

    :param given: the name to use instead, if a function can have it.
    """
    name = given or f"{FUNCTION_PREFIX}{table}"
    if is_function_name(name):
        return name
    return f"{FUNCTION_PREFIX}{hashlib.sha256(table.encode()).hexdigest()[:32]}"


def is_function_name(name: str) -> bool:
    """Return whether a trigger function can have this name."""
    return name.startswith(FUNCTION_PREFIX) and len(name.encode()) <= NAME_BYTES
