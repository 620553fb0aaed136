"""The schemas of the operators that compare the values of a table's columns.

If PostgreSQL looks an operator up in the ``search_path``, it may find one that another role has
created in ``public`` for exactly these types. For ``varchar = varchar``, that operator would even
win, because PostgreSQL itself has only the operators of ``text``. Comparisons of columns are
therefore written with the schema of the operator.
"""

from __future__ import annotations

from ..sql import Execute, literal

__all__ = ["operator_schemas", "qualified"]

_GREATER = 5
"""The strategy number of ``>`` in each B-tree operator class."""
# The operator class can be trusted, because only superusers may create one.
_SCHEMA = f"""
SELECT n.nspname FROM (
  WITH RECURSIVE base (id) AS (
    SELECT a.atttypid
    UNION SELECT t.typbasetype FROM pg_catalog.pg_type AS t JOIN base ON t.oid = base.id WHERE t.typbasetype <> 0::oid
  ) SELECT id FROM base
) AS base
JOIN pg_catalog.pg_opclass AS c ON c.opcintype = base.id AND c.opcdefault
JOIN pg_catalog.pg_am AS m ON m.oid = c.opcmethod AND m.amname = 'btree'
JOIN pg_catalog.pg_amop AS s ON s.amopfamily = c.opcfamily AND s.amoplefttype = c.opcintype
  AND s.amoprighttype = c.opcintype AND s.amopstrategy = {_GREATER}::smallint
JOIN pg_catalog.pg_operator AS o ON o.oid = s.amopopr
JOIN pg_catalog.pg_namespace AS n ON n.oid = o.oprnamespace
LIMIT 1"""


def operator_schemas(execute: Execute, relation: str) -> dict[str, str]:
    """Return the schema of the comparison operators of each column, quoted as SQL.

    The keys are the names of the columns in the database. For types that use the operators of
    another type, such as varchar, enums and arrays, the schema is ``pg_catalog``.

    :param relation: the name of the table, quoted as SQL.
    """
    rows = execute(
        f"SELECT a.attname, pg_catalog.quote_ident(coalesce(({_SCHEMA}), 'pg_catalog')) FROM pg_catalog.pg_attribute AS a "
        f"WHERE a.attrelid = {literal(relation)}::pg_catalog.regclass::oid AND a.attnum > 0::smallint AND NOT a.attisdropped"
    )
    return {str(name): str(schema) for name, schema in rows}


def qualified(operator: str, schema: str) -> str:
    """Return an operator qualified with its schema, as SQL.

    :param operator: the operator, such as ``=``.
    :param schema: the schema, quoted as SQL.
    """
    return f"OPERATOR({schema}.{operator})"
