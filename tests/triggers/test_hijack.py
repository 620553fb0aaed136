"""Roles that may create operators and functions in a schema on somebody's search_path have none of
theirs run by us.

The traps are all binary operators of the names that our SQL uses, between pairs of common types for
which ``pg_catalog`` has none that fits exactly, which is where one of another schema would win; and
functions that shadow those of ``pg_catalog``. Each advances a sequence, which a rollback does not
undo, so that a trap that was run in a block that swallows errors is found as well.
"""

import re
import uuid

import pytest
from hierarchies import family
from logs import end_of_log, until_end_of_log
from receiving import received, until_end
from sqlalchemy import BigInteger, Column, Integer, Table, Text, func
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from statements import rows, run

from sa_pgnotify import (
    CreateNotifyTriggers,
    Deleted,
    DropNotifyTriggers,
    Gap,
    Inserted,
    Listener,
    NotifyOnChange,
    NotifySpec,
    Truncated,
    Updated,
    check,
    notify_on_change,
)

TRAPS = """
CREATE SEQUENCE {schema}.sprung;
DO $$
DECLARE
  types text[] := ARRAY['smallint', 'integer', 'bigint', 'numeric', 'double precision', 'text', 'varchar', 'bpchar', 'name', '"char"',
    'boolean', 'bytea', 'oid', 'regclass', 'regproc', 'regprocedure', 'json', 'jsonb', 'xid', 'timestamptz', 'uuid', 'text[]', 'oid[]',
    'anyelement', 'anyarray'];
  operators text[] := ARRAY['=', '<>', '<', '>', '<=', '>=', '+', '-', '*', '&', '|', '||', '<<', '>>', '->', '->>', '*<>', '*=', '~~'];
  op text; l text; r text; result text;
BEGIN
  FOREACH l IN ARRAY types LOOP
    FOREACH r IN ARRAY types LOOP
      CONTINUE WHEN (l LIKE 'any%') <> (r LIKE 'any%');
      FOREACH result IN ARRAY ARRAY['boolean', l] LOOP
        CONTINUE WHEN result LIKE 'any%';
        EXECUTE format('CREATE OR REPLACE FUNCTION {schema}.%I(%s, %s) RETURNS %s LANGUAGE plpgsql AS '
          '''BEGIN PERFORM nextval(''''{schema}.sprung''''); RETURN NULL; END''', concat('trap_', result), l, r, result);
      END LOOP;
      FOREACH op IN ARRAY operators LOOP
        result := CASE WHEN op = ANY (ARRAY['+', '-', '*', '&', '|', '||', '<<', '>>', '->', '->>']) AND l NOT LIKE 'any%'
          THEN l ELSE 'boolean' END;
        CONTINUE WHEN EXISTS (SELECT FROM pg_operator WHERE oprname = op AND oprleft = l::regtype AND oprright = r::regtype
          AND oprnamespace = 'pg_catalog'::regnamespace);
        EXECUTE format('CREATE OPERATOR {schema}.%s (FUNCTION = {schema}.%I, LEFTARG = %s, RIGHTARG = %s)',
          op, concat('trap_', result), l, r);
      END LOOP;
    END LOOP;
  END LOOP;
END $$
"""
SHADOWS = """
DO $$
DECLARE
  f record;
BEGIN
  FOR f IN SELECT DISTINCT ON (proname, pg_get_function_identity_arguments(oid)) proname,
      pg_get_function_identity_arguments(oid) AS arguments, prorettype::regtype AS result
    FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace AND proname = ANY (%(names)s) AND prokind = 'f' AND NOT proretset
      AND prorettype NOT IN ('internal'::regtype, 'record'::regtype) AND 'internal'::regtype <> ALL (proargtypes) LOOP
    BEGIN
      EXECUTE format('CREATE FUNCTION traps.%%I(%%s) RETURNS %%s LANGUAGE plpgsql AS '
        '''BEGIN PERFORM nextval(''''traps.sprung''''); RETURN NULL; END''', f.proname, f.arguments, f.result);
    EXCEPTION WHEN OTHERS THEN NULL;
    END;
  END LOOP;
END $$
"""


def models(durable: bool):
    """Tables that between them have every family of columns, every kind of clause and every path
    through the functions."""
    options = {"durable": durable}
    Base, *_ = family(NotifySpec(values="all", **options))

    class Wide(NotifyOnChange, Base):
        __tablename__ = "wide"
        __notify__ = NotifySpec(
            values="all", when=lambda old, new: func.coalesce(new.c1, old.c1) >= 0, **options
        )
        id: Mapped[int] = mapped_column(primary_key=True)
        for i in range(1, 70):
            vars()[f"c{i}"] = mapped_column(Integer, default=0)
        del i

    # The model takes them for texts, and their real types decide how they are written.
    types = {
        "small": "smallint", "large": "bigint", "exact": "numeric", "real": "double precision", "yes": "boolean", "uid": "uuid",
        "moment": "timestamptz", "span": "interval", "bytes": "bytea", "doc": "jsonb", "words": "text[]", "letter": '"char"',
        "padded": "char(5)", "table_": "regclass", "label": "varchar",
    }  # fmt: skip
    every = Table(
        "every",
        Base.metadata,
        Column("id", Integer, primary_key=True),
        *(Column(name, Text) for name in types),
    )
    notify_on_change(every, NotifySpec(values="all", **options))
    return Base, types


