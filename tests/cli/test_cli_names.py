"""What users and databases call their things is printed as it is: nothing in a name is a style or a
picture to the command line."""

from __future__ import annotations

import importlib.util

import pytest
from statements import run

from sa_pgnotify import Consumer

MODELS = """
from sqlalchemy import Column, Integer, MetaData, Table
from sa_pgnotify import NotifySpec, notify_on_change
Package = MetaData()
Other = MetaData()
for name, metadata in (("[red]a[/red]", Package), (":smile:", Package), ("b", Other), ("c", Other)):
    notify_on_change(Table(name, metadata, Column("id", Integer, primary_key=True)), NotifySpec(durable=name == "b"))
one = Other.tables["c"]
"""

# What holds up the removal from the log may be in another database.
pytestmark = pytest.mark.undisturbed


@pytest.fixture
def odd(shop):
    """The command line, with models whose names look like rich's markup and its names of
    pictures."""
    (shop.folder / "svc_p.py").write_text(MODELS)
    return shop


@pytest.mark.parametrize("is_terminal", [False, True])
def test_names_are_printed_as_they_are(odd, engine, monkeypatch, is_terminal):
    """Of targets, tables and consumers, on a terminal and in a pipe."""
    if is_terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")  # rich's own switch
    done = odd.run("check", "svc_p:Package", NO_COLOR="1")
    for reported in ("of [red]a[/red]. ", "of :smile:. "):
        assert reported in done.output, done.output
    models = odd_models(odd)
    models.Package.create_all(engine)
    models.Other.create_all(engine)
    with Consumer(engine, "[b]:smile:", models.Other.tables["b"]):
        pass
    assert (
        "svc_p:Package: the triggers of 2 tables"
        in odd.run("check", "svc_p:Package", NO_COLOR="1").output
    )
    assert "[b]:smile:" in odd.run("consumers", NO_COLOR="1").output
    doctor = odd.run("doctor", NO_COLOR="1").output
    assert "[red]a[/red]" in doctor
    assert ":smile:, " in doctor
    assert "[b]:smile:" in doctor
    assert (
        "hindmost consumer is '[b]:smile:'" in odd.run("prune", "svc_p:Other", NO_COLOR="1").output
    )
    assert (
        "svc_p has no ':smile:[red]x'"
        in odd.run("check", "svc_p::smile:[red]x", NO_COLOR="1").output
    )


def odd_models(odd):
    spec = importlib.util.spec_from_file_location("svc_p_models", odd.folder / "svc_p.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_check_of_several_targets(odd, engine):
    """Several bases are checked in one go: each alone knows nothing of the other's triggers,
    together both are looked at; beside a base, one table stands for itself only."""
    models = odd_models(odd)
    models.Package.create_all(engine)
    assert odd.run("check", "svc_p:Package").exit_code == 0
    models.Other.create_all(engine)
    done = odd.run("check", "svc_p:Package", "svc_p:Other")
    assert (done.exit_code, done.output) == (
        0,
        "svc_p:Package, svc_p:Other: the triggers of 4 tables match the models\n",
    )
    run(
        engine,
        "DROP TRIGGER sa_pgnotify_insert ON b",
        'DROP TRIGGER sa_pgnotify_insert ON ":smile:"',
    )
    assert odd.run("check", "svc_p:Package").output.count("missing: ") == 1
    assert odd.run("check", "svc_p:Package", "svc_p:Other").output.count("missing: ") == 2
    assert odd.run("check", "svc_p:Package", "svc_p:one").output.count("missing: ") == 1
    assert odd.run("check", "svc_p:one").exit_code == 0


def test_a_driver_that_the_command_line_cannot_use_is_named(odd, monkeypatch):
    """Where asyncpg alone is installed, the message does not say that there is no driver; where
    none is, it does."""
    there = {"asyncpg"}
    real = importlib.util.find_spec
    monkeypatch.setattr(
        "sa_pgnotify.cli.engine.find_spec", lambda name: real(name) if name in there else None
    )
    output = odd.run("doctor", DATABASE_URL="postgresql+asyncpg:///shop").output
    assert "asyncpg needs an event loop" in output
    assert "pip install 'sa_pgnotify[psycopg2-binary]', or [psycopg-binary]" in output
    there.clear()
    assert "no PostgreSQL driver is installed" in odd.run("doctor").output
