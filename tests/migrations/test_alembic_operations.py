"""The operations as they are written by hand: what they refuse, and where they run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.operations import Operations
from receiving import received
from revisions import apply, catalog, differences
from sqlalchemy.exc import DBAPIError
from statements import run

from sa_pgnotify import Inserted, NotifyConfigError, notify_on_change

GIVEN = {"columns": {"id": "integer", "status": "text"}, "key": ["id"], "version": 1}


CREATE = f"op.create_notify_triggers('orders', **{GIVEN!r})"


TABLE = "CREATE TABLE orders (id int PRIMARY KEY, status text)"


ENV = """
import alembic_ops
from alembic import context

with context.config.attributes["engine"].connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""


REVISION = """
import sqlalchemy as sa
from alembic import op

revision = {revision!r}
down_revision = {before!r}

def upgrade():
{body}
"""


@pytest.fixture
def project(tmp_path: Path, engine: sa.Engine) -> Any:
    """Runs the bodies of upgrades, each a revision of its own, as ``alembic upgrade head`` does."""
    (tmp_path / "versions").mkdir()
    (tmp_path / "env.py").write_text(ENV)
    config = Config(attributes={"engine": engine})
    config.set_main_option("script_location", str(tmp_path))

    def upgrade(*bodies: str) -> None:
        present = len(list((tmp_path / "versions").glob("*.py")))
        for number, body in enumerate(bodies, present):
            indented = "".join(f"    {line}\n" for line in body.splitlines())
            text = REVISION.format(
                revision=f"r{number}", before=f"r{number - 1}" if number else None, body=indented
            )
            (tmp_path / "versions" / f"r{number}.py").write_text(text)
        command.upgrade(config, "head")

    return upgrade


def version(engine: sa.Engine) -> str | None:
    with engine.connect() as connection:
        return connection.scalar(sa.text("SELECT version_num FROM alembic_version"))


def orders() -> sa.MetaData:
    metadata = sa.MetaData()
    notify_on_change(
        sa.Table(
            "orders",
            metadata,
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("status", sa.Text),
        )
    )
    return metadata


LOOKUP = {"table": "orders", "schema": None, "column": "status", "key": {"id": "id"}}


REFUSED = {
    # what is given in place of what is right (... for nothing), what the error says
    "unknown version": ({"version": 99}, "version 99.* knows 1. Install"),
    "version as text": ({"version": "1"}, "version '1'"),
    "version in a list": ({"version": [1]}, "version"),
    "misspelled argument": ({"operation": ["insert"]}, "have an unknown 'operation'"),
    "no key": ({"key": ...}, "lack 'key'"),
    "no columns": ({"columns": ...}, "lack 'columns'"),
    "unknown family": (
        {"columns": {"id": "int"}},
        "'id' is of the family 'int', which does not exist. The families are integer,",
    ),
    "family in a list": ({"columns": {"id": ["integer"]}}, "'id' is of the family"),
    "columns as list": ({"columns": ["id", "status"]}, "is not a dict of columns. Write columns="),
    "columns empty": ({"columns": {}}, "is not a dict of columns. Write columns="),
    "key not in columns": (
        {"key": ["no"]},
        "key names 'no', which does not exist. Choose from id, status",
    ),
    "key as text": ({"key": "id"}, r"key='id' is not a list. Write key=\['id'\]"),
    "key empty": ({"key": []}, "key is empty"),
    "key None": ({"key": None}, "key=None"),
    "key named twice": ({"key": ["id", "id"]}, "key names 'id' twice"),
    "operations unknown": (
        {"operations": ["insert", "upsert"]},
        "operations names 'upsert', which does not exist. Choose from insert, update, delete, truncate",
    ),
    "operations empty": (
        {"operations": []},
        "operations is empty. Drop the triggers to publish nothing",
    ),
    "operations as text": ({"operations": "insert"}, r"Write operations=\['insert'\]"),
    "operations None": ({"operations": None}, "operations=None"),
    "values as text": ({"values": "status"}, r"Write values=\['status'\]"),
    "values as number": ({"values": 5}, "values=5"),
    "values unknown": ({"values": ["no"]}, "values names 'no'"),
    "update_of as text": ({"update_of": "status"}, r"Write update_of=\['status'\]"),
    "update_of unknown": ({"update_of": ["no"]}, "update_of names 'no'"),
    "channel too long": (
        {"channel": "é" * 32},
        "channel .* has 64 bytes; PostgreSQL accepts 1 to 63.* Choose a shorter one",
    ),
    "channel empty": ({"channel": ""}, "channel '' has 0 bytes"),
    "channel as number": ({"channel": 5}, "channel 5"),
    "condition empty": ({"condition": ""}, "condition='' is not SQL text"),
    "condition that is a number": ({"condition": 5}, "condition=5 is not SQL text"),
    "discriminator unknown": ({"discriminator": "no"}, "discriminator names 'no'"),
    "discriminator half": (
        {"discriminator": {"table": "orders"}},
        "a dict of table, schema, column and key",
    ),
    "discriminator's key": (
        {"discriminator": {**LOOKUP, "key": {"no": "id"}}},
        "discriminator's key names 'no'",
    ),
    "discriminator's key as list": ({"discriminator": {**LOOKUP, "key": ["id"]}}, "discriminator"),
    "virtual unknown": ({"virtual": ["no"]}, "virtual names 'no'"),
    "virtual as text": ({"virtual": "status"}, "virtual='status' is not a list"),
}


