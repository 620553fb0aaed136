"""The operations as code in a revision: one argument on a line, without those that have their
default."""

from __future__ import annotations

from typing import Any

from alembic.autogenerate.api import AutogenContext
from alembic.autogenerate.render import _alembic_autogenerate_prefix as prefix_of
from alembic.autogenerate.render import render_op

from .operations import (
    CAPTURED,
    AlterNotifyTriggersOp,
    CreateNotifyTriggersOp,
    DropNotifyTriggersOp,
    InTableOrder,
    LostNotifyTriggersOp,
    NotifyTriggersOp,
)

__all__ = ["NAMES", "render", "render_all", "render_lost"]

NAMES: dict[type[NotifyTriggersOp], str] = {
    CreateNotifyTriggersOp: "create_notify_triggers",
    AlterNotifyTriggersOp: "alter_notify_triggers",
    DropNotifyTriggersOp: "drop_notify_triggers",
}
ADD, REMOVE = "add_to_publication", "remove_from_publication"
"""What they are called for a table with ``capture="wal"``. In a batch they keep the general names."""
WIDTH = 100
"""Columns of text that a line of a dict or list may have before it is broken."""


def render(context: AutogenContext, op: NotifyTriggersOp) -> list[str] | str:
    """Return the call of ``op``, in lines."""
    # so that the revision runs without env.py
    context.imports.add("import alembic_ops  # noqa: F401 (its operations)")
    prefix = prefix_of(context)
    name = _name(op, in_batch=prefix == "batch_op.")
    call = f"{prefix}{name}"
    place = []
    if prefix != "batch_op.":  # which knows the table
        place.append(repr(op.triggers.table))
        if op.triggers.schema is not None:
            place.append(f"schema={op.triggers.schema!r}")
    if isinstance(op, DropNotifyTriggersOp):
        if op.if_exists:
            place.append("if_exists=True")
        if op.triggers.function is not None:
            place.append(f"function={op.triggers.function!r}")
        return f"{call}({', '.join(place)})"
    arguments = [
        line
        for argument, value in op.triggers.parameters.items()
        if not (name == ADD and argument in CAPTURED)
        for line in _argument(argument, value)
    ]
    return [f"{call}(", *(f"    {line}" for line in [*(f"{p}," for p in place), *arguments]), ")"]


def _name(op: NotifyTriggersOp, *, in_batch: bool) -> str:
    """Return the name of an operation in a revision."""
    at = op.former if isinstance(op, DropNotifyTriggersOp) else op.triggers
    if at is not None and at.marking.capture == "wal" and not in_batch:
        return {CreateNotifyTriggersOp: ADD, DropNotifyTriggersOp: REMOVE}.get(
            type(op), NAMES[type(op)]
        )
    return NAMES[type(op)]


def render_all(context: AutogenContext, container: InTableOrder) -> list[str]:
    """Return the calls of all operations in a container."""
    return [line for op in container.ops for line in render_op(context, op)]


def render_lost(context: AutogenContext, op: LostNotifyTriggersOp) -> str:
    """Return a statement that does nothing, because a function must have one."""
    return f"pass  # the triggers of {op.removal.triggers.table!r} cannot be restored: their definition is not known"


def _argument(name: str, value: Any) -> list[str]:
    line = f"{name}={value!r},"
    if len(line) <= WIDTH:
        return [line]
    if isinstance(value, dict):
        return [f"{name}={{", *(f"    {k!r}: {v!r}," for k, v in value.items()), "},"]
    if isinstance(value, list):
        return [f"{name}=[", *(f"    {v!r}," for v in value), "],"]
    return [line]
