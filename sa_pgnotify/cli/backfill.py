"""``backfill``: have a consumer give out rows that are there, while its program runs or before it
runs again.

A value is typed as text, and only PostgreSQL can read a text as any type, so the values of a
condition are stored as they were typed.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer
from sqlalchemy import ColumnElement, Engine, String, Table, and_, inspect
from sqlalchemy import literal as value_of

from ..consuming.consumer import Consumer
from ..consuming.log_access import log_names_of
from ..consuming.overview import consumers as all_consumers
from ..sql import execute_on, literal
from .console import output, printable, progress
from .engine import Url, connected
from .errors import CommandError, Debug
from .targets import Target, TargetName, target

__all__ = ["backfill"]

ConsumerName = Annotated[
    str, typer.Option("--consumer", metavar="NAME", help="The consumer that gives out the rows.")
]
Conditions = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        metavar="COLUMN=VALUE",
        help="Only rows with this value; may be given more than once.",
    ),
]


def backfill(
    name: TargetName,
    consumer: ConsumerName,
    where: Conditions = None,
    url: Url = None,
    debug: Debug = False,
) -> None:
    """Have a consumer give out rows that are there.

    TARGET is one class or table that the consumer reads. Its rows come as Existing events, among
    the changes. COLUMN is an attribute of the class, and VALUE is text as PostgreSQL reads it. The
    command waits for the batch that is being processed, but not for the rows: "sa-pgnotify
    consumers" shows how many have been read.

    \b
    Example:
      sa-pgnotify backfill shop.models:Order --consumer search --where region=eu
    """
    models = target(name)
    entity = _entity(models)
    condition = _condition(name, entity, where or [])
    with connected(url, "backfill") as engine, progress("waiting for the batch"):
        partitions = _partitions(engine, consumer, entity)
        for partition in partitions:
            Consumer(engine, consumer, entity, partition=partition).backfill(entity, condition)
    parts = f", in {len(partitions)} parts" if len(partitions) > 1 else ""
    rows = f" with {' and '.join(where)}" if where else ""
    output().print(
        printable(f"{consumer!r} will give out the rows of {_called(entity)}{rows}{parts}")
    )


def _partitions(engine: Engine, name: str, entity: Any) -> list[tuple[int, int]]:
    """Return the parts into which a consumer is divided, of those that read the log of ``entity``.

    :raises CommandError: if there is no such consumer.
    """
    head = log_names_of(engine, (entity,)).head
    with engine.connect() as connection:
        execute = execute_on(connection)

        def oid(log: str) -> Any:  # one may be written with its schema, and the other without
            return next(
                iter(execute(f"SELECT pg_catalog.to_regclass({literal(log)})::oid::bigint"))
            )[0]

        log = oid(head)
        known = [status for status in all_consumers(connection) if oid(status.log) == log]
    found = [status.partition for status in known if status.name == name]
    if not found:
        names = ", ".join(sorted({repr(status.name) for status in known}))
        raise CommandError(
            f"there is no consumer {name!r}; "
            + (f"its log has {names}" if names else "start it first")
        )
    return found


def _called(entity: Any) -> str:
    return str(entity.fullname if isinstance(entity, Table) else entity.__name__)


def _entity(models: Target) -> Any:
    """Return the class or table that TARGET names.

    :raises CommandError: if it names a whole base.
    """
    if not models.is_whole:
        return models.source
    module = models.name.partition(":")[0]
    listed = " or ".join(f"{module}:{name}" for name in sorted(models.entities))
    raise CommandError(f"{models.name} is not one class or table. Give {listed}")


def _condition(name: str, entity: Any, where: list[str]) -> ColumnElement[bool] | None:
    """Return what ``--where`` asks for; None for all rows.

    :raises CommandError: if it names no column.
    """
    columns: dict[str, Any] = (
        dict(entity.columns)
        if isinstance(entity, Table)
        else {
            attribute.key: getattr(entity, attribute.key)
            for attribute in inspect(entity).column_attrs
        }
    )
    found: list[ColumnElement[bool]] = []
    for text in where:
        column, equals, value = text.partition("=")
        if not equals or column not in columns:
            raise CommandError(
                f"--where {text} is not COLUMN=VALUE. {name} has {', '.join(columns)}"
            )
        # As text, whatever the column's type: PostgreSQL reads it as it reads '...' in SQL.
        found.append(columns[column] == value_of(value, String))
    return and_(*found) if found else None
