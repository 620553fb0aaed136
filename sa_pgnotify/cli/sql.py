"""``sql``: print the statements that ``create_all`` and the migrations run, so that they can be
reviewed first.

They come from the same DDL elements, through an engine that does not connect and records what it
is given to execute.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer
from sqlalchemy import create_mock_engine

from ..log.tables import CAPTURES, CONSUMERS, PARKED, PREFIX, SLOTS
from ..triggers.ddl import CreateNotifyTriggers, DropNotifyTriggers, TriggerStatement
from .console import printable, write_exactly
from .errors import Debug
from .sql_layout import laid_out
from .targets import Target, TargetName, target

__all__ = ["script", "sql"]


def sql(
    name: TargetName,
    drop: Annotated[bool, typer.Option("--drop", help="Print what removes them instead.")] = False,
    tables: Annotated[
        bool,
        typer.Option(
            "--tables", help="Include the tables of the models, as create_all and drop_all do."
        ),
    ] = False,
    debug: Debug = False,
) -> None:
    """Print the DDL, to read or to run with psql.

    These are the trigger functions and triggers, and the tables of the change log if a model is
    durable, exactly as create_all and Alembic's operations run them. The script leaves alone what
    is in place already, so it can be run again. This command does not connect to a database.

    \b
    Examples:
      sa-pgnotify sql shop.models:Base | psql -v ON_ERROR_STOP=1 shop
      sa-pgnotify sql shop.models:Base --drop > remove.sql
    """
    write_exactly(script(target(name), drop=drop, with_tables=tables))


def script(models: Target, *, drop: bool = False, with_tables: bool = False) -> str:
    """Return the statements, each with a line that says what it does."""
    statements: list[str] = []

    def write(element: Any, *_: Any, **__: Any) -> None:
        for condition in ("if_not_exists", "if_exists"):
            if hasattr(element, condition):
                setattr(element, condition, True)
        about = f"-- {printable(what)}\n" if (what := _about(element)) else ""
        statements.append(
            f"{about}{laid_out(str(element.compile(dialect=engine.dialect)).strip())};\n"
        )

    # with "named", the dialect does not double percent signs, so psql can read its text
    engine = create_mock_engine("postgresql://", write, paramstyle="named")
    marked = [t for t in models.metadata.sorted_tables if t.fullname in models.tables]
    log = models.log
    if with_tables:
        whole = None if models.is_whole else [*marked, *(log.tables if log else ())]
        (models.metadata.drop_all if drop else models.metadata.create_all)(
            engine, whole, checkfirst=False
        )
        about = "tables and triggers"
    else:
        if log is not None and not drop:
            models.metadata.create_all(engine, log.tables, checkfirst=False)
        for table in reversed(marked) if drop else marked:
            engine.connect().execute(
                DropNotifyTriggers(table) if drop else CreateNotifyTriggers(table)
            )
        if log is not None and drop and models.is_whole:  # other tables may write to it
            models.metadata.drop_all(engine, log.tables, checkfirst=False)
        about = "triggers and change log" if log else "triggers"
    title = printable(
        f"-- {'Drops' if drop else 'Creates'} {about} of {models.name}: {', '.join(models.tables)}"
    )
    text = "\n".join([f"{title}\n", *statements])
    # without it, psql would read the file in the encoding of its environment
    return text if text.isascii() else f"SET client_encoding TO 'UTF8';\n{text}"


def _about(element: Any) -> str:
    """Return what a statement does, in one line; empty if the statement is clear by itself."""
    if isinstance(element, TriggerStatement):
        triggers = element.triggers
        if isinstance(element, DropNotifyTriggers):
            return f"Drops the triggers of {triggers.qualified_table} and their function, if they exist."
        if triggers.marking.capture == "wal":
            return f"The publication of {triggers.qualified_table}, whose changes are captured."
        operations = ", ".join(triggers.marking.operations)
        return f"The trigger function of {triggers.qualified_table}, and its triggers for {operations}."
    if type(element).__name__ != "CreateTable":
        return ""
    return _TABLES.get(str(element.element.name), "")


_TABLES = {
    PREFIX: "The head of the change log, whose sequence numbers the changes.",
    **{
        f"{PREFIX}_{slot}": "A slot of the change log. Slots are filled in turn, and emptied as a whole."
        for slot in range(SLOTS)
    },
    CONSUMERS: "The positions of the consumers.",
    CAPTURES: "How far captures have read the write-ahead log.",
    PARKED: "Changes that consumers have set aside because they failed.",
}
