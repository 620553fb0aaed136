"""Alembic operations for the triggers of sa_pgnotify. In ``env.py``::

    import alembic_ops

From then on ``alembic revision --autogenerate`` writes ``op.create_notify_triggers``,
``op.alter_notify_triggers`` and ``op.drop_notify_triggers`` for markers that were added, changed
and removed, and ``alembic check`` reports the differences. For tables with ``capture="wal"`` it
writes ``op.add_to_publication`` and ``op.remove_from_publication``.
"""

import inspect

from alembic.autogenerate import comparators, renderers
from alembic.operations import BatchOperations, Operations

from .compare import FILTER_TYPE, compare_schemas, compare_table
from .operations import (
    AddToPublicationOp,
    AlterNotifyTriggersOp,
    CreateNotifyTriggersOp,
    DropNotifyTriggersOp,
    InTableOrder,
    LostNotifyTriggersOp,
    RemoveFromPublicationOp,
    RevisionError,
    run,
)
from .render import ADD, NAMES, REMOVE, render, render_all, render_lost

__all__ = [
    "FILTER_TYPE",
    "AlterNotifyTriggersOp",
    "CreateNotifyTriggersOp",
    "DropNotifyTriggersOp",
    "RevisionError",
]

for _operation, _name in NAMES.items():
    Operations.register_operation(_name)(_operation)
    BatchOperations.register_operation(_name, f"batch_{_name}")(_operation)
    Operations.implementation_for(_operation)(run)
    renderers.dispatch_for(_operation)(render)
for _operation, _name in {AddToPublicationOp: ADD, RemoveFromPublicationOp: REMOVE}.items():
    Operations.register_operation(_name)(_operation)
renderers.dispatch_for(InTableOrder)(render_all)
renderers.dispatch_for(LostNotifyTriggersOp)(render_lost)

comparators.dispatch_for("table")(compare_table)
# Since Alembic 1.18 comparators of schemas have a priority, without which this one would run before
# the tables are compared.
if "priority" in inspect.signature(comparators.dispatch_for).parameters:
    from alembic.util import DispatchPriority

    comparators.dispatch_for("schema", priority=DispatchPriority.LAST)(compare_schemas)
else:
    comparators.dispatch_for("schema")(compare_schemas)
