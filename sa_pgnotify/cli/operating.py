"""``seek``, ``forget`` and ``parked``: operate a consumer by its name, without its models."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import typer
from rich.text import Text

from ..consuming.admin import forget_in, move_to
from ..consuming.by_name import parts_of
from ..consuming.log_access import connected as transaction
from ..consuming.parked import Parked, ParkedTable
from ..consuming.parked import retry as retry_of
from ..errors import UnreadableData
from ..log.snapshots import Position
from ..protocol.wire import US
from ..sql import execute_on
from .console import output, printable, progress, say
from .engine import Url, connected
from .errors import CommandError, Debug
from .records import Json, print_records

__all__ = ["forget", "parked", "seek"]

Name = Annotated[str, typer.Argument(metavar="CONSUMER", help="The name of the consumer.")]
Log = Annotated[
    str | None,
    typer.Option(
        "--schema", metavar="SCHEMA", help="Of its change log, if several logs have the name."
    ),
]


def seek(
    name: Name,
    place: Annotated[
        str, typer.Argument(metavar="PLACE", help="now, beginning, or the text of a position.")
    ],
    schema: Log = None,
    url: Url = None,
    debug: Debug = False,
) -> None:
    """Move a consumer to another place in the log.

    It continues from "now", from the "beginning" of what the log still holds, or after a change,
    given the position in the JSON of that change. The command waits for the batch that is being
    processed. It prints the former position, which takes the consumer back.

    \b
    Example:
      sa-pgnotify seek billing beginning --url postgresql:///shop
    """
    at = _place(place)
    with (
        connected(url, "seek") as engine,
        progress("waiting for the batch"),
        transaction(engine) as connection,
    ):
        execute = execute_on(connection)
        former = [(part, move_to(execute, part, at)) for part in parts_of(connection, name, schema)]
    for part, before in former:
        output().print(printable(f"{part.key} was at {before}"))


def _place(text: str) -> str | Position:
    """
    :raises CommandError: if it is not a place in a log.
    """
    if text in ("now", "beginning"):
        return text
    try:
        return Position.parse(text)
    except (UnreadableData, ValueError) as error:
        raise CommandError(
            f"{text[:60]!r} is not a place: give now, beginning, or the position of a change"
        ) from error


def forget(
    name: Name,
    table: Annotated[
        list[str] | None,
        typer.Option(
            "--table",
            metavar="SCHEMA.TABLE",
            help="Only the place of this table; may be given more than once.",
        ),
    ] = None,
    schema: Log = None,
    url: Url = None,
    debug: Debug = False,
) -> None:
    """Forget the position of a consumer that will not come back.

    The log then need not keep changes for it. If a program of that name is started later, it begins
    anew. With --table, the consumer stays, and only gives up the place of a table that no version of
    it will read again, see "sa-pgnotify consumers".

    \b
    Example:
      sa-pgnotify forget billing --url postgresql:///shop
    """
    with connected(url, "forget") as engine, transaction(engine) as connection:
        names = parts_of(connection, name, schema)[0].names
        count = forget_in(connection, names, name, table or ())
    what = f"the place of {', '.join(table)} under {name!r}" if table else repr(name)
    parts = f", in {count} parts" if count > max(1, len(table or ())) else ""
    output().print(printable(f"{what} is forgotten{parts}"))


def parked(
    name: Name,
    retry: Annotated[
        bool, typer.Option("--retry", help="Have the consumer give them out again.")
    ] = False,
    schema: Log = None,
    url: Url = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """List the changes that a consumer has parked.

    With --retry the consumer gives them out again: at its next heartbeat, or when its program runs
    again. The command waits for the batch that is being processed.

    \b
    Examples:
      sa-pgnotify parked billing --url postgresql:///shop
      sa-pgnotify parked billing --retry
    """
    with connected(url, "parked") as engine, transaction(engine) as connection:
        execute = execute_on(connection)
        parts = parts_of(connection, name, schema)
        count = sum(retry_of(execute, part) for part in parts) if retry else 0
        found = [change for part in parts for change in ParkedTable(part).all(execute)]
    if json:
        print_records(found)
    else:
        _print(found)
    if retry:
        say(f"{name!r} will give out {count} of them again")


def _print(found: Iterable[Parked]) -> None:
    console = output()
    count = 0
    for change in found:
        count += 1
        identity = ", ".join(change.row.split(US)[:4])
        console.print(
            Text.assemble(
                (f"{change.id}", "bold"),
                printable(
                    f"  {change.parked_at.astimezone():%Y-%m-%d %H:%M:%S}  {change.operation or '?'} {change.relation} "
                    f"({identity})  {_why(change)}"
                ),
            )
        )
    say(f"{count} parked change{'s' * (count != 1)}")


def _why(change: Parked) -> str:
    if not change.failures:
        return change.error  # which it waits for
    return f"failed {change.failures} times: {change.error}"
