"""``grants``: print the GRANT statements that a role needs."""

from __future__ import annotations

from typing import Annotated

import typer

from ..diagnosis.grants import PURPOSES
from ..diagnosis.grants import grants as grants_of
from .console import printable, write_exactly
from .engine import Url, connected
from .errors import CommandError, Debug
from .targets import OptionalTargetNames, target

__all__ = ["grants"]


def grants(
    role: Annotated[str, typer.Argument(metavar="ROLE", help="The role that needs them.")],
    names: OptionalTargetNames = None,
    purposes: Annotated[
        list[str] | None,
        typer.Option(
            "--to", metavar="PURPOSE", help="listen, consume or write; may be given more than once."
        ),
    ] = None,
    url: Url = None,
    debug: Debug = False,
) -> None:
    """Print the GRANT statements that a role needs.

    They are for the marked tables of TARGET, or, without TARGET, for every marked table of the
    database, and for the change logs that these write to. It reads the catalog, and grants nothing:
    read the statements, and run them with psql as the owner of the tables.

    \b
    Example:
      sa-pgnotify grants billing shop.models:Base --to consume | psql shop
    """
    for purpose in purposes or ():
        if purpose not in PURPOSES:
            raise CommandError(f"--to {purpose} is none of {', '.join(PURPOSES)}")
    tables = {table for one in map(target, names or ()) for table in one.tables}
    with connected(url, "grants") as engine, engine.connect() as connection:
        found = grants_of(connection, role, purposes or PURPOSES, tables if names else None)
    if not found:
        raise CommandError(
            "no marked table is installed here: run metadata.create_all(engine), or the migration, first"
        )
    for part in found:
        lines = "".join(f"{statement};\n" for statement in part.statements)
        write_exactly(f"-- {printable(part.reason)}\n{lines}")
