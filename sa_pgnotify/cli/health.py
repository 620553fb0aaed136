"""``health``: print what :mod:`sa_pgnotify.diagnosis.readiness` finds, for a readiness probe."""

from __future__ import annotations

import typer

from ..diagnosis.readiness import LagLimits, readiness
from .console import line
from .engine import Url, connected
from .errors import Debug
from .limits import Consumers, MaxAge, MaxLag
from .records import Json, print_records
from .targets import OptionalTargetNames, target

__all__ = ["health"]


def health(
    names: OptionalTargetNames = None,
    max_lag: MaxLag = None,
    max_age: MaxAge = None,
    consumer: Consumers = None,
    url: Url = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Check whether changes are published and consumed now.

    It connects, and checks that the server is the primary, that triggers fire, and, with --max-lag or
    --max-age, that no consumer of the database, or of those named, is further behind or has lost
    changes. With TARGET the triggers must be those that the models ask for.
    It sends nothing, and waits for a lock for a second at most, so it can be a readiness probe. The
    exit status is 1 if something is wrong, and 2 if it cannot connect.

    \b
    Example:
      sa-pgnotify health shop.models:Base --max-lag 10000 --max-age 5m
    """
    models = {id(one.metadata): one.metadata for one in map(target, names or ())}
    with connected(url, "health") as engine:
        findings = readiness(
            engine, models.values(), LagLimits(max_lag, max_age, frozenset(consumer or ()))
        )
    if json:
        print_records(findings)
    else:
        for finding in findings:
            line(f"{finding.subject}: {finding.text} {finding.fix}".strip(), "bold red")
        if not findings:
            line("ready", "green")
    if findings:
        raise typer.Exit(1)
