"""The objects of other roles whose code runs when an SQL expression is evaluated or a row is
inserted.

A function and an operator run by their names. Others hide it: a domain runs the functions of its
CHECK constraints, a view those of its query, an index those of its expressions, and row-level
security those of its policies. PostgreSQL records all of these dependencies in ``pg_depend``,
except on objects that ``initdb`` has made.

The queries follow them up to functions, whose owners answer for what these do. They are used inside
of queries that run under any ``search_path``: names are qualified, and each operator has operands
of exactly the types that it has in ``pg_catalog``.
"""

from __future__ import annotations

__all__ = ["CODE_OWNERS", "OWNER_TO_BE", "class_of"]

OWNER_TO_BE = """coalesce((SELECT f.proowner FROM pg_catalog.pg_proc AS f WHERE f.oid = {function}::oid),
    (SELECT r.oid FROM pg_catalog.pg_roles AS r WHERE r.rolname = current_user::name))"""
"""SQL for the OID of the role that owns a function once CREATE OR REPLACE FUNCTION has run: a
function that exists keeps its owner.

``{function}``: SQL for the function's OID (``regprocedure`` does as well), NULL if it does not
exist.
"""


def class_of(catalog: str) -> str:
    """Return SQL for the OID of a system catalog."""
    return f"'pg_catalog.{catalog}'::regclass::oid"


_REVERSE = "\n".join(
    f"          UNION ALL SELECT {class_of(catalog)}, r.oid FROM pg_catalog.{catalog} AS r"
    f" WHERE used.class = {class_of(of)} AND r.{column} = used.id"
    for catalog, of, column in (
        ("pg_constraint", "pg_type", "contypid"),
        ("pg_rewrite", "pg_class", "ev_class"),
        ("pg_policy", "pg_class", "polrelid"),
    )
)
_OWNERS = "\n        UNION ALL ".join(
    f"SELECT o.{column} FROM pg_catalog.{catalog} AS o WHERE used.class = {class_of(catalog)} AND o.oid = used.id"
    for catalog, column in (
        ("pg_proc", "proowner"),
        ("pg_operator", "oprowner"),
        ("pg_type", "typowner"),
        ("pg_class", "relowner"),
    )
)


def _few(rows: str) -> str:
    """Return a query for the same rows of ``source, class, id``, which the planner takes for few.

    It would estimate millions, and compile the query for that (``jit``), which takes seconds.
    """
    columns = ("source", "class", "id")
    arrays = ", ".join(f"pg_catalog.array_agg(r.{name}) AS {name}" for name in columns)
    unnested = ", ".join(f"pg_catalog.unnest(a.{name})" for name in columns)
    return f"""SELECT s.source, s.class, s.id FROM (SELECT {arrays} FROM ({rows}) AS r (source, class, id)) AS a
        CROSS JOIN LATERAL ROWS FROM ({unnested}) AS s (source, class, id)"""


# The columns of a table are not followed, since reading a value runs no code of its type.
CODE_OWNERS = f"""
      WITH RECURSIVE used (source, class, id) AS (
        {_few("{start}")}
        UNION
        SELECT used.source, e.class, e.id FROM used CROSS JOIN LATERAL (
          SELECT d.refclassid, d.refobjid FROM pg_catalog.pg_depend AS d
          WHERE d.classid = used.class AND d.objid = used.id
            AND d.refclassid NOT IN ({class_of("pg_namespace")}, {class_of("pg_extension")}, {class_of("pg_language")})
            AND NOT EXISTS (SELECT FROM pg_catalog.pg_proc AS p
              WHERE used.class = {class_of("pg_proc")} AND p.oid = used.id AND p.prokind <> 'a'::"char")
            AND NOT EXISTS (SELECT FROM pg_catalog.pg_class AS c
              WHERE used.class = {class_of("pg_class")} AND c.oid = used.id AND c.relkind <> 'c'::"char")
{_REVERSE}
        ) AS e (class, id)
      )
      SELECT used.source, used.class, used.id, o.owner
      FROM ({_few("SELECT DISTINCT u.source, u.class, u.id FROM used AS u")}) AS used CROSS JOIN LATERAL (
        {_OWNERS}
      ) AS o (owner)"""
"""A query for the objects that are used, directly or by way of others, with their owners: ``source,
class, id, owner``.

``{{start}}``: a query for the objects to start from: ``source`` (an OID that is passed on to the
result, which says what uses them), ``class`` (the OID of their catalog) and ``id``.
"""
