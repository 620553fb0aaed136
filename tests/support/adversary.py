"""A role that may create objects in public, and traps of its own for whatever the package runs.

PostgreSQL looks in ``pg_catalog`` first, but a function or an operator that fits the types of its
arguments exactly wins over one that does not, wherever it stands. So the traps have the names of
what the statements use, and the types that ``pg_catalog`` has no exact match for. A trap writes
down who ran it and by which statement.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg
import pytest
from sqlalchemy import Engine, event
from statements import rows, run

from sa_pgnotify.drivers import psycopg, psycopg2

__all__ = ["calls", "names_of", "operators", "set_traps", "sprung", "statements_sent"]

OTHERS = (
    "pg_table_is_visible",  # SQLAlchemy: has_table() and its kind
    "pg_type_is_visible",
    "hstore",  # SQLAlchemy, when it connects by psycopg or psycopg2
    "typeinfo_tree",  # asyncpg, of a type that it does not know
    "SELECT attr.conname",  # SQLAlchemy's inspector, for Alembic
)
"""What statements of SQLAlchemy and of a driver contain, which are not ours."""


@contextmanager
def statements_sent(*, except_of: Engine) -> Iterator[list[str]]:
    """The SQL that is sent within the block, by engines but ``except_of``, and by the connections
    of listeners."""
    found: list[str] = []

    def note(connection: Any, _: Any, statement: str, *__: Any) -> None:
        if connection.engine is not except_of and not any(o in statement for o in OTHERS):
            found.append(statement)

    def noting(method: Any) -> Any:
        def execute(self: Any, sql: str, *arguments: Any, **options: Any) -> Any:
            found.append(sql)
            return method(self, sql, *arguments, **options)

        return execute

    event.listen(Engine, "before_cursor_execute", note)
    try:
        with pytest.MonkeyPatch.context() as patch:
            for owner, name in (
                (psycopg.Connection, "execute"),
                (psycopg2.Connection, "execute"),
                (asyncpg.Connection, "fetch"),
            ):
                patch.setattr(owner, name, noting(getattr(owner, name)))
            yield found
    finally:
        event.remove(Engine, "before_cursor_execute", note)


# -- what statements use ---------------------------------------------------------------------------

_LITERAL = re.compile(r"--[^\n]*|[eE]?'(?:[^']|'')*'|\$\w*\$")
_BODY = re.compile(r"\$(function_*)\$.*?\$\1\$", re.DOTALL)
"""The body of a trigger function, which has a search_path of its own: see
:mod:`test_hijack`."""
_CALL = re.compile(r"(?<![\w\"$])((?:[a-z_]\w*\.)*)([a-z_]\w*)\s*\(", re.IGNORECASE)
_NOT_CALLED = re.compile(r"\b(?:INTO|AS|TABLE|FUNCTION|ON|WITH|,)\s*$", re.IGNORECASE)
_OPERATOR = re.compile(r"[-+*/<>=~!@#%^&|?]+")


def _code(statement: str) -> str:
    """Return a statement without its literals and comments, which ``format()`` may make statements
    of: so the texts of such literals follow."""
    statement = _BODY.sub(" ", statement)
    inner = " ; ".join(
        part.strip("eE").strip("'")
        for part in _LITERAL.findall(statement)
        if re.match(r"[eE]?'\s*(?:SELECT|FROM|DELETE|LOCK|CREATE|TRUNCATE)\b", part)
    )
    return f"{_LITERAL.sub(' ', statement)} ; {inner}"


def calls(statements: Iterable[str]) -> dict[str, set[str]]:
    """Return the names that are written as functions are, each with the schemas that it is written
    with; an empty text stands for none."""
    found: dict[str, set[str]] = {}
    for code in map(_code, statements):
        for call in _CALL.finditer(code):
            schema, name = call.groups()
            if schema or not _NOT_CALLED.search(code[: call.start()]):
                found.setdefault(name.lower(), set()).add(schema.rstrip(".").lower())
    return found


def operators(statements: Iterable[str]) -> set[str]:
    """Return the operators, and those that stand behind SQL's own words such as IN and LIKE."""
    return {o for code in map(_code, statements) for o in _OPERATOR.findall(code)} | {
        "=", "<>", "<", ">", "<=", ">=", "~~", "!~~", "+", "-",
    }  # fmt: skip


def names_of(engine: Engine, kind: str, names: Iterable[str]) -> set[str]:
    """Return those of ``names`` that ``pg_catalog`` has.

    :param kind: ``proc`` or ``operator``.
    """
    column = {"proc": "proname", "operator": "oprname"}[kind]
    known = rows(engine, f"SELECT DISTINCT {column}::text FROM pg_catalog.pg_{kind}")
    return {name for (name,) in known} & {*names}


# -- traps -----------------------------------------------------------------------------------------