FAILING = {
    "no such table": (
        {"table": "nowhere"},
        "the table nowhere does not exist(.|\n)*Create the table before its triggers",
    ),
    "no such schema": (
        {"schema": "nowhere"},
        "the table nowhere.orders does not exist(.|\n)*Create the table before",
    ),
    "no such column": (
        {"columns": {**GIVEN["columns"], "No%:x": "text"}},
        'has no column "No%:x"(.|\n)*Add columns before the triggers',
    ),
    "condition of no column": (
        {"condition": "new_row.nowhere > 0"},
        "new_row.nowhere does not exist(.|\n)*condition",
    ),
    "condition that is no SQL": ({"condition": "new_row.id >"}, "syntax error(.|\n)*condition"),
    "discriminator in no table": ({"discriminator": {**LOOKUP, "table": "nowhere"}}, "nowhere"),
    "discriminator in no column": ({"discriminator": {**LOOKUP, "column": "nowhere"}}, "nowhere"),
}


@pytest.mark.parametrize(
    ("wrong", "said", "error"),
    [(*case, NotifyConfigError) for case in REFUSED.values()]
    + [(*case, DBAPIError) for case in FAILING.values()],
    ids=[*REFUSED, *FAILING],
)
def test_bad_arguments_are_refused(engine, wrong, said, error):
    """Each mistake is an error that says what is wrong, and changes nothing."""
    run(engine, TABLE)
    before = catalog(engine)
    arguments = {key: value for key, value in {**GIVEN, **wrong}.items() if value is not ...}
    table = arguments.pop("table", "orders")
    with pytest.raises(error, match=said) as caught:
        apply(engine, f"op.create_notify_triggers({table!r}, **{arguments!r})")
    if error is NotifyConfigError:
        assert str(caught.value).startswith("orders: ")
    assert catalog(engine) == before


@pytest.mark.parametrize("bad", [
    "op.create_notify_triggers('nowhere', columns={'id': 'integer'}, key=['id'], version=1)",
    "op.alter_notify_triggers('orders', columns={'id': 'integer', 'nowhere': 'text'}, key=['id'], version=1)",
    "op.alter_notify_triggers('orders', columns={'id': 'integer'}, key=['id'], condition='new_row.nowhere', version=1)",
    "op.alter_notify_triggers('orders', columns={'id': 'integer'}, key=['id'], version=99)",
    "op.drop_notify_triggers('nowhere')",
    "op.drop_notify_triggers('orders', if_exist=True)",
])  # fmt: skip
def test_a_mistake_in_the_last_step_undoes_the_whole_revision(engine, project, bad):
    """All that the revision did before is rolled back: tables, triggers and the version are what
    they were."""
    project(f"op.execute({TABLE!r})\n{CREATE}")
    before = catalog(engine)
    with pytest.raises((NotifyConfigError, DBAPIError, TypeError)):
        project(
            "op.create_table('ledger', sa.Column('id', sa.Integer, primary_key=True))\n"
            "op.create_notify_triggers('ledger', columns={'id': 'integer'}, key=['id'], version=1)\n"
            "op.add_column('orders', sa.Column('note', sa.Text))\n"
            "op.alter_notify_triggers('orders', columns={'id': 'integer', 'note': 'text'}, key=['id'], values='all', version=1)\n"
            + bad
        )
    assert version(engine) == "r0"
    assert catalog(engine) == before
    assert differences(engine, orders()) == []


