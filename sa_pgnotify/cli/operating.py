"""``seek``, ``forget`` and ``parked``: operate a consumer by its name, without its models."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import typer
from rich.text import Text

from ..consuming.admin import forget_in, move_to
from ..consuming.by_name import parts_of
from ..consuming.log_access import connected as transaction
from ..consuming.parked import Parked, parked_in
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
    schema: Log = None,
    url: Url = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """List the changes that a consumer has parked.

    \b
    Example:
      sa-pgnotify parked billing --url postgresql:///shop
    """
    with connected(url, "parked") as engine, transaction(engine) as connection:
        found = [
            change
            for part in parts_of(connection, name, schema)
            for change in parked_in(execute_on(connection), part)
        ]
    if json:
        print_records(found)
    else:
        _print(found)


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
                    f"({identity})  failed {change.failures} times: {change.error}"
                ),
            )
        )
    say(f"{count} parked change{'s' * (count != 1)}")
