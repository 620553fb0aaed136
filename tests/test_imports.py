"""The package's inner order: imports point one way, and the core needs SQLAlchemy only."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "sa_pgnotify"
LAYERS = [
    {"errors", "doorbell", "states", "bell", "memory", "truth"},
    {"channel", "wire", "quoting"},
    {"column_kinds"},
    {"changelog", "presence", "snapshots"},
    {"logreader"},
    {"events", "positions", "places", "template_v1_log", "rights", "children"},
    {"chunks", "losses", "claiming"},
    {"tail"},
    {"drivers.interface"},
    {"drivers.libpq", "drivers.quick"},
    {"drivers.psycopg2", "drivers.psycopg", "drivers.asyncpg"},
    {"drivers"},
    {"spec", "decoding", "waiting", "handlers"},
    {"fields", "declarations"},
    {"batch", "mapped"},
    {"protocol", "context"},
    {"columns", "buffer"},
    {"template_v1", "parameters", "install_steps"},
    {"triggers"},
    {"ddl", "reflection"},
    {"logusers", "relations", "whole_metadata"},
    {"marker"},
    {"sources", "trigger_watch"},
    {"subscribing", "lending"},
    {"receiver", "retention"},
    {"work", "taking", "overview"},
    {"listening", "following"},
    {"consuming"},
    {"listener", "aio", "consumer", "testing.writers", "testing.expecting"},
    {"aio_consumer", "testing.readers", "testing.transaction"},
    {"testing.delivery", "testing.capture"},
    {"testing"},
    {"testing.plugin"},
    {"installation", "sessions", "findings"},
    {"hazards"},
    {"diagnosis"},
    {"cli.screens", "cli.jsonlines", "cli.layout"},
    {"cli.lines"},
    {"cli.failing"},
    {"cli.connecting", "cli.targets", "cli.logs", "cli.version"},
    {"cli.watch", "cli.check", "cli.sql", "cli.doctor", "cli.consumers", "cli.demo"},
    {"__init__", "cli"},
]
RANK = {module: rank for rank, layer in enumerate(LAYERS) for module in layer}


FILES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path for path in sorted(PACKAGE.rglob("*.py"))
}


def imported(module: str) -> set[str]:
    """The modules of the package that a module of it imports."""
    folder = PACKAGE.joinpath(*module.split(".")) if FILES[module].stem == "__init__" and module != "__init__" else FILES[module].parent
    found = set()
    for node in ast.walk(ast.parse(FILES[module].read_text())):
        if isinstance(node, ast.ImportFrom) and node.level and node.module:
            above = folder.parents[node.level - 2] if node.level > 1 else folder
            found.add(".".join([*above.relative_to(PACKAGE).parts, node.module]))
    return found


@pytest.mark.parametrize("module", FILES)
def test_imports_point_down(module):
    """A module imports only modules of lower layers, so that each can be read with what is below it."""
    assert module in RANK, "give the new module a place in LAYERS"
    assert {other for other in imported(module) if RANK[other] >= RANK[module]} == set()


def test_the_core_that_decides_does_not_wait():
    """wire, decoding, batch and protocol import nothing that waits, so that every kind of loop can drive them."""
    waiting = {"select", "selectors", "socket", "threading", "asyncio", "time", "queue"}
    decides = (
        "wire",
        "decoding",
        "batch",
        "protocol",
        "doorbell",
        "presence",
        "chunks",
        "snapshots",
        "logreader",
        "places",
        "losses",
        "claiming",
    )
    for module in decides:
        tree = ast.parse((PACKAGE / f"{module}.py").read_text())
        names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        assert names & waiting == set(), module


def test_importing_needs_only_sqlalchemy():
    """Importing the package loads no driver, no Alembic and no event loop: they are extras."""
    code = "import sys, sa_pgnotify; print(*sorted({'psycopg2', 'psycopg', 'asyncpg', 'msgspec', 'alembic', 'rich', 'typer'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == ""
