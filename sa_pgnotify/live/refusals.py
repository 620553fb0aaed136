"""Refusing statements whose results may change without an event."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from sqlalchemy import Table

from ..errors import NotifyConfigError
from ..marking.spec import OPERATIONS, marking_of
from ..sql import Execute, literal, quote
from .query import Query
from .statement import LiveStatement, root_of

__all__ = ["check_functions", "check_row_security", "check_tables", "tables_of_policies"]

REFRESH = "or pass refresh=, the interval in seconds at which the statement is run without an event"
TIME = {
    "age", "clock_timestamp", "current_date", "current_time", "current_timestamp", "localtime",
    "localtimestamp", "now", "pg_current_snapshot", "pg_current_wal_lsn", "statement_timestamp",
    "timeofday", "transaction_timestamp",
}  # fmt: skip
"""Functions whose results change with time. Most of them are declared STABLE, as they are within a
statement."""
_CALL = re.compile(r"([A-Za-z_][\w$]*)\s*\(|\b(current_\w+|localtime\w*)\b", re.IGNORECASE)
_SELECT = re.compile(r"\b(select|table|from)\b", re.IGNORECASE)


class _Function(NamedTuple):
    schema: str
    name: str
    kind: str
    volatility: str
    returns_set: bool


def check_tables(statement: LiveStatement, subject: str) -> None:
    """Check that all changes of what a statement reads have events.

    :raises NotifyConfigError: if a table of the statement is not marked, if its marking leaves out
        changes that the statement would see, or if SQL text may read other tables.
    """
    for table in sorted(statement.tables, key=lambda table: table.fullname):
        marking = marking_of(table)
        if marking is None:
            raise NotifyConfigError(
                subject,
                f"the statement reads {table.fullname}, which is not marked, so its changes have no events",
                f"Mark it with NotifyOnChange or notify_on_change(), {REFRESH}",
            )
        read = {column.name for column in statement.compiled.columns if column.table is table}
        # inserts and deletes of a joined class have events of its root table
        at_root = {"insert", "delete"} if root_of(table) is not None else set()
        left_out = [
            f"operations={marking.operations}" if {*OPERATIONS} - {*marking.operations} - at_root else "",
            "when=" if marking.condition else "",
            f"update_of={marking.update_of}" if marking.update_of and read - {*marking.update_of} else "",
            f"the unmapped columns {', '.join(sorted(read & {*marking.unmapped}))}" if read & {*marking.unmapped} else "",
        ]  # fmt: skip
        if found := ", ".join(filter(None, left_out)):
            raise NotifyConfigError(
                subject,
                f"{table.fullname} does not publish all changes that the statement would see ({found})",
                f"Publish all changes of the columns that it reads, {REFRESH}",
            )
    for text in statement.compiled.texts:
        if _SELECT.search(text):
            raise NotifyConfigError(
                subject,
                f"the statement has SQL text that may read tables: {text!r}",
                f"Write it with select(), {REFRESH}",
            )


def check_functions(
    statement: LiveStatement, execute: Execute, subject: str, *, refreshes: bool
) -> None:
    """Look the statement's functions up in the catalog, check them, and classify the statement.

    :param refreshes: whether the statement is also run without an event.
    :raises NotifyConfigError: if the result of a function may change without an event, and the
        statement is run only at events.
    """
    seen = statement.compiled
    written: set[tuple[str, str]] = {
        ("", next(filter(None, call)).lower())
        for text in seen.texts
        for call in _CALL.findall(text)
    }
    found = _functions(execute, seen.functions | written)
    if not refreshes:
        for function in found:
            if why := _why_not(function):
                raise NotifyConfigError(
                    subject, f"{function.name}() {why}", f"Leave it out, {REFRESH}"
                )
        for name in sorted({name.lower() for _, name in seen.functions | written} & TIME):
            raise NotifyConfigError(
                subject, f"the result of {name} changes as time passes", f"Leave it out, {REFRESH}"
            )
    mine = _functions(execute, seen.own)
    texts = _functions(execute, written)
    statement.classify(
        aggregates=any(function.kind == "a" for function in mine),
        sets=any(function.returns_set for function in (*mine, *texts)),
        # text does not show whether the call is over a window, in a subquery, or neither
        is_unclear=any(function.kind in "aw" for function in texts),
    )


def _why_not(function: _Function) -> str:
    if function.volatility == "v":
        return "is volatile, so its result changes without an event"
    if function.volatility == "s" and function.schema != "pg_catalog":
        return "is not immutable, and may read tables that a live query cannot detect"
    return ""


def _functions(execute: Execute, names: Iterable[tuple[str, str]]) -> list[_Function]:
    """Return all functions of the database that ``names`` may refer to.

    :param names: pairs of a schema, "" if the call has none, and a name.
    """
    # a call without quotes is folded to lower case
    every = sorted({(schema, each) for schema, name in names for each in (name, name.lower())})
    if not every:
        return []
    listed = ", ".join(f"({literal(schema)}, {literal(name)})" for schema, name in every)
    rows = execute(
        "SELECT n.nspname::text, p.proname::text, p.prokind::text, p.provolatile::text, p.proretset "
        "FROM pg_catalog.pg_proc AS p JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace "
        f"JOIN (VALUES {listed}) AS given (schema, name) ON p.proname = given.name::pg_catalog.name "
        "WHERE CASE given.schema WHEN '' THEN pg_catalog.pg_function_is_visible(p.oid) "
        "ELSE n.nspname = given.schema::pg_catalog.name END"
    )
    return [_Function(*row) for row in rows]


def check_row_security(
    query: Query, execute: Execute, schema_of: Callable[[str | None], str | None]
) -> None:
    """Check that row-level security is applied to the role of a query's users.

    The current role must already be that role.

    :raises NotifyConfigError: if PostgreSQL applies no row-level security to the role, or not that
        of each table that has some, so that each user would see all rows.
    """
    if query.seen_by is None or not query.tables:
        return
    role, secured = query.seen_by[0].role, False
    for name, is_on, is_active, has_policy in execute(
        "SELECT t::text, c.relrowsecurity::int, pg_catalog.row_security_active(c.oid)::int, "
        "(EXISTS (SELECT FROM pg_catalog.pg_policy AS p WHERE p.polrelid = c.oid))::int "
        f"FROM pg_catalog.unnest(ARRAY[{_regclasses(query.tables, schema_of)}]) AS t JOIN pg_catalog.pg_class AS c ON c.oid = t"
    ):
        enable = f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY"
        if has_policy and not is_on:
            raise NotifyConfigError(
                query.subject, f"{name} has policies, and its row-level security is off", enable
            )
        if is_on and not is_active:
            raise NotifyConfigError(
                query.subject,
                f"the row-level security of {name} is not applied to the role {role}",
                "Use a role that does not own the table, is not a superuser and has no BYPASSRLS",
            )
        secured |= bool(is_active)
    if not secured:
        names = ", ".join(sorted(table.name for table in query.tables))
        raise NotifyConfigError(
            query.subject,
            f"no table of it has row-level security ({names}), so each user would see all rows",
            "ALTER TABLE ... ENABLE ROW LEVEL SECURITY and CREATE POLICY; for rows that everybody may see, use a Hub without RowSecurity",
        )


def tables_of_policies(
    query: Query, execute: Execute, schema_of: Callable[[str | None], str | None]
) -> frozenset[Table]:
    """Return the tables that the policies on a query's tables read for the current role.

    :param schema_of: returns the schema that replaces a declared one (``schema_translate_map``).
    :raises NotifyConfigError: if one of them is not marked or not in the MetaData, and the query
        has no ``refresh``.
    """
    if not query.tables:
        return frozenset()
    found: set[Table] = set()
    known = {
        (schema_of(table.schema), table.name): table
        for metadata in {table.metadata for table in query.tables}
        for table in metadata.tables.values()
    }
    for secured, schema, name, is_visible in execute(_policies_read(query.tables, schema_of)):
        table = known.get((schema, name))
        if table is None and is_visible:
            table = known.get((None, name))
        if table is not None and marking_of(table) is not None:
            found.add(table)
        elif not query.refreshes:
            raise NotifyConfigError(
                query.subject,
                f"the row-level security of {secured} reads {schema}.{name}, which is not marked, so its changes have no events",
                f"Mark it with NotifyOnChange or notify_on_change(), {REFRESH}",
            )
    return frozenset(found)


def _regclasses(tables: Iterable[Table], schema_of: Callable[[str | None], str | None]) -> str:
    names = [
        f"{quote(schema)}.{quote(table.name)}"
        if (schema := schema_of(table.schema)) is not None
        else quote(table.name)
        for table in tables
    ]
    return ", ".join(f"pg_catalog.to_regclass({literal(name)})" for name in names)


def _policies_read(tables: Iterable[Table], schema_of: Callable[[str | None], str | None]) -> str:
    return (
        "WITH RECURSIVE read (secured, oid) AS ("
        f"SELECT t::text, t::pg_catalog.oid FROM pg_catalog.unnest(ARRAY[{_regclasses(tables, schema_of)}]) AS t WHERE t IS NOT NULL UNION "
        "SELECT r.secured, d.refobjid FROM read AS r JOIN pg_catalog.pg_policy AS p ON p.polrelid = r.oid "
        "JOIN pg_catalog.pg_depend AS d ON d.classid = 'pg_catalog.pg_policy'::pg_catalog.regclass::pg_catalog.oid "
        "AND d.objid = p.oid AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid "
        "WHERE pg_catalog.row_security_active(r.oid)) "
        "SELECT DISTINCT r.secured, n.nspname::text, c.relname::text, pg_catalog.pg_table_is_visible(c.oid) "
        "FROM read AS r JOIN pg_catalog.pg_class AS c ON c.oid = r.oid "
        "JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')"
    )