WRITES = (
    "INSERT INTO public.parent VALUES (1, 'grandchild'), (2, 'child')",
    "INSERT INTO public.child VALUES (1, 'a'), (2, 'b')",
    "UPDATE public.child SET name = 'x'",
    "UPDATE public.parent SET kind = 'child'",
    "INSERT INTO public.wide (id, c1) SELECT g, 1 FROM pg_catalog.generate_series(1, 300) AS g",
    "UPDATE public.wide SET c1 = 2, c65 = 7",
    "INSERT INTO public.every (id, small, exact, words, label) VALUES (1, 1, 1.5, '{a,b}', 'short')",
    f"UPDATE public.every SET small = 2, label = '{'long ' * 40_000}'",
    "DELETE FROM public.every",
    "INSERT INTO public.wide (id) VALUES (301)",
    "DELETE FROM public.wide",
    "TRUNCATE public.wide",
)
"""Without an operator or a function of their own that could be a trap."""


def create_and_drop(engine, metadata, path):
    """Run the installing and the removing statements with that search_path, and install in the
    end."""
    with engine.begin() as connection:
        connection.exec_driver_sql(f"SET LOCAL search_path = {path}")
        for element in (CreateNotifyTriggers, DropNotifyTriggers, CreateNotifyTriggers):
            for table in metadata.sorted_tables:
                # whose types the element does not look up
                if "sa_pgnotify" in table.info and table.name != "every":
                    connection.execute(element(table))


def sprung(engine, schema):
    return rows(engine, f"SELECT is_called FROM {schema}.sprung") != [(False,)]


@pytest.mark.usefixtures("for_each")
@pytest.mark.sample(8)
@pytest.mark.parametrize("durable", [False, True], ids=["ephemeral", "durable"])
@pytest.mark.parametrize("path", ["public", "traps, pg_catalog, public"])
def test_nothing_of_another_schema_is_run(engine, durable, path):
    """Installing, writing, listening, checking and removing run no operator and no function of
    another schema than pg_catalog: neither those of public, where an operator that fits exactly
    would win over pg_catalog's, nor those of a schema that stands in front."""
    schema = path.partition(",")[0]
    Base, types = models(durable)
    columns = ", ".join(f"{name} {kind}" for name, kind in types.items())
    run(
        engine,
        f"CREATE TABLE every (id int PRIMARY KEY, {columns})",
        *(["CREATE SCHEMA traps"] if schema == "traps" else []),
    )
    Base.metadata.create_all(engine)
    with end_of_log(engine) as end:
        run(engine, TRAPS.format(schema=schema))
        if schema == "traps":
            bodies = "".join(
                body
                for (body,) in rows(
                    engine, "SELECT prosrc FROM pg_proc WHERE proname LIKE 'sa_pgnotify%%'"
                )
            )
            names = sorted(
                {*re.findall(r"pg_catalog\.(\w+)\(", bodies), "max", "substr", "position"}
            )
            with engine.begin() as connection:
                connection.exec_driver_sql(SHADOWS, {"names": names})
        create_and_drop(engine, Base.metadata, path)
        assert not sprung(engine, schema)
        with Listener(engine, Base, "end_of_test", end) as listener:
            run(engine, f"SET LOCAL search_path = {path}", *WRITES)
            events = (
                until_end_of_log(engine, listener, end) if durable else until_end(engine, listener)
            )
        assert not sprung(engine, schema)
        assert [event for event in events if isinstance(event, Gap)] == []
        assert {type(event) for event in events} == {Inserted, Updated, Deleted, Truncated}
        if schema == "public":
            assert check(engine, Base.metadata) == []
            assert not sprung(engine, schema)
        run(engine, f"DROP SEQUENCE {schema}.sprung")


def test_every_function_of_ours_has_pg_catalog_alone_on_its_path(engine):
    """Whatever a function is made of, its search_path has no schema where a role could create
    something."""
    for durable in (False, True):
        Base, _ = models(durable)
        Base.metadata.create_all(engine)
        found = rows(
            engine,
            "SELECT proname, proconfig::text[] FROM pg_proc WHERE proname LIKE 'sa_pgnotify%%'",
        )
        assert len(found) == 4
        for name, settings in found:
            assert "search_path=pg_catalog, pg_temp" in settings, name
        Base.metadata.drop_all(engine)


@pytest.fixture
def mallory(admin, engine):
    """A role that may create objects in public, and nothing else."""
    name = f"mallory_{uuid.uuid4().hex[:8]}"
    run(admin, f"CREATE ROLE {name}")
    run(engine, f"GRANT CREATE ON SCHEMA public TO {name}")
    yield name
    run(engine, f"DROP OWNED BY {name}")
    run(admin, f"DROP ROLE {name}")


