"""The hooks by which ``create_all`` and ``drop_all`` install and remove the triggers.

They are registered as soon as the package is imported. Their work needs most of the package, which
is imported only when the first of them is called, so that a program that creates no tables does not
pay for it.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import MetaData, Table, event

__all__: list[str] = []


def _hook(target: type, moment: str, function: str) -> None:
    @event.listens_for(target, moment)
    def call(schema_item: Any, connection: Any, **arguments: Any) -> None:
        from . import schema_changes

        getattr(schema_changes, function)(schema_item, connection, **arguments)


_hook(MetaData, "before_create", "before_create_all")
_hook(MetaData, "after_create", "after_create_all")
_hook(Table, "after_create", "after_create_table")
_hook(MetaData, "before_drop", "before_drop_all")
_hook(MetaData, "after_drop", "after_drop_all")
_hook(Table, "after_drop", "after_drop_table")
