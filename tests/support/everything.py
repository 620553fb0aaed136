"""A table with a column of every built-in type of PostgreSQL, and literals of each, which the
server itself chooses from a list."""

from __future__ import annotations

import warnings
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Engine, text
from sqlalchemy.orm import DeclarativeBase
from statements import run

from sa_pgnotify import NotifyOnChange, NotifySpec

CANDIDATES = [
    "1", "0", "-1", "t", "a", "f", "1.50", "é \\ \" ' {,}", "", " b  ", "NaN", "Infinity", "1e-30", "0.1", "101", "\\x00ff1b1e1f5c27",
    "2024-02-29", "0001-01-01", "12:34:56.7", "12:34:56.7+05:30", "2024-02-29 12:34:56.7", "2024-02-29 12:34:56.7+00",
    "1 year 2 mons -3 days 04:05:06.7", "-00:00:00.000001", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "-1234.56",
    "10.0.0.1", "10.0.0.0/8", "::1/128", "08:00:2b:01:02:03", "08:00:2b:01:02:03:04:05",
    "(0.1,2)", "[(0,0),(1,1)]", "(1,1),(0,0)", "((0,0),(0.1,1),(1,0))", "{1,2,3}", "<(0,0),1.5>",
    '{"b": 1, "a": [1.10, "é", null]}', "null", "[]", '<a b="1">é&amp;<c/></a>', "$.a[*]?(@ > 1)",
    "(0,1)", "1 2", "0/16B3748", "10:20:10,14,15", "a & !b | c", "'fox':2 'quick':1A",
    "empty", "(,)", "[1,5)", "[2024-01-01,2024-02-01)", "[2024-01-01 12:00,)", "{}", "{[1,5),[7,9)}", "{[2024-01-01,2024-02-01)}",
    "now", "sum(integer)", "!~~", "+(integer,integer)", "pg_class", "integer", "english", "simple", "pg_catalog", '"C"', "template0",
    "=r/postgres", "postgres", "32767", "2147483647", "9223372036854775807", "4294967295",
]  # fmt: skip
"""Every type of which a value can be written takes at least one of these."""
WITHOUT_LITERALS = {
    "gtsvector", "pg_brin_bloom_summary", "pg_brin_minmax_multi_summary", "pg_dependencies", "pg_mcv_list", "pg_ndistinct", "pg_node_tree",
}  # fmt: skip
"""Types of which nobody can write a value. A column of them may hold NULL, or what was taken from a
catalog."""
_VALUES_OF = {
    "pg_node_tree": "(SELECT ev_action FROM pg_catalog.pg_rewrite LIMIT 1)",
    "pg_ndistinct": "(SELECT stxdndistinct FROM pg_catalog.pg_statistic_ext_data)",
    "pg_dependencies": "(SELECT stxddependencies FROM pg_catalog.pg_statistic_ext_data)",
    "pg_mcv_list": "(SELECT stxdmcv FROM pg_catalog.pg_statistic_ext_data)",
}
_STATISTICS = (
    "CREATE TABLE measured AS SELECT mod(i, 3) AS a, mod(i, 3) AS b FROM generate_series(1, 99) AS i",
    "CREATE STATISTICS statistics_of_measured (ndistinct, dependencies, mcv) ON a, b FROM measured",
    "ANALYZE measured",
)
_TYPES = """
SELECT t.typname::text, e.typname::text FROM pg_catalog.pg_type AS t
LEFT JOIN pg_catalog.pg_type AS e ON e.oid = t.typelem AND t.typcategory = 'A' AND t.typname LIKE '\\_%'
WHERE t.typnamespace = 'pg_catalog'::regnamespace AND t.typtype IN ('b', 'r', 'm', 'e')
  AND coalesce(e.typtype IN ('b', 'r', 'm', 'e'), true) ORDER BY 1
"""
_TAKES = """
CREATE FUNCTION pg_temp.takes(type text, candidate text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE written text;
BEGIN
  EXECUTE format('SELECT concat(%L::pg_catalog.%I)', candidate, type) INTO written;
  RETURN true;
EXCEPTION WHEN OTHERS THEN
  RETURN false;
END $$
"""
ROWS = 3
"""Of values; one of NULLs follows."""


def literals(engine: Engine) -> dict[str, list[str]]:
    """Each type's name to the SQL of as many values as there are :data:`ROWS`."""
    run(engine, *_STATISTICS)
    with engine.begin() as connection:
        types = dict(connection.exec_driver_sql(_TYPES.replace("%", "%%")).all())
        connection.exec_driver_sql(_TAKES.replace("%", "%%"))
        asked = text("SELECT t, array_agg(c ORDER BY n) FROM unnest(:types) AS t, unnest(:candidates) WITH ORDINALITY AS _(c, n)"
                     " WHERE pg_temp.takes(t, c) GROUP BY t")  # fmt: skip
        scalars = [name for name, element in types.items() if element is None]
        taken = dict(connection.execute(asked, {"types": scalars, "candidates": CANDIDATES}).all())
    unwritten = set(scalars) - taken.keys()
    # a server may be built without libxml
    assert unwritten <= WITHOUT_LITERALS | {"xml"}, unwritten
    found: dict[str, list[str]] = {}
    for name in scalars:
        accepted = [
            f'{_quoted(candidate)}::pg_catalog."{name}"' for candidate in taken.get(name, [])
        ]
        accepted = accepted or [_VALUES_OF.get(name, "NULL")]
        found[name] = [accepted[len(accepted) * row // ROWS] for row in range(ROWS)]
    for name, element in types.items():
        if element is not None and element not in unwritten:
            of = found[element]
            found[name] = [
                _array(name, *values) for values in ((of[0],), (of[1], "NULL", of[2]), (of[2],))
            ]
    return found


def _array(name: str, *values: str) -> str:
    if name in ("_int2vector", "_oidvector"):  # before PostgreSQL 18 ARRAY[] of vectors is a vector
        return f'ARRAY[{", ".join(f"{value}::text" for value in values)}]::pg_catalog."{name}"'
    return f"ARRAY[{', '.join(values)}]"


def _quoted(candidate: str) -> str:
    return "'" + candidate.replace("'", "''") + "'"


def create(engine: Engine, table: str, values: dict[str, list[str]]) -> None:
    """Create a table with a column for each type, called as the type is."""
    columns = ", ".join(f'"c {name}" pg_catalog."{name}"' for name in values)
    run(engine, f"CREATE TABLE {table} (id int PRIMARY KEY, {columns})")


def model(engine: Engine, table: str, *, declared: Any = None, **options: Any) -> Any:
    """A mapped class of the table.

    :param declared: the type that the model has for every column; None for the types that
        SQLAlchemy reflects.
    :param options: of its NotifySpec.
    """

    class Base(DeclarativeBase):
        pass

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sa.exc.SAWarning)  # of types that SQLAlchemy does not know
        reflected = sa.inspect(engine).get_columns(table)
    columns = [sa.Column("id", sa.Integer, primary_key=True)]
    columns += [sa.Column(c["name"], declared or c["type"]) for c in reflected if c["name"] != "id"]
    body = {
        "__table__": sa.Table(table, Base.metadata, *columns),
        "__notify__": NotifySpec(values="all", **options),
    }
    return type("Every", (NotifyOnChange, Base), body)
