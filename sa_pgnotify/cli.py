"""The command line, ``sa-pgnotify``: needs the extra ``cli``."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table as Grid
from sqlalchemy import Engine, MetaData, create_engine
from sqlalchemy.exc import SQLAlchemyError

from .overview import consumers as all_consumers
from .overview import prune as prune_log

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help="Change events for SQLAlchemy models on PostgreSQL.")
URL = Annotated[str, typer.Option(envvar="DATABASE_URL", help="SQLAlchemy's URL of the database, postgresql+psycopg2://...")]


@app.callback()
def main() -> None:
    """Change events for SQLAlchemy models on PostgreSQL."""


@app.command()
def prune(
    target: Annotated[str, typer.Argument(help="where the MetaData is: package.module:Base, or a MetaData")],
    url: URL,
) -> None:
    """Empty what every consumer has passed, and what exceeds the log's limits.

    Example: sa-pgnotify prune shop.models:Base --url postgresql+psycopg2:///shop
    """
    with _told(), _engine(url) as engine:
        typer.echo(str(prune_log(engine, _metadata(target))))


@app.command()
def consumers(url: URL) -> None:
    """List the consumers that the database knows, and how far each is behind.

    Example: sa-pgnotify consumers --url postgresql+psycopg2:///shop
    """
    with _told(), _engine(url) as engine:
        found = all_consumers(engine)
        if not found:
            typer.echo("no consumers")
            return
        grid = Grid("consumer", "part", "behind", "oldest", "moved at", "failures", "parked")
        for c in found:
            part, parts = c.partition
            moved = f"{c.moved_at:%Y-%m-%d %H:%M:%S}"
            grid.add_row(c.name, f"{part} of {parts}", str(c.lag.events), f"{c.lag.seconds:.1f} s", moved, str(c.failures), str(c.parked))
        Console().print(grid)


@contextmanager
def _engine(url: str) -> Iterator[Engine]:
    engine = create_engine(url)
    if engine.dialect.is_async:
        raise TypeError(f"{engine.dialect.driver} is a driver of asyncio: give a URL of psycopg2 or psycopg")
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def _told() -> Iterator[None]:
    """An error is one line, and an exit status of 1."""
    try:
        yield
    except (SQLAlchemyError, ImportError, AttributeError, TypeError, ValueError, SyntaxError) as error:
        typer.echo(f"sa-pgnotify: {str(error).strip().partition(chr(10))[0]}", err=True)
        raise typer.Exit(1) from error


def _metadata(target: str) -> MetaData:
    """
    :raises TypeError: if ``target`` names no MetaData and nothing that has one.
    """
    module, _, name = target.partition(":")
    sys.path.insert(0, os.getcwd())  # noqa: PTH109 (what python -m does)
    found: Any = importlib.import_module(module)
    for part in filter(None, name.split(".")):
        found = getattr(found, part)
    metadata = getattr(found, "metadata", found)
    if not isinstance(metadata, MetaData):
        raise TypeError(f"{target} is no MetaData and has none: write package.module:Base")
    return metadata
