"""``sql``: the statements that ``create_all`` and the migrations run, to be read before anybody
runs them.

They come from the same DDL elements, through an engine that connects to nothing and writes down
what it should execute.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer
from sqlalchemy import create_mock_engine

from ..log.tables import CONSUMERS, PARKED, PREFIX, SLOTS
from ..triggers.ddl import CreateNotifyTriggers, DropNotifyTriggers, TriggerStatement
from .console import printable, write_exactly
from .errors import Debug
from .sql_layout import laid_out
from .targets import Target, TargetName, target

__all__ = ["script", "sql"]


def sql(
    name: TargetName,
    drop: Annotated[bool, typer.Option("--drop", help="The reverse: what removes them.")] = False,
    tables: Annotated[
        bool,
        typer.Option(
            "--tables", help="The tables of the models too, as create_all and drop_all do."
        ),
    ] = False,
    debug: Debug = False,
) -> None:
    """Print the DDL, to read or to run with psql.

    Trigger functions and triggers, and the tables of the change log if a model is durable; all as
    create_all and Alembic's operations run them. What is in place already is left alone, so that
    the script can be run again. No database is asked.

    \b
    Examples:
      sa-pgnotify sql shop.models:Base | psql -v ON_ERROR_STOP=1 shop
      sa-pgnotify sql shop.models:Base --drop > remove.sql
    """
    write_exactly(script(target(name), drop=drop, with_tables=tables))


def script(models: Target, *, drop: bool = False, with_tables: bool = False) -> str:
    """The statements, each with a line that says what it is about."""
    statements: list[str] = []

    def write(element: Any, *_: Any, **__: Any) -> None:
        for condition in ("if_not_exists", "if_exists"):
            if hasattr(element, condition):
                setattr(element, condition, True)
        about = f"-- {printable(what)}\n" if (what := _about(element)) else ""
        statements.append(
            f"{about}{laid_out(str(element.compile(dialect=engine.dialect)).strip())};\n"
        )

    # "named": a dialect that doubles no percent signs, so that its text is what PostgreSQL is to
    # read.
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
    # psql would take the encoding of its surroundings for that of the file.
    return text if text.isascii() else f"SET client_encoding TO 'UTF8';\n{text}"


def _about(element: Any) -> str:
    """What a statement does, in one line; empty if it says so itself."""
    if isinstance(element, TriggerStatement):
        triggers = element.triggers
        if isinstance(element, DropNotifyTriggers):
            return f"The triggers of {triggers.qualified_table} and their function go, if they are there."
        operations = ", ".join(triggers.marking.operations)
        return f"The trigger function of {triggers.qualified_table}, and its triggers for {operations}."
    if type(element).__name__ != "CreateTable":
        return ""
    return _TABLES.get(str(element.element.name), "")


_TABLES = {
    PREFIX: "The head of the change log, whose sequence numbers the changes.",
    **{
        f"{PREFIX}_{slot}": "A slot of the change log: they are filled in turn, and emptied as a whole."
        for slot in range(SLOTS)
    },
    CONSUMERS: "The positions of the consumers.",
    PARKED: "Changes that consumers have set aside because they failed.",
}
