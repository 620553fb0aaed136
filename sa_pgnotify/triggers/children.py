"""The partitions and inheritance children of a marked table that make its triggers fail, or that
its triggers do not see.

A statement trigger with transition tables fires for writes to the table that it is on, and
PostgreSQL collects the rows of all its descendants. It cannot do that for a foreign table: once
such triggers are there, each statement that reaches a foreign descendant fails with "cannot collect
transition tuples from child foreign tables". (The minor releases before 2025 collected wrong rows
instead.) Other descendants, whether temporary, unlogged or with columns in another order, do no
harm.

A trigger FOR EACH ROW has no transition tables, and PostgreSQL copies it to all partitions, foreign
ones too. But it does not copy it to tables that inherit from the marked one, so an UPDATE or DELETE
of the marked table that reaches their rows would not be published.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from ..sql import Execute

__all__ = [
    "REFUSE_FOREIGN_CHILDREN",
    "REFUSE_HEIRS",
    "collecting_kinds",
    "foreign_children",
    "heirs",
    "kinds_with_heirs",
]

_CHILDREN = """
    WITH RECURSIVE below (oid) AS (
      SELECT i.inhrelid FROM pg_catalog.pg_inherits AS i WHERE i.inhparent = {table}::oid
      UNION
      SELECT i.inhrelid FROM below JOIN pg_catalog.pg_inherits AS i ON i.inhparent = below.oid)
    SELECT n.nspname, c.relname FROM below JOIN pg_catalog.pg_class AS c ON c.oid = below.oid
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace"""
"""A query for the schema and name of each table below a table. ``{table}``: SQL for that table's OID,
or its ``regclass``."""
FOREIGN_CHILDREN = f"""{_CHILDREN} WHERE c.relkind = 'f'::"char"
"""

HINT = (
    'Detach it (ALTER TABLE ... DETACH PARTITION, or NO INHERIT), or declare for_each="row" if the marked table is partitioned, or unmark '
    "the table, and mark instead the partitions that are ordinary tables and are written to directly."
)

HEIRS_HINT = 'Declare for_each="statement", or end the inheritance (ALTER TABLE ... NO INHERIT).'


def _refusal(children: str, variable: str, message: str, hint: str) -> str:
    return f"""DECLARE
  {variable} text := (
    SELECT pg_catalog.string_agg(pg_catalog.format('%I.%I', f.nspname, f.relname), ', ' ORDER BY f.nspname, f.relname)
    FROM ({children}) AS f
    WHERE EXISTS (SELECT FROM pg_catalog.pg_class AS p WHERE p.oid = {{table}}::oid AND p.relkind IN ({{kinds}})));
BEGIN
  IF {variable} IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'wrong_object_type',
      MESSAGE = pg_catalog.format({message}, {{table}}, {variable}),
      HINT = 'Nothing was installed. {hint}';
  END IF;
END;"""


REFUSE_FOREIGN_CHILDREN = _refusal(
    FOREIGN_CHILDREN,
    "foreign_tables",
    "'sa_pgnotify: with triggers on %s, writes that reach %s would fail: '\n"
    "        'PostgreSQL cannot collect the changes of foreign tables'",
    HINT,
)
"""A PL/pgSQL block that refuses to install triggers which would make writes fail.

``{table}``: SQL for the table's ``regclass``; ``{kinds}``: what :func:`collecting_kinds` returns.
If that is empty, leave the block out.
"""
REFUSE_HEIRS = _refusal(
    _CHILDREN,
    "heirs",
    "'sa_pgnotify: triggers for each row of %s would not see what its UPDATE and DELETE change in %s'",
    HEIRS_HINT,
)
"""A PL/pgSQL block that refuses to install triggers which would not see all writes to the table.

``{table}`` as above; ``{kinds}``: what :func:`kinds_with_heirs` returns. If that is empty, leave the
block out.
"""


def collecting_kinds(operations: Collection[str], for_each: str = "statement") -> str:
    """Return the kinds of table (``pg_class.relkind``, as a list of SQL literals) whose
    descendants' rows the triggers collect.

    INSERT reaches other tables by a partitioned table only, UPDATE and DELETE by any parent;
    TRUNCATE collects nothing, and neither do triggers for each row.
    """
    if for_each == "row":
        return ""
    if "update" in operations or "delete" in operations:
        return "'r'::\"char\", 'p'::\"char\""
    return "'p'::\"char\"" if "insert" in operations else ""


def kinds_with_heirs(operations: Collection[str], for_each: str) -> str:
    """Return the kinds of table, in the same form, for which the triggers do not see what writes to
    the table change in tables that inherit from it."""
    writes = "update" in operations or "delete" in operations
    return "'r'::\"char\"" if for_each == "row" and writes else ""


def foreign_children(
    execute: Execute, tables: Iterable[tuple[str, str]]
) -> dict[int, list[tuple[str, str]]]:
    """Return the schemas and names of the foreign tables below tables, by the place of the table in
    ``tables``; those that have none are left out.

    :param tables: for each, SQL for its name as a text, and what :func:`collecting_kinds` returns.
    """
    return _children(execute, tables, FOREIGN_CHILDREN)


def heirs(execute: Execute, tables: Iterable[tuple[str, str]]) -> dict[int, list[tuple[str, str]]]:
    """Return the tables that inherit from tables, in the same form.

    :param tables: for each, SQL for its name as a text, and what :func:`kinds_with_heirs` returns.
    """
    return _children(execute, tables, _CHILDREN)


def _children(
    execute: Execute, tables: Iterable[tuple[str, str]], query: str
) -> dict[int, list[tuple[str, str]]]:
    wanted = ", ".join(
        f"({place}, pg_catalog.to_regclass({name})::oid, ARRAY[{kinds}])"
        for place, (name, kinds) in enumerate(tables)
        if kinds
    )
    found: dict[int, list[tuple[str, str]]] = {}
    if wanted:
        sql = f"""
SELECT w.place, f.nspname::text, f.relname::text FROM (VALUES {wanted}) AS w (place, oid, kinds)
JOIN pg_catalog.pg_class AS p ON p.oid = w.oid AND pg_catalog.array_position(w.kinds, p.relkind) IS NOT NULL
CROSS JOIN LATERAL ({query.format(table="w.oid")}) AS f ORDER BY 1, 2, 3
"""
        for place, schema, name in execute(sql):
            found.setdefault(place, []).append((schema, name))
    return found
