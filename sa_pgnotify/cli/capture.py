"""``capture``: fill the change log from the write-ahead log, as a process of its own."""

from __future__ import annotations

from typing import Annotated

import typer

from ..capture.capture import Capture
from .console import output, printable
from .engine import Url, connected
from .errors import Debug
from .signals import stopped_by_signals
from .targets import TargetNames, target

__all__ = ["capture"]

OnlySlot = Annotated[
    bool,
    typer.Option("--create-slot", help="Only make the replication slot, and return."),
]


def capture(
    names: TargetNames, create_slot: OnlySlot = False, url: Url = None, debug: Debug = False
) -> None:
    """Capture changes from the write-ahead log.

    The changes of all tables that are marked with capture="wal" are appended to the change log,
    until the command is interrupted. Of several such commands one works, and the others stand by.
    Give all models that share the change log. The role needs the REPLICATION attribute.

    \b
    Example:
      sa-pgnotify capture shop.models:Base --url postgresql:///shop
    """
    every = [target(name).metadata for name in names]
    with connected(url, "capture") as engine:
        made = Capture(engine, every)
        made.create_slot()
        if create_slot:
            output().print("the replication slot exists")
            return
        output().print(printable(f"capturing {', '.join(names)}"))
        with stopped_by_signals(made.stop):
            made.run()