def conditional(when, durable=False):
    class Base(DeclarativeBase):
        pass

    class Item(NotifyOnChange, Base):
        __tablename__ = "items"
        __notify__ = NotifySpec(when=when, durable=durable)
        id: Mapped[int] = mapped_column(primary_key=True)
        flags: Mapped[int] = mapped_column(BigInteger)

    return Base, Item


@pytest.mark.parametrize("durable", [False, True], ids=["ephemeral", "durable"])
def test_a_condition_that_would_run_another_roles_operator_is_refused(engine, mallory, durable):
    """A condition that PostgreSQL resolves to an operator of a role that is neither a superuser nor
    the installing one is not installed; the error names the operator and its owner, and nothing is
    left behind."""
    run(
        engine,
        f"SET ROLE {mallory}",
        "CREATE FUNCTION public.loot(bigint, integer) RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint'",
        "CREATE OPERATOR public.& (FUNCTION = public.loot, LEFTARG = bigint, RIGHTARG = integer)",
        "RESET ROLE",
    )
    Base, _ = conditional(lambda old, new: new.flags.op("&")(4) > 0, durable)
    with pytest.raises(
        DBAPIError,
        match=rf"would use .*operator public.&\(bigint,integer\), which belongs to {mallory}",
    ):
        Base.metadata.create_all(engine)
    assert rows(engine, "SELECT proname FROM pg_proc WHERE proname LIKE 'sa_pgnotify%%'") == []


def test_a_condition_means_what_it_meant_when_it_was_installed(engine, mallory):
    """Functions of other schemas that a condition names are found by the installing role's
    search_path, then and never again: one that is created later and would fit better changes
    nothing."""
    run(
        engine,
        "CREATE SCHEMA shop",
        "CREATE FUNCTION shop.wanted(numeric) RETURNS boolean LANGUAGE sql AS 'SELECT $1 > 1'",
    )
    Base, Item = conditional(lambda old, new: func.wanted(new.flags))
    with engine.begin() as connection:
        connection.exec_driver_sql("SET LOCAL search_path = public, shop")
        Base.metadata.create_all(connection)
    run(
        engine,
        f"SET ROLE {mallory}",
        "CREATE FUNCTION public.wanted(bigint) RETURNS boolean LANGUAGE sql AS 'SELECT false'",
        "RESET ROLE",
    )
    assert check(engine, Base.metadata) == []
    events = received(
        engine,
        Item,
        "SET LOCAL search_path = public, shop",
        "INSERT INTO items VALUES (1, 1), (2, 2)",
    )
    assert [event.identity for event in events] == [(2,)]


def test_a_function_that_another_role_has_made_is_refused(engine, mallory):
    """A role that creates a function of our name, with our comment, before the triggers are
    installed would own the installed function and could replace it: that is refused by name, also
    where check looks later."""
    Base, _ = conditional(None)
    Base.metadata.create_all(engine)
    (comment,) = rows(
        engine,
        "SELECT obj_description(oid, 'pg_proc') FROM pg_proc WHERE proname = 'sa_pgnotify_items'",
    )[0]
    Base.metadata.drop_all(engine)
    for said in (comment, "sa_pgnotify {}"):
        run(
            engine,
            f"SET ROLE {mallory}",
            "CREATE FUNCTION public.sa_pgnotify_items() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
            f"COMMENT ON FUNCTION public.sa_pgnotify_items() IS '{said}'",
            "RESET ROLE",
        )
        with pytest.raises(
            DBAPIError,
            match=rf"the function sa_pgnotify_items\(\) belongs to {mallory}|function public.sa_pgnotify_items\(\) belongs",
        ):
            Base.metadata.create_all(engine)
        run(engine, "DROP FUNCTION sa_pgnotify_items() CASCADE")
    Base.metadata.create_all(engine)
    run(engine, f"ALTER FUNCTION sa_pgnotify_items() OWNER TO {mallory}")
    assert [(drift.kind, mallory in drift.object) for drift in check(engine, Base.metadata)] == [
        ("conflicting", True)
    ]
    run(engine, "ALTER FUNCTION sa_pgnotify_items() OWNER TO CURRENT_USER")


def test_a_log_that_another_role_has_made_is_refused(engine, mallory):
    """A role that makes the log's tables before the triggers are installed could put a trigger of
    its own on them, which would run with the rights of the installing role: that is refused by
    name."""
    theirs, _ = conditional(None, durable=True)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"SET LOCAL ROLE {mallory}")
        theirs.metadata.create_all(connection)
    Base, _ = conditional(None, durable=True)
    run(engine, "DROP TABLE items CASCADE", "DROP FUNCTION sa_pgnotify_items")
    with pytest.raises(
        DBAPIError,
        match=f"the change log is not to be trusted: .*sa_pgnotify_log, which belongs to {mallory}",
    ):
        Base.metadata.create_all(engine)
    assert rows(engine, "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal") == []
