"""``sa-pgnotify shell`` as somebody without PostgreSQL uses it."""

from __future__ import annotations

import os
import signal
import stat
import sys
from pathlib import Path

import pytest
from commands import START
from programs import Program
from typer.testing import CliRunner

from sa_pgnotify.cli import app

FIRST = """
from sqlalchemy import create_engine
engine = create_engine("postgresql+psycopg2:///shop")
with engine.connect() as connection:
    print("database", connection.exec_driver_sql("SELECT current_database()").scalar_one(), flush=True)
input()
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    # pytest's folders are closed to others, and as root the server runs as another user
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(folder.stat().st_mode | stat.S_IXOTH | stat.S_IROTH)
    return tmp_path / "data"


def shell(data: Path, *command: str) -> Program:
    return Program("-c", START, "shell", "--data", str(data), *command)


def test_a_program_finds_the_database_and_a_second_one_the_same(data):
    """A program connects to shop without settings, a second command shares the server, and the
    server ends with the last; the exit status is the command's."""
    with shell(data, sys.executable, "-c", FIRST) as first:
        first.wait_for("database shop")
        write = "CREATE TABLE made AS SELECT 1"
        with shell(data, "psql", "-c", write) as second:
            second.wait_for("SELECT 1")
            assert second.process.wait(30) == 0
        first.process.terminate()
        assert first.process.wait(30) == 128 + signal.SIGTERM
    assert not (data / "data" / "postmaster.pid").exists()
    with shell(data, "sh", "-c", "psql -Atc 'TABLE made'; exit 7") as later:
        later.wait_for("^1$")
        assert later.process.wait(30) == 7


def test_a_folder_of_somebody_else_is_refused(tmp_path):
    """Where another user could replace the data, no server is started, and the option is named."""
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder away")
    os.chown(tmp_path, 12345, 12345)
    shown = CliRunner().invoke(app, ["shell", "--data", str(tmp_path), "true"])
    assert shown.exit_code == 2
    assert "is not your own folder. Choose another one with --data" in shown.output
