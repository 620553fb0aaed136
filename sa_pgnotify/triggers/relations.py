"""Refuse, before anything is installed, relations that cannot have triggers with transition tables,
such as views and foreign tables.

PostgreSQL would refuse them too, but one at a time, after the other tables were created, and in an
error that begins with the text of the statement.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from sqlalchemy import Connection, Table

from ..errors import NotifyConfigError
from ..sql import execute_on, literal
from .trigger_set import TriggerSet

__all__ = ["refuse_relations"]

_RENAME = "Give its table another name"
_KINDS = {
    "v": ("is a view, which has no rows of its own", "Mark the tables that it reads"),
    "m": (
        "is a materialized view, which changes only by REFRESH",
        "Mark the tables that it reads",
    ),
    "f": (
        "is a foreign table, whose triggers have no transition tables",
        "Mark it where it is stored",
    ),
    "S": ("is a sequence", _RENAME),
    "i": ("is an index", _RENAME),
    "I": ("is an index", _RENAME),
    "c": ("is a composite type", _RENAME),
}
"""What else ``pg_class`` holds, by relkind, and the fix."""
_ASKED = """
SELECT w.place, c.relkind FROM pg_catalog.json_to_recordset({wanted}::pg_catalog.json) AS w (place int, name pg_catalog.text)
JOIN pg_catalog.pg_class AS c ON c.oid = pg_catalog.to_regclass(w.name)::oid
WHERE c.relkind NOT IN ('r', 'p') ORDER BY 1
"""


def refuse_relations(connection: Connection, sets: Mapping[Table, TriggerSet]) -> None:
    """Refuse to install triggers on something that is not a table.

    :param sets: what is to be installed; a table that does not exist is not refused.
    :raises NotifyConfigError: if one of them is not a table; it names all such.
    """
    if not sets:
        return
    tables = list(sets)
    wanted = [{"place": i, "name": sets[table].qualified_table} for i, table in enumerate(tables)]
    rows = execute_on(connection)(
        _ASKED.format(wanted=literal(json.dumps(wanted, ensure_ascii=False)))
    )
    found = [(tables[i], *_KINDS.get(kind, ("is not a table", "Unmark it"))) for i, kind in rows]
    if found:
        (subject, problem, fix), *others = found
        problems = [f"it {problem}", *(f"{table.fullname} {what}" for table, what, _ in others)]
        fixes = dict.fromkeys([fix, *(other_fix for *_, other_fix in others)])
        raise NotifyConfigError(
            subject.fullname,
            f"no triggers can be installed: {'; '.join(problems)}",
            ". ".join(fixes),
        )
