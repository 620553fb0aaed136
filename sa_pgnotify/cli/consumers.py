"""``consumers`` and ``prune``: inspect and empty the change log without running a consumer."""

from __future__ import annotations

import typer
from rich import box
from rich.table import Table as Grid

from ..consuming.admin import prune as prune_log
from ..consuming.overview import ConsumerStatus
from ..consuming.overview import consumers as all_consumers
from ..consuming.positions import Lag
from ..diagnosis.consumers import lost
from ..diagnosis.readiness import LagLimits
from .console import output, printable, progress, say
from .engine import Url, connected
from .errors import Debug
from .limits import MaxAge, MaxLag
from .records import Json, print_records
from .targets import TargetName, target

__all__ = ["consumers", "prune"]


def consumers(
    max_lag: MaxLag = None,
    max_age: MaxAge = None,
    url: Url = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """List the consumers, and how far each is behind.

    The list covers all change logs of the database. "behind" counts the changes that a consumer
    has not finished; "oldest" is the time since the oldest of them was made. Below is how far a
    snapshot or backfill has come, if one is unfinished. With --max-lag or --max-age, the exit status
    is 1 if a consumer exceeds it.

    \b
    Examples:
      sa-pgnotify consumers --url postgresql:///shop
      sa-pgnotify consumers --max-lag 10000 --max-age 5m
    """
    with connected(url, "consumers") as engine, progress("reading the log"):
        found = all_consumers(engine)
    if json:
        print_records(found)
    else:
        _print(found)
    limits = LagLimits(max_lag, max_age)
    late = [finding for c in found if (finding := limits.exceeded(c)) is not None]
    for finding in late:
        say(f"{finding.text} {finding.fix}")
    if late:
        raise typer.Exit(1)


def _print(found: list[ConsumerStatus]) -> None:
    console = output()
    if not found:
        console.print("no consumers")
        return
    grid = Grid(box=box.SIMPLE_HEAD if console.is_terminal else None, pad_edge=False)
    for title in ("consumer", "part", "behind", "oldest", "moved at", "failures", "parked"):
        grid.add_column(
            title,
            justify="left" if title in ("consumer", "part", "moved at") else "right",
            overflow="fold",
        )
    for c in found:
        part, parts = c.partition
        moved = f"{c.moved_at.astimezone():%Y-%m-%d %H:%M:%S}"
        late = "bold yellow" if c.failures or c.parked or c.has_lost else None
        grid.add_row(
            printable(c.name),
            f"{part} of {parts}",
            str(c.lag.events),
            f"{c.lag.seconds:.1f} s",
            moved,
            str(c.failures),
            str(c.parked),
            style=late,
        )
    console.print(grid)
    for c in found:
        if c.has_lost:
            console.print(printable(lost(c).text), style="bold red")
        if read := _rows_read(c.lag):
            part, parts = c.partition
            called = c.name if parts == 1 else f"{c.name} ({part} of {parts})"
            console.print(printable(f"{called} has read {read}"), markup=False)
        for table, lag in c.left_behind.items():
            console.print(
                printable(f"{c.name} does not read {table} now: {lag.events} changes wait for it"),
                markup=False,
            )


def _rows_read(lag: Lag) -> str:
    """Return how many rows an unfinished snapshot or backfill has read; empty if there is none."""
    if not lag.rows_estimate:
        return ""
    return f"{lag.rows_done:,} of about {lag.rows_estimate:,} rows"


def prune(name: TargetName, url: Url = None, debug: Debug = False) -> None:
    """Empty the change log as far as possible.

    This removes what every consumer has passed, and what exceeds the log's limits (max_age and
    max_size of the ChangeLog in these models), even if a consumer has not read it: that is named
    below. Consumers do the same by themselves, so use this when none is running. It does not wait:
    what is in use at this moment stays.

    \b
    Example:
      sa-pgnotify prune shop.models:Base --url postgresql:///shop
    """
    models = target(name)
    with connected(url, "prune") as engine, progress("emptying the change log"):
        before = {_key(c) for c in all_consumers(engine) if c.has_lost}
        state = prune_log(engine, models.metadata)
        losers = [c for c in all_consumers(engine) if c.has_lost and _key(c) not in before]
    output().print(printable(str(state)))
    for consumer in losers:
        output().print(printable(lost(consumer).text), style="bold red")
    if losers:
        raise typer.Exit(1)


def _key(consumer: ConsumerStatus) -> tuple[str, str, tuple[int, int]]:
    """What distinguishes a consumer from all others: its name may be used in several logs and
    parts."""
    return consumer.log, consumer.name, consumer.partition
