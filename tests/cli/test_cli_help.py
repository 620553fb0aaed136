"""The help of every command, the demo, completion, and the picture: what one sees before one has a
database."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys

import pytest
from commands import SCREENS, START
from rich.console import Console
from typer.testing import CliRunner

from sa_pgnotify.cli import app
from sa_pgnotify.cli.commands import COMMANDS as SUMMARIES
from sa_pgnotify.cli.demo import tour
from sa_pgnotify.cli.log_output import logs_on_stderr

COMMANDS = (
    *("demo", "shell", "watch", "check", "sql", "grants", "doctor", "capture", "health", "metrics"),
    *("consumers", "parked", "seek", "backfill", "forget", "relay", "prune"),
)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example_and_fits_the_screen(command):
    """Each command says what it does in one line of the list, and shows an example; no line is
    longer than 80 columns, and in a pipe there is no colour."""
    shown = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "80"}).stdout
    assert re.search(r"\n  Examples?:\n    .*sa-pgnotify " + command, shown)
    assert max(map(len, shown.splitlines())) <= 80
    assert "\x1b" not in shown
    assert shown.split("\n\n")[1].strip().splitlines()[0] == SUMMARIES[command][1]
    (line,) = [
        line
        for line in CliRunner().invoke(app, ["--help"], env={"COLUMNS": "80"}).stdout.splitlines()
        if line.split()[:1] == [command]
    ]
    assert len(line) <= 80
    assert line.endswith(".") and not line.endswith("...")


def test_completion():
    """The shell completes the names of commands."""
    asked = {
        "_SA_PGNOTIFY_COMPLETE": "complete_bash",
        "COMP_WORDS": "sa-pgnotify wa",
        "COMP_CWORD": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", "import sys; sys.argv[0] = 'sa-pgnotify'; " + START],
        env={**os.environ, **asked}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.split() == ["watch"], done


def test_without_its_libraries_it_says_which_extra():
    """Without the libraries of the extra, the command names the extra, and shows no traceback."""
    code = "import sys; sys.modules['typer'] = None; import sa_pgnotify.cli"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        2,
        "sa-pgnotify needs the extra cli: pip install 'sa_pgnotify[cli]'\n",
    )


def test_colours_on_a_terminal_only(shop, engine):
    """On a terminal a difference is coloured and its line broken within the width; in a pipe
    neither."""
    assert "\x1b" not in shop.run("check", "command_shop:Base").output
    leader, follower = pty.openpty()
    environment = {**shop.environment, "TERM": "xterm-256color", "COLUMNS": "80"}
    command = [sys.executable, "-c", START, "check", "command_shop:Customer"]
    with subprocess.Popen(
        command, env=environment, stdin=follower, stdout=follower, stderr=follower
    ) as program:
        os.close(follower)
        shown = b""
        while part := _read(leader):
            shown += part
        os.close(leader)
    assert program.returncode == 1
    assert b"\x1b[1;31mmissing\x1b[0m: the table of customers." in shown
    assert max(map(len, re.sub(r"\x1b\[[\d;?]*\w", "", shown.decode()).splitlines())) <= 80


def _read(leader: int) -> bytes:
    try:
        return os.read(leader, 4096)
    except OSError:  # how Linux says that the other side is closed
        return b""


def test_demo_shows_everything(url, monkeypatch):
    """The demo shows every kind of event, values and changed names included, and a cut connection
    as a Gap; all as the page shows it."""
    screen = io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    with logs_on_stderr():
        tour(url, Console(file=screen, width=200))
    shown = screen.getvalue()
    for expected in (
        "Inserted  Order(1)  status='new'  total=40",
        "Updated   Order(2)  status='new' -> 'paid'",
        "Deleted   Order(1)  status='new'  total=41",
        "Truncated Order",
        "Gap       reconnected",
        "Inserted  Order(3)  status='after the cut'  total=7",
    ):
        assert expected in shown, shown
    assert len(re.findall(r"(?m)^\d\d:\d\d:\d\d ", shown)) == 12
    assert _words(shown) == _words(SCREENS["sa-pgnotify demo"])


def _words(screen: str) -> set[str]:
    """All that a screen says, but for moments, the breaks that its width makes, and how the driver
    words the loss of a connection."""
    return set(
        re.sub(r"\d{4}-\d\d-\d\d|\d\d:\d\d:\d\d|\d+\.\d s|(?<=: lost: ).*", "", screen).split()
    )
