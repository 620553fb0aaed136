"""Refuse, before anything is installed, what PostgreSQL lets have no triggers with transition
tables: a view, a foreign table.

PostgreSQL would say so itself, one object at a time and behind the text of the statement, after
other tables were made.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from sqlalchemy import Connection, Table

from ..errors import NotifyConfigError
from ..sql import execute_on, literal
from .trigger_set import TriggerSet

__all__ = ["refuse_relations"]

_KINDS = {
    "v": "is a view, which has no rows of its own. Mark the tables that it reads",
    "m": "is a materialized view, which changes only by REFRESH. Mark the tables that it reads",
    "f": "is a foreign table, whose triggers have no transition tables. Mark it where it is stored",
    "S": "is a sequence. Give its table another name",
    "i": "is an index. Give its table another name",
    "I": "is an index. Give its table another name",
    "c": "is a composite type. Give its table another name",
}
_ASKED = """
SELECT w.place, c.relkind FROM pg_catalog.json_to_recordset({wanted}::pg_catalog.json) AS w (place int, name pg_catalog.text)
JOIN pg_catalog.pg_class AS c ON c.oid = pg_catalog.to_regclass(w.name)::oid
WHERE c.relkind NOT IN ('r', 'p') ORDER BY 1
"""


def refuse_relations(connection: Connection, sets: Mapping[Table, TriggerSet]) -> None:
    """
    :raises NotifyConfigError: if one of the tables that these are for is there, and is not a table;
        it names all such.
    """
    if not sets:
        return
    tables = list(sets)
    wanted = [{"place": i, "name": sets[table].qualified_table} for i, table in enumerate(tables)]
    rows = execute_on(connection)(
        _ASKED.format(wanted=literal(json.dumps(wanted, ensure_ascii=False)))
    )
    problems = [
        (tables[place], _KINDS.get(kind, "is not a table. Unmark it")) for place, kind in rows
    ]
    if problems:
        subject, problem = problems[0]
        others = [f"{table.fullname} {problem}" for table, problem in problems[1:]]
        raise NotifyConfigError(
            subject.fullname, "; ".join([f"no triggers can be installed: it {problem}", *others])
        )
