"""``doctor``: print what :mod:`sa_pgnotify.diagnosis.doctor` finds."""

from __future__ import annotations

import typer
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from ..diagnosis.doctor import diagnose
from ..diagnosis.findings import Finding
from .console import output, printable, progress, say
from .engine import Url, connected
from .errors import Debug
from .records import Json, print_records

__all__ = ["doctor"]

STYLES = {"good": "green", "note": "cyan", "warning": "bold yellow", "problem": "bold red"}


def doctor(url: Url = None, json: Json = False, debug: Debug = False) -> None:
    """Find what prevents changes from being delivered.

    It examines the connection (poolers, standby, versions), privileges, the notification queue and
    the sessions that block it, triggers that do not fire, sessions that listen, and consumers and
    their lag. Each finding says what to do. The exit status is 1 if there is a problem; a warning
    leaves it 0.

    \b
    Example:
      sa-pgnotify doctor --url postgresql:///shop
    """
    with connected(url, "doctor") as engine, progress("examining"):
        findings = diagnose(engine)
    if json:
        print_records(findings)
    else:
        console = output()
        for finding in findings:
            _print(console, finding)
    problems, warnings = (
        sum(finding.severity == severity for finding in findings)
        for severity in ("problem", "warning")
    )
    say(f"{problems} problem{'s' * (problems != 1)}, {warnings} warning{'s' * (warnings != 1)}")
    if problems:
        raise typer.Exit(1)


def _print(console: Console, finding: Finding) -> None:
    text, fix = printable(finding.text), printable(f" {finding.fix}" if finding.fix else "")
    style = STYLES[finding.severity]
    if not console.is_terminal:
        console.print(f"{finding.severity}: {finding.subject}: {text}{fix}")
        return
    grid = Grid.grid(padding=(0, 1, 0, 0))
    grid.add_column(width=7)
    grid.add_column(width=10)
    grid.add_column(overflow="fold")
    grid.add_row(Text(finding.severity, style), finding.subject, Text.assemble(text, (fix, "bold")))
    console.print(grid)
