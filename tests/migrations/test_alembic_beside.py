"""Autogenerate beside other programs: alembic_utils in the same env.py, and another service's
change log in the same database."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.operations.ops import MigrateOperation, UpgradeOps
from kinds import address
from logs import TABLES
from programs import ROOT, SUPPORT
from revisions import autogenerate, differences, shop
from statements import run

from alembic_ops.beside import keep_functions_and_triggers
from sa_pgnotify import NotifySpec, notify_on_change
from sa_pgnotify.sql import execute_on
from sa_pgnotify.triggers.catalog import functions


def service(name: str, *, durable: bool = True) -> sa.MetaData:
    """The models of one service: a table."""
    metadata = sa.MetaData()
    notify_on_change(
        sa.Table(name, metadata, sa.Column("id", sa.Integer, primary_key=True)),
        NotifySpec(durable=durable),
    )
    return metadata


def test_the_log_of_another_service_is_not_dropped(engine):
    """Services of which one is durable: the other's autogenerate, which leaves the first one's
    table out by any filter, does not propose to drop the log that its triggers write to; its own
    work is proposed as ever."""
    service("theirs").create_all(engine)
    mine = service("mine", durable=False)

    def by_name(name: Any, type_: str, parents: Any) -> bool:
        return type_ != "table" or name != "theirs"

    def by_object(found: Any, name: Any, type_: str, reflected: bool, compare_to: Any) -> bool:
        return type_ != "table" or name != "theirs"

    for options in ({"include_name": by_name}, {"include_object": by_object}):
        revision = autogenerate(engine, mine, **options)
        assert "sa_pgnotify_log" not in revision.upgrade
        assert "sa_pgnotify_consumers" not in revision.upgrade
        assert "op.create_table('mine'" in revision.upgrade
    mine.create_all(engine)
    assert differences(engine, mine, include_object=by_object) == []


def test_a_log_that_nobody_writes_to_any_more_is_dropped(engine):
    """Where no filter leaves the durable table out, it goes, and its log with it; so it does where
    it stays and is no longer durable."""
    theirs = service("theirs")
    theirs.create_all(engine)
    for wanted in (sa.MetaData(), service("theirs", durable=False)):
        text = autogenerate(engine, wanted).upgrade
        assert {name for name in TABLES if f"op.drop_table('{name}')" in text} == TABLES


@pytest.mark.parametrize("package", ["alembic_utils", "alembic_utils_extended"])
def test_proposals_to_drop_what_is_ours_are_removed(engine, package):
    """Of entities to drop, those that are our functions and triggers are left out; those of others,
    of names like ours too, stay. (What alembic_utils itself proposes is tried by the next test,
    where it is installed.)"""
    shop("orders", 'odd "name"').create_all(engine)
    run(
        engine,
        "CREATE FUNCTION sa_pgnotify_theirs() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
    )

    class Entity:
        def __init__(self, signature: str, schema: str) -> None:
            self.signature, self.schema = signature, schema

    class DropOp(MigrateOperation):
        def __init__(self, signature: str, schema: str = "public") -> None:
            self.target = Entity(signature, schema)

    DropOp.__module__ = f"{package}.reversible_op"
    ours = [
        "sa_pgnotify_orders()",
        "sa_pgnotify_odd name()",
        "sa_pgnotify_insert",
        "sa_pgnotify_truncate",
    ]
    others = [
        DropOp("sa_pgnotify_theirs()"),
        DropOp("touch()"),
        DropOp("sa_pgnotify_orders()", "elsewhere"),
    ]
    ops = UpgradeOps([*map(DropOp, ours), *others])
    with engine.connect() as connection:
        keep_functions_and_triggers(ops, functions(execute_on(connection)))
    assert ops.ops == others


ENTITIES = """
import re
import sys
from alembic.autogenerate import produce_migrations, render_python_code
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic_utils.pg_function import PGFunction
from alembic_utils.pg_trigger import PGTrigger
from alembic_utils.replaceable_entity import register_entities, registry
from sqlalchemy import create_engine
import alembic_ops
from programs import ROOT
from revisions import shop

engine, metadata = create_engine(sys.argv[1]), shop()
body = "RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$"
of_row = "BEFORE INSERT ON public.orders FOR EACH ROW EXECUTE FUNCTION public.touch()"
function = PGFunction(schema="public", signature="touch()", definition=body)
trigger = PGTrigger(schema="public", signature="touch_it", on_entity="public.orders", definition=of_row)
metadata.create_all(engine)

def proposed(**options):
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"target_metadata": metadata, "include_schemas": False, **options})
        return render_python_code(produce_migrations(context, metadata).upgrade_ops)

register_entities([function, trigger])
text = proposed()
assert text.count("op.create_entity") == 2 and "sa_pgnotify" not in text, text
with engine.begin() as connection, Operations.context(MigrationContext.configure(connection)) as op:
    exec(f"if True:\\n    {text}")
assert "op." not in proposed(), proposed()

# The filter of docs/alembic.md, where ours comes too early to see alembic_utils' proposals.
page = (ROOT / "docs" / "alembic.md").read_text()
exec(re.search(r"^def include_object.*?^```", page, re.DOTALL | re.MULTILINE)[0].strip("`"))
alembic_ops.compare.keep_functions_and_triggers = lambda *_: None
assert proposed().count("sa_pgnotify") > 4
assert "sa_pgnotify" not in proposed(include_object=include_object), proposed(include_object=include_object)
alembic_ops.compare.keep_functions_and_triggers = alembic_ops.beside.keep_functions_and_triggers
registry.clear()
register_entities([function], schemas=["public"])
text = proposed()
assert text.count("op.drop_entity") == 1 and "touch_it" in text and "sa_pgnotify" not in text, text
"""


def test_alembic_utils(url, tmp_path: Path):
    """With entities of alembic_utils registered, autogenerate proposes nothing about our triggers,
    and alembic_utils' own work as ever: entities that are new, and one that is no longer
    registered."""
    # a program of its own: it registers itself for good
    pytest.importorskip("alembic_utils", reason="alembic_utils is not installed")
    (tmp_path / "entities.py").write_text(ENTITIES)
    path = os.pathsep.join([str(ROOT), str(SUPPORT)])
    done = subprocess.run(
        [sys.executable, tmp_path / "entities.py", address(url)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
