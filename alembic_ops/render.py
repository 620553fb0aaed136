"""How the operations are written into a revision: one argument a line, only those that say something."""

from __future__ import annotations

from typing import Any

from alembic.autogenerate.api import AutogenContext
from alembic.autogenerate.render import _alembic_autogenerate_prefix as prefix_of

from .operations import AlterNotifyTriggersOp, CreateNotifyTriggersOp, DropNotifyTriggersOp, NotifyTriggersOp

__all__ = ["render"]

NAMES: dict[type[NotifyTriggersOp], str] = {
    CreateNotifyTriggersOp: "create_notify_triggers",
    AlterNotifyTriggersOp: "alter_notify_triggers",
    DropNotifyTriggersOp: "drop_notify_triggers",
}
WIDTH = 100
"""Columns of text that a line of a dict or list may have before it is broken."""


def render(context: AutogenContext, op: NotifyTriggersOp) -> list[str] | str:
    """The call of ``op``, in lines."""
    context.imports.add("import alembic_ops  # noqa: F401 (its operations)")  # the revision does not hang on env.py
    call = f"{prefix_of(context)}{NAMES[type(op)]}"
    # Within a batch the table is known.
    place = [] if context._has_batch else [repr(op.triggers.table)]
    if op.triggers.schema is not None and place:
        place.append(f"schema={op.triggers.schema!r}")
    if isinstance(op, DropNotifyTriggersOp):
        function = [f"function={op.triggers.function!r}"] * (op.if_exists and op.triggers.function is not None)
        return f"{call}({', '.join(place + ['if_exists=True'] * op.if_exists + function)})"
    arguments = [line for name, value in op.triggers.parameters.items() for line in _argument(name, value)]
    return [f"{call}(", *(f"    {line}" for line in [*(f"{p}," for p in place), *arguments]), ")"]


def _argument(name: str, value: Any) -> list[str]:
    line = f"{name}={value!r},"
    if len(line) <= WIDTH:
        return [line]
    if isinstance(value, dict):
        return [f"{name}={{", *(f"    {k!r}: {v!r}," for k, v in value.items()), "},"]
    if isinstance(value, list):
        return [f"{name}=[", *(f"    {v!r}," for v in value), "],"]
    return [line]