TYPES = (
    "smallint", "integer", "bigint", "numeric", "double precision", "text", "varchar", "bpchar", "name", '"char"', "boolean", "bytea",
    "oid", "regclass", "regproc", "regprocedure", "regnamespace", "json", "jsonb", "xid", "xid8", "timestamptz", "interval", "int2vector",
    "text[]", "name[]", "oid[]", "bigint[]", "integer[]", '"char"[]', "varchar[]",
)  # fmt: skip
_RECORD = """
CREATE TABLE public.loot (who name, what text, statement text);
CREATE SEQUENCE public.sprung;
CREATE FUNCTION public.record_trap(what text) RETURNS boolean LANGUAGE plpgsql SET search_path = pg_catalog AS $$ BEGIN
  IF NOT EXISTS (SELECT FROM unnest(ARRAY[{others}]) AS o WHERE strpos(current_query(), o) > 0) THEN
    PERFORM nextval('public.sprung'); -- which a rollback does not undo
    INSERT INTO public.loot VALUES (current_user, what, current_query());
  END IF;
  RETURN NULL;
END $$;
"""
_TRAPS = """
DO $do$
DECLARE
  types text[] := ARRAY[{types}];
  here oid[] := ARRAY['public'::regnamespace, 'pg_catalog'::regnamespace]::oid[];
  f record; l text; r text; op text; result text; trap text; given oid[];
BEGIN
  -- Functions: each type in each place, beside the types that pg_catalog's have, or the same type in all places that take any.
  FOR f IN SELECT DISTINCT proname, proretset, prokind, i, CASE WHEN provariadic = 0 THEN a.given ELSE a.given[:pronargs - 1] || '"any"'::regtype::oid END AS given
      FROM (SELECT p.*, string_to_array(proargtypes::text, ' ')::oid[] AS given FROM pg_proc AS p) AS a, generate_series(1, 5) AS i
      WHERE pronamespace = 'pg_catalog'::regnamespace AND proname = ANY (ARRAY[{names}]::name[]) AND prokind IN ('f', 'a') AND i <= pronargs LOOP
    FOREACH l IN ARRAY types LOOP
      SELECT array_agg(CASE
          WHEN t IN ('anyarray'::regtype, 'anycompatiblearray'::regtype) THEN (SELECT CASE WHEN typelem <> 0 THEN oid WHEN typarray <> 0 THEN typarray END
            FROM pg_type WHERE oid = l::regtype)
          WHEN y.typname IN ('any', 'anyelement', 'anynonarray', 'anycompatible') OR n = f.i THEN l::regtype ELSE t END ORDER BY n) INTO given
        FROM unnest(f.given) WITH ORDINALITY AS g (t, n) JOIN pg_type AS y ON y.oid = t;
      CONTINUE WHEN array_position(given, NULL) IS NOT NULL
        OR EXISTS (SELECT FROM pg_type WHERE oid = ANY (given) AND typtype = 'p')
        OR EXISTS (SELECT FROM pg_proc WHERE proname = f.proname AND pronamespace = ANY (here) AND string_to_array(proargtypes::text, ' ')::oid[] = given);
      trap := (SELECT string_agg(t::regtype::text, ', ') FROM unnest(given) AS t);
      result := format('BEGIN PERFORM public.record_trap(%L); RETURN%s; END', format('%s(%s)', f.proname, trap), CASE WHEN NOT f.proretset THEN ' NULL' END);
      IF f.prokind = 'f' THEN
        EXECUTE format('CREATE FUNCTION public.%I(%s) RETURNS %s text LANGUAGE plpgsql AS %L', f.proname, trap, CASE WHEN f.proretset THEN 'SETOF' END, result);
      ELSE
        EXECUTE format('CREATE FUNCTION public.%I(text, %s) RETURNS text LANGUAGE plpgsql AS %L', 'state_' || f.proname, trap, result);
        EXECUTE format('CREATE AGGREGATE public.%I(%s) (SFUNC = public.%I, STYPE = text)', f.proname, trap, 'state_' || f.proname);
      END IF;
    END LOOP;
  END LOOP;
  -- Operators: between each two types.
  FOREACH l IN ARRAY types LOOP
    FOREACH r IN ARRAY types LOOP
      FOREACH result IN ARRAY CASE l WHEN 'boolean' THEN ARRAY[l] ELSE ARRAY[l, 'boolean'] END LOOP
        EXECUTE format('CREATE FUNCTION public.%I(%s, %s) RETURNS %s LANGUAGE plpgsql AS %L', concat('trap ', result), l, r, result,
          format('BEGIN PERFORM public.record_trap(%L); RETURN NULL; END', concat_ws(' operator ', l, r)));
      END LOOP;
      FOREACH op IN ARRAY ARRAY[{operators}] LOOP
        result := CASE WHEN op ~ '^([-+*/%&|#^]+|<<|>>|->>?)$' THEN l ELSE 'boolean' END;
        CONTINUE WHEN EXISTS (SELECT FROM pg_operator WHERE oprname = op AND oprleft = l::regtype AND oprright = r::regtype
          AND oprnamespace = 'pg_catalog'::regnamespace);
        EXECUTE format('CREATE OPERATOR public.%s (FUNCTION = public.%I, LEFTARG = %s, RIGHTARG = %s)', op, concat('trap ', result), l, r);
      END LOOP;
    END LOOP;
  END LOOP;
  -- Types: of the same names.
  FOREACH l IN ARRAY types LOOP
    CONTINUE WHEN l LIKE '%[]';
    EXECUTE format('CREATE DOMAIN public.%I AS pg_catalog.text CHECK (public.record_trap(%L) IS NULL)',
      (SELECT typname FROM pg_type WHERE oid = l::regtype), l);
  END LOOP;
END $do$
"""


def set_traps(engine: Engine, functions: Iterable[str], operators: Iterable[str]) -> None:
    """Make a trap in public for each of the functions and operators, and for each type, as any role
    could that may create objects there."""

    def listed(texts: Iterable[str]) -> str:
        return ", ".join(f"'{text}'" for text in sorted(texts))

    run(
        engine,
        "SET LOCAL search_path = pg_catalog",
        _RECORD.format(others=listed(OTHERS)),
        _TRAPS.format(
            types=listed(TYPES),
            names=listed(functions),
            operators=listed(operators),
        ),
    )


def sprung(engine: Engine) -> list[tuple[Any, ...]]:
    """Return which traps were run, by whom and in which statements."""
    found = rows(engine, "SELECT DISTINCT who::text, what, statement FROM public.loot")
    rolled_back = (
        [] if found else rows(engine, "SELECT last_value FROM public.sprung WHERE is_called")
    )
    return found or rolled_back
