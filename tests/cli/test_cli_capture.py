"""``sa-pgnotify capture``, and what ``doctor`` says of captures."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Any

import sqlalchemy as sa
from capturing import changes_in_log, until_captured
from durables import model_of
from servers import Server, data_folder
from statements import run

from sa_pgnotify import Capture
from sa_pgnotify.diagnosis import Metrics, diagnose, grants, readiness
from sa_pgnotify.diagnosis.metrics import registry_of

MODELS = """
from sqlalchemy import Column, Integer, MetaData, Table
from sa_pgnotify import NotifySpec, notify_on_change

metadata = MetaData()
items = Table("items", metadata, Column("id", Integer, primary_key=True))
notify_on_change(items, NotifySpec(durable=True, capture="wal"))
"""
PROGRAM = "from sa_pgnotify.cli import app; app()"
LOG = {"log": "public.sa_pgnotify_log"}
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
    assert [severity for severity, _ in findings(engine)] == ["problem", "warning"]
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
            assert [severity for severity, _ in findings(engine)] == ["good"]
            with engine.connect() as connection:
                given = [s for g in grants(connection, "reader", ["consume"]) for s in g.statements]
            assert any("SELECT" in s and "sa_pgnotify_captures" in s for s in given)
            assert readiness(engine) == readiness(engine, [scope["metadata"]]) == []
            figures = registry_of(Metrics(engine)).get_sample_value
            assert figures("sa_pgnotify_capture_works", LOG) == 1
            assert figures("sa_pgnotify_capture_behind_seconds", LOG) == 0
            assert 0 < figures("sa_pgnotify_capture_retained_bytes", LOG) < 1e9
            assert figures("sa_pgnotify_capture_slot", LOG | {"status": "reserved"}) == 1
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
        finally:
            process.kill()
    assert len(changes_in_log(engine, "public.items")) == 1
    assert findings(engine)[1:] == [
        (
            "warning",
            "No capture of public.sa_pgnotify_log works: changes wait in the write-ahead log.",
        )
    ]
    for metadata in ([], [scope["metadata"]]):
        assert ["No capture" in finding.text for finding in readiness(engine, metadata)] == [True]
    assert figures("sa_pgnotify_capture_works", LOG) == 0
    assert figures("sa_pgnotify_capture_behind_seconds", LOG) > 0


def test_write_ahead_log_that_is_kept(monkeypatch):
    """doctor warns at a quarter of max_slot_wal_keep_size, and says when the slot is about to be lost and
    when it is; a slot that does not follow a failover and one that a time-out may take are named."""
    monkeypatch.setattr("sa_pgnotify.diagnosis.capture.TAKES_OVER", 0.0)
    with data_folder() as data, Server(data) as server:
        engine = sa.create_engine(server.url, poolclass=sa.NullPool)
        Item = model_of(engine, capture="wal")
        Capture(engine, Item.metadata).create_slot()
        with server.engine.connect() as connection:
            execute = connection.exec_driver_sql
            version = execute("SHOW server_version_num").scalar_one()
            execute("ALTER SYSTEM SET max_slot_wal_keep_size = '64MB'")
            if int(version) >= 180000:
                execute("ALTER SYSTEM SET idle_replication_slot_timeout = '2d'")
            execute("SELECT pg_reload_conf()")
            execute("SELECT pg_create_physical_replication_slot('standby')")

            def grow(segments: int) -> None:
                for _ in range(segments):
                    execute("SELECT pg_switch_wal(), pg_logical_emit_message(false, '', 'x')")
                execute("CHECKPOINT")

            grow(1)
            assert [f for f in findings(engine) if "keeps" in f[1]][0][0] == "good"
            assert any("2d" in text for _, text in findings(engine)) == (int(version) >= 180000)
            assert not any("failover" in text for _, text in findings(engine))
            grow(1)
            ((severity, text),) = [f for f in findings(engine) if "keeps" in f[1]]
            assert severity == "warning" and "of at most 64MB" in text
            grow(6)
            assert any("is lost" in text for _, text in findings(engine))
            figures = registry_of(Metrics(engine)).get_sample_value
            assert figures("sa_pgnotify_capture_slot", LOG | {"status": "lost"}) == 1
            if int(version) >= 170000:
                ((name,),) = execute(
                    "SELECT slot_name FROM pg_replication_slots WHERE database IS NOT NULL"
                )
                execute(f"SELECT pg_drop_replication_slot('{name}')")
                execute(f"SELECT pg_create_logical_replication_slot('{name}', 'pgoutput')")
                assert any("not follow a failover" in text for _, text in findings(engine))
