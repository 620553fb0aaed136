"""``check``: list where the installed triggers differ from the models."""

from __future__ import annotations

import typer
from rich.text import Text

from ..triggers.drift import Drift
from ..triggers.drift import check as drifts_of
from .console import output, printable
from .engine import Url, connected
from .errors import Debug
from .records import Json, print_records
from .targets import Target, TargetNames, target

__all__ = ["check"]

STYLES = {
    "missing": "bold red",
    "outdated": "yellow",
    "disabled": "bold red",
    "conflicting": "bold red",
    "left over": "cyan",
}


def check(names: TargetNames, url: Url = None, json: Json = False, debug: Debug = False) -> None:
    """List triggers that differ from what the models declare.

    There is a line for each difference, with the fix: missing, outdated, disabled, conflicting or
    left over. Tables that TARGET does not have belong to another program and are ignored; if your
    program has several bases, give several TARGETs. It reads the catalog, and changes nothing. The
    exit status is 1 if there is a difference, so that a deployment can wait for it.

    \b
    Example:
      sa-pgnotify check shop.models:Base --url postgresql:///shop
    """
    models = [target(name) for name in names]
    with connected(url, "check") as engine:
        drifts = drifts_of(
            engine, list({id(one.metadata): one.metadata for one in models}.values())
        )
    console = output()
    drifts = [drift for drift in drifts if _concerns(drift, models)]
    if json:
        print_records(drifts)
    for drift in drifts if not json else ():
        console.print(
            Text.assemble(
                (drift.kind, STYLES[drift.kind]), printable(str(drift).removeprefix(drift.kind))
            )
        )
    if drifts:
        raise typer.Exit(1)
    if json:
        return
    count = len({(id(one.metadata), table) for one in models for table in one.tables})
    console.print(
        f"{', '.join(names)}: the triggers of {count} table{'s' * (count != 1)} match the models",
        style="green",
    )


def _concerns(drift: Drift, models: list[Target]) -> bool:
    """Return whether a difference concerns one of the classes, tables or bases that were asked
    for."""
    asked = {
        name
        for one in models
        for name in (*one.tables, *(t.fullname for t in (one.log.tables if one.log else ())))
    }
    if drift.table in asked or all(one.is_whole for one in models):
        return True
    others = {
        t.fullname for one in models if not one.is_whole for t in one.metadata.tables.values()
    }
    return any(one.is_whole for one in models) and drift.table not in others
