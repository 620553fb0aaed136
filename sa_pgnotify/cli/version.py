"""``--version``: the versions to give in a bug report."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

from ..drivers.known import DRIVERS

__all__ = ["Version", "versions"]

PACKAGES = [name for driver in DRIVERS.values() for name in driver.packages]


def versions() -> str:
    """Return the versions of this package and its dependencies, in one line."""
    found = [
        f"sa_pgnotify {_version('sa_pgnotify')}",
        f"Python {platform.python_version()}",
        f"SQLAlchemy {_version('sqlalchemy')}",
    ]
    return ", ".join(
        [*found, *(f"{name} {there}" for name in PACKAGES if (there := _version(name)))]
    )


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _show(value: bool) -> None:
    if value:
        typer.echo(versions())
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option("--version", is_eager=True, callback=_show, help="Show the versions and exit."),
]
