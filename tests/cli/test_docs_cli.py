"""docs/cli.md shows what a terminal shows."""

from __future__ import annotations

import os
import re
from pathlib import Path

from commands import PAGE, SCREENS
from statements import run
from typer.testing import CliRunner

from sa_pgnotify.cli import app


def wrapped(shown: str) -> str:
    """A screen without the breaks that the width of a terminal makes."""
    return " ".join(shown.split())


def test_help_is_what_the_page_shows():
    """The list of commands and what it says of each."""
    assert (
        CliRunner().invoke(app, ["--help"], prog_name="sa-pgnotify", env={"COLUMNS": "80"}).stdout
        == SCREENS["sa-pgnotify --help"]
    )


def test_check_is_what_the_page_shows(shop, engine):
    """``check`` reports the findings in the words that the page shows."""
    shop.create(engine)
    run(
        engine,
        "ALTER TABLE orders DISABLE TRIGGER sa_pgnotify_delete",
        "ALTER TABLE customers DROP COLUMN name",
    )
    done = shop.run("check", "command_shop:Base")
    shown = re.search(r"disabled: .*?follow\nit\.", PAGE, re.DOTALL)
    assert wrapped(done.stdout) == wrapped(shown[0])
    assert done.exit_code == 1


def test_every_command_has_its_section():
    """No command is left out of the page, and its picture is there."""
    listed = re.findall(r"(?m)^  (\w+)  ", SCREENS["sa-pgnotify --help"].partition("Commands:")[2])
    assert [f"## {name}" for name in listed] == [
        line for line in PAGE.splitlines() if line.removeprefix("## ") in listed
    ]
    assert os.path.exists(Path(__file__).parent.parent.parent / "docs" / "images" / "watch.svg")
    assert all(len(line) <= 80 for screen in SCREENS.values() for line in screen.splitlines())
