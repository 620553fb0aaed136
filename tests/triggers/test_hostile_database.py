"""``check`` and ``doctor``, run by a superuser in a database whose users have left traps: each
operator and function is pg_catalog's own."""

from __future__ import annotations

import re

import pytest
import sqlalchemy as sa
from statements import run

from sa_pgnotify import Consumer, NotifySpec, check, notify_on_change
from sa_pgnotify.diagnosis.doctor import diagnose

TYPES = (
    "name", "text", "varchar", "oid", "regclass", "regproc", "regprocedure", "regnamespace", "int2", "int4", "int8", "numeric", "float8",
    '"char"', "xid8", "pg_snapshot", "timestamptz", "text[]", '"char"[]', "name[]", "oid[]",
)  # fmt: skip
OPERATORS = ("=", "<>", "<", ">", "<=", ">=", "||", "&", "+", "-", "~*", "~~")
TRAPS = f"""
SET LOCAL search_path = pg_catalog;
DO $do$
DECLARE a text; b text; op text;
BEGIN
  FOREACH a IN ARRAY ARRAY[{", ".join(f"$${name}$$" for name in TYPES)}] LOOP
    FOREACH b IN ARRAY ARRAY[{", ".join(f"$${name}$$" for name in TYPES)}] LOOP
      EXECUTE format('CREATE FUNCTION public.spring(%s, %s) RETURNS bool LANGUAGE plpgsql AS $$BEGIN RAISE ''trapped''; END$$', a, b);
      FOREACH op IN ARRAY ARRAY[{", ".join(f"'{name}'" for name in OPERATORS)}] LOOP
        CONTINUE WHEN EXISTS (SELECT FROM pg_operator WHERE oprnamespace = 'pg_catalog'::regnamespace AND oprname = op
          AND oprleft = a::regtype AND oprright = b::regtype);
        EXECUTE format('CREATE OPERATOR public.%s (FUNCTION = public.spring, LEFTARG = %s, RIGHTARG = %s)', op, a, b);
      END LOOP;
    END LOOP;
  END LOOP;
END $do$
"""
"""Operators for all pairs of types for which pg_catalog has none of exactly these, so that
PostgreSQL would take one of pg_catalog's that is only near: with the trap there, it takes the
trap."""
KEYWORDS = {
    "any", "all", "and", "array", "as", "by", "case", "cast", "coalesce", "count", "else", "exists", "filter", "from", "greatest", "in", "is",
    "lateral", "least", "not", "nullif", "on", "or", "order", "over", "position", "row", "select", "then", "union", "values", "when",
    "where", "with", "materialized", "extract", "join", "into",
}  # fmt: skip
"""Words that a parenthesis follows and that are no functions."""


@pytest.fixture
def trapped(engine):
    """An engine on a database with durable, ephemeral and partitioned tables, a consumer, and
    traps; what runs on it is kept in ``sent``."""
    metadata = sa.MetaData()
    for name, spec, options in (
        ("orders", NotifySpec(), {}),
        ("logged", NotifySpec(durable=True), {}),
        ("parts", NotifySpec(), {"postgresql_partition_by": "LIST (id)"}),
    ):
        table = sa.Table(
            name,
            metadata,
            sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
            **options,
        )
        notify_on_change(table, spec)
    metadata.create_all(engine)
    with Consumer(engine, "worker", metadata.tables["logged"]):
        pass
    run(
        engine,
        "INSERT INTO logged VALUES (1)",
        "ALTER TABLE orders DISABLE TRIGGER sa_pgnotify_insert",
        TRAPS,
    )
    return engine, metadata


def test_the_traps_work(trapped):
    """A query that leaves a cast out is caught, so that the next test can fail."""
    engine, _ = trapped
    with pytest.raises(sa.exc.DBAPIError, match="trapped"):
        run(engine, "SELECT FROM pg_catalog.pg_class WHERE oid = 'pg_catalog.pg_class'::regclass")


def test_check_and_doctor_run_no_code_of_others(trapped):
    """Neither finds a trap; and no function is called by a name without its schema, which one of a
    better fitting type could take over."""
    engine, metadata = trapped
    sent: list[str] = []
    sa.event.listen(
        engine, "before_cursor_execute", lambda _1, _2, statement, *_: sent.append(statement)
    )
    drifts = check(engine, metadata)
    assert [d.kind for d in drifts] == ["disabled"]
    findings = diagnose(engine)
    assert not [f for f in findings if "could not be examined" in f.text], findings
    assert {"consumers", "log", "triggers", "order"} <= {f.subject for f in findings}
    unqualified, is_safe = set(), False
    for sql in sent:
        is_safe = sql.startswith("SET LOCAL search_path = pg_catalog") or (
            is_safe and "FROM pg_catalog.pg_proc" not in sql
        )
        if is_safe:  # until the transaction ends, and the next one looks at functions
            continue
        bare = re.sub(r"'(?:[^']|'')*'", "''", sql)
        bare = re.sub(r"\bAS \w+ \([^()]*\)|(WITH RECURSIVE|,) \w+ \([\w, ]*\) AS", "", bare)
        unqualified |= {
            name
            for name in re.findall(r"(?<![\w.\"])([a-z_]\w*)\s?\(", bare, re.IGNORECASE)
            if name.lower() not in KEYWORDS
        }
    assert unqualified == set()
