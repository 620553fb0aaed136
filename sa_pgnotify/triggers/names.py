"""What triggers and trigger functions are called, and how ``pg_trigger`` describes the triggers.

Functions are found by their prefix, and triggers by these names, so that nothing of the same schema
that belongs to somebody else is ever replaced or dropped.
"""

from __future__ import annotations

import hashlib

from ..sql import literal

__all__ = [
    "ALL_TRIGGER_NAMES",
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

_OF_STATEMENTS = {
    operation: f"sa_pgnotify_{operation}"
    for operation in ("insert", "update", "delete", "truncate")
}
TRIGGER_NAMES = {
    "statement": _OF_STATEMENTS,
    "row": {
        operation: name if operation == "truncate" else f"!{name}"
        for operation, name in _OF_STATEMENTS.items()
    },
}
"""The names of the triggers by operation, for each value of ``for_each``.

PostgreSQL fires the triggers of a row in the order of their names, and "!" sorts before all that an
application is likely to use. So an event is sent before the application's own triggers change
something else. TRUNCATE has no rows, so its trigger is the same one."""
ALL_TRIGGER_NAMES = tuple(
    dict.fromkeys(name for names in TRIGGER_NAMES.values() for name in names.values())
)
TRIGGERS = ", ".join(map(literal, ALL_TRIGGER_NAMES))
"""The names of the triggers as a list of SQL literals."""

TRIGGER_SHAPE = "pg_catalog.concat(tgtype, ' ', tgoldtable, ' ', tgnewtable, ' ', tgqual IS NULL)"
"""SQL for the columns of ``pg_trigger`` that CREATE TRIGGER fills."""
TRIGGER_SHAPES = {
    "statement": {
        "insert": "4  sa_new_rows t",
        "update": "16 sa_old_rows sa_new_rows t",
        "delete": "8 sa_old_rows  t",
        "truncate": "32   t",
    },
    "row": {"insert": "5   t", "update": "17   t", "delete": "9   t", "truncate": "32   t"},
}
"""The :data:`TRIGGER_SHAPE` of each trigger: the bits of the operation and of FOR EACH ROW (AFTER and
FOR EACH STATEMENT have none), the transition tables, and no WHEN."""


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
