"""Models in a folder, and the command line run on them: in this process where that shows the same,
as a program where it does not."""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kinds import address
from programs import ROOT, Program
from typer.testing import CliRunner, Result

from sa_pgnotify.cli import app

MODELS = """
from decimal import Decimal
from sqlalchemy import Column, Integer, MetaData, Table
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sa_pgnotify import NotifyOnChange, NotifySpec

class Base(DeclarativeBase):
    pass

class Order(NotifyOnChange, Base):
    __tablename__ = "orders"
    __notify__ = NotifySpec(values="all")
    id: Mapped[int] = mapped_column(primary_key=True)
    status: Mapped[str]
    total: Mapped[Decimal]

class Customer(NotifyOnChange, Base):
    __tablename__ = "customers"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]

class Payment(NotifyOnChange, Base):
    __tablename__ = "payments"
    __notify__ = NotifySpec(durable=True, operations=("insert",))
    id: Mapped[int] = mapped_column(primary_key=True)

class Plain(Base):
    __tablename__ = "plain"
    id: Mapped[int] = mapped_column(primary_key=True)

empty = MetaData()
unmarked = Table("unmarked", empty, Column("id", Integer, primary_key=True))
answer = 42

def factory():
    return Base
"""
MODULE = "command_shop"
PAGE = (ROOT / "docs" / "cli.md").read_text()
SCREENS = dict(re.findall(r"```text\n\$ (.*?)\n(.*?)```", PAGE, re.DOTALL))
"""What the page about the command line shows, by command."""
START = "from sa_pgnotify.cli import app; app()"


def refused(done: Result) -> str:
    """The one line that an error is."""
    assert done.exit_code == 2, done.output
    (line,) = done.stderr.splitlines()
    assert line.startswith("sa-pgnotify: ")
    assert done.stdout == ""
    return line.removeprefix("sa-pgnotify: ")


class Shop:
    """The models above, as TARGET ``command_shop:Base``, and a database that DATABASE_URL names.

    :ivar folder: where the module is, and where commands run.
    """

    def __init__(self, folder: Path, url: Any) -> None:
        self.folder = folder
        self.url = url
        (folder / f"{MODULE}.py").write_text(MODELS)

    def run(self, *arguments: str, **environment: str) -> Result:
        """A command in this process, as in a pipe."""
        sys.modules.pop(MODULE, None)
        return CliRunner().invoke(
            app,
            [*arguments],
            env={"DATABASE_URL": address(self.url), "COLUMNS": "80", **environment},
        )

    def program(self, *arguments: str) -> Program:
        """A command as a program of its own."""
        return Program("-c", START, *arguments, **self.environment)

    @property
    def environment(self) -> dict[str, str]:
        """What a program needs to find both."""
        return {
            **os.environ,
            "PYTHONPATH": f"{self.folder}{os.pathsep}{ROOT}",
            "DATABASE_URL": address(self.url),
        }

    def create(self, engine: Any) -> None:
        """Install all of it."""
        with self.models() as models:
            models.Base.metadata.create_all(engine)

    @contextmanager
    def models(self) -> Iterator[Any]:
        sys.modules.pop(MODULE, None)
        yield importlib.import_module(MODULE)
