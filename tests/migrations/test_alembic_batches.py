"""The operations within batches, autocommit blocks and the hooks of env.py."""

from __future__ import annotations

import pytest
from alembic.autogenerate.rewriter import Rewriter
from alembic.migration import MigrationContext
from alembic.operations import Operations, ops
from alembic.util import CommandError
from receiving import received
from revisions import Project, apply, catalog, marked, shop
from statements import run

import alembic_ops
from sa_pgnotify import Inserted, NotifySpec

COLUMNS = "columns={'id': 'integer', 'status': 'text', 'note': 'text'}, key=['id'], version=1"


BATCH = f"""with op.batch_alter_table('orders') as batch_op:
        batch_op.add_column(sa.Column('note', sa.Text()))
        batch_op.create_notify_triggers(values='all', {COLUMNS})
        batch_op.alter_notify_triggers(values=['note'], channel='Notes', {COLUMNS})
        batch_op.create_index('notes', ['note'])"""


def test_batch_by_hand(engine):
    """In a batch the operations run where they stand: after the column that they read was added,
    and before it is dropped."""
    shop(spec=None).create_all(engine)
    before = catalog(engine)
    apply(engine, BATCH)
    metadata = shop(spec=NotifySpec(values=("note",), channel="Notes"), more=("note",))
    (event,) = received(engine, metadata, "INSERT INTO orders (note) VALUES ('n')")
    assert isinstance(event, Inserted) and event.new == {"id": 1, "note": "n"}
    apply(
        engine,
        """with op.batch_alter_table('orders', recreate='never') as batch_op:
        batch_op.drop_notify_triggers()
        batch_op.drop_column('note')""",
    )
    assert catalog(engine) == before


def test_batch_in_a_schema(engine):
    """A batch of another schema's table takes schema and name from the batch."""
    run(engine, 'CREATE SCHEMA "Sales %"')
    shop(spec=None, schema="Sales %").create_all(engine)
    before = catalog(engine)
    apply(engine, BATCH.replace("'orders'", "'orders', schema='Sales %'"))
    assert marked(engine) == {'"Sales %".orders'}
    apply(
        engine,
        "with op.batch_alter_table('orders', schema='Sales %') as b:\n        b.drop_notify_triggers()\n        b.drop_column('note')",
    )
    assert catalog(engine) == before


@pytest.mark.parametrize(
    "call", ["create_notify_triggers({})", "alter_notify_triggers({})", "drop_notify_triggers()"]
)
def test_batch_that_makes_the_table_anew(engine, call):
    """A batch with recreate="always" refuses the operations, and names the table and the fix;
    nothing is changed."""
    shop(spec=None, more=("note",)).create_all(engine)
    before = catalog(engine)
    with pytest.raises(
        CommandError,
        match="'orders' would be lost: recreate='always'.*Call the operation on op, after the batch",
    ):
        apply(
            engine,
            f"with op.batch_alter_table('orders', recreate='always') as b:\n        b.{call.format(COLUMNS)}",
        )
    assert catalog(engine) == before


def test_table_made_anew_is_found(engine, url, tmp_path):
    """Triggers that such a batch lost, because it did not mention them, are found by the next
    autogenerate and come back."""
    project = Project(tmp_path, url)
    project.upgrade(shop())
    full = catalog(engine)
    apply(
        engine,
        "with op.batch_alter_table('orders', recreate='always') as b:\n        b.alter_column('status', new_column_name='status')",
    )
    assert marked(engine) == set()
    text = project.upgrade()
    assert text.count("notify_triggers(") == 2
    now = catalog(engine)
    assert (now["functions"], now["triggers"]) == (full["functions"], full["triggers"])
    project.downgrade("-1")


def test_autocommit_block(engine, url, tmp_path):
    """The operations need no transaction around them."""
    shop(spec=None, more=("note",)).create_all(engine)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection)
        with (
            Operations.context(context) as op,
            context.begin_transaction(),
            context.autocommit_block(),
        ):
            op.create_notify_triggers(
                "orders",
                columns={"id": "integer", "status": "text", "note": "text"},
                key=["id"],
                version=1,
            )
            assert marked(engine) == {"orders"}, "another connection sees it at once"


def test_rewriter(engine, url, tmp_path):
    """A Rewriter of the user's gets our operations by their classes, and may change, replace and
    drop them."""
    writer = Rewriter()

    @writer.rewrites(alembic_ops.CreateNotifyTriggersOp)
    def announce(context, revision, op):
        return [ops.ExecuteSQLOp(f"SELECT 'watched {op.triggers.table}'"), op]

    @writer.rewrites(alembic_ops.DropNotifyTriggersOp)
    def keep(context, revision, op):
        return [] if op.triggers.table == "kept" else op

    project = Project(tmp_path, url, process_revision_directives=writer)
    text = project.upgrade(shop("orders", "kept"))
    up, down = text.split("def downgrade")
    assert up.index("watched orders") < up.index("create_notify_triggers(\n        'orders'")
    assert "drop_notify_triggers('orders')" in down and "drop_notify_triggers('kept')" not in down


def test_process_revision_directives(engine, url, tmp_path):
    """A hook may look for our operations among the others and make of them a revision that has no
    other."""

    def within(container):
        for op in container.ops:
            yield from within(op) if hasattr(op, "ops") else [op]

    def split(context, revision, directives):
        (script,) = directives
        kinds = (
            alembic_ops.CreateNotifyTriggersOp
            | alembic_ops.AlterNotifyTriggersOp
            | alembic_ops.DropNotifyTriggersOp
        )
        mine = [op for op in within(script.upgrade_ops) if isinstance(op, kinds)]
        script.upgrade_ops.ops[:] = mine
        script.downgrade_ops.ops[:] = [op.reverse() for op in reversed(mine)]

    shop(spec=None).create_all(engine)
    project = Project(tmp_path, url, process_revision_directives=split)
    text = project.revise(shop("orders", more=("note",), spec=NotifySpec(values=("status",))))
    assert "add_column" not in text and text.count("notify_triggers(") == 2
