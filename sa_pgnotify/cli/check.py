"""``check``: does the database have what the models say?"""

from __future__ import annotations

import typer
from rich.text import Text

from ..reflection import check as drifts_of
from .connecting import Url, connected
from .failing import Debug
from .screens import output, printable
from .targets import TargetName, target

__all__ = ["check"]

STYLES = {"missing": "bold red", "outdated": "yellow", "disabled": "bold red", "conflicting": "bold red", "left over": "cyan"}


def check(name: TargetName, url: Url = None, debug: Debug = False) -> None:
    """Say where triggers differ from what the models say.

    A line for each difference, with the mend: missing, outdated, disabled or left over. It reads the catalog, and changes nothing. The exit
    status is 1 if there is one, so that a deployment can wait for it.

    \b
    Example:
      sa-pgnotify check shop.models:Base --url postgresql:///shop
    """
    models = target(name)
    with connected(url, "check") as engine:
        drifts = drifts_of(engine, models.metadata)
    if not models.is_whole:
        names = {*models.tables, *(t.fullname for t in (models.log.tables if models.log else ()))}
        drifts = [drift for drift in drifts if drift.table in names]
    console = output()
    for drift in drifts:
        console.print(Text.assemble((drift.kind, STYLES[drift.kind]), printable(str(drift).removeprefix(drift.kind))))
    if drifts:
        raise typer.Exit(1)
    count = len(models.tables)
    console.print(f"{name}: the triggers of {count} table{'s' if count != 1 else ''} are as the models say", style="green", markup=False)