def test_operations_can_run_twice(engine):
    """A create, an alter of an unmarked table, and a drop reach the same state however often they
    run."""
    run(engine, TABLE)
    bare = catalog(engine)
    alter, drop = CREATE.replace("create", "alter"), "op.drop_notify_triggers('orders')"
    apply(engine, CREATE)
    created = catalog(engine)
    assert [
        type(event)
        for event in received(
            engine, orders().tables["orders"], "INSERT INTO orders VALUES (1, 'x')"
        )
    ] == [Inserted]
    for code, state in (
        (CREATE, created),
        (alter, created),
        (drop, bare),
        (drop, bare),
        (alter, created),
        (alter, created),
    ):
        apply(engine, code)
        assert catalog(engine) == state


def test_drop_if_exists(engine):
    """Without ``if_exists`` a table that is not there is an error; with it, what the table has or
    has left is dropped."""
    drop = "op.drop_notify_triggers('orders', if_exists=True)"
    apply(engine, drop)
    with pytest.raises(DBAPIError, match="the table orders does not exist"):
        apply(engine, "op.drop_notify_triggers('orders')")
    run(engine, TABLE)
    bare = catalog(engine)
    apply(engine, CREATE)
    apply(engine, drop)
    assert catalog(engine) == bare
    apply(engine, CREATE)
    run(engine, "DROP TABLE orders")
    assert catalog(engine)["functions"]
    apply(engine, drop)
    assert not any(catalog(engine).values())


def test_a_schema_translate_map_is_honoured(engine):
    """On a connection that translates schemas, the operations act in the schema that is in force,
    and in no other."""
    run(
        engine,
        "CREATE SCHEMA shop",
        "CREATE SCHEMA hall",
        *(TABLE.replace("orders", f"{s}.orders") for s in ("public", "shop", "hall")),
    )
    bare = catalog(engine)
    with engine.begin() as connection:
        translated = connection.execution_options(
            schema_translate_map={None: "shop", "declared": "hall"}
        )
        with Operations.context(MigrationContext.configure(translated)) as op:
            op.create_notify_triggers("orders", **GIVEN)
            op.alter_notify_triggers("orders", schema="declared", **GIVEN)
    triggers = {(table, function) for table, _, function, *_ in catalog(engine)["triggers"]}
    assert triggers == {
        (f"{schema}.orders", f"{schema}.sa_pgnotify_orders()") for schema in ("shop", "hall")
    }
    with engine.begin() as connection:
        translated = connection.execution_options(
            schema_translate_map={None: "shop", "declared": "hall"}
        )
        with Operations.context(MigrationContext.configure(translated)) as op:
            op.drop_notify_triggers("orders")
            op.drop_notify_triggers("orders", schema="declared")
            with (
                pytest.raises(DBAPIError, match="the table nowhere.orders does not exist"),
                connection.begin_nested(),
            ):
                op.drop_notify_triggers("orders", schema="nowhere")
    assert catalog(engine) == bare


def test_operations_run_in_an_autocommit_block(engine, project):
    """There each operation is committed at once, so that a mistake after the block leaves what it
    did."""
    project(f"op.execute({TABLE!r})")
    block = f"with op.get_context().autocommit_block():\n    {CREATE}\n    {CREATE.replace('create', 'alter')}\n"
    with pytest.raises(DBAPIError, match="nowhere"):
        project(f"{block}op.drop_table('nowhere')")
    assert version(engine) == "r0"
    assert differences(engine, orders()) == []
