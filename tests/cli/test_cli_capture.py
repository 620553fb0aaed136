"""``sa-pgnotify capture``, and what ``doctor`` says of captures."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Any

import sqlalchemy as sa
from capturing import changes_in_log, until_captured
from statements import run

from sa_pgnotify.diagnosis import diagnose

MODELS = """
from sqlalchemy import Column, Integer, MetaData, Table
from sa_pgnotify import NotifySpec, notify_on_change

metadata = MetaData()
items = Table("items", metadata, Column("id", Integer, primary_key=True))
notify_on_change(items, NotifySpec(durable=True, capture="wal"))
"""
PROGRAM = "from sa_pgnotify.cli import app; app()"
COMMAND = [sys.executable, "-u", "-c", PROGRAM, "capture", "captured_models:metadata"]


def findings(engine: sa.Engine) -> list[tuple[str, str]]:
    return [(f.severity, f.text) for f in diagnose(engine) if f.subject == "capture"]


def test_capture(tmp_path, engine, url):
    """It makes the slot, captures, and ends at once and well when it is interrupted; doctor reports
    the slot before and after."""
    (tmp_path / "captured_models.py").write_text(MODELS)
    scope: dict[str, Any] = {"__name__": "captured_models"}
    exec(MODELS, scope)
    scope["metadata"].create_all(engine)
    assert [severity for severity, _ in findings(engine)] == ["problem"]
    environment = os.environ | {
        "DATABASE_URL": url.render_as_string(hide_password=False),
        "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path]),
    }
    done = subprocess.run(
        [*COMMAND, "--create-slot"], env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    run(engine, "INSERT INTO items VALUES (1)")
    with subprocess.Popen(COMMAND, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "capturing captured_models:metadata\n"
            until_captured(engine)
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
        finally:
            process.kill()
    assert len(changes_in_log(engine, "public.items")) == 1
    assert [severity for severity, _ in findings(engine)] == ["good"]
